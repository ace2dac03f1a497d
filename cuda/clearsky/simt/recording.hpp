#pragma once
// Work that is written down instead of done, as a device does while a graph is captured.

#include <functional>
#include <vector>

#include "clearsky/core/error.hpp"

namespace clearsky::simt {

using Recording = std::vector<std::function<void()>>;

namespace detail {
inline constinit thread_local Recording* recording = nullptr;
}

/// Where launches and copies of this thread are written down; null when they are done.
inline Recording* recording() {
  return detail::recording;
}

class [[nodiscard]] Record {
 public:
  explicit Record(Recording& to) : before_(detail::recording) { detail::recording = &to; }
  ~Record() { detail::recording = before_; }
  Record(const Record&) = delete;
  Record& operator=(const Record&) = delete;

 private:
  Recording* before_;
};

/// @throws ValueError while work is written down
inline void refuse_while_recording(const char* what) {
  CLEARSKY_CHECK(ValueError, recording() == nullptr, what,
                 ": not while a graph is captured, since it would happen once and not at each replay; move it out of "
                 "the captured part");
}

}  // namespace clearsky::simt

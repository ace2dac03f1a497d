#pragma once
// How kernels are run on the CPU. No correct kernel can tell the orders apart.

#include <cstdint>

#include "clearsky/simt/fiber.hpp"

namespace clearsky::simt {

/// The order in which the threads of a block run between two waits, and the blocks of a grid.
enum class Order {
  forward,
  reverse,
  random,  ///< drawn anew at each turn, from the seed; some threads sit a turn out
};

struct Settings {
  Order order = Order::forward;
  uint64_t seed = 0;
  FiberKind fibers = kDefaultFibers;
};

namespace detail {
inline constinit thread_local Settings settings{};
}

/// What launches of this thread use.
inline const Settings& settings() {
  return detail::settings;
}

/// While alive, launches of this thread use these settings.
///
///     for (Order order : {Order::forward, Order::reverse, Order::random}) {
///       UseSettings guard({.order = order});
///       launch(...);
///     }
class [[nodiscard]] UseSettings {
 public:
  explicit UseSettings(const Settings& settings) : before_(detail::settings) { detail::settings = settings; }
  ~UseSettings() { detail::settings = before_; }
  UseSettings(const UseSettings&) = delete;
  UseSettings& operator=(const UseSettings&) = delete;

 private:
  Settings before_;
};

}  // namespace clearsky::simt

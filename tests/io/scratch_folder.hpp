#pragma once
// A folder for one test's files, removed when the test ends.

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

namespace clearsky::test {

struct ScratchFolder {
  std::string path;

  ScratchFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "clearsky-test-XXXXXX").string();
    path = ::mkdtemp(pattern.data());
  }
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  std::string operator/(const std::string& name) const { return path + "/" + name; }
  int64_t files() const {
    int64_t count = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(path)) count += entry.is_regular_file();
    return count;
  }
};

/// The text of what body() throws, or "nothing was thrown".
template <class Kind, class Body>
std::string thrown(Body&& body) {
  try {
    body();
  } catch (const Kind& e) {
    return e.what();
  }
  return "nothing was thrown";
}

}  // namespace clearsky::test

#include "clearsky/io/file.hpp"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/resource.h>

#include <string>

#include "io/scratch_folder.hpp"

namespace clearsky::test {
namespace {

/// While alive, no file of this process may grow beyond a limit: what a full disk does, on any machine.
struct FileSizeLimit {
  rlimit before{};
  void (*handler)(int);
  explicit FileSizeLimit(rlim_t bytes) : handler(::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before);
    rlimit small = before;
    small.rlim_cur = bytes;
    ::setrlimit(RLIMIT_FSIZE, &small);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before);
    ::signal(SIGXFSZ, handler);
  }
};

TEST_CASE("atomic_write: round trip, replacing, and large pieces") {
  const ScratchFolder folder;
  const std::string path = folder / "a.bin";
  io::atomic_write_text(path, "first");
  CHECK(io::read_file(path) == "first");
  std::string large(300'000, 'x');
  large[299'999] = 'y';
  io::atomic_write(path, [&](io::FileWriter& out) {
    out.write("head");
    out.write(large);
    for (int i = 0; i < 70'000; ++i) out.write("z");
  });
  CHECK(io::read_file(path) == "head" + large + std::string(70'000, 'z'));
  io::atomic_write_text(path, "");
  CHECK(io::read_file(path).empty());
  CHECK(folder.files() == 1);  // no part is left
}

TEST_CASE("atomic_write: what cannot be written leaves the old file and no part") {
  const ScratchFolder folder;
  const std::string path = folder / "a.bin";
  io::atomic_write_text(path, "old");

  SUBCASE("the body throws") {
    CHECK_THROWS_AS(io::atomic_write(path,
                                     [](io::FileWriter& out) {
                                       out.write(std::string(100'000, 'x'));
                                       CLEARSKY_FAIL(ValueError, "stop");
                                     }),
                    ValueError);
  }
  SUBCASE("no room, large piece") {
    const FileSizeLimit limit(50'000);
    CHECK(thrown<IoError>([&] {
            io::atomic_write_text(path, std::string(100'000, 'x'));
          }).starts_with("write: " + path + ": File too large; nothing new was left there"));
  }
  SUBCASE("no room for what is still in the buffer at the end") {
    const FileSizeLimit limit(50);
    CHECK_THROWS_AS(io::atomic_write_text(path, std::string(100, 'x')), IoError);
  }
  CHECK(io::read_file(path) == "old");
  CHECK(folder.files() == 1);
}

TEST_CASE("atomic_write: a device is written directly, and a full one is named") {
  if (!io::file_exists("/dev/full")) return;
  CHECK(thrown<IoError>([] {
          io::atomic_write_text("/dev/full", "x");
        }).starts_with("write: /dev/full: No space left on device"));
  CHECK(io::file_exists("/dev/full"));
  CHECK_NOTHROW(io::atomic_write_text("/dev/null", "x"));
}

TEST_CASE("atomic_write: folders that are not there, and paths that are folders") {
  const ScratchFolder folder;
  CHECK(thrown<IoError>([&] {
          io::atomic_write_text(folder / "no/a.bin", "x");
        }).starts_with("write: " + (folder / "no/a.bin") + ": No such file or directory; the folder must exist"));
  CHECK(thrown<IoError>([&] { io::atomic_write_text(folder.path, "x"); }).find("is a folder") != std::string::npos);
  CHECK(thrown<IoError>([&] { io::atomic_write_text("", "x"); }).find("the path is empty") != std::string::npos);
  io::make_folders(folder / "no/deeper");
  io::make_folders(folder / "no/deeper");
  CHECK_NOTHROW(io::atomic_write_text(folder / "no/deeper/a.bin", "x"));
  CHECK(thrown<IoError>([&] { io::make_folders(folder / "no/deeper/a.bin/b"); }).find("a.bin") != std::string::npos);
}

TEST_CASE("atomic_write: follows a symbolic link instead of replacing it") {
  const ScratchFolder folder;
  io::atomic_write_text(folder / "real", "old");
  std::filesystem::create_symlink(folder / "real", folder / "link");
  io::atomic_write_text(folder / "link", "new");
  CHECK(std::filesystem::is_symlink(folder / "link"));
  CHECK(io::read_file(folder / "real") == "new");
}

TEST_CASE("FileReader: missing files, folders, and reads beyond the end") {
  const ScratchFolder folder;
  CHECK(thrown<IoError>([&] {
          io::read_file(folder / "none");
        }).starts_with("read: " + (folder / "none") + ": No such file or directory"));
  CHECK(thrown<IoError>([&] { io::read_file(folder.path); }).find("is not a regular file") != std::string::npos);
  io::atomic_write_text(folder / "a", "abc");
  char to[8];
  CHECK(thrown<IoError>([&] { io::FileReader(folder / "a").read(1, to, 4); }).find("ends 2 bytes too early") !=
        std::string::npos);
}

}  // namespace
}  // namespace clearsky::test

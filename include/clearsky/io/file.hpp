#pragma once
// Reading whole files, and writing them so that a crash, a full disk or a killed program never leaves half a file.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "clearsky/core/error.hpp"

namespace clearsky::io {
namespace detail {

/// errno in words, for the end of a message.
inline std::string reason(int error) {
  return std::strerror(error);
}

/// "out/weights.bin" -> "out/"; "weights.bin" -> "./".
inline std::string folder_of(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == path.npos ? "./" : path.substr(0, slash + 1);
}

/// A name beside `path` that nobody else uses: same folder, so that the rename stays within one file system.
inline std::string name_aside(const std::string& path) {
  static std::atomic<uint64_t> counter{0};
  const auto slash = path.rfind('/');
  const std::string name = slash == path.npos ? path : path.substr(slash + 1);
  return folder_of(path) + "." + name.substr(0, 200) + ".part-" + std::to_string(::getpid()) + "-" +
         std::to_string(counter.fetch_add(1));
}

/// Where a write to `path` ends up: symbolic links are followed, so that renaming replaces the file and not the link.
inline std::string final_path(const std::string& path) {
  char resolved[PATH_MAX];
  return ::realpath(path.c_str(), resolved) != nullptr ? std::string(resolved) : path;
}

/// Makes a rename outlive a power cut. Some file systems cannot sync a folder; that is not an error.
inline void sync_folder(const std::string& path) {
  const int folder = ::open(folder_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return;
  (void)::fsync(folder);
  (void)::close(folder);
}

/// Moves a complete file over its final name. @throws IoError, with the part removed
inline void rename_into_place(const std::string& part, const std::string& path) {
  if (::rename(part.c_str(), path.c_str()) != 0) {
    const int error = errno;
    (void)::unlink(part.c_str());
    CLEARSKY_FAIL(IoError, "write: ", path, ": ", reason(error), "; what stood there before is unchanged");
  }
  sync_folder(path);
}

}  // namespace detail

/// Where atomic_write's body writes to. Small writes are gathered; every one that reaches the system is checked.
class FileWriter {
 public:
  FileWriter(int descriptor, std::string path) : descriptor_(descriptor), path_(std::move(path)) {}

  void write(const void* data, size_t bytes) {
    if (buffer_.size() + bytes > kBuffer) flush();
    if (bytes >= kBuffer) to_system(static_cast<const char*>(data), bytes);
    else buffer_.append(static_cast<const char*>(data), bytes);
  }
  void write(std::string_view text) { write(text.data(), text.size()); }
  void flush() {
    to_system(buffer_.data(), buffer_.size());
    buffer_.clear();
  }

 private:
  static constexpr size_t kBuffer = 1 << 16;  // bytes

  void to_system(const char* data, size_t bytes) {
    while (bytes > 0) {
      const ssize_t written = ::write(descriptor_, data, bytes);
      if (written < 0 && errno == EINTR) continue;
      CLEARSKY_CHECK(IoError, written > 0, "write: ", path_, ": ", detail::reason(written < 0 ? errno : ENOSPC),
                     "; nothing new was left there");
      data += written;
      bytes -= size_t(written);
    }
  }

  int descriptor_;
  std::string path_;
  std::string buffer_;
};

/// Writes a file as a whole or not at all: the bytes go to a name beside it, reach the disk, and take the final name
/// in one step. Readers see the old file or the new one, never a part.
///
///     atomic_write("weights.bin", [&](FileWriter& out) { out.write(bytes.data(), bytes.size()); });
///
/// A device or a pipe cannot be replaced and is written directly.
///
/// @throws IoError that names the path and the system's reason (no space left, permission denied, ...); the part is
///         removed, also when `body` throws
template <class Body>
void atomic_write(const std::string& path, Body&& body) {
  CLEARSKY_CHECK(IoError, !path.empty(), "write: the path is empty; give a file name");
  const std::string target = detail::final_path(path);
  struct stat before {};
  const bool exists = ::stat(target.c_str(), &before) == 0;
  CLEARSKY_CHECK(IoError, !exists || !S_ISDIR(before.st_mode), "write: ", path, ": is a folder; give a file name");
  const bool direct = exists && !S_ISREG(before.st_mode);
  const std::string part = direct ? target : detail::name_aside(target);

  struct Part {
    int descriptor;
    const char* remove_on_failure;
    ~Part() {
      if (descriptor >= 0) (void)::close(descriptor);
      if (remove_on_failure != nullptr) (void)::unlink(remove_on_failure);
    }
  } file{::open(part.c_str(), O_WRONLY | O_CLOEXEC | (direct ? 0 : O_CREAT | O_EXCL), 0666), nullptr};
  CLEARSKY_CHECK(IoError, file.descriptor >= 0, "write: ", path, ": ", detail::reason(errno),
                 "; the folder must exist and be writable");
  if (!direct) file.remove_on_failure = part.c_str();

  FileWriter out(file.descriptor, path);
  body(out);
  out.flush();
  if (!direct) {
    if (exists) (void)::fchmod(file.descriptor, before.st_mode & 07777);
    // Some systems report a full disk only here or on close.
    CLEARSKY_CHECK(IoError, ::fsync(file.descriptor) == 0, "write: ", path, ": ", detail::reason(errno),
                   "; nothing new was left there");
  }
  const int closed = ::close(std::exchange(file.descriptor, -1));
  CLEARSKY_CHECK(IoError, closed == 0, "write: ", path, ": ", detail::reason(errno), "; nothing new was left there");
  if (!direct) {
    file.remove_on_failure = nullptr;  // rename_into_place removes it itself
    detail::rename_into_place(part, target);
  }
}

/// As above for text or bytes that exist already.
inline void atomic_write_text(const std::string& path, std::string_view text) {
  atomic_write(path, [&](FileWriter& out) { out.write(text); });
}

/// A file open for reading; knows its size, and every read is complete or throws.
class FileReader {
 public:
  explicit FileReader(const std::string& path) : path_(path), descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    CLEARSKY_CHECK(IoError, descriptor_ >= 0, "read: ", path, ": ", detail::reason(errno));
    struct stat info {};
    const bool regular = ::fstat(descriptor_, &info) == 0 && S_ISREG(info.st_mode);
    if (!regular) (void)::close(descriptor_);
    CLEARSKY_CHECK(IoError, regular, "read: ", path, ": is not a regular file");
    size_ = uint64_t(info.st_size);
  }
  ~FileReader() { (void)::close(descriptor_); }
  FileReader(const FileReader&) = delete;
  FileReader& operator=(const FileReader&) = delete;

  const std::string& path() const { return path_; }
  uint64_t size() const { return size_; }

  /// @throws IoError when the file ends before offset + bytes, or cannot be read
  void read(uint64_t offset, void* to, size_t bytes) const {
    char* p = static_cast<char*>(to);
    while (bytes > 0) {
      const ssize_t got = ::pread(descriptor_, p, bytes, off_t(offset));
      if (got < 0 && errno == EINTR) continue;
      CLEARSKY_CHECK(IoError, got >= 0, "read: ", path_, ": ", detail::reason(errno));
      CLEARSKY_CHECK(IoError, got > 0, "read: ", path_, ": the file ends ", bytes, " bytes too early");
      p += got;
      offset += uint64_t(got);
      bytes -= size_t(got);
    }
  }

 private:
  std::string path_;
  int descriptor_;
  uint64_t size_ = 0;
};

/// All bytes of a file. @throws IoError
inline std::string read_file(const std::string& path) {
  const FileReader file(path);
  std::string bytes(size_t(file.size()), '\0');
  file.read(0, bytes.data(), bytes.size());
  return bytes;
}

inline bool file_exists(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0;
}

/// Makes a folder and those above it; one that exists already is fine. @throws IoError
inline void make_folders(const std::string& path) {
  for (size_t at = path.find('/', 1);; at = path.find('/', at + 1)) {
    const std::string part = path.substr(0, at);
    if (!part.empty() && ::mkdir(part.c_str(), 0777) != 0 && !(errno == EEXIST && file_exists(part)))
      CLEARSKY_FAIL(IoError, "make_folders: ", part, ": ", detail::reason(errno));
    if (at == path.npos) break;
  }
}

}  // namespace clearsky::io

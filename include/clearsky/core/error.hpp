#pragma once
// Exceptions and the check that throws them. Every message reads
// `operation: what is wrong, with both values; what to do  [file:line]`.

#include <initializer_list>
#include <stdexcept>
#include <string>
#include <string_view>

namespace clearsky {

/// Base of every exception the library throws.
class Error : public std::runtime_error {
  using std::runtime_error::runtime_error;
};
/// Sizes, ranks or dimensions do not fit.
class ShapeError : public Error {
  using Error::Error;
};
/// Element types do not fit.
class DTypeError : public Error {
  using Error::Error;
};
/// No such device, or tensors on two devices.
class DeviceError : public Error {
  using Error::Error;
};
/// A gradient was asked for that does not exist.
class AutogradError : public Error {
  using Error::Error;
};
/// A value is outside its range: an option, a label, a NaN where none may be.
class ValueError : public Error {
  using Error::Error;
};
/// A file is missing, truncated or malformed, or cannot be written.
class IoError : public Error {
  using Error::Error;
};
/// A configuration has an unknown key, or a value that does not fit its key.
class ConfigError : public Error {
  using Error::Error;
};
/// The system has no memory left to give.
class MemoryError : public Error {
  using Error::Error;
};

namespace detail {

inline std::string to_text(std::string_view s) {
  return std::string(s);
}
inline std::string to_text(bool v) {
  return v ? "true" : "false";
}
inline std::string to_text(int v) {
  return std::to_string(v);
}
inline std::string to_text(unsigned v) {
  return std::to_string(v);
}
inline std::string to_text(long v) {
  return std::to_string(v);
}
inline std::string to_text(long long v) {
  return std::to_string(v);
}
inline std::string to_text(unsigned long v) {
  return std::to_string(v);
}
inline std::string to_text(unsigned long long v) {
  return std::to_string(v);
}

/// The shortest of %.6g and %.9g that loses nothing a reader of a message would miss.
inline std::string to_text(double v) {
  char buffer[32];
  const int length = __builtin_snprintf(buffer, sizeof buffer, "%.6g", v);
  return std::string(buffer, size_t(length));
}
// A char pointer would otherwise convert to bool before it converts to string_view.
inline std::string to_text(const char* s) {
  return s;
}

/// ".../include/clearsky/ops/softmax.hpp" -> "clearsky/ops/softmax.hpp": the same text on every machine.
inline std::string_view short_path(std::string_view path) {
  const auto at = path.rfind("clearsky/");
  return at == path.npos ? path : path.substr(at);
}

/// A part of a message, by reference: its text is made only when the message is.
class MessagePart {
 public:
  MessagePart(const char* text)
      : value_(text), to_text_([](const void* v) { return std::string(static_cast<const char*>(v)); }) {}
  template <class T>
  MessagePart(const T& value)
      : value_(&value), to_text_([](const void* v) { return std::string(to_text(*static_cast<const T*>(v))); }) {}
  std::string text() const { return to_text_(value_); }

 private:
  const void* value_;
  std::string (*to_text_)(const void*);
};

/// Never inlined, and one function for all messages of a kind: a check costs its caller one compare and one call that
/// is never made, and the compiler next to nothing.
template <class Kind>
[[noreturn, gnu::cold, gnu::noinline]] void fail(const char* file, int line, std::initializer_list<MessagePart> parts) {
  std::string message;
  for (const MessagePart& part : parts) message += part.text();
  throw Kind(message + "  [" + std::string(short_path(file)) + ":" + std::to_string(line) + "]");
}

}  // namespace detail
}  // namespace clearsky

/// Throws clearsky::Kind unless `condition` holds. The message is built only on failure, from parts:
/// strings, numbers, and any library type that has a to_text() beside it.
#define CLEARSKY_CHECK(Kind, condition, ...)                                         \
  do {                                                                               \
    if (!(condition)) [[unlikely]]                                                   \
      ::clearsky::detail::fail<::clearsky::Kind>(__FILE__, __LINE__, {__VA_ARGS__}); \
  } while (false)

/// Throws clearsky::Kind. For a branch that is reached only when something is wrong.
#define CLEARSKY_FAIL(Kind, ...) ::clearsky::detail::fail<::clearsky::Kind>(__FILE__, __LINE__, {__VA_ARGS__})

#pragma once
// A profile as a file for chrome://tracing and https://ui.perfetto.dev.

#include <cstdio>
#include <string>
#include <string_view>

#include "clearsky/io/file.hpp"
#include "clearsky/io/profiler.hpp"

namespace clearsky::io {
namespace detail {

/// With its quotes.
inline std::string json_text(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, "\\u%04x", unsigned(static_cast<unsigned char>(c)));
      out += escaped;
    } else {
      out += c;
    }
  }
  return out + "\"";
}

/// Nanoseconds as microseconds with all their digits: what nests in nanoseconds nests in the file.
inline std::string microseconds(int64_t ns) {
  char text[40];
  std::snprintf(text, sizeof text, "%lld.%03lld", (long long)(ns / 1000), (long long)(ns % 1000));
  return text;
}

}  // namespace detail

/// Writes all runs as complete events ("X"), each within the one that caused it: run, module, operation. The category
/// is "run", "module" or "operation"; an event's arguments say of which pass and module it is.
///
/// @source  "Trace Event Format", the document of the trace viewer of Chromium
/// @throws  IoError
inline void write_chrome_trace(const std::string& path, const Profiler& profiler) {
  atomic_write(path, [&](FileWriter& out) {
    out.write(
        "{\"displayTimeUnit\": \"ms\", \"traceEvents\": [\n"
        "{\"ph\": \"M\", \"name\": \"process_name\", \"pid\": 1, \"tid\": 0, \"args\": {\"name\": \"clearsky\"}}");
    int64_t number = 0;
    for (const ProfileRun& run : profiler.runs()) {
      ++number;
      for (const ProfileEvent& e : run.events) {
        const bool whole = e.parent < 0;
        const std::string name = whole                    ? "run " + std::to_string(number)
                                 : e.operation != nullptr ? std::string(e.operation)
                                                          : profiler.module_name(e.module);
        out.write(",\n{\"ph\": \"X\", \"name\": " + detail::json_text(name) + ", \"cat\": \"" +
                  (whole                    ? "run"
                   : e.operation != nullptr ? "operation"
                                            : "module") +
                  "\", \"ts\": " + detail::microseconds(e.begin_ns) + ", \"dur\": " +
                  detail::microseconds(e.end_ns - e.begin_ns) + ", \"pid\": 1, \"tid\": " + std::to_string(run.thread) +
                  ", \"args\": {\"pass\": \"" + (e.pass == Pass::backward ? "backward" : "forward") +
                  "\", \"module\": " + detail::json_text(profiler.module_name(e.module)) + "}}");
      }
    }
    out.write("\n]}\n");
  });
}

}  // namespace clearsky::io

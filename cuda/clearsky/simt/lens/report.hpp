#pragma once
// Reports of the lens as a table and as JSON. Included by clearsky/simt/lens/implementation.hpp.

#include <cstdarg>

#include "clearsky/simt/lens/tracker.hpp"

namespace clearsky::simt {

inline std::string to_text(const SourceLine& line) {
  if (!line.file.empty()) return line.file + ":" + std::to_string(line.line);
  char text[32];
  return std::string(text, size_t(std::snprintf(text, sizeof text, "0x%zx", size_t(line.address))));
}

namespace lens {

[[gnu::format(printf, 1, 2)]] inline std::string format(const char* how, ...) {
  std::va_list arguments;
  va_start(arguments, how);
  char text[512];
  const int length = std::vsnprintf(text, sizeof text, how, arguments);
  va_end(arguments);
  return std::string(text, std::min(size_t(length), sizeof text - 1));
}

inline double share(int64_t part, int64_t whole) {
  return whole == 0 ? 0.0 : double(part) / double(whole);
}

inline const char* name_of(AccessKind kind) {
  return kind == AccessKind::read ? "read" : kind == AccessKind::write ? "write" : "atomic";
}

inline const char* name_of(LensErrorKind kind) {
  switch (kind) {
    case LensErrorKind::shared_race:
      return "shared_race";
    case LensErrorKind::global_race:
      return "global_race";
    case LensErrorKind::block_race:
      return "block_race";
    case LensErrorKind::shared_bounds:
      return "shared_bounds";
    case LensErrorKind::global_bounds:
      return "global_bounds";
    case LensErrorKind::not_device_memory:
      return "not_device_memory";
    case LensErrorKind::uninitialized:
      return "uninitialized";
    case LensErrorKind::copy_under_way:
      return "copy_under_way";
    case LensErrorKind::nothing_seen:
      return "nothing_seen";
  }
  return "";
}

inline std::string table_of(const LensLaunch& l) {
  std::string text = format("%s  grid (%u, %u, %u), block (%u, %u, %u)\n", l.kernel.c_str(), l.grid[0], l.grid[1],
                            l.grid[2], l.block[0], l.block[1], l.block[2]);
  text += "  line                        access            requests    lanes        bytes   per request        ideal\n";
  for (const LensLine& s : l.lines) {
    text += format("  %-26s  %-6s %-6s %12lld  %7.1f %12lld", to_text(s.line).c_str(), s.shared ? "shared" : "global",
                   name_of(s.access), static_cast<long long>(s.requests), share(s.lanes, s.requests),
                   static_cast<long long>(s.bytes));
    const int64_t got = s.shared ? s.wavefronts : s.sectors, ideal = s.shared ? s.ideal_wavefronts : s.ideal_sectors;
    text +=
        format("  %6.2f %-7s %6.2f", share(got, s.requests), s.shared ? "passes" : "sectors", share(ideal, s.requests));
    if (s.shared && got > ideal) text += format("  %d-way bank conflict", s.worst_ways);
    if (!s.shared && got > ideal) text += format("  %.0f %% of the bytes used", 100 * share(ideal, got));
    text += "\n";
  }
  const auto row = [&](const char* what, int64_t asked, int64_t least, int64_t sectors, int64_t block_sectors) {
    text += format("  %-7s %12lld bytes asked for, %12lld compulsory (%.2f times); %lld to %lld bytes in sectors\n",
                   what, static_cast<long long>(asked), static_cast<long long>(least), share(asked, least),
                   static_cast<long long>(32 * sectors), static_cast<long long>(32 * block_sectors));
  };
  row("read", l.read_bytes, l.compulsory_read_bytes, l.compulsory_read_sectors, l.block_read_sectors);
  row("written", l.written_bytes, l.compulsory_written_bytes, l.compulsory_written_sectors, l.block_written_sectors);
  return text;
}

inline std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) >= 0x20) out += c;
  }
  return out + "\"";
}

/// {"name": number, ...}, without the braces.
inline std::string numbers(std::initializer_list<std::pair<const char*, int64_t>> all) {
  std::string text;
  for (const auto& [name, value] : all)
    text += (text.empty() ? "\"" : ", \"") + std::string(name) + "\": " + std::to_string(value);
  return text;
}

inline std::string json_of(const LensLaunch& l) {
  std::string text = "{\"kernel\": " + quoted(l.kernel);
  text += format(", \"grid\": [%u, %u, %u], \"block\": [%u, %u, %u], ", l.grid[0], l.grid[1], l.grid[2], l.block[0],
                 l.block[1], l.block[2]);
  text += numbers({{"read_bytes", l.read_bytes},
                   {"written_bytes", l.written_bytes},
                   {"compulsory_read_bytes", l.compulsory_read_bytes},
                   {"compulsory_written_bytes", l.compulsory_written_bytes},
                   {"compulsory_read_sectors", l.compulsory_read_sectors},
                   {"compulsory_written_sectors", l.compulsory_written_sectors},
                   {"block_read_sectors", l.block_read_sectors},
                   {"block_written_sectors", l.block_written_sectors},
                   {"cached_read_sectors", l.cached_read_sectors},
                   {"cached_written_sectors", l.cached_written_sectors}});
  text += ", \"lines\": [";
  bool first = true;
  for (const LensLine& s : l.lines) {
    text += std::string(first ? "" : ", ") + "{\"at\": " + quoted(to_text(s.line)) + ", \"memory\": \"" +
            (s.shared ? "shared" : "global") + "\", \"access\": \"" + name_of(s.access) + "\", ";
    text += numbers({{"requests", s.requests},
                     {"lanes", s.lanes},
                     {"bytes", s.bytes},
                     {"sectors", s.sectors},
                     {"ideal_sectors", s.ideal_sectors},
                     {"wavefronts", s.wavefronts},
                     {"ideal_wavefronts", s.ideal_wavefronts},
                     {"worst_ways", s.worst_ways}});
    text += "}";
    first = false;
  }
  return text + "]}";
}

}  // namespace lens

inline std::string report_table(const LensReport& report) {
  std::string text;
  for (const LensLaunch& l : report.launches) text += lens::table_of(l);
  for (const LensError& e : report.errors) text += e.text + "\n";
  if (report.errors.empty()) text += "no errors\n";
  return text;
}

inline std::string report_json(const LensReport& report) {
  std::string text = "{\"launches\": [";
  for (size_t i = 0; i < report.launches.size(); ++i) text += (i == 0 ? "" : ", ") + lens::json_of(report.launches[i]);
  text += "], \"errors\": [";
  for (size_t i = 0; i < report.errors.size(); ++i) {
    const LensError& e = report.errors[i];
    text += std::string(i == 0 ? "" : ", ") + "{\"kind\": \"" + lens::name_of(e.kind) +
            "\", \"kernel\": " + lens::quoted(e.kernel) + ", \"at\": " + lens::quoted(to_text(e.line)) +
            ", \"text\": " + lens::quoted(e.text) + ", " + lens::numbers({{"times", e.times}}) + "}";
  }
  return text + "]}";
}

}  // namespace clearsky::simt

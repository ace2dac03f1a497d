#pragma once
// The source lines of addresses, from the program's debug information by way of addr2line (binutils).

#include <link.h>
#include <unistd.h>

#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "clearsky/simt/lens.hpp"

namespace clearsky::simt::lens {

class Symbols {
 public:
  /// Asks for all that are not known yet at once: one start of addr2line takes longer than a thousand lines.
  void look_up(const std::vector<const void*>& addresses) {
    std::vector<uintptr_t> ask;
    for (const void* p : addresses) {
      if (lines_.contains(p)) continue;
      lines_[p].address = reinterpret_cast<uintptr_t>(p) - load_base();
      ask.push_back(lines_[p].address);
    }
    for (size_t first = 0; first < ask.size(); first += 256) ask_for(ask, first, (std::min)(ask.size(), first + 256));
  }
  SourceLine line(const void* p) const {
    const auto found = lines_.find(p);
    return found == lines_.end() ? SourceLine{} : found->second;
  }

 private:
  static uintptr_t load_base() {
    static const uintptr_t base = [] {
      uintptr_t first = 0;
      dl_iterate_phdr(
          [](dl_phdr_info* info, size_t, void* out) {
            *static_cast<uintptr_t*>(out) = info->dlpi_addr;
            return 1;  // the program itself comes first
          },
          &first);
      return first;
    }();
    return base;
  }

  void ask_for(const std::vector<uintptr_t>& ask, size_t first, size_t last) {
    char program[4096];
    const ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (length <= 0) return;
    std::string command = "addr2line -a -f -i -C -e '" + std::string(program, size_t(length)) + "'";
    for (size_t i = first; i < last; ++i) {
      char text[32];
      std::snprintf(text, sizeof text, " 0x%zx", size_t(ask[i]));
      command += text;
    }
    command += " 2>/dev/null";
    std::FILE* out = popen(command.c_str(), "r");
    if (out == nullptr) return;
    // For each address: itself, then for each frame, the innermost first, its function and its file:line.
    std::map<uintptr_t, SourceLine> found;
    uintptr_t address = 0;
    std::string function;
    bool have_function = false, done = false;
    std::string text;
    for (int c = std::fgetc(out); c != EOF; c = std::fgetc(out)) {
      if (c != '\n') {
        text += char(c);
        continue;
      }
      if (text.starts_with("0x")) {
        address = uintptr_t(std::stoull(text, nullptr, 16));
        have_function = done = false;
      } else if (!have_function) {
        function = text;
        have_function = true;
      } else {
        have_function = false;
        const SourceLine frame = parse(text, function, address);
        SourceLine& best = found[address];
        if (!done && (best.file.empty() || is_kernel_file(text))) {
          best = frame;
          done = is_kernel_file(text);
        }
      }
      text.clear();
    }
    pclose(out);
    for (auto& [p, line] : lines_)
      if (const auto at = found.find(line.address); at != found.end() && !at->second.file.empty()) line = at->second;
  }

  static SourceLine parse(std::string text, const std::string& function, uintptr_t address) {
    if (const auto at = text.find(" (discriminator"); at != text.npos) text.resize(at);
    const auto colon = text.rfind(':');
    SourceLine line{.file = "", .line = 0, .function = function, .address = address};
    if (colon == text.npos || text.starts_with("??")) return line;
    line.line = std::atoi(text.c_str() + colon + 1);
    line.file = text.substr(0, colon);
    line.file = line.file.substr(line.file.rfind('/') + 1);
    return line;
  }

  /// Not the machinery that passes a kernel's accesses on.
  static bool is_kernel_file(const std::string& path) {
    for (const char* part : {"/clearsky/simt/", "/clearsky/core/", "/include/c++/", "/usr/"})
      if (path.find(part) != path.npos) return false;
    return !path.starts_with("??");
  }

  std::map<const void*, SourceLine> lines_;
};

/// "void clearsky::cuda::on_cpu::sum_slots<128>(...)" -> "sum_slots<128>"
inline std::string short_name(std::string name) {
  for (const char* part : {"clearsky::", "cuda::", "on_cpu::", "test::", "(anonymous namespace)::"})
    for (auto at = name.find(part); at != name.npos; at = name.find(part))
      name.erase(at, std::char_traits<char>::length(part));
  if (name.starts_with("void ")) name.erase(0, 5);
  int depth = 0;
  for (size_t i = 0; i < name.size(); ++i) {
    if (name[i] == '<') ++depth;
    if (name[i] == '>') --depth;
    if (name[i] == '(' && depth == 0) return name.substr(0, i);
  }
  return name;
}

}  // namespace clearsky::simt::lens

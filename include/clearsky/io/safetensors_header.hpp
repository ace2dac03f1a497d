#pragma once
// The JSON header of a safetensors file. Its grammar is two levels deep, so a parser without recursion reads it; what a
// hostile file could use to confuse two readers (duplicate keys, gaps, signs, fractions) is refused.

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "clearsky/core/dtype.hpp"
#include "clearsky/core/error.hpp"
#include "clearsky/core/shape.hpp"

namespace clearsky::io::detail {

using clearsky::detail::to_text;

inline constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the limit of the reference implementation

struct HeaderEntry {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
  uint64_t begin = 0, end = 0;  // bytes, from the first byte behind the header
};

inline constexpr DType kFileDTypes[] = {DType::f32, DType::f64, DType::f16, DType::bf16,
                                        DType::i64, DType::i32, DType::u8,  DType::boolean};

inline std::string dtype_tag(DType t) {
  constexpr const char* kTags[] = {"F32", "F64", "F16", "BF16", "I64", "I32", "U8", "BOOL"};
  return kTags[size_t(t)];
}

/// Calls body(T{}) with the C++ type of a dtype.
template <class Body>
void with_dtype(DType t, Body&& body) {
  switch (t) {
    case DType::f32:
      return body(float{});
    case DType::f64:
      return body(double{});
    case DType::f16:
      return body(Half{});
    case DType::bf16:
      return body(BFloat16{});
    case DType::i64:
      return body(int64_t{});
    case DType::i32:
      return body(int32_t{});
    case DType::u8:
      return body(uint8_t{});
    case DType::boolean:
      return body(bool{});
  }
}

/// A JSON string literal. Bytes above 127 are passed through: JSON is UTF-8, and so are our names.
inline std::string quoted(std::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') (out += '\\') += c;
    else if (c == '\n') out += "\\n";
    else if (c == '\t') out += "\\t";
    else if (static_cast<unsigned char>(c) < 0x20) (out += "\\u00") += {kHex[(c >> 4) & 15], kHex[c & 15]};
    else out += c;
  }
  return out + "\"";
}

/// Reads {"name": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "__metadata__": {"key": "text"}}.
class HeaderParser {
 public:
  HeaderParser(const std::string& path, std::string_view text) : path_(path), text_(text) {}

  /// @param metadata  written
  std::vector<HeaderEntry> parse(std::map<std::string, std::string>& metadata) {
    std::vector<HeaderEntry> entries;
    std::set<std::string> names;
    each_member([&](const std::string& name) {
      CLEARSKY_CHECK(IoError, names.insert(name).second, "read_safetensors: ", path_, ": the name ", name,
                     " appears twice");
      if (name == "__metadata__") {
        each_member([&](const std::string& key) {
          CLEARSKY_CHECK(IoError, metadata.emplace(key, string()).second, "read_safetensors: ", path_,
                         ": the metadata key ", key, " appears twice");
        });
      } else {
        entries.push_back(entry(name));
      }
    });
    space();
    if (at_ != text_.size()) malformed("nothing more");
    return entries;
  }

 private:
  [[noreturn]] void malformed(const char* expected) const {
    CLEARSKY_FAIL(IoError, "read_safetensors: ", path_, ": malformed header at byte ", int64_t(at_), ": expected ",
                  expected);
  }
  void space() {
    while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos) ++at_;
  }
  bool accept(char c) {
    space();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c, const char* what) {
    if (!accept(c)) malformed(what);
  }

  template <class Member>
  void each_member(Member&& member) {
    expect('{', "'{'");
    if (accept('}')) return;
    do {
      const std::string name = string();
      expect(':', "':'");
      member(name);
    } while (accept(','));
    expect('}', "',' or '}'");
  }

  HeaderEntry entry(const std::string& name) {
    HeaderEntry e;
    e.name = name;
    bool dtype = false, shape = false, offsets = false;
    each_member([&](const std::string& key) {
      bool& seen = key == "dtype" ? dtype : key == "shape" ? shape : offsets;
      if (key != "dtype" && key != "shape" && key != "data_offsets")
        CLEARSKY_FAIL(IoError, "read_safetensors: ", path_, ": ", name, " has the unknown key ", key);
      CLEARSKY_CHECK(IoError, !seen, "read_safetensors: ", path_, ": ", name, " has the key ", key, " twice");
      seen = true;
      if (key == "dtype") {
        const std::string tag = string();
        const auto* const known =
            std::find_if(std::begin(kFileDTypes), std::end(kFileDTypes), [&](DType t) { return dtype_tag(t) == tag; });
        CLEARSKY_CHECK(IoError, known != std::end(kFileDTypes), "read_safetensors: ", path_, ": ", name,
                       " has the unknown dtype ", tag, "; known are F64, F32, F16, BF16, I64, I32, U8, BOOL");
        e.dtype = *known;
      } else {
        const std::vector<uint64_t> values = integers();
        if (key == "shape") {
          CLEARSKY_CHECK(IoError, int64_t(values.size()) <= kMaxRank, "read_safetensors: ", path_, ": ", name, " has ",
                         int64_t(values.size()), " dimensions; at most ", kMaxRank, " are supported");
          for (const uint64_t v : values) e.shape.push_back(int64_t(v));
        } else {
          CLEARSKY_CHECK(IoError, values.size() == 2, "read_safetensors: ", path_, ": ", name, " has ",
                         int64_t(values.size()), " data_offsets instead of 2");
          e.begin = values[0];
          e.end = values[1];
        }
      }
    });
    CLEARSKY_CHECK(IoError, dtype && shape && offsets, "read_safetensors: ", path_, ": ", name, " has no ",
                   !dtype   ? "dtype"
                   : !shape ? "shape"
                            : "data_offsets");
    return e;
  }

  std::vector<uint64_t> integers() {
    std::vector<uint64_t> values;
    expect('[', "'['");
    if (accept(']')) return values;
    do {
      space();
      const size_t first = at_;
      uint64_t v = 0;
      for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
        v = v * 10 + uint64_t(text_[at_] - '0');
        if (v >> 56 != 0) malformed("a number below 2^56");
      }
      if (at_ == first) malformed("a number of 0 or more");
      values.push_back(v);
    } while (accept(','));
    expect(']', "',' or ']'");
    return values;
  }

  std::string string() {
    expect('"', "'\"'");
    std::string out;
    while (true) {
      if (at_ >= text_.size()) malformed("the end of a string");
      const char c = text_[at_++];
      if (c == '"') return out;
      if (static_cast<unsigned char>(c) < 0x20) malformed("no control character in a string");
      if (c != '\\') {
        out += c;
        continue;
      }
      if (at_ >= text_.size()) malformed("the end of a string");
      constexpr std::string_view kEscapes = "\"\\/bfnrt", kMeanings = "\"\\/\b\f\n\r\t";
      const char e = text_[at_++];
      if (e == 'u') append_code_point(out);
      else if (const size_t i = kEscapes.find(e); i != std::string_view::npos) out += kMeanings[i];
      else malformed("a known escape");
    }
  }

  uint32_t hex4() {
    uint32_t v = 0;
    for (int i = 0; i < 4; ++i) {
      const char c = at_ < text_.size() ? text_[at_++] : '\0';
      if (c >= '0' && c <= '9') v = v * 16 + uint32_t(c - '0');
      else if (c >= 'a' && c <= 'f') v = v * 16 + uint32_t(c - 'a' + 10);
      else if (c >= 'A' && c <= 'F') v = v * 16 + uint32_t(c - 'A' + 10);
      else malformed("four hexadecimal digits");
    }
    return v;
  }
  void append_code_point(std::string& out) {
    uint32_t v = hex4();
    if (v >= 0xd800 && v < 0xdc00) {  // the first half of a pair
      if (at_ + 1 >= text_.size() || text_[at_] != '\\' || text_[at_ + 1] != 'u')
        malformed("the second half of a pair");
      at_ += 2;
      const uint32_t low = hex4();
      if (low < 0xdc00 || low > 0xdfff) malformed("the second half of a pair");
      v = 0x10000 + ((v - 0xd800) << 10) + (low - 0xdc00);
    } else if (v >= 0xdc00 && v < 0xe000) {
      malformed("the first half of a pair");
    }
    if (v < 0x80) {
      out += char(v);
    } else if (v < 0x800) {
      out += {char(0xc0 | (v >> 6)), char(0x80 | (v & 63))};
    } else if (v < 0x10000) {
      out += {char(0xe0 | (v >> 12)), char(0x80 | ((v >> 6) & 63)), char(0x80 | (v & 63))};
    } else {
      out +=
          {char(0xf0 | (v >> 18)), char(0x80 | ((v >> 12) & 63)), char(0x80 | ((v >> 6) & 63)), char(0x80 | (v & 63))};
    }
  }

  const std::string& path_;
  std::string_view text_;
  size_t at_ = 0;
};

/// Every tensor's bytes must fit its shape, and together they must cover the data once.
/// @param entries  sorted by offset on return
inline void check_offsets(const std::string& path, std::vector<HeaderEntry>& entries, uint64_t data_bytes) {
  for (const HeaderEntry& e : entries) {
    CLEARSKY_CHECK(IoError, e.begin <= e.end, "read_safetensors: ", path, ": ", e.name, " has data_offsets [", e.begin,
                   ", ", e.end, "] that run backwards");
    CLEARSKY_CHECK(IoError, e.end <= data_bytes, "read_safetensors: ", path, ": ", e.name, " ends at byte ", e.end,
                   " of ", data_bytes, "; the file is truncated or its header is wrong");
    uint64_t bytes = uint64_t(element_bytes(e.dtype));
    bool overflow = false;
    for (const int64_t s : e.shape) overflow = __builtin_mul_overflow(bytes, uint64_t(s), &bytes) || overflow;
    CLEARSKY_CHECK(IoError, !overflow && bytes == e.end - e.begin, "read_safetensors: ", path, ": ", e.name,
                   " of shape ", e.shape, " and dtype ", dtype_tag(e.dtype), " does not fit its ", e.end - e.begin,
                   " bytes");
  }
  std::stable_sort(entries.begin(), entries.end(), [](const HeaderEntry& a, const HeaderEntry& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  uint64_t end = 0;
  for (size_t i = 0; i < entries.size(); ++i) {
    const HeaderEntry& e = entries[i];
    CLEARSKY_CHECK(IoError, e.begin >= end, "read_safetensors: ", path, ": ", e.name, " starts at byte ", e.begin,
                   " inside ", i ? entries[i - 1].name : e.name, ", which ends at ", end);
    CLEARSKY_CHECK(IoError, e.begin == end, "read_safetensors: ", path, ": bytes ", end, " to ", e.begin,
                   " belong to no tensor");
    end = e.end;
  }
  CLEARSKY_CHECK(IoError, end == data_bytes, "read_safetensors: ", path, ": bytes ", end, " to ", data_bytes,
                 " belong to no tensor");
}

}  // namespace clearsky::io::detail

#pragma once
// NumPy's .npy files: one array each, for a quick look from Python.
//
// Source: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html

#include <bit>
#include <cctype>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "clearsky/core/tensor.hpp"
#include "clearsky/io/file.hpp"

namespace clearsky::io {
namespace detail {

static_assert(std::endian::native == std::endian::little, "the type tags below are little-endian");

template <class T>
struct NpyTag;
template <>
struct NpyTag<float> {
  static constexpr const char* value = "<f4";
};
template <>
struct NpyTag<double> {
  static constexpr const char* value = "<f8";
};
template <>
struct NpyTag<int64_t> {
  static constexpr const char* value = "<i8";
};
template <>
struct NpyTag<int32_t> {
  static constexpr const char* value = "<i4";
};
template <>
struct NpyTag<uint8_t> {
  static constexpr const char* value = "|u1";
};
template <>
struct NpyTag<bool> {
  static constexpr const char* value = "|b1";
};

/// What follows `'key':` in the header's Python dictionary, without leading spaces; empty when the key is absent.
inline std::string_view npy_field(std::string_view header, std::string_view key) {
  const std::string quoted_key = "'" + std::string(key) + "'";
  const size_t at = header.find(quoted_key);
  if (at == header.npos) return {};
  std::string_view rest = header.substr(at + quoted_key.size());
  while (!rest.empty() && (rest[0] == ' ' || rest[0] == ':')) rest.remove_prefix(1);
  return rest;
}

}  // namespace detail

/// Writes one tensor as a .npy file (version 1.0), atomically.
template <class T>
void write_npy(const std::string& path, const Tensor<T>& x) {
  CLEARSKY_CHECK(ValueError, x.defined(), "write_npy: ", path, ": the tensor is undefined");
  std::string header = std::string("{'descr': '") + detail::NpyTag<T>::value + "', 'fortran_order': False, 'shape': (";
  for (size_t d = 0; d < x.shape().size(); ++d)
    header += (d ? " " : "") + std::to_string(x.shape()[d]) + (d + 1 < x.shape().size() || d == 0 ? "," : "");
  header += "), }";
  header.resize((10 + header.size() + 1 + 63) / 64 * 64 - 10 - 1, ' ');  // the elements start on a multiple of 64
  header += '\n';
  const Tensor<T> dense = x.is_contiguous() ? x : x.clone();
  atomic_write(path, [&](FileWriter& out) {
    const auto length = uint16_t(header.size());
    out.write(std::string_view("\x93NUMPY\x01\x00", 8));
    out.write(&length, sizeof length);
    out.write(header);
    out.write(dense.data(), size_t(dense.bytes()));
  });
}

/// Reads a .npy file (versions 1 to 3) whose elements are T, in C order.
/// @throws IoError when missing, truncated, malformed, in Fortran order, or of another element type
template <class T>
Tensor<T> read_npy(const std::string& path) {
  const FileReader file(path);
  unsigned char head[12] = {};
  CLEARSKY_CHECK(IoError, file.size() >= sizeof head, "read_npy: ", path, ": is truncated: ", file.size(), " bytes");
  file.read(0, head, sizeof head);
  CLEARSKY_CHECK(IoError, std::memcmp(head, "\x93NUMPY", 6) == 0 && head[6] >= 1 && head[6] <= 3, "read_npy: ", path,
                 ": is not a .npy file of version 1 to 3");
  const bool wide = head[6] > 1;
  const uint64_t start = wide ? 12 : 10;
  const uint64_t length =
      wide ? uint64_t(head[8]) | uint64_t(head[9]) << 8 | uint64_t(head[10]) << 16 | uint64_t(head[11]) << 24
           : uint64_t(head[8]) | uint64_t(head[9]) << 8;
  CLEARSKY_CHECK(IoError, start + length <= file.size(), "read_npy: ", path, ": is truncated: header of ", length,
                 " bytes in a file of ", file.size());
  std::string header(size_t(length), '\0');
  file.read(start, header.data(), header.size());

  const std::string_view tag = detail::npy_field(header, "descr");
  const std::string expected = std::string("'") + detail::NpyTag<T>::value + "'";
  CLEARSKY_CHECK(IoError, tag.starts_with(expected), "read_npy: ", path, ": elements are ",
                 tag.substr(0, tag.find_first_of(",}")), ", expected ", expected);
  CLEARSKY_CHECK(IoError, detail::npy_field(header, "fortran_order").starts_with("False"), "read_npy: ", path,
                 ": is in Fortran order; save it with numpy.ascontiguousarray");
  std::string_view sizes = detail::npy_field(header, "shape");
  CLEARSKY_CHECK(IoError, sizes.starts_with("(") && sizes.find(')') != sizes.npos, "read_npy: ", path,
                 ": the header has no shape");
  sizes = sizes.substr(1, sizes.find(')') - 1);
  Shape shape;
  uint64_t bytes = sizeof(T);
  bool overflow = false;
  for (size_t i = 0; i < sizes.size();) {
    if (sizes[i] == ' ' || sizes[i] == ',') {
      ++i;
      continue;
    }
    uint64_t v = 0;
    const size_t first = i;
    for (; i < sizes.size() && std::isdigit(static_cast<unsigned char>(sizes[i])) && v < (uint64_t(1) << 50); ++i)
      v = v * 10 + uint64_t(sizes[i] - '0');
    CLEARSKY_CHECK(IoError, i > first && shape.rank() < kMaxRank, "read_npy: ", path, ": malformed shape (", sizes,
                   ")");
    overflow = __builtin_mul_overflow(bytes, v, &bytes) || overflow;
    shape.push_back(int64_t(v));
  }
  CLEARSKY_CHECK(IoError, !overflow && bytes == file.size() - start - length, "read_npy: ", path, ": shape ", shape,
                 " needs ", bytes, " bytes, the file has ", file.size() - start - length);
  Tensor<T> out(shape);
  if (bytes > 0) file.read(start + length, out.mutable_data(), size_t(bytes));
  return out;
}

}  // namespace clearsky::io

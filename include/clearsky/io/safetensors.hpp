#pragma once
// The safetensors format: a length, a JSON header, then the elements of all tensors one behind the other.
//
//     8 bytes   n, little-endian
//     n bytes   {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, "__metadata__": {"k": "v"}}
//     the rest  little-endian elements; the offsets count from its first byte, without gaps or overlaps
//
// The header is read by the strict parser in safetensors_header.hpp, so that this file costs no JSON library.
//
// Source: https://huggingface.co/docs/safetensors

#include <algorithm>
#include <bit>
#include <cstring>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "clearsky/core/tensor.hpp"
#include "clearsky/io/file.hpp"
#include "clearsky/io/safetensors_header.hpp"

namespace clearsky::io {

static_assert(std::endian::native == std::endian::little, "safetensors files are little-endian");

/// Tensors of any element type by name; the order is the names', so that a file's bytes do not depend on chance.
using TensorMap = std::map<std::string, clearsky::detail::TensorBase>;
using Metadata = std::map<std::string, std::string>;

/// What a safetensors file holds.
struct TensorFile {
  TensorMap tensors;
  Metadata metadata;
  std::string path;  ///< for messages

  bool has(const std::string& name) const { return tensors.count(name) != 0; }

  /// One tensor by name. @throws IoError when it is not there or its elements are not T
  template <class T = float>
  Tensor<T> get(const std::string& name) const {
    const clearsky::detail::TensorBase& base = find(name);
    CLEARSKY_CHECK(IoError, base.dtype() == kDType<T>, "read_safetensors: ", path, ": ", name, " has elements of type ",
                   base.dtype(), ", expected ", kDType<T>, "; get_as converts");
    return Tensor<T>::from(base);
  }

  /// As get(), converting the elements, e.g. 16-bit weights to float.
  template <class T = float>
  Tensor<T> get_as(const std::string& name) const {
    const clearsky::detail::TensorBase& base = find(name);
    if (base.dtype() == kDType<T>) return Tensor<T>::from(base);
    Tensor<T> out(base.shape());
    detail::with_dtype(base.dtype(), [&](auto zero) {
      using From = decltype(zero);
      const From* from = Tensor<From>::from(base).data();
      std::transform(from, from + base.numel(), out.mutable_data(), [](From v) { return convert_element<T>(v); });
    });
    return out;
  }

 private:
  const clearsky::detail::TensorBase& find(const std::string& name) const {
    const auto found = tensors.find(name);
    CLEARSKY_CHECK(IoError, found != tensors.end(), "read_safetensors: ", path, ": has no tensor named ", name,
                   " among its ", int64_t(tensors.size()));
    return found->second;
  }
};

/// Reads a safetensors file, checking everything it says about itself before memory is taken for it.
///
/// @throws IoError with the file's name: missing, truncated, absurd header length, malformed header, unknown dtype,
///         sizes that do not fit, overlapping or missing bytes, duplicate names
inline TensorFile read_safetensors(const std::string& path) {
  const FileReader file(path);
  TensorFile out;
  out.path = path;
  CLEARSKY_CHECK(IoError, file.size() >= 8, "read_safetensors: ", path, ": is truncated: ", file.size(),
                 " bytes, the length of the header alone takes 8");
  uint64_t length = 0;
  file.read(0, &length, 8);
  CLEARSKY_CHECK(IoError, length <= detail::kMaxHeaderBytes, "read_safetensors: ", path, ": header of ", length,
                 " bytes; at most ", detail::kMaxHeaderBytes, " are allowed, so this is no safetensors file");
  CLEARSKY_CHECK(IoError, length <= file.size() - 8, "read_safetensors: ", path, ": is truncated: header of ", length,
                 " bytes in a file of ", file.size());
  std::string header(size_t(length), '\0');
  file.read(8, header.data(), header.size());

  std::vector<detail::HeaderEntry> entries = detail::HeaderParser(path, header).parse(out.metadata);
  const uint64_t data_bytes = file.size() - 8 - length;
  detail::check_offsets(path, entries, data_bytes);
  for (const detail::HeaderEntry& e : entries) {
    detail::with_dtype(e.dtype, [&](auto zero) {
      Tensor<decltype(zero)> t(e.shape);
      if (e.end > e.begin) file.read(8 + length + e.begin, t.mutable_data(), size_t(e.end - e.begin));
      if constexpr (std::is_same_v<decltype(zero), bool>) {
        const auto* bytes = reinterpret_cast<const unsigned char*>(t.data());
        for (int64_t i = 0; i < t.numel(); ++i)
          CLEARSKY_CHECK(IoError, bytes[i] <= 1, "read_safetensors: ", path, ": ", e.name, " has a BOOL element of ",
                         int(bytes[i]), "; only 0 and 1 are allowed");
      }
      out.tensors.emplace(e.name, t);
    });
  }
  return out;
}

/// Writes tensors and metadata, atomically. Tensors may have any strides. Elements of wide types come first, so that
/// every tensor is aligned to its element size; the same input gives the same bytes.
///
/// @throws IoError    when the file cannot be written; what stood there before is unchanged
/// @throws ValueError for the reserved name "__metadata__" and for an undefined tensor
inline void write_safetensors(const std::string& path, const TensorMap& tensors, const Metadata& metadata = {}) {
  std::vector<TensorMap::const_iterator> order;
  for (auto it = tensors.begin(); it != tensors.end(); ++it) {
    CLEARSKY_CHECK(ValueError, it->first != "__metadata__", "write_safetensors: ", path,
                   ": a tensor cannot be named __metadata__");
    CLEARSKY_CHECK(ValueError, it->second.defined(), "write_safetensors: ", path, ": ", it->first,
                   " is undefined; leave it out");
    CLEARSKY_CHECK(DeviceError, it->second.device() == Device::cpu, "write_safetensors: ", path, ": ", it->first,
                   " is on ", it->second.device(), "; copy it to the CPU first");
    order.push_back(it);
  }
  std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return element_bytes(a->second.dtype()) > element_bytes(b->second.dtype());
  });

  std::string header = "{";
  if (!metadata.empty()) {
    header += "\"__metadata__\":{";
    for (auto it = metadata.begin(); it != metadata.end(); ++it)
      header += (it == metadata.begin() ? "" : ",") + detail::quoted(it->first) + ":" + detail::quoted(it->second);
    header += "}";
  }
  int64_t offset = 0;
  for (const auto& it : order) {
    const auto& t = it->second;
    if (header.size() > 1) header += ",";
    header += detail::quoted(it->first) + ":{\"dtype\":\"" + detail::dtype_tag(t.dtype()) + "\",\"shape\":[";
    for (size_t d = 0; d < t.shape().size(); ++d) header += (d ? "," : "") + std::to_string(t.shape()[d]);
    header += "],\"data_offsets\":[" + std::to_string(offset) + "," + std::to_string(offset + t.bytes()) + "]}";
    offset += t.bytes();
  }
  header += "}";
  header.resize((header.size() + 7) / 8 * 8, ' ');  // the elements start on a multiple of 8

  atomic_write(path, [&](FileWriter& out) {
    const uint64_t length = header.size();
    out.write(&length, sizeof length);
    out.write(header);
    for (const auto& it : order) {
      const auto& base = it->second;
      detail::with_dtype(base.dtype(), [&](auto zero) {
        auto t = Tensor<decltype(zero)>::from(base);
        if (t.device() != Device::cpu) t = clearsky::detail::copy_on(t, Device::cpu);
        else if (!t.is_contiguous()) t = t.clone();
        out.write(t.data(), size_t(t.bytes()));
      });
    }
  });
}

}  // namespace clearsky::io

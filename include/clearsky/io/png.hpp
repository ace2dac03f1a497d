#pragma once
// PNG files of 8 bits per channel, through stb (Debian's libstb-dev).

#include <cstdint>
#include <cstring>
#include <string>

#include "clearsky/core/tensor.hpp"
#include "clearsky/io/file.hpp"

// The implementations are static: each translation unit has its own copy, so that no library is needed and none
// clashes.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#pragma GCC diagnostic ignored "-Wsign-compare"
#pragma GCC diagnostic ignored "-Wshadow"
#ifndef INCLUDE_STB_IMAGE_WRITE_H
#define STB_IMAGE_WRITE_STATIC
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STBI_WRITE_NO_STDIO
#include <stb/stb_image_write.h>
#undef STB_IMAGE_WRITE_IMPLEMENTATION
#endif
#ifndef STBI_INCLUDE_STB_IMAGE_H
#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#define STBI_ONLY_PNG
#define STBI_NO_STDIO
#define STBI_NO_THREAD_LOCALS
#include <stb/stb_image.h>
#undef STB_IMAGE_IMPLEMENTATION
#endif
#pragma GCC diagnostic pop

namespace clearsky::io {

/// Writes a picture, atomically.
///
/// @param image  (H, W, C)  C is 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA); or (H, W)
/// @throws ShapeError for another shape, IoError when the file cannot be written
inline void write_png(const std::string& path, const Tensor<uint8_t>& image) {
  const Shape& s = image.shape();
  CLEARSKY_CHECK(ShapeError, s.rank() == 2 || (s.rank() == 3 && 1 <= s[2] && s[2] <= 4), "write_png: ", path,
                 ": image must be (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), got ", s);
  CLEARSKY_CHECK(ShapeError, 1 <= s[0] && s[0] <= 32767 && 1 <= s[1] && s[1] <= 32767, "write_png: ", path, ": size ",
                 s[0], " x ", s[1], " is outside 1 to 32767; write a GeoTIFF instead");
  const int channels = s.rank() == 2 ? 1 : int(s[2]);
  const Tensor<uint8_t> dense = image.is_contiguous() ? image : image.clone();
  std::string bytes;
  const int ok = stbi_write_png_to_func(
      [](void* to, void* data, int size) {
        static_cast<std::string*>(to)->append(static_cast<char*>(data), size_t(size));
      },
      &bytes, int(s[1]), int(s[0]), channels, dense.data(), int(s[1]) * channels);
  CLEARSKY_CHECK(IoError, ok != 0, "write_png: ", path, ": the encoder failed, most likely for lack of memory");
  atomic_write_text(path, bytes);
}

/// Reads a PNG as (H, W, C), with as many channels as the file has; palettes become RGB, 16 bits become 8.
/// @throws IoError when missing or malformed
inline Tensor<uint8_t> read_png(const std::string& path) {
  const std::string bytes = read_file(path);
  CLEARSKY_CHECK(IoError, bytes.size() <= 0x7fffffff, "read_png: ", path, ": is larger than 2 GiB");
  int width = 0, height = 0, channels = 0;
  stbi_uc* pixels = stbi_load_from_memory(reinterpret_cast<const stbi_uc*>(bytes.data()), int(bytes.size()), &width,
                                          &height, &channels, 0);
  if (pixels == nullptr) CLEARSKY_FAIL(IoError, "read_png: ", path, ": ", stbi_failure_reason());
  Tensor<uint8_t> image({height, width, channels});
  std::memcpy(image.mutable_data(), pixels, size_t(image.bytes()));
  stbi_image_free(pixels);
  return image;
}

}  // namespace clearsky::io

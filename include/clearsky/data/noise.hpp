#pragma once
// Fractal gradient noise: smooth random fields for clouds, terrain and textures. A value depends on the key and the
// coordinates alone, so any window of the plane can be made on its own.

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "clearsky/core/memory.hpp"
#include "clearsky/core/philox.hpp"
#include "clearsky/core/tensor.hpp"
#include "clearsky/core/threads.hpp"

namespace clearsky::data {

struct NoiseOptions {
  double feature_pixels = 32;  ///< size of the largest features
  int octaves = 5;             ///< each has half the features' size; those below 2 pixels are left out
  double gain = 0.5;           ///< amplitude of an octave relative to the one before
  double row = 0, column = 0;  ///< where in the plane the window's first pixel lies
  double stretch = 1;          ///< features are this many times longer along the angle than across it
  double angle_degrees = 0;    ///< from the columns' direction, towards the rows'
};

/// Noise of mean 0 and standard deviation near 1/4 that hardly leaves [-1, 1].
///
/// Sum over octaves of Perlin's gradient noise: at each lattice point a random unit gradient, between them the four
/// corners' linear functions blended by 6t^5 - 15t^4 + 10t^3, whose second derivative has no jumps.
///
/// @return  (height, width)
/// @source  Perlin, "Improving noise", SIGGRAPH 2002
inline Tensor<float> fractal_noise(int64_t height, int64_t width, Key key, const NoiseOptions& options) {
  Tensor<float> out = zeros({height, width});
  if (out.numel() == 0) return out;
  float* const to = out.mutable_data();
  const double angle = options.angle_degrees * 3.14159265358979323846 / 180;
  const double cosine = std::cos(angle), sine = std::sin(angle);
  double amplitude = 1, total = 0, feature = options.feature_pixels;
  for (int octave = 0; octave < options.octaves; ++octave, amplitude *= options.gain, feature /= 2) {
    if (octave > 0 && feature < 2) break;
    const Key lattice_key = key.at(0x6e6f6973, uint64_t(octave));
    // The affine map from pixel (r, c) to lattice (u, v); the offset keeps octaves from sharing lattice points.
    const double du_dc = cosine / feature / options.stretch, du_dr = sine / feature / options.stretch;
    const double dv_dc = -sine / feature, dv_dr = cosine / feature;
    const double u0 = options.column * du_dc + options.row * du_dr + 0.37 * octave;
    const double v0 = options.column * dv_dc + options.row * dv_dr + 0.59 * octave;
    const double w = double(width - 1), h = double(height - 1);
    const int64_t u_first = int64_t(std::floor(u0 + (std::min)(0.0, w * du_dc) + (std::min)(0.0, h * du_dr)));
    const int64_t u_last = int64_t(std::floor(u0 + (std::max)(0.0, w * du_dc) + (std::max)(0.0, h * du_dr))) + 1;
    const int64_t v_first = int64_t(std::floor(v0 + (std::min)(0.0, w * dv_dc) + (std::min)(0.0, h * dv_dr)));
    const int64_t v_last = int64_t(std::floor(v0 + (std::max)(0.0, w * dv_dc) + (std::max)(0.0, h * dv_dr))) + 1;
    const int64_t across = u_last - u_first + 1, down = v_last - v_first + 1;
    Scratch<float> gradients(across * down * 2);
    for (int64_t j = 0; j < down; ++j)
      for (int64_t i = 0; i < across; ++i) {
        const uint64_t point = (uint64_t(uint32_t(v_first + j)) << 32) | uint32_t(u_first + i);
        const double turn = lattice_key.uniform(point, 0, 6.283185307179586476925);
        gradients[(j * across + i) * 2] = float(std::cos(turn));
        gradients[(j * across + i) * 2 + 1] = float(std::sin(turn));
      }

    parallel_for(height, 16, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r)
        for (int64_t c = 0; c < width; ++c) {
          const double u = u0 + double(c) * du_dc + double(r) * du_dr, v = v0 + double(c) * dv_dc + double(r) * dv_dr;
          // Rounding may put the outermost pixel one lattice cell outside what the corners promised.
          const int64_t i = (std::clamp)(int64_t(std::floor(u)) - u_first, int64_t(0), across - 2);
          const int64_t j = (std::clamp)(int64_t(std::floor(v)) - v_first, int64_t(0), down - 2);
          const float x = float(u - double(u_first + i)), y = float(v - double(v_first + j));
          const float* g = gradients.data() + (j * across + i) * 2;
          const float* g_below = g + across * 2;
          const float a = g[0] * x + g[1] * y, b = g[2] * (x - 1) + g[3] * y;
          const float d = g_below[0] * x + g_below[1] * (y - 1), e = g_below[2] * (x - 1) + g_below[3] * (y - 1);
          const float sx = x * x * x * (x * (x * 6 - 15) + 10), sy = y * y * y * (y * (y * 6 - 15) + 10);
          const float top = a + sx * (b - a), bottom = d + sx * (e - d);
          to[r * width + c] += float(amplitude) * (top + sy * (bottom - top));
        }
    });
    total += amplitude * amplitude;
  }
  const float norm = float(1 / std::sqrt(total));
  for (int64_t i = 0; i < out.numel(); ++i) to[i] *= norm;
  return out;
}

}  // namespace clearsky::data

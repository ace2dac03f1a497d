// What moves pixels: pixel shuffle, resizing, pooling, padding.

#include "clearsky/cpu/pad.hpp"
#include "clearsky/cpu/pixel_shuffle.hpp"
#include "clearsky/cpu/pool.hpp"
#include "clearsky/cpu/resize.hpp"
#include "clearsky/cuda/kernels/pad.cuh"
#include "clearsky/cuda/kernels/pixel_shuffle.cuh"
#include "clearsky/cuda/kernels/pool.cuh"
#include "clearsky/cuda/kernels/resize.cuh"
#include "harness.hpp"

namespace clearsky::cuda::bench {
namespace {

void measure_shuffle(Harness& h, const Level& l) {
  const int64_t count = l.pixels() * l.width;
  Numbers x = draw(count, 1), y(count);
  const auto p = [&](Side at) { return PixelShuffle{at(x), at(y), 1, l.side / 2, l.side / 2, l.width, 2}; };
  const std::string shape = times({l.side, l.side, l.width});
  h.measure(
      {"pixel_shuffle", times({l.side / 2, l.side / 2, 4 * l.width}), 8 * double(count), 0, 0}, {y},
      [&](Stream t) { pixel_shuffle(p(kDevice), t); }, [&] { cpu::pixel_shuffle(p(kHost)); });
  h.measure(
      {"pixel_unshuffle", shape, 8 * double(count), 0, 0}, {y}, [&](Stream t) { pixel_unshuffle(p(kDevice), t); },
      [&] { cpu::pixel_unshuffle(p(kHost)); });
}

void measure_resize(Harness& h, int64_t from, int64_t to, int64_t channels, Interpolation interpolation,
                    const char* name) {
  const int64_t small = from * from * channels, large = to * to * channels;
  Numbers x = draw(small, 1), y(large), dy = draw(large, 2), dx(small);
  const auto p = [&](Numbers& in, Numbers& out, Side at) {
    return Resize{at(in), at(out), 1, from, from, to, to, channels, interpolation};
  };
  const std::string shape = times({from, from, channels}) + " to " + times({to, to}) + ", " + name;
  const double bytes = 4 * double(small + large);
  h.measure(
      {"resize", shape, bytes, 8 * double(large), bound(16)}, {y}, [&](Stream t) { resize(p(x, y, kDevice), t); },
      [&] { cpu::resize(p(x, y, kHost)); });
  h.measure(
      {"resize_transpose", shape, bytes, 8 * double(large), bound(64)}, {dx},
      [&](Stream t) { resize_transpose(p(dy, dx, kDevice), t); }, [&] { cpu::resize_transpose(p(dy, dx, kHost)); });
}

void measure_pools(Harness& h, const Level& l) {
  const int64_t half = l.side / 2, count = l.pixels() * l.width, out = half * half * l.width;
  const PoolSizes s{1, l.side, l.side, l.width, half, half, 2, 2, 0};
  Numbers x = draw(count, 1), dy = draw(out, 2), y(out), dx(count);
  Both<int64_t> index(out);
  const std::string shape = times({l.side, l.side, l.width}) + ", 2x2";
  const auto m = [&](Side at) { return MaxPool{at(x), at(y), at(index), s}; };
  const auto route = [&](Numbers& from, Numbers& to, Side at) { return MaxPoolRoute{at(from), at(index), at(to), s}; };
  const auto a = [&](Numbers& from, Numbers& to, Side at) { return AvgPool{at(from), at(to), s}; };
  h.measure(
      {"max_pool", shape, 4 * double(count) + 12 * double(out), 0, 0}, {y, index},
      [&](Stream t) { max_pool(m(kDevice), t); }, [&] { cpu::max_pool(m(kHost)); });
  h.measure(
      {"max_pool_scatter", shape, 4 * double(count) + 12 * double(out), 0, 0}, {dx},
      [&](Stream t) { max_pool_scatter(route(dy, dx, kDevice), t); },
      [&] { cpu::max_pool_scatter(route(dy, dx, kHost)); });
  // Of every four pixels one is read, but all of the sectors that hold them.
  h.measure(
      {"max_pool_take", shape, 16 * double(out), 0, 0}, {y}, [&](Stream t) { max_pool_take(route(x, y, kDevice), t); },
      [&] { cpu::max_pool_take(route(x, y, kHost)); });
  h.measure(
      {"avg_pool", shape, 4 * double(count + out), 0, bound()}, {y}, [&](Stream t) { avg_pool(a(x, y, kDevice), t); },
      [&] { cpu::avg_pool(a(x, y, kHost)); });
  h.measure(
      {"avg_pool_transpose", shape, 4 * double(count + out), 0, bound()}, {dx},
      [&](Stream t) { avg_pool_transpose(a(dy, dx, kDevice), t); }, [&] { cpu::avg_pool_transpose(a(dy, dx, kHost)); });
}

void measure_pad(Harness& h, int64_t side, int64_t channels) {
  const int64_t border = 3, large = (side + border) * (side + border) * channels, small = side * side * channels;
  Numbers x = draw(small, 1), y(large), dy = draw(large, 2), dx(small);
  const auto p = [&](Numbers& from, Numbers& to, Side at) {
    return Pad{at(from), at(to), 1, side, side, channels, 0, border, 0, border, PadSource::mirror, 0.0f};
  };
  const std::string shape = times({side, side, channels}) + ", 3 mirrored";
  const double bytes = 4 * double(small + large);
  h.measure(
      {"pad", shape, bytes, 0, 0}, {y}, [&](Stream t) { pad(p(x, y, kDevice), t); }, [&] { cpu::pad(p(x, y, kHost)); });
  h.measure(
      {"pad_transpose", shape, bytes, 0, bound()}, {dx}, [&](Stream t) { pad_transpose(p(dy, dx, kDevice), t); },
      [&] { cpu::pad_transpose(p(dy, dx, kHost)); });
}

}  // namespace

void measure_images(Harness& h) {
  for (const Level& l : h.levels()) measure_shuffle(h, l);
  const Level l = h.first_level();
  measure_resize(h, l.side / 4, l.side, l.width, Interpolation::bilinear, "bilinear");
  measure_resize(h, l.side / 2, l.side, 10, Interpolation::bilinear, "bilinear");
  measure_resize(h, l.side / 4, l.side, l.width, Interpolation::nearest, "nearest");
  measure_resize(h, l.side / 4, l.side, l.width, Interpolation::bicubic, "bicubic");
  measure_pools(h, l);
  measure_pad(h, h.check() ? 7 : 253, 15);
}

}  // namespace clearsky::cuda::bench

// Functions of elements, comparisons, copies, sums, extrema, gathering.

#include "clearsky/cpu/copy.hpp"
#include "clearsky/cpu/elementwise.hpp"
#include "clearsky/cpu/gather.hpp"
#include "clearsky/cpu/map.hpp"
#include "clearsky/cpu/reduce.hpp"
#include "clearsky/cuda/kernels/compare.cuh"
#include "clearsky/cuda/kernels/copy.cuh"
#include "clearsky/cuda/kernels/gather.cuh"
#include "clearsky/cuda/kernels/map.cuh"
#include "clearsky/cuda/kernels/reduce.cuh"
#include "harness.hpp"

namespace clearsky::cuda::bench {
namespace {

/// @param steps  strides of the inputs, in elements
template <size_t N, class F>
void measure_map(Harness& h, const char* name, MapFunction f, const F& on_cpu, const Shape& sizes,
                 const std::array<Shape, N>& steps, const std::string& shape, double bytes) {
  const int64_t count = sizes.numel();
  Numbers a = draw(count, 1, -3, 3), b = draw(count, 2, -3, 3), y(count);
  DeviceMap m{};
  m.f = f, m.s = 0.5f, m.x[0] = a.device(), m.x[1] = b.device(), m.y = y.device();
  m.set_shape<N>(sizes, steps);
  std::array<const float*, N> inputs{a.host()};
  if constexpr (N > 1) inputs[1] = b.host();
  h.measure(
      {name, shape, bytes, 0, bound()}, {y}, [&](Stream t) { map(m, t); },
      [&] {
        cpu::map(cpu::Map<float, F, N>{on_cpu, inputs, steps, y.host(), sizes});
      });
}

void measure_maps(Harness& h, const Level& l) {
  namespace fn = cpu::fn;
  const int64_t pixels = l.pixels(), count = pixels * l.width;
  const std::string shape = times({l.side, l.side, l.width});
  const Shape flat{count}, one{1};
  const double image = 4 * double(count);
  measure_map<2>(h, "map add", MapFunction::add, fn::Add{}, flat, {one, one}, shape, 3 * image);
  measure_map<2>(h, "map mul, of channels", MapFunction::mul, fn::Mul{}, Shape{pixels, l.width},
                 {Shape{l.width, 1}, Shape{0, 1}}, shape, 2 * image + 4 * double(l.width));
  measure_map<1>(h, "map mul_scalar", MapFunction::mul_scalar, fn::MulScalar<float>{0.5f}, flat, {one}, shape,
                 2 * image);
  measure_map<1>(h, "map gelu", MapFunction::gelu, fn::Gelu<0>{}, flat, {one}, shape, 2 * image);
  measure_map<2>(h, "map times_gelu_1", MapFunction::times_gelu_1, fn::Times<fn::Gelu, 1>{}, flat, {one, one}, shape,
                 3 * image);
}

template <class From, class To>
void measure_copy_of(Harness& h, const char* name, Both<From>& x, const Shape& x_steps, const Shape& y_steps,
                     const Shape& sizes, const std::string& shape) {
  Both<To> y(sizes.numel());
  const auto c = [&](Side at) { return cpu::Copy<From, To>{at(x), x_steps, at(y), y_steps, sizes}; };
  h.measure(
      {name, shape, double(sizes.numel()) * double(sizeof(From) + sizeof(To)), 0, 0}, {y},
      [&](Stream t) { copy(c(kDevice), t); }, [&] { cpu::copy(c(kHost)); });
}

void measure_copies(Harness& h, const Level& l) {
  const int64_t pixels = l.pixels(), count = pixels * l.width;
  const std::string shape = times({l.side, l.side, l.width});
  const Shape one{1}, flat{count};
  Numbers x = draw(count, 1);
  std::vector<BFloat16> narrow(static_cast<size_t>(count));
  for (size_t i = 0; i < narrow.size(); ++i) narrow[i] = BFloat16(x.host()[i]);
  Both<BFloat16> narrowed(std::move(narrow));
  Both<uint8_t> bytes = draw_integers_below<uint8_t>(256, count, 2);
  measure_copy_of<float, float>(h, "copy, NHWC to NCHW", x, Shape{1, l.width}, Shape{pixels, 1}, Shape{l.width, pixels},
                                shape);
  measure_copy_of<float, float>(h, "copy, every second pixel", x, Shape{2 * l.width, 1}, Shape{l.width, 1},
                                Shape{pixels / 2, l.width}, shape);
  measure_copy_of<float, BFloat16>(h, "copy, float32 to bfloat16", x, one, one, flat, shape);
  measure_copy_of<BFloat16, float>(h, "copy, bfloat16 to float32", narrowed, one, one, flat, shape);
  measure_copy_of<uint8_t, float>(h, "copy, uint8 to float32", bytes, one, one, flat, shape);
}

void measure_sum(Harness& h, int64_t outer, int64_t n, int64_t inner, const char* name) {
  Numbers x = draw(outer * n * inner, 1), y(outer * inner);
  const auto p = [&](Side at) { return Sum{at(x), at(y), outer, n, inner}; };
  const DeviceArray<float> room(sum_workspace(p(kDevice)));
  h.measure(
      {name, times({outer, n, inner}), 4 * double(x.size() + y.size()), double(x.size()), bound(double(n))}, {y},
      [&](Stream t) { sum(p(kDevice), room.data(), t); }, [&] { cpu::sum(p(kHost)); });
}

void measure_extrema(Harness& h, int64_t outer, int64_t n) {
  Numbers x = draw(outer * n, 1), y(outer), taken(outer), put(outer * n);
  Both<int64_t> index(outer);
  const auto e = [&](Side at) { return Extremum{at(x), at(y), at(index), outer, n, 1, true}; };
  const auto along = [&](Numbers& from, Numbers& to, Side at) {
    return AlongIndex{at(from), at(index), at(to), outer, n, 1};
  };
  const std::string shape = times({outer, n});
  h.measure(
      {"extremum", shape, 4 * double(outer * n) + 12 * double(outer), 0, 0}, {y, index},
      [&](Stream t) { extremum(e(kDevice), t); }, [&] { cpu::extremum(e(kHost)); });
  h.measure(
      {"take_along_index", shape, 16 * double(outer), 0, 0}, {taken},
      [&](Stream t) { take_along_index(along(x, taken, kDevice), t); },
      [&] { cpu::take_along_index(along(x, taken, kHost)); });
  h.measure(
      {"put_along_index", shape, 4 * double(outer * n) + 12 * double(outer), 0, 0}, {put},
      [&](Stream t) { put_along_index(along(y, put, kDevice), t); },
      [&] { cpu::put_along_index(along(y, put, kHost)); });
}

void measure_gathering(Harness& h, int64_t n, int64_t m, int64_t inner) {
  Numbers x = draw(n * inner, 1), dy = draw(m * inner, 2), y(m * inner), dx(n * inner);
  Both<int64_t> index = draw_integers_below<int64_t>(n, m, 3);
  const auto p = [&](Numbers& from, Numbers& to, Side at) {
    return Gather{at(from), at(index), at(to), 1, n, m, inner, 0, 1, 0};
  };
  const std::string shape = std::to_string(m) + " of " + times({n, inner});
  const double read = double((std::min)(n, m)) * double(inner);  // at most: rows that are chosen twice count once
  h.measure(
      {"gather", shape, 4 * (read + double(m * inner)) + 8 * double(m), 0, 0}, {y},
      [&](Stream t) { gather(p(x, y, kDevice), t); }, [&] { cpu::gather(p(x, y, kHost)); });
  h.measure(
      {"scatter_add", shape, 4 * double(m * inner + n * inner) + 8 * double(m), 0, bound(double(m))}, {dx},
      [&](Stream t) { scatter_add(p(dy, dx, kDevice), t); }, [&] { cpu::scatter_add(p(dy, dx, kHost)); });
}

template <class T>
void measure_comparison(Harness& h, Both<T>&& a, Both<T>&& b, const char* type) {
  Both<uint8_t> y(a.size());  // bytes, to see one that is neither 0 nor 1
  const Compare<T> p{Comparison::less, a.device(), b.device(), T(), reinterpret_cast<bool*>(y.device()), a.size()};
  h.measure(
      {"compare less", std::to_string(a.size()) + ", " + type, double(a.size()) * double(2 * sizeof(T) + 1), 0, 0}, {y},
      [&](Stream t) { compare(p, t); },
      [&] {
        for (int64_t i = 0; i < a.size(); ++i) y.host()[i] = a.host()[i] < b.host()[i];
      });
}

}  // namespace

void measure_elementwise(Harness& h) {
  const Level l = h.first_level();
  const int64_t count = l.pixels() * l.width;
  measure_maps(h, l);
  measure_copies(h, l);
  measure_sum(h, 1, l.pixels(), l.width, "sum, over pixels");  // the global average pooling
  measure_sum(h, l.pixels(), l.width, 1, "sum, over channels");
  measure_sum(h, 1, count, 1, "sum, of all");
  measure_extrema(h, l.pixels(), 10);
  measure_gathering(h, h.check() ? 7 : 4096, h.check() ? 9 : 4096, l.width);
  measure_comparison<float>(h, draw(count, 1), draw(count, 2), "float32");
  measure_comparison<uint8_t>(h, draw_integers_below<uint8_t>(9, count, 1), draw_integers_below<uint8_t>(9, count, 2),
                              "uint8");
}

}  // namespace clearsky::cuda::bench

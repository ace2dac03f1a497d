// What a training step does beside forward and backward: optimizers over all tensors at once, the squared norm of the
// gradients, the moving average of the weights, random numbers.

#include <cstring>

#include "clearsky/cpu/update.hpp"
#include "clearsky/cuda/kernels/adam.cuh"
#include "clearsky/cuda/kernels/random.cuh"
#include "clearsky/cuda/kernels/update.cuh"
#include "harness.hpp"

namespace clearsky::cuda::bench {
namespace {

/// Tensors of a few sizes, as of a network, in one array for each kind of state.
struct Parameters {
  std::vector<int64_t> sizes, offsets;
  Both<int64_t> starts, counts;
  int64_t length, total;
  Numbers value, gradient, mean, square;

  explicit Parameters(const std::vector<int64_t>& size)
      : sizes(size),
        offsets(offsets_of(size, 1)),
        starts(offsets_of(size, cpu::kUpdateAlign)),
        counts(size),
        length(starts.host()[size.size()]),
        total(offsets.back()),
        value(draw(total, 1)),
        gradient(draw(total, 2)),
        mean(draw(total, 3)),
        square(draw(total, 4, 0.1, 1)) {}
  size_t tensors() const { return sizes.size(); }
  cpu::UpdateLayout layout(Side at) { return {at(starts), at(counts), int64_t(tensors())}; }
  std::string shape() const { return std::to_string(total) + " in " + std::to_string(tensors()) + " tensors"; }
  /// One record per tensor, of pointers to its side's memory.
  template <class Record, class Make>
  std::vector<Record> records(Side, const Make& make) const {
    std::vector<Record> all;
    for (size_t i = 0; i < tensors(); ++i) all.push_back(make(offsets[i]));
    return all;
  }

 private:
  static std::vector<int64_t> offsets_of(const std::vector<int64_t>& size, int64_t align) {
    std::vector<int64_t> at{0};
    for (const int64_t n : size) at.push_back(at.back() + (n + align - 1) / align * align);
    return at;
  }
};

/// The records of a step, on both sides, each pointing to its own.
template <class Record>
struct Records {
  std::vector<Record> host;
  DeviceArray<Record> device;
  template <class Make>
  Records(const Parameters& p, const Make& make)
      : host(p.records<Record>(kHost, [&](int64_t at) { return make(kHost, at); })), device(upload(p, make)) {}
  const Record* operator()(Side at) const { return at.device ? device.data() : host.data(); }

 private:
  template <class Make>
  static DeviceArray<Record> upload(const Parameters& p, const Make& make) {
    const auto all = p.records<Record>(kDevice, [&](int64_t at) { return make(kDevice, at); });
    return DeviceArray<Record>(all.data(), int64_t(all.size()));
  }
};

// Values drift from repetition to repetition, towards nothing that takes another time.

void measure_adam(Harness& h, Parameters p) {
  const Records<AdamTensor> r(p, [&](Side at, int64_t i) {
    return AdamTensor{at(p.value) + i, at(p.gradient) + i, at(p.mean) + i, at(p.square) + i, 0.999f, 0, 1e-3f, 1.1f};
  });
  const auto step = [&](Side at) { return AdamStep{p.layout(at), r(at), 0.1f, 0.999f, 0.001f, 1e-8f, 0.5f}; };
  h.measure(
      {"adam_step", p.shape(), 28 * double(p.total), 14 * double(p.total), bound()},
      {changed(p.value), changed(p.mean), changed(p.square)}, [&](Stream t) { adam_step(step(kDevice), p.length, t); },
      [&] { cpu::adam_step(step(kHost)); });
}

void measure_sgd(Harness& h, Parameters p) {
  const Records<SgdTensor> r(p, [&](Side at, int64_t i) {
    return SgdTensor{at(p.value) + i, at(p.gradient) + i, at(p.mean) + i, 0.01f, 0.001f};
  });
  const auto step = [&](Side at) { return SgdStep{p.layout(at), r(at), 0.9f, 0.5f, true}; };
  h.measure(
      {"sgd_step", p.shape(), 20 * double(p.total), 6 * double(p.total), bound()}, {changed(p.value), changed(p.mean)},
      [&](Stream t) { sgd_step(step(kDevice), p.length, t); }, [&] { cpu::sgd_step(step(kHost)); });
}

void measure_others(Harness& h, Parameters p) {
  const Records<float*> averages(p, [&](Side at, int64_t i) { return at(p.mean) + i; }),
      values(p, [&](Side at, int64_t i) { return at(p.value) + i; }),
      gradients(p, [&](Side at, int64_t i) { return at(p.gradient) + i; });
  const auto average = [&](Side at) { return AverageStep{p.layout(at), averages(at), values(at), 0.01f, false}; };
  h.measure(
      {"average_step", p.shape(), 12 * double(p.total), 3 * double(p.total), bound()}, {changed(p.mean)},
      [&](Stream t) { average_step(average(kDevice), p.length, t); }, [&] { cpu::average_step(average(kHost)); });
  const auto scaled = [&](Side at) { return ScaleStep{p.layout(at), gradients(at), 0.99f, INFINITY}; };
  h.measure(
      {"scale_step", p.shape(), 8 * double(p.total), double(p.total), bound()}, {changed(p.gradient)},
      [&](Stream t) { scale_step(scaled(kDevice), p.length, t); }, [&] { cpu::scale_step(scaled(kHost)); });
  Both<double> total(1);
  const DeviceArray<double> room(squared_norm_workspace(p.length));
  const auto norm = [&](Side at) { return SquaredNorm{p.layout(at), values(at), at(total)}; };
  h.measure(
      {"squared_norm", p.shape(), 4 * double(p.total), 2 * double(p.total), bound()}, {total},
      [&](Stream t) { squared_norm(norm(kDevice), p.length, room.data(), t); },
      [&] { cpu::squared_norm(norm(kHost)); });
}

void measure_random(Harness& h, int64_t count) {
  const Key key{1234, 5};
  Numbers y(count);
  Both<int64_t> n(count);
  const std::string shape = std::to_string(count);
  h.measure(
      {"rand_uniform", shape, 4 * double(count), 0, bound()}, {y},
      [&](Stream t) {
        rand_uniform({key, -1, 1, y.device(), count}, t);
      },
      [&] {
        for (int64_t i = 0; i < count; ++i) y.host()[i] = float(key.uniform(uint64_t(i), -1, 1));
      });
  h.measure(
      {"rand_normal", shape, 4 * double(count), 0, bound()}, {y},
      [&](Stream t) {
        rand_normal({key, y.device(), count}, t);
      },
      [&] {
        for (int64_t i = 0; i < count; ++i) y.host()[i] = float(key.normal(uint64_t(i)));
      });
  h.measure(
      {"rand_integers", shape, 8 * double(count), 0, 0}, {n},
      [&](Stream t) {
        rand_integers(IntegerDraw<int64_t>{key, -5, 1000, n.device(), count}, t);
      },
      [&] {
        for (int64_t i = 0; i < count; ++i) n.host()[i] = key.integer(uint64_t(i), 1005) - 5;
      });
  h.measure(
      {"dropout_mask", shape, 4 * double(count), 0, 0}, {y},
      [&](Stream t) {
        dropout_mask({key, 0.25, y.device(), count}, t);
      },
      [&] {
        for (int64_t i = 0; i < count; ++i) y.host()[i] = key.uniform(uint64_t(i)) < 0.25 ? 0.0f : float(1 / 0.75);
      });
}

}  // namespace

void measure_training(Harness& h) {
  // A level's convolutions, norms and biases, as often as it takes for a network of some millions.
  std::vector<int64_t> sizes;
  for (const Level& l : h.levels())
    for (int i = 0; i < (h.check() ? 1 : 8); ++i)
      for (const int64_t n : {l.width, 27 * l.width, 3 * l.width * l.width, l.width, 4 * l.width * l.width})
        sizes.push_back(n);
  measure_adam(h, Parameters(sizes));
  measure_sgd(h, Parameters(sizes));
  measure_others(h, Parameters(sizes));
  const Level l = h.first_level();
  measure_random(h, l.pixels() * l.width);
}

}  // namespace clearsky::cuda::bench

#include "clearsky/cuda/kernels/update.cuh"

#include "kernels.hpp"

namespace clearsky::test::update_test {
namespace {

// Tiny ones that share a block, an empty one, one that is left out (index 4), and one of several blocks.
const std::vector<int64_t> kCounts{1, 63, 64, 0, 70, 3001, 5, 1024};
constexpr size_t kWithout = 4;

struct Axis {
  std::vector<int64_t> starts{0};
  Values<int64_t> on_device, counts{kCounts};
  Axis() {
    for (int64_t c : kCounts)
      starts.push_back(starts.back() + (c + cpu::kUpdateAlign - 1) / cpu::kUpdateAlign * cpu::kUpdateAlign);
    on_device = starts;
  }
  cpu::UpdateLayout host() const { return {starts.data(), kCounts.data(), int64_t(kCounts.size())}; }
  cpu::UpdateLayout device() const { return {on_device.device(), counts.device(), int64_t(kCounts.size())}; }
  int64_t length() const { return starts.back(); }
};

std::vector<std::vector<float>> tensors(uint64_t seed) {
  std::vector<std::vector<float>> list;
  for (size_t i = 0; i < kCounts.size(); ++i) list.push_back(draw(kCounts[i], seed + i).vector());
  return list;
}
std::vector<Output> outputs(const std::vector<std::vector<float>>& values) {
  std::vector<Output> list;
  for (const auto& v : values) list.emplace_back(v);
  return list;
}
template <class T>
Values<float*> pointers(T& list, size_t without = size_t(-1)) {
  std::vector<float*> p;
  for (size_t i = 0; i < list.size(); ++i) p.push_back(i == without ? nullptr : list[i].data());
  return Values<float*>(p);
}

/// The largest difference as a share of what roundings of values up to 4 may make.
double share(const std::vector<Output>& got, const std::vector<std::vector<float>>& want) {
  Worst worst;
  for (size_t i = 0; i < want.size(); ++i)
    for (size_t k = 0; k < want[i].size(); ++k)
      worst.add(got[i][int64_t(k)], want[i][k], 2 * allowed_error(kRoundFloat, kRoundFloat, 3, 4));
  return worst.share();
}

TEST_CASE("gradient descent: plain, with momentum and Nesterov's, as on the CPU") {
  const Axis axis;
  const auto value = tensors(10), velocity = tensors(20);
  std::vector<Values<float>> gradient;
  for (auto& g : tensors(30)) gradient.emplace_back(g);
  for (int kind = 0; kind < 3; ++kind) {
    CAPTURE(kind);
    const auto record = [&](float* v, const float* g, float* u, size_t i) {
      return cuda::SgdTensor{v, i == kWithout ? nullptr : g, kind == 0 ? nullptr : u, 0.01f * float(i), 0.1f};
    };
    const auto out = in_every_order([&] {
      std::vector<Output> all = outputs(value);
      for (Output& o : outputs(velocity)) all.push_back(o);
      std::vector<cuda::SgdTensor> records;
      for (size_t i = 0; i < kCounts.size(); ++i)
        records.push_back(record(all[i].data(), gradient[i].device(), all[kCounts.size() + i].data(), i));
      const Values<cuda::SgdTensor> device(records);
      cuda::sgd_step({axis.device(), device.device(), 0.9f, 0.5f, kind == 2}, axis.length(), nullptr);
      return all;
    });
    auto v = value, u = velocity;
    std::vector<cuda::SgdTensor> records;
    for (size_t i = 0; i < kCounts.size(); ++i)
      records.push_back(record(v[i].data(), gradient[i].data(), u[i].data(), i));
    cpu::sgd_step<float>({axis.host(), records.data(), 0.9f, 0.5f, kind == 2});
    v.insert(v.end(), u.begin(), u.end());
    CHECK(share(out, v) <= 1);
    CHECK(out[kWithout].vector() == value[kWithout]);
    if (kind == 0) CHECK(out[kCounts.size() + 5].vector() == velocity[5]);
  }
}

TEST_CASE("averages move towards the weights, or are exchanged with them bit for bit") {
  const Axis axis;
  const auto average = tensors(40), value = tensors(50);
  for (bool exchange : {false, true}) {
    const auto out = in_every_order([&] {
      std::vector<Output> a = outputs(average), x = outputs(value);
      const Values<float*> ap = pointers(a), xp = pointers(x);
      cuda::average_step({axis.device(), ap.device(), xp.device(), 0.25f, exchange}, axis.length(), nullptr);
      a.insert(a.end(), x.begin(), x.end());
      return a;
    });
    auto a = average, x = value;
    const Values<float*> ap = pointers(a), xp = pointers(x);
    cpu::average_step<float>({axis.host(), ap.data(), xp.data(), 0.25f, exchange});
    for (size_t i = 0; i < kCounts.size(); ++i) CHECK(out[kCounts.size() + i].vector() == x[i]);
    if (exchange)
      for (size_t i = 0; i < kCounts.size(); ++i) CHECK(out[i].vector() == a[i]);
    a.insert(a.end(), x.begin(), x.end());
    CHECK(share(out, a) <= 1);
  }
}

TEST_CASE("scaling and cutting of gradients; NaN stays") {
  const Axis axis;
  auto value = tensors(60);
  value[5][7] = std::numeric_limits<float>::quiet_NaN();
  for (float limit : {INFINITY, 0.3f}) {
    const auto out = in_every_order([&] {
      std::vector<Output> x = outputs(value);
      const Values<float*> p = pointers(x, kWithout);
      cuda::scale_step({axis.device(), p.device(), 0.75f, limit}, axis.length(), nullptr);
      return x;
    });
    auto want = value;
    const Values<float*> p = pointers(want, kWithout);
    cpu::scale_step<float>({axis.host(), p.data(), 0.75f, limit});
    CHECK(std::isnan(out[5][7]));
    for (size_t i = 0; i < kCounts.size(); ++i)
      for (size_t k = 0; k < want[i].size(); ++k)
        if (!std::isnan(want[i][k])) CHECK(out[i][int64_t(k)] == want[i][k]);
  }
}

TEST_CASE("squared norm: in double, in a fixed order; NaN and infinity come through") {
  const Axis axis;
  auto value = tensors(70);
  const auto norm = [&](size_t without) {
    const auto total = in_every_order([&] {
      std::vector<Output> x = outputs(value);
      const Values<float*> p = pointers(x, without);
      std::vector<OutputOf<double>> out{OutputOf<double>(1)};
      OutputOf<double> workspace(cuda::squared_norm_workspace(axis.length()));
      cuda::squared_norm({axis.device(), p.device(), out[0].data()}, axis.length(), workspace.data(), nullptr);
      CHECK(workspace.sentinels_intact());
      return out;
    });
    return total[0][0];
  };
  for (size_t without : {kWithout, size_t(-1)}) {
    double want = 0;
    for (size_t i = 0; i < kCounts.size(); ++i)
      if (i != without)
        for (float v : value[i]) want += double(v) * double(v);
    CHECK(std::abs(norm(without) - want) <= allowed_error(kRoundDouble, kRoundDouble, 4300, want));
  }
  value[5][3000] = INFINITY;
  CHECK(norm(kWithout) == INFINITY);
  value[0][0] = std::numeric_limits<float>::quiet_NaN();
  CHECK(std::isnan(norm(kWithout)));
}

}  // namespace
}  // namespace clearsky::test::update_test

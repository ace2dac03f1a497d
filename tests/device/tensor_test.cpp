#include <doctest/doctest.h>

#include "clearsky/clearsky.hpp"
#include "simt.hpp"

namespace clearsky::test {
namespace {

TEST_CASE("to: values go there and come back, dense, and gradients flow through") {
  const Device simt = use_simt();
  const Tensor<float> x = transpose(rand({3, 4}, Key{1}), 0, 1);
  const Tensor<float> there = x.to(simt);
  CHECK(there.device() == simt);
  CHECK(there.is_contiguous());
  CHECK(there.to_vector() == x.to_vector());
  CHECK(there.to(Device::cpu).to_vector() == x.to_vector());
  CHECK(there.to(simt).storage() == there.storage());  // itself
  CHECK(there.at({2, 1}) == x.at({2, 1}));
  CHECK(transpose(there, 0, 1).clone().to_vector() == transpose(x, 0, 1).to_vector());
  CHECK(transpose(there, 0, 1).to(Device::cpu).to_vector() == transpose(x, 0, 1).to_vector());
  Tensor<float> leaf = rand({5}, Key{2});
  leaf.set_requires_grad();
  sum(leaf.to(simt) * 3.0f).to(Device::cpu).backward();
  CHECK(leaf.grad().device() == Device::cpu);
  CHECK(leaf.grad().to_vector() == std::vector<float>(5, 3.0f));
  for (const auto& t : {Tensor<float>(), Tensor<float>().to(simt)}) CHECK(!t.defined());
  CHECK(zeros({0, 3}).to(simt).to_vector().empty());
}

TEST_CASE("new tensors on a device hold what they hold on the CPU") {
  const Device simt = use_simt();
  CHECK(full({2, 3}, 2.5f, simt).to_vector() == full({2, 3}, 2.5f).to_vector());
  CHECK(zeros<int64_t>({4}, simt).to_vector() == std::vector<int64_t>(4, 0));
  CHECK(full<uint8_t>({7}, 9, simt).to_vector() == std::vector<uint8_t>(7, 9));
  CHECK(full<double>({3}, 0.1, simt).to_vector() == std::vector<double>(3, 0.1));
  CHECK(arange(5, simt).to_vector() == arange(5).to_vector());
  CHECK(rand({100}, Key{3}, -1, 1, simt).to_vector() == rand({100}, Key{3}, -1, 1).to_vector());
  CHECK(randn({100}, Key{3}, simt).to_vector() == randn({100}, Key{3}).to_vector());
  CHECK(randint({100}, Key{3}, 0, 9, simt).to_vector() == randint({100}, Key{3}, 0, 9).to_vector());
  CHECK(scalar(4.0f, simt).item() == 4);
}

TEST_CASE("misuse is refused with the way out") {
  const Device simt = use_simt();
  const Tensor<float> here = ones({3}), there = here.to(simt);
  CHECK_THROWS_WITH_AS(here + there, doctest::Contains("add: tensors on cpu and simt; move one with to()"),
                       DeviceError);
  CHECK_THROWS_WITH_AS(there.span(), doctest::Contains("the elements are on simt"), DeviceError);
  CHECK_THROWS_WITH_AS(here.to(Device::cuda), doctest::Contains("device cuda: this program has no memory"),
                       DeviceError);
  const Tensor<double> wide = ones<double>({3}).to(simt);
  CHECK_THROWS_WITH_AS(exp(wide), doctest::Contains("map: the tensor is on simt, for which it has no kernel"),
                       DeviceError);
  CHECK_THROWS_WITH_AS(index_select(there, 0, Tensor<int64_t>({1}, {5}).to(simt)),
                       doctest::Contains("index 5 at (0) is none of the 3 positions"), ValueError);
}

TEST_CASE("memory is counted, kept, and given back") {
  const Device simt = use_simt();
  release_cached_memory(simt);
  const MemoryStats before = memory_stats(simt);
  {
    const Tensor<float> x = ones({1000, 100}, simt);
    CHECK(memory_stats(simt).live_bytes - before.live_bytes >= 400000);
    CHECK(memory_stats(simt).live_bytes - before.live_bytes <= 450048);
    for (int i = 0; i < 5; ++i) (void)(x + 1.0f);
  }
  CHECK(memory_stats(simt).live_bytes == before.live_bytes);
  CHECK(memory_stats(simt).system_allocations - before.system_allocations <= 3);  // x, a sum, and its copy of nothing
  release_cached_memory(simt);
  CHECK(memory_stats(simt).reserved_bytes == before.reserved_bytes);
}

TEST_CASE("random numbers, dropout and comparisons are made on the device, and are the CPU's") {
  const Device simt = use_simt();
  CHECK(detail::draw_kernel<detail::UniformDraw<float>>.exists_on(simt));
  CHECK(detail::dropout_mask_kernel<float>.exists_on(simt));
  CHECK(detail::compare_kernel<float>.exists_on(simt));
  const Key key{5, 6};
  const Shape shape{7, 41};
  const Tensor<float> x = rand(shape, key, -1, 1, simt), host = rand(shape, key, -1, 1);
  CHECK(x.device() == simt);
  CHECK(x.to_vector() == host.to_vector());
  CHECK(randint<int64_t>(shape, key, -3, 1000, simt).to_vector() == randint<int64_t>(shape, key, -3, 1000).to_vector());
  CHECK(randint<uint8_t>(shape, key, 3, 10, simt).to_vector() == randint<uint8_t>(shape, key, 3, 10).to_vector());
  const std::vector<float> normal = randn(shape, key, simt).to_vector(), want = randn(shape, key).to_vector();
  for (size_t i = 0; i < want.size(); ++i) CHECK(normal[i] == doctest::Approx(want[i]).epsilon(1e-6));
  CHECK(rand(Shape{0, 3}, key, 0, 1, simt).numel() == 0);

  CHECK(dropout(x, 0.3, key).to_vector() == dropout(host, 0.3, key).to_vector());
  CHECK(drop_path(x, 0.5, key).to_vector() == drop_path(host, 0.5, key).to_vector());
  const Tensor<float> row = rand({41}, Key{7}, -1, 1);
  CHECK((x < row.to(simt)).to_vector() == (host < row).to_vector());
  CHECK((x >= 0.25f).to_vector() == (host >= 0.25f).to_vector());
  const Tensor<int64_t> whole = randint<int64_t>(shape, key, 0, 4);
  CHECK(equal(whole.to(simt), 2).to_vector() == equal(whole, 2).to_vector());
  CHECK((cast<float>(whole).to(simt) > row.to(simt)).device() == simt);
}

TEST_CASE("changes in place, masks, casts and one_hot") {
  const Device simt = use_simt();
  Tensor<float> x = zeros({2, 3}, simt);
  fill_(x, 2.0f);
  add_(x, Tensor<float>({3}, {1, 2, 3}).to(simt));
  mul_(x, 2.0f);
  CHECK(x.to_vector() == std::vector<float>{6, 8, 10, 6, 8, 10});
  const Tensor<bool> mask = x > 7.0f;
  CHECK(mask.device() == simt);
  CHECK(cast<float>(mask).to_vector() == std::vector<float>{0, 1, 1, 0, 1, 1});
  CHECK(cast<float>(cast<BFloat16>(x * 1.01f)).to_vector() ==
        cast<float>(cast<BFloat16>(x.to(Device::cpu) * 1.01f)).to_vector());
  CHECK(argmax(x, 1).to_vector() == std::vector<int64_t>{2, 2});
  CHECK(one_hot<float>(argmax(x, 1), 3).to_vector() == std::vector<float>{0, 0, 1, 0, 0, 1});
  CHECK(to_text(x) == "on simt: float32 (2, 3)");
}

}  // namespace
}  // namespace clearsky::test

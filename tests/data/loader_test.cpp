#include "clearsky/data/loader.hpp"

#include <doctest/doctest.h>

#include <chrono>
#include <memory>
#include <set>
#include <string>
#include <thread>

#include "clearsky/data/synthetic.hpp"
#include "io/scratch_folder.hpp"

namespace clearsky::test {
namespace {

/// Images whose values name their pixel: all of a sample's images hold 1000 r + c (plus their own constant).
data::Sample coordinates(int64_t h, int64_t w, float constant = 0) {
  data::Sample s;
  s.info.id = "coordinates";
  s.optical_cloudy = Tensor<float>({h, w, 13});
  s.optical_clear = Tensor<float>({h, w, 13});
  s.sar = Tensor<float>({h, w, 2});
  s.labels = Tensor<uint8_t>({h, w});
  s.cloud_mask = Tensor<float>({h, w});
  for (int64_t r = 0; r < h; ++r)
    for (int64_t c = 0; c < w; ++c) {
      const int64_t p = r * w + c;
      const float v = float(1000 * r + c) + constant;
      for (int64_t b = 0; b < 13; ++b) {
        s.optical_cloudy.mutable_data()[p * 13 + b] = v + 0.01f * float(b);
        s.optical_clear.mutable_data()[p * 13 + b] = v;
      }
      for (int64_t b = 0; b < 2; ++b) s.sar.mutable_data()[p * 2 + b] = v;
      s.labels.mutable_data()[p] = uint8_t((r * 16 + c) % 200);
      s.cloud_mask.mutable_data()[p] = v;
    }
  return s;
}

TEST_CASE("augment: all images of a sample move alike, and every symmetry and corner is drawn") {
  const data::Sample s = coordinates(6, 9);
  std::set<std::vector<float>> layouts;
  for (uint64_t i = 0; i < 2000; ++i) {  // chance of missing one of 144: 1e-4
    const data::Sample a = data::augment(s, Key{i}, {.crop = 4});
    CHECK(a.optical_cloudy.shape() == Shape{4, 4, 13});
    const std::vector<float> mask = a.cloud_mask.to_vector();
    for (int64_t p = 0; p < 16; ++p) {
      const float v = mask[size_t(p)];
      CHECK(a.optical_clear.data()[p * 13 + 12] == v);
      CHECK(a.optical_cloudy.data()[p * 13 + 12] == v + 0.12f);
      CHECK(a.sar.data()[p * 2 + 1] == v);
      CHECK(a.labels.data()[p] == uint8_t((int(v) / 1000 * 16 + int(v) % 1000) % 200));
    }
    layouts.insert(mask);
  }
  CHECK(layouts.size() == 8 * 3 * 6);  // symmetries x corners
}

TEST_CASE("augment: flips alone keep rows rows, turns alone keep the handedness") {
  const data::Sample s = coordinates(5, 5);
  std::set<std::vector<float>> flips, turns;
  for (uint64_t i = 0; i < 100; ++i) {
    const auto flipped = data::augment(s, Key{i}, {.flips = true, .rotations = false}).cloud_mask;
    CHECK(int(flipped.at({0, 0})) / 1000 == int(flipped.at({0, 1})) / 1000);
    flips.insert(flipped.to_vector());
    const auto turned = data::augment(s, Key{i}, {.flips = false, .rotations = true}).cloud_mask;
    // Going right then down turns the same way as in the source: the cross product of the two steps keeps its sign.
    const auto row = [&](int64_t r, int64_t c) { return int(turned.at({r, c})) / 1000; };
    const auto column = [&](int64_t r, int64_t c) { return int(turned.at({r, c})) % 1000; };
    const int right_r = row(0, 1) - row(0, 0), right_c = column(0, 1) - column(0, 0);
    const int down_r = row(1, 0) - row(0, 0), down_c = column(1, 0) - column(0, 0);
    CHECK(right_c * down_r - right_r * down_c == 1);
    turns.insert(turned.to_vector());
  }
  CHECK(flips.size() == 4);
  CHECK(turns.size() == 4);
  const auto same = data::augment(s, Key{1}, data::no_augmentation());
  CHECK(same.optical_cloudy.to_vector() == s.optical_cloudy.to_vector());
}

TEST_CASE("augment: simulated clouds") {
  data::Sample s = data::Synthetic({.count = 1, .height = 32, .width = 32}).load(0);
  const data::AugmentOptions never = data::no_augmentation();
  data::AugmentOptions always = never;
  always.simulate_probability = 1;
  const data::Sample a = data::augment(s, Key{5}, always);
  CHECK(a.optical_cloudy.to_vector() != s.optical_cloudy.to_vector());
  CHECK(a.optical_clear.to_vector() == s.optical_clear.to_vector());
  CHECK(a.thickness.defined());
  s.optical_cloudy = {};
  s.cloud_mask = {};
  CHECK(data::augment(s, Key{5}, never).optical_cloudy.to_vector() == a.optical_cloudy.to_vector());
  s.optical_clear = {};
  CHECK(thrown<ValueError>([&] { data::augment(s, Key{5}, never); }).find("has no clear image to simulate clouds on") !=
        std::string::npos);
}

TEST_CASE("augment: what does not fit") {
  const data::Sample s = coordinates(6, 9);
  CHECK(thrown<ShapeError>([&] {
          data::augment(s, Key{1}, {.crop = 7});
        }).find("a crop of 7 does not fit an image of 6 x 9") != std::string::npos);
  CHECK(thrown<ShapeError>([&] { data::augment(s, Key{1}, {}); }).find("cannot be turned by 90 degrees; set a crop") !=
        std::string::npos);
}

TEST_CASE("make_batch: what all have, what some have, what differs") {
  std::vector<data::Sample> samples = {coordinates(4, 5, 1), coordinates(4, 5, 2)};
  samples[1].labels = {};
  samples[1].optical_clear = {};
  data::Batch b = data::make_batch(samples);
  CHECK(b.size() == 2);
  CHECK(b.optical.shape() == Shape{2, 4, 5, 13});
  CHECK(b.sar.at({1, 0, 3, 1}) == 5);
  CHECK_FALSE(b.clear.defined());  // a loss over zeros would teach the wrong thing
  CHECK(b.labels.at({0, 1, 1}) == 17);
  CHECK(b.labels.at({1, 1, 1}) == 255);
  CHECK(b.mask.shape() == Shape{2, 4, 5, 1});
  CHECK_FALSE(b.thickness.defined());
  samples[1] = coordinates(5, 4);
  CHECK(thrown<ShapeError>([&] { data::make_batch(samples); }).find("is 5 x 4, sample coordinates 4 x 5; set a crop") !=
        std::string::npos);
  CHECK_THROWS_AS(data::make_batch({}), ValueError);
}

TEST_CASE("make_batch: the opacity is the thickness where it is known, else the mask") {
  std::vector<data::Sample> samples = {coordinates(4, 4, 1), coordinates(4, 4, 2), coordinates(4, 4, 3)};
  for (data::Sample& s : samples) s.cloud_mask = full<float>({4, 4}, 1.0f);
  samples[1].thickness = full<float>({4, 4}, 0.25f);
  samples[2].cloud_mask = {};
  const data::Batch b = data::make_batch(samples);
  CHECK(b.knows_opacity == std::vector<uint8_t>{1, 1, 0});
  CHECK(b.opacity.at({0, 3, 3, 0}) == 1);
  CHECK(b.opacity.at({1, 0, 0, 0}) == 0.25f);
  CHECK(b.opacity.at({2, 1, 2, 0}) == 0);
  for (data::Sample& s : samples) s.cloud_mask = s.thickness = {};
  CHECK_FALSE(data::make_batch(samples).opacity.defined());
  CHECK(data::make_batch(samples).knows_opacity == std::vector<uint8_t>{0, 0, 0});
}

data::DatasetPointer small_set(int64_t count = 5) {
  return std::make_shared<data::Cached>(
      std::make_shared<data::Synthetic>(data::SyntheticOptions{.count = count, .height = 24, .width = 24}));
}

std::vector<float> bits_of(const data::Batch& b) {
  std::vector<float> all = b.optical.to_vector();
  for (const float v : b.sar.to_vector()) all.push_back(v);
  for (const uint8_t v : b.labels.to_vector()) all.push_back(float(v));
  return all;
}

TEST_CASE("Loader: batches depend on seed and step alone") {
  const data::LoaderOptions options{.batch_size = 2, .seed = 9, .augment = {.crop = 16, .simulate_probability = 0.5}};
  std::vector<std::vector<float>> expected;
  {
    data::LoaderOptions direct = options;
    direct.prefetch = 0;
    data::Loader loader(small_set(), direct);
    for (int64_t step = 0; step < 7; ++step) expected.push_back(bits_of(loader.next()));
  }
  CHECK(expected[0] != expected[1]);
  const int64_t before = threads();
  for (const int64_t count : {1, 3}) {
    set_threads(count);
    data::LoaderOptions ahead = options;
    ahead.prefetch = count;
    data::Loader loader(small_set(), ahead);
    for (int64_t step = 0; step < 7; ++step) {
      if (step % 2) std::this_thread::sleep_for(std::chrono::milliseconds(3));
      CHECK(loader.step() == step);
      const data::Batch b = loader.next();
      CHECK(b.step == step);
      CHECK(bits_of(b) == expected[size_t(step)]);
    }
    loader.seek(2);
    CHECK(bits_of(loader.next()) == expected[2]);
    data::LoaderOptions resumed = options;
    resumed.first_step = 5;
    data::Loader later(small_set(), resumed);
    CHECK(bits_of(later.next()) == expected[5]);
    CHECK(bits_of(later.next()) == expected[6]);
  }
  set_threads(before);
}

TEST_CASE("Loader: an epoch holds every sample once, and epochs differ in order") {
  data::Loader loader(small_set(6), {.batch_size = 2, .augment = data::no_augmentation()});
  CHECK(loader.steps_per_epoch() == 3);
  std::vector<std::string> order[3];
  for (auto& epoch : order) {
    for (int i = 0; i < 3; ++i)
      for (const data::SampleInfo& info : loader.next().infos) epoch.push_back(info.id);
    CHECK(std::set<std::string>(epoch.begin(), epoch.end()).size() == 6);
  }
  CHECK((order[0] != order[1] || order[1] != order[2]));
  data::Loader plain(small_set(3), {.batch_size = 4, .shuffle = false, .augment = data::no_augmentation()});
  const data::Batch b = plain.next();  // a set smaller than a batch starts over
  CHECK(b.infos[0].id == b.infos[3].id);
}

struct Failing : data::Dataset {
  int64_t size() const override { return 4; }
  data::SampleInfo info(int64_t) const override { return {}; }
  data::Sample load(int64_t index) const override {
    if (index == 2) CLEARSKY_FAIL(IoError, "read: sample 2 is broken");
    return coordinates(4, 4);
  }
};

TEST_CASE("Loader: an exception reaches the step that it belongs to, and seek goes on") {
  for (const int64_t prefetch : {0, 1, 3}) {
    CAPTURE(prefetch);
    data::Loader loader(std::make_shared<Failing>(),
                        {.batch_size = 1, .shuffle = false, .augment = data::no_augmentation(), .prefetch = prefetch});
    CHECK_NOTHROW(loader.next());
    CHECK_NOTHROW(loader.next());
    CHECK(thrown<IoError>([&] { loader.next(); }).starts_with("read: sample 2 is broken"));
    CHECK_THROWS_AS(loader.next(), IoError);
    CHECK(loader.step() == 2);
    loader.seek(3);
    CHECK(loader.next().step == 3);
  }
}

TEST_CASE("Loader: ends cleanly whatever its thread is doing") {
  for (int i = 0; i < 20; ++i) {
    data::Loader loader(small_set(2), {.batch_size = 2, .prefetch = 1 + i % 3});
    if (i % 2) loader.next();
    if (i % 5 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  CHECK(thrown<ValueError>([] {
          data::Loader(std::make_shared<data::InMemory>(std::vector<data::Sample>{}), {});
        }).find("Loader: the dataset is empty") != std::string::npos);
  CHECK_THROWS_AS(data::Loader(small_set(), {.batch_size = 0}), ValueError);
}

TEST_CASE("Loader: takes no memory from the system after its first batches, whatever the samples draw") {
  const std::vector<data::Sample> samples(4, coordinates(27, 27));  // sizes that nothing else here has
  const auto set = std::make_shared<data::InMemory>(samples);
  for (const double probability : {0.1, 0.5, 0.9}) {
    CAPTURE(probability);
    release_cached_memory();
    data::Loader loader(set, {.batch_size = 2, .augment = {.crop = 25, .simulate_probability = probability}});
    data::Batch held;
    for (int i = 0; i < 3; ++i) held = loader.next();
    const int64_t before = memory_stats().system_allocations;
    for (int i = 0; i < 100; ++i) held = loader.next();
    CHECK(memory_stats().system_allocations == before);
  }
}

TEST_CASE("Subset, Cached, InMemory") {
  const auto whole = std::make_shared<data::Synthetic>(data::SyntheticOptions{.count = 5, .height = 8, .width = 8});
  const data::Subset part(whole, {4, 1});
  CHECK(part.size() == 2);
  CHECK(part.info(0).id == whole->info(4).id);
  CHECK(part.load(1).sar.to_vector() == whole->load(1).sar.to_vector());
  CHECK_THROWS_AS(data::Subset(whole, {5}), ValueError);
  CHECK_THROWS_AS(part.load(2), ValueError);
  const data::Cached cached(whole);
  CHECK(cached.load(3).sar.storage() == cached.load(3).sar.storage());
  const data::Cached full(whole, 10);
  CHECK_FALSE(full.load(3).sar.storage() == full.load(3).sar.storage());
  CHECK(data::infos(*whole).size() == 5);
}

}  // namespace
}  // namespace clearsky::test

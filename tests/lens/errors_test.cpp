// Kernels with one mistake each: the lens finds it, at its line, and nothing else.

#include "seen.hpp"

namespace clearsky::test {
namespace {

using namespace clearsky::cuda;
using simt::LensError, simt::LensErrorKind;

int at(const std::string& mark) {
  return line_of(__FILE__, mark);
}

/// Checks that run() has this one error, at the lines marked `mark` and, if it has one, `other`.
template <class Run>
std::string only_error(LensErrorKind kind, const std::string& mark, const std::string& other, Run&& run) {
  const std::vector<LensError> errors = errors_of(run);
  CAPTURE(mark);
  CAPTURE(all_texts(errors));
  REQUIRE(errors.size() == 1);
  const LensError& e = errors[0];
  CHECK(int(e.kind) == int(kind));
  CHECK(e.line.file == "errors_test.cpp");
  CHECK(e.line.line == at(mark));
  CHECK(e.text.find("errors_test.cpp:" + std::to_string(at(mark))) != std::string::npos);
  if (other.empty()) {
    CHECK(e.other.file.empty());
  } else {
    CHECK(e.other.file == "errors_test.cpp");
    CHECK(e.other.line == at(other));
    CHECK(e.text.find("errors_test.cpp:" + std::to_string(at(other))) != std::string::npos);
  }
  return e.text;
}

bool has(const std::string& text, const std::string& part) {
  if (text.find(part) != text.npos) return true;
  MESSAGE("missing: " << part << "\nin: " << text);
  return false;
}

// Races in shared memory.

__global__ void reads_left_neighbour(float* out) {
  CLEARSKY_SHARED(float, row, [64]);
  row[threadIdx.x] = float(threadIdx.x);                           // @left write
  out[threadIdx.x] = row[threadIdx.x == 0 ? 0 : threadIdx.x - 1];  // @left read
}

__global__ void reuses_the_row(float* out) {
  CLEARSKY_SHARED(float, row, [64]);
  row[threadIdx.x] = 1;
  __syncthreads();
  float sum = 0;
  for (int round = 0; round < 2; ++round) {
    sum += row[(threadIdx.x + 32) % 64];  // @reuse read
    row[threadIdx.x] = sum;               // @reuse write
    __syncthreads();
  }
  out[threadIdx.x] = sum;
}

__global__ void shuffles_instead_of_syncwarp(float* out) {
  CLEARSKY_SHARED(float, row, [32]);
  row[threadIdx.x] = 1;  // @shuffle write
  (void)__shfl_xor_sync(kAllLanes, 1.0f, 1);
  out[threadIdx.x] = row[threadIdx.x ^ 1];  // @shuffle read
}

__global__ void syncs_half_a_warp(float* out) {
  CLEARSKY_SHARED(float, row, [32]);
  row[threadIdx.x] = 1;  // @half write
  __syncwarp(threadIdx.x < 16 ? 0x0000ffffu : 0xffff0000u);
  out[threadIdx.x] = row[threadIdx.x ^ 16];  // @half read
}

TEST_CASE("lens: races in shared memory") {
  DeviceArray<float> out(64);
  const auto run = [&](auto kernel, unsigned threads) {
    return [&out, kernel, threads] { launch(kernel, 1, threads, 0, nullptr, out.data()); };
  };
  const std::string text =
      only_error(LensErrorKind::shared_race, "left read", "left write", run(reads_left_neighbour, 64));
  CHECK(has(text, "lens: reads_left_neighbour, block (0, 0, 0), thread (1, 0, 0) reads at errors_test.cpp:"));
  CHECK(has(text, " the shared memory that thread (0, 0, 0) wrote at errors_test.cpp:"));
  CHECK(has(text,
            ", with no barrier between: byte 0 of a shared array of 256 bytes; put __syncwarp() or "
            "__syncthreads() between the two (63 times)"));
  CHECK(has(only_error(LensErrorKind::shared_race, "reuse read", "reuse write", run(reuses_the_row, 64)),
            "thread (32, 0, 0) reads at "));
  only_error(LensErrorKind::shared_race, "shuffle read", "shuffle write", run(shuffles_instead_of_syncwarp, 32));
  only_error(LensErrorKind::shared_race, "half read", "half write", run(syncs_half_a_warp, 32));
}

// Races in global memory.

__global__ void swaps_without_a_barrier(float* values) {
  const float other = values[63 - threadIdx.x];  // @swap read
  values[threadIdx.x] = other;                   // @swap write
}

__global__ void writes_one_too_many(float* values) {
  const unsigned first = blockIdx.x * blockDim.x;
  values[first + threadIdx.x + 1] = 1;      // @one too many
  if (threadIdx.x == 0) values[first] = 0;  // @first
}

__global__ void reads_the_block_before(float* values, float* out) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  values[i] = 2;                         // @block write
  out[i] = values[i < 32 ? i : i - 32];  // @block read
}

__global__ void counts_and_looks(int* count, int* out) {
  atomicAdd(count, 1);       // @atomic
  out[blockIdx.x] = *count;  // @look
}

TEST_CASE("lens: races in global memory, within a block and between blocks") {
  const std::vector<float> zeros(256);
  DeviceArray<float> values(zeros.data(), 256), out(256);
  // Thread 32 is in another warp than thread 31, whose value it takes.
  only_error(LensErrorKind::global_race, "swap read", "swap write",
             [&] { launch(swaps_without_a_barrier, 1, 64, 0, nullptr, values.data()); });
  const std::string text = only_error(LensErrorKind::block_race, "first", "one too many",
                                      [&] { launch(writes_one_too_many, 3, 32, 0, nullptr, values.data()); });
  CHECK(has(text, "block (1, 0, 0), thread (0, 0, 0) writes at "));
  CHECK(has(text, " the global memory that block (0, 0, 0), thread (31, 0, 0) wrote at "));
  CHECK(has(text, ": byte 128 of an allocation of 1024 bytes; blocks of one launch have no order"));
  only_error(LensErrorKind::block_race, "block read", "block write",
             [&] { launch(reads_the_block_before, 2, 32, 0, nullptr, values.data(), out.data()); });
  const std::vector<int> none(64);
  DeviceArray<int> count(none.data(), 1), seen(64);
  only_error(LensErrorKind::block_race, "atomic", "look",
             [&] { launch(counts_and_looks, 2, 1, 0, nullptr, count.data(), seen.data()); });
}

// Outside.

__global__ void reads_to_the_end(const float* values, float* out, int count) {
  for (int i = int(threadIdx.x); i <= count; i += 32) out[threadIdx.x] = values[i];  // @one behind
}

__global__ void writes_far_away(float* values) {
  values[int64_t(1) << 33] = 1;  // @far
}

__global__ void writes_through(float* pointer) {
  *pointer = 1;  // @through
}

__global__ void reads_row_64(float* out) {
  CLEARSKY_SHARED(float, tile, [64][4]);
  for (int i = 0; i < 4; ++i) tile[threadIdx.x][i] = 1;
  __syncthreads();
  out[threadIdx.x] = threadIdx.x == 63 ? tile[threadIdx.x + 1][0] : tile[threadIdx.x][0];  // @row 64
}

TEST_CASE("lens: accesses outside of memory, and to the host's") {
  const std::vector<float> zeros(64);
  DeviceArray<float> values(zeros.data(), 60), out(64);
  CHECK(has(only_error(LensErrorKind::global_bounds, "one behind", "",
                       [&] { launch(reads_to_the_end, 1, 32, 0, nullptr, values.data(), out.data(), 60); }),
            "thread (28, 0, 0) reads 4 bytes at "));
  CHECK(has(only_error(LensErrorKind::shared_bounds, "row 64", "",
                       [&] { launch(reads_row_64, 1, 64, 0, nullptr, out.data()); }),
            "byte 1024 of a shared array of 1024 bytes"));
  // These would end the program: they end the launch.
  CHECK(has(only_error(LensErrorKind::global_bounds, "far", "",
                       [&] {
                         CHECK_THROWS_WITH_AS(launch(writes_far_away, 2, 64, 0, nullptr, values.data()),
                                              doctest::Contains("lens: writes_far_away, block (0, 0, 0), thread (0"),
                                              ValueError);
                       }),
            "writes 4 bytes"));
  CHECK(has(only_error(LensErrorKind::not_device_memory, "through", "",
                       [&] {
                         CHECK_THROWS_WITH_AS(launch(writes_through, 1, 1, 0, nullptr, static_cast<float*>(nullptr)),
                                              doctest::Contains("a null pointer"), ValueError);
                       }),
            "writes 4 bytes"));
  std::vector<float> on_host(4);
  CHECK(has(only_error(LensErrorKind::not_device_memory, "through", "",
                       [&] { launch(writes_through, 1, 1, 0, nullptr, on_host.data()); }),
            " that are no device memory: a pointer of the host; copy the data to the device"));
  CHECK(on_host[0] == 1);
}

// Never written.

__global__ void copies(const float* from, float* to) {
  to[threadIdx.x] = from[threadIdx.x];  // @copy
}

__global__ void sums_half_a_row(float* out) {
  CLEARSKY_SHARED(float, row, [64]);
  if (threadIdx.x < 32) row[threadIdx.x] = 1;
  __syncthreads();
  out[threadIdx.x] = row[threadIdx.x];  // @half a row
}

TEST_CASE("lens: memory that nobody wrote") {
  DeviceArray<float> out(64);
  CHECK(has(only_error(LensErrorKind::uninitialized, "half a row", "",
                       [&] { launch(sums_half_a_row, 1, 64, 0, nullptr, out.data()); }),
            "thread (32, 0, 0) reads at "));
  CHECK(has(only_error(LensErrorKind::uninitialized, "copy", "",
                       [&] {
                         DeviceArray<float> fresh(32), other(32);
                         launch(copies, 1, 32, 0, nullptr, fresh.data(), other.data());
                       }),
            " global memory that nobody wrote: byte 0 of an allocation of 128 bytes"));
  CHECK(only_error(LensErrorKind::uninitialized, "copy", "", [&] {
          const std::vector<float> zeros(32);
          DeviceArray<float> fresh(32), other(zeros.data(), 32);
          fill_device(fresh.data(), 0, 30 * sizeof(float), nullptr);
          launch(copies, 1, 30, 0, nullptr, fresh.data(), other.data());
          launch(copies, 1, 32, 0, nullptr, other.data(), fresh.data());
          forget_device(fresh.data() + 31, sizeof(float));
          launch(copies, 1, 32, 0, nullptr, fresh.data(), other.data());
        }).find("byte 124 of") != std::string::npos);
}

// Asynchronous copies.

enum class Mistake { no_wait, no_barrier, no_second_barrier };

template <Mistake M>
__global__ void two_tiles(const float* from, float* out) {
  CLEARSKY_SHARED(float, tiles, [2][64]);
  const unsigned t = threadIdx.x;
  cp_async4(&tiles[0][t], from + t);
  cp_commit();
  float sum = 0;
  for (int i = 0; i < 4; ++i) {
    if (i < 3) cp_async4(&tiles[(i + 1) % 2][t], from + (i + 1) * 64 + t);  // @ask
    cp_commit();
    if (M != Mistake::no_wait || i < 2) cp_wait<1>();
    if (M != Mistake::no_barrier || i < 2) __syncthreads();
    sum += tiles[i % 2][t ^ 33];  // @take
    if (M != Mistake::no_second_barrier || i != 1) __syncthreads();
  }
  out[t] = sum;
}

TEST_CASE("lens: asynchronous copies") {
  const std::vector<float> zeros(256);
  DeviceArray<float> from(zeros.data(), 256), out(64);
  for (const simt::Copies copies : {simt::Copies::late, simt::Copies::early}) {
    const simt::UseSettings use({.copies = copies});
    const std::string text = only_error(LensErrorKind::copy_under_way, "take", "ask", [&] {
      launch(two_tiles<Mistake::no_wait>, 1, 64, 0, nullptr, from.data(), out.data());
    });
    CHECK(has(text, "thread (0, 0, 0) reads at "));
    CHECK(has(text, " what cp.async copies since "));
    CHECK(has(text, " and was not waited for: byte 132 of a shared array of 512 bytes; call cp_wait"));
    // In round 2, thread 0 reads what thread 33 did not ask for yet: it still holds round 0, read before a barrier.
    const std::vector<LensError> errors =
        errors_of([&] { launch(two_tiles<Mistake::no_barrier>, 1, 64, 0, nullptr, from.data(), out.data()); });
    CAPTURE(all_texts(errors));
    CHECK(!errors.empty());
    for (const LensError& e : errors) CHECK((e.line.line == at("take") || e.line.line == at("ask")));
    CHECK(has(
        only_error(LensErrorKind::shared_race, "take", "ask",
                   [&] { launch(two_tiles<Mistake::no_second_barrier>, 1, 64, 0, nullptr, from.data(), out.data()); }),
        "reads at "));
  }
}

__global__ void does_nothing(float*) {}

TEST_CASE("lens: says so when it sees nothing, and that there is one at a time") {
  const auto errors = errors_of([] { launch(does_nothing, 1, 32, 0, nullptr, nullptr); });
  REQUIRE(errors.size() == 1);
  CHECK(int(errors[0].kind) == int(LensErrorKind::nothing_seen));
  CHECK(has(errors[0].text, "lens: does_nothing: no access was seen; compile the kernel with -fsanitize=thread"));
  const simt::Lens lens;
  CHECK_THROWS_WITH_AS(simt::Lens(), doctest::Contains("Lens: there is one already"), ValueError);
}

}  // namespace
}  // namespace clearsky::test

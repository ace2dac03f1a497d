#include <atomic>

#include "ways.hpp"

namespace clearsky::cuda {
namespace {

using test::contains;
using test::each_way;
using test::message_of;

__global__ void rotate(const int* from, int* to, int rounds) {
  CLEARSKY_SHARED(int, values, [96]);
  const int i = int(threadIdx.x), n = int(blockDim.x);
  values[i] = from[i];
  for (int r = 0; r < rounds; ++r) {
    __syncthreads();
    const int next = values[(i + 1) % n];
    __syncthreads();
    values[i] = next;
  }
  to[i] = values[i];
}

/// As rotate, without its second barrier.
__global__ void rotate_racing(const int* from, int* to) {
  CLEARSKY_SHARED(int, values, [96]);
  const int i = int(threadIdx.x), n = int(blockDim.x);
  values[i] = from[i];
  __syncthreads();
  const int next = values[(i + 1) % n];
  values[i] = next;
  to[i] = values[i];
}

std::vector<int> numbers(int n) {
  std::vector<int> v(static_cast<size_t>(n));
  for (int i = 0; i < n; ++i) v[size_t(i)] = i * i;
  return v;
}

TEST_CASE("__syncthreads: nobody passes before everybody has come") {
  each_way([] {
    for (int n : {1, 5, 32, 33, 96}) {
      const std::vector<int> from = numbers(n);
      std::vector<int> to(from.size(), -1);
      launch(rotate, 1, unsigned(n), 0, nullptr, from.data(), to.data(), 7);
      for (int i = 0; i < n; ++i) CHECK(to[size_t(i)] == from[size_t((i + 7) % n)]);
    }
  });
}

TEST_CASE("orders: a missing barrier changes the result of at least one of them") {
  const std::vector<int> from = numbers(96);
  std::vector<int> right(96);
  for (size_t i = 0; i < 96; ++i) right[i] = from[(i + 1) % 96];
  int wrong = 0;
  for (simt::Order order : {simt::Order::forward, simt::Order::reverse, simt::Order::random}) {
    const simt::UseSettings guard({.order = order, .seed = 3});
    std::vector<int> to(96, -1);
    launch(rotate_racing, 1, 96, 0, nullptr, from.data(), to.data());
    wrong += to != right;
  }
  CHECK(wrong >= 2);
}

__global__ void write_turn(std::atomic<int>* next, int* turns) {
  turns[threadIdx.x] = next->fetch_add(1);
}

TEST_CASE("orders: forward, reverse, and random ones that their seed names") {
  const auto turns = [](simt::Order order, uint64_t seed) {
    const simt::UseSettings guard({.order = order, .seed = seed});
    std::atomic<int> next{0};
    std::vector<int> out(64, -1);
    launch(write_turn, 1, 64, 0, nullptr, &next, out.data());
    return out;
  };
  for (int i = 0; i < 64; ++i) {
    CHECK(turns(simt::Order::forward, 0)[size_t(i)] == i);
    CHECK(turns(simt::Order::reverse, 0)[size_t(i)] == 63 - i);
  }
  CHECK(turns(simt::Order::random, 1) == turns(simt::Order::random, 1));
  CHECK(turns(simt::Order::random, 1) != turns(simt::Order::random, 2));
}

__global__ void count_votes(int* counts, int* any, int* all) {
  const int i = int(threadIdx.x);
  const int count = __syncthreads_count(i % 3 == 0);
  const int some = __syncthreads_or(i == 40);
  const int none = __syncthreads_or(i == 400);
  const int every = __syncthreads_and(i < 400);
  const int not_every = __syncthreads_and(i != 0);
  counts[i] = count;
  any[i] = some * 2 + none;
  all[i] = every * 2 + not_every;
}

TEST_CASE("__syncthreads_count, _or and _and give every thread the same vote") {
  each_way([] {
    std::vector<int> counts(50), any(50), all(50);
    launch(count_votes, 1, 50, 0, nullptr, counts.data(), any.data(), all.data());
    CHECK(counts == std::vector<int>(50, 17));
    CHECK(any == std::vector<int>(50, 2));
    CHECK(all == std::vector<int>(50, 2));
  });
}

__global__ void leave_early(int* out) {
  if (threadIdx.x >= 40) return;
  __syncthreads();
  out[threadIdx.x] = 1;
}

TEST_CASE("__syncthreads: threads that have ended are not waited for") {
  each_way([] {
    std::vector<int> out(64, 0);
    launch(leave_early, 1, 64, 0, nullptr, out.data());
    for (int i = 0; i < 64; ++i) CHECK(out[size_t(i)] == (i < 40));
  });
}

__global__ void barrier_in_branch() {
  if (threadIdx.x < 10) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}

__global__ void barrier_against_warp() {
  if (threadIdx.x == 3) __syncthreads();
  __syncwarp();
}

TEST_CASE("barriers: the report of divergence and deadlock says who waits where") {
  each_way([] {
    const std::string divergent = message_of([] { launch(barrier_in_branch, dim3(2, 3), 20, 0, nullptr); });
    CHECK(contains(divergent, "simt: divergent barriers in block (0, 0, 0): "));
    CHECK(contains(divergent, "at __syncthreads (barrier_test.cpp:"));
    CHECK(contains(divergent, " comes to __syncthreads (barrier_test.cpp:"));
    CHECK(contains(divergent, "; move the barrier out of the branch"));
    const std::string stuck = message_of([] { launch(barrier_against_warp, 1, 34, 0, nullptr); });
    CHECK(contains(stuck, "simt: block (0, 0, 0) is stuck: threads 0-2, 4-31 at __syncwarp (barrier_test.cpp:"));
    CHECK(contains(stuck, "with mask 0xffffffff; thread 3 at __syncthreads (barrier_test.cpp:"));
    CHECK(contains(stuck, "; threads 32-33 ended; every thread must come to the same barrier"));
  });
}

struct Counted {
  static inline std::atomic<int> alive{0};
  Counted() { ++alive; }
  Counted(const Counted&) = delete;
  ~Counted() { --alive; }
};

__global__ void throw_in_one(unsigned block, unsigned thread, int* reached) {
  const Counted local;
  const std::vector<int> heap(100, 1);
  __syncthreads();
  if (blockIdx.x >= block && threadIdx.x == thread)
    throw ValueError("thread of block " + std::to_string(blockIdx.x) + " failed");
  __syncthreads();
  *reached = 1;
}

TEST_CASE("launch: an exception in a kernel comes out, and every other fiber's locals are destroyed") {
  each_way([] {
    int reached = 0;
    // The first failing block's, not that of the first thread of the system that fails.
    CHECK_THROWS_WITH_AS(launch(throw_in_one, 12, 70, 0, nullptr, 3u, 40u, &reached), "thread of block 3 failed",
                         ValueError);
    CHECK(Counted::alive == 0);
    launch(throw_in_one, 2, 70, 0, nullptr, 3u, 40u, &reached);  // the same fibers work again
    CHECK(reached == 1);
    CHECK(Counted::alive == 0);
  });
}

}  // namespace
}  // namespace clearsky::cuda

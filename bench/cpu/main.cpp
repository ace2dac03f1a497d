// The CPU benchmarks.
//
//     cpu_benchmarks                    Google Benchmark's own output (its options apply)
//     cpu_benchmarks --list             the rows, as JSON
//     cpu_benchmarks --machine          what this machine can do at most, measured, as JSON
//     cpu_benchmarks --serve            answers lines "ROW THREADS REPEATS [WARM_MS]" with the milliseconds of each
//                                       repeat, after calls that are not timed: two where the row or the number of
//                                       threads is new, and then more until WARM_MS have passed. What a peer does in
//                                       the same way, so that bench/peers/run.py can take turns. OMP_PROC_BIND=true
//                                       gives each thread a CPU of its own, as it does to the peers' threads.
//     cpu_benchmarks --memory ROW       the peak of the resident set above the program's base, in MB

#include <benchmark/benchmark.h>
#include <sys/resource.h>
#if defined(__linux__)
#include <sched.h>
#endif

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "clearsky/io/provenance.hpp"
#include "rows.hpp"

extern const char* const clearsky_commit;

namespace clearsky::bench {
namespace {

using Json = nlohmann::ordered_json;

double milliseconds() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}
double peak_mb() {
  rusage use{};
  getrusage(RUSAGE_SELF, &use);
  return double(use.ru_maxrss) / 1024;
}

const Row& find(const std::vector<Row>& rows, const std::string& name) {
  for (const Row& row : rows)
    if (row.name == name) return row;
  CLEARSKY_FAIL(ValueError, "cpu_benchmarks: no row ", name, "; --list has the names");
}

/// The fastest of five runs of a body on `count` threads, in seconds.
template <class Body>
double fastest(int64_t count, Body body) {
  set_threads(count);
  double best = 1e300;
  for (int run = 0; run < 5; ++run) {
    const double begin = milliseconds();
    parallel_for(count, 1, [&](int64_t t, int64_t) { body(t); });
    best = (std::min)(best, (milliseconds() - begin) / 1000);
  }
  return best;
}

/// Multiply-adds on registers, and copies of arrays that fit one level of the memory each.
Json machine() {
  Json out;
  out["cpu"] = io::cpu_name();
  out["compiler"] = io::compiler_name();
  out["vector_bytes"] = cpu::kVectorBytes;
  for (int64_t count : {1, 2}) {
    constexpr int64_t kRounds = 20'000'000;
    constexpr int kSums = 12;
    volatile float sink = 0;
    const double seconds = fastest(count, [&](int64_t) {
      cpu::Vec<float> sums[kSums], x = cpu::splat(1.0001f), y = cpu::splat(1e-4f);
      CLEARSKY_UNROLL
      for (int i = 0; i < kSums; ++i) sums[i] = cpu::splat(float(i));
      for (int64_t r = 0; r < kRounds; ++r) {
        CLEARSKY_UNROLL
        for (int i = 0; i < kSums; ++i) sums[i] = sums[i] * x + y;
      }
      cpu::Vec<float> total{};
      CLEARSKY_UNROLL
      for (int i = 0; i < kSums; ++i) total += sums[i];
      sink = cpu::sum_lanes<float>(total);
    });
    Json j;
    j["gflops"] = 2.0 * kSums * double(cpu::kLanes<float>) * kRounds * double(count) / seconds / 1e9;
    for (const auto& [level, kilobytes] : {std::pair("l2", 256), {"l3", 4096}, {"dram", 131072}}) {
      const int64_t elements = int64_t(kilobytes) * 1024 / 4 / 2, repeats = (std::max)(4, 524288 / kilobytes);
      std::vector<Tensor<>> from, to;
      for (int64_t t = 0; t < count; ++t) {
        from.push_back(ones<float>({elements}));
        to.push_back(ones<float>({elements}));
      }
      const double copy = fastest(count, [&](int64_t t) {
        const float* a = from[size_t(t)].data();
        float* b = to[size_t(t)].mutable_data();
        for (int64_t r = 0; r < repeats; ++r) {
          for (int64_t i = 0; i < elements; i += cpu::kLanes<float>) cpu::store(b + i, cpu::load(a + i));
          asm volatile("" ::"r"(b) : "memory");
        }
      });
      j[std::string(level) + "_gb_per_s"] = 8.0 * double(elements * repeats * count) / copy / 1e9;
    }
    out["threads_" + std::to_string(count)] = j;
  }
  return out;
}

/// Gives each of `count` threads a CPU of its own, or takes that back where it cannot.
class Binding {
 public:
  Binding() {
#if defined(__linux__)
    const char* wish = std::getenv("OMP_PROC_BIND");
    if (wish == nullptr || std::strcmp(wish, "true") != 0 || sched_getaffinity(0, sizeof all_, &all_) != 0) return;
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
      if (CPU_ISSET(cpu, &all_)) cpus_.push_back(cpu);
#endif
  }
  void operator()([[maybe_unused]] int64_t count) const {
#if defined(__linux__)
    if (cpus_.empty()) return;
    parallel_for(count, 1, [&](int64_t t, int64_t) {
      cpu_set_t own;
      CPU_ZERO(&own);
      if (count <= int64_t(cpus_.size())) CPU_SET(cpus_[size_t(t)], &own);
      else own = all_;
      sched_setaffinity(0, sizeof own, &own);
    });
#endif
  }

 private:
  std::vector<int> cpus_;
#if defined(__linux__)
  cpu_set_t all_{};
#endif
};

void serve() {
  const std::vector<Row> rows = all_rows();
  const Binding bind;
  std::string current;
  std::function<void()> work;
  for (std::string line; std::getline(std::cin, line);) {
    Json answer;
    try {
      std::istringstream in(line);
      std::string name;
      int64_t count = 1, repeats = 1;
      double warm_ms = 0;
      in >> name >> count >> repeats >> warm_ms;
      set_threads(count);
      bind(count);
      if (const std::string asked = name + " " + std::to_string(count); asked != current) {
        current.clear();
        work = nullptr;
        release_cached_memory();
        work = find(rows, name).make();
        current = asked;
        work();
        work();
      }
      for (const double begin = milliseconds(); milliseconds() - begin < warm_ms;) work();
      answer["ms"] = Json::array();
      for (int64_t i = 0; i < repeats; ++i) {
        const double begin = milliseconds();
        work();
        answer["ms"].push_back(milliseconds() - begin);
      }
    } catch (const std::exception& e) {
      answer = {{"error", e.what()}};
    }
    std::cout << answer.dump() << std::endl;
  }
}

void memory(const std::string& name) {
  const std::vector<Row> rows = all_rows();
  set_threads(2);
  const double base = peak_mb();
  const auto work = find(rows, name).make();
  for (int i = 0; i < 3; ++i) work();
  std::cout << Json{{"name", name}, {"mb", peak_mb() - base}}.dump() << std::endl;
}

void list() {
  Json out = Json::array();
  for (const Row& row : all_rows())
    out.push_back({{"name", row.name}, {"kind", row.kind}, {"flop", row.flop}, {"bytes", row.bytes}});
  std::cout << Json{{"commit", clearsky_commit}, {"rows", out}}.dump() << std::endl;
}

void google(int argc, char** argv) {
  static const std::vector<Row> rows = all_rows();
  for (const Row& row : rows)
    for (int64_t count : {1, 2})
      ::benchmark::RegisterBenchmark((row.name + "/threads:" + std::to_string(count)).c_str(),
                                     [&row, count](::benchmark::State& state) {
                                       set_threads(count);
                                       const auto work = row.make();
                                       work();
                                       for (auto _ : state) work();
                                       using Counter = ::benchmark::Counter;
                                       state.counters["FLOP/s"] = Counter(row.flop, Counter::kIsIterationInvariantRate);
                                       state.counters["B/s"] = Counter(row.bytes, Counter::kIsIterationInvariantRate);
                                     })
          ->Unit(::benchmark::kMillisecond)
          ->UseRealTime();
  ::benchmark::Initialize(&argc, argv);
  ::benchmark::RunSpecifiedBenchmarks();
}

}  // namespace
}  // namespace clearsky::bench

int main(int argc, char** argv) try {
  using namespace clearsky::bench;
  const std::string mode = argc > 1 ? argv[1] : "";
  if (mode == "--list") list();
  else if (mode == "--machine") std::cout << machine().dump() << std::endl;
  else if (mode == "--serve") serve();
  else if (mode == "--memory" && argc == 3) memory(argv[2]);
  else google(argc, argv);
} catch (const std::exception& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 1;
}

#include "clearsky/core/profile.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>
#include <thread>

#include "../io/scratch_folder.hpp"
#include "clearsky/autograd/checkpoint.hpp"
#include "clearsky/io/chrome_trace.hpp"
#include "clearsky/nn/conv2d.hpp"
#include "clearsky/nn/profile.hpp"
#include "clearsky/ops/elementwise.hpp"
#include "clearsky/ops/reduce.hpp"

namespace clearsky {
namespace {

/// A module whose first part lies where it does itself.
struct Pair {
  nn::Conv2d<> first = nn::pointwise_conv2d<float>(3, 3), second = nn::pointwise_conv2d<float>(3, 3);
  Tensor<> operator()(const Tensor<>& x) const {
    const ProfileModule scope(*this);
    return second(tanh(first(x)));
  }
  template <class Visit>
  void each_part(Visit&& visit) {
    visit("first", first);
    visit("second", second);
  }
};

struct Net {
  std::vector<Pair> pairs = std::vector<Pair>(2);
  nn::Conv2d<> head = nn::pointwise_conv2d<float>(3, 1);
  Tensor<> operator()(const Tensor<>& x) const {
    const ProfileModule scope(*this);
    return head(pairs[1](pairs[0](x)));
  }
  template <class Visit>
  void each_part(Visit&& visit) {
    visit("pairs", pairs);
    visit("head", head);
  }
};

Tensor<> input() {
  return rand({1, 4, 4, 3}, Key{1});
}

void step(const Net& net, const Tensor<>& x) {
  const Tensor<> y = net(x);
  Tensor<> loss;
  {
    const ProfilePart part("loss");
    loss = mean(y * y);
  }
  loss.backward();
}

/// "module operation pass" of an event; the module's name alone where there is no operation.
std::string text_of(const io::Profiler& profiler, const io::ProfileEvent& e) {
  std::string text = profiler.module_name(e.module);
  if (e.operation != nullptr) text += std::string(" ") + e.operation;
  return text + (e.pass == Pass::backward ? " backward" : "");
}

/// Events that lie in `within`, or in nothing but the run.
std::vector<std::string> inside(const io::Profiler& profiler, const std::string& within, size_t run = 0) {
  std::vector<std::string> found;
  const auto& events = profiler.runs().at(run).events;
  for (const io::ProfileEvent& e : events)
    if (e.parent >= 0 && (e.parent == 0 ? std::string() : text_of(profiler, events[size_t(e.parent)])) == within)
      found.push_back(text_of(profiler, e));
  return found;
}

using Texts = std::vector<std::string>;

const io::ProfileRow& row_of(const io::ProfileTable& table, const std::string& name) {
  for (const io::ProfileRow& row : table.rows)
    if (row.name == name) return row;
  FAIL("no row ", name);
  std::abort();
}
bool has_row(const io::ProfileTable& table, const std::string& name) {
  return std::any_of(table.rows.begin(), table.rows.end(), [&](const auto& row) { return row.name == name; });
}

TEST_CASE("profile: events nest as the modules do, and forward and backward are their modules'") {
  Net net;
  io::Profiler profiler;
  nn::name_modules(profiler, net, "net");
  {
    const io::ProfileGuard on(profiler);
    step(net, input());
  }
  REQUIRE(profiler.runs().size() == 1);
  CHECK(inside(profiler, "") == Texts{"net", "loss", "other backward backward"});
  CHECK(inside(profiler, "net") == Texts{"pairs.0", "pairs.1", "head"});
  CHECK(inside(profiler, "pairs.1") == Texts{"pairs.1.first", "pairs.1 tanh", "pairs.1.second"});
  CHECK(inside(profiler, "pairs.1.first") == Texts{"pairs.1.first conv2d"});

  // Backward takes the modules in the opposite order; what the last of them did to its input has no gradient.
  Texts order;
  for (const std::string& text : inside(profiler, "other backward backward"))
    if (order.empty() || order.back() != text) order.push_back(text);
  CHECK(order == Texts{"loss backward", "head backward", "pairs.1.second backward", "pairs.1 backward",
                       "pairs.1.first backward", "pairs.0.second backward", "pairs.0 backward",
                       "pairs.0.first backward"});
  CHECK(inside(profiler, "pairs.0 backward") == Texts{"pairs.0 tanh backward"});
  // y * y sends its gradient to y twice.
  CHECK(row_of(profiler.operations(), "add_gradients").backward_calls == 1);

  // A child lies within its parent, and brothers lie one behind the other.
  const auto& events = profiler.runs()[0].events;
  std::vector<int64_t> busy_until(events.size());
  for (const io::ProfileEvent& e : events) {
    CHECK(e.begin_ns <= e.end_ns);
    if (e.parent < 0) continue;
    const io::ProfileEvent& parent = events[size_t(e.parent)];
    CHECK(parent.begin_ns <= e.begin_ns);
    CHECK(e.end_ns <= parent.end_ns);
    CHECK(busy_until[size_t(e.parent)] <= e.begin_ns);
    busy_until[size_t(e.parent)] = e.end_ns;
  }
}

TEST_CASE("profile: rows add up to the run, at every depth, and so do operations") {
  Net net;
  io::Profiler profiler;
  nn::name_modules(profiler, net, "net");
  for (int i = 0; i < 4; ++i) {
    const io::ProfileGuard on(profiler);
    step(net, input());
  }
  std::vector<double> ms = profiler.run_ms();
  std::sort(ms.begin(), ms.end());
  for (const io::ProfileTable& table :
       {profiler.modules(1), profiler.modules(2), profiler.modules(9), profiler.operations()}) {
    CHECK(table.total_ms == ms[1]);  // the shorter of the two in the middle
    double sum = 0;
    for (const io::ProfileRow& row : table.rows) {
      CHECK(row.forward_ms >= 0);
      CHECK(row.backward_ms >= 0);
      sum += row.total_ms();
    }
    CHECK(sum == doctest::Approx(table.total_ms).epsilon(1e-9));  // whole nanoseconds, printed as doubles
  }
  const io::ProfileTable top = profiler.modules(1), levels = profiler.modules(2), all = profiler.modules(9);
  CHECK(has_row(top, "pairs"));
  CHECK_FALSE(has_row(top, "pairs.0"));
  CHECK(has_row(levels, "pairs.0"));
  CHECK_FALSE(has_row(levels, "pairs.0.first"));
  CHECK(row_of(levels, "pairs.0").forward_calls == 1);
  CHECK(row_of(levels, "pairs.0").backward_calls == 1);
  CHECK(row_of(top, "pairs").forward_calls == 1);
  CHECK(row_of(levels, "loss").backward_calls == 1);  // through a product and a mean
  CHECK(row_of(all, "pairs.0.first").forward_calls == 1);
  CHECK(row_of(levels, "pairs.1").forward_ms ==
        doctest::Approx(row_of(all, "pairs.1").forward_ms + row_of(all, "pairs.1.first").forward_ms +
                        row_of(all, "pairs.1.second").forward_ms));
  CHECK(levels.rows.front().name == "net");
  CHECK(levels.rows.back().name == "other");
  const io::ProfileTable operations = profiler.operations();
  CHECK(row_of(operations, "tanh").forward_calls == 2);
  CHECK(row_of(operations, "tanh").backward_calls == 2);
  CHECK(operations.rows.back().name == "no operation");
  const std::string text = to_text(levels);
  CHECK(text.find("pairs.1") != text.npos);
  CHECK(text.find("GFLOP") == text.npos);
}

TEST_CASE("profile: a module that is called twice has two calls; parts of a list, one behind the other, one") {
  Net net;
  io::Profiler profiler;
  nn::name_modules(profiler, net);
  {
    const io::ProfileGuard on(profiler);
    net.pairs[0](net.pairs[0](input()));
  }
  CHECK(row_of(profiler.modules(2), "pairs.0").forward_calls == 2);
  profiler.clear();
  {
    const io::ProfileGuard on(profiler);
    net.pairs[1](net.pairs[0](input()));
  }
  CHECK(row_of(profiler.modules(1), "pairs").forward_calls == 1);
}

TEST_CASE("profile: memory is that of the event that ran while it was in use, above the run's start") {
  Net net;
  io::Profiler profiler(io::WatchMemory::yes);
  nn::name_modules(profiler, net, "net");
  const Tensor<> before = zeros<float>({1 << 20});
  {
    const io::ProfileGuard on(profiler);
    { const Tensor<> gone = zeros<float>({3 << 18}); }
    const ProfilePart outer("outer");
    const Tensor<> kept = zeros<float>({1 << 18});
    {
      const ProfilePart inner("inner");
      const Tensor<> more = zeros<float>({1 << 19});
    }
  }
  const io::ProfileTable t = profiler.modules(9);
  // Blocks are up to an eighth larger than what is asked for; 4 KB are for the handles of tensors.
  const auto is_about = [&](const std::string& row, int64_t bytes) {
    const int64_t peak = row_of(t, row).peak_bytes;
    CAPTURE(row);
    CHECK(peak >= bytes);
    CHECK(peak <= bytes * 9 / 8 + 4096);
  };
  is_about("other", 3 << 20);
  is_about("outer", 1 << 20);
  is_about("outer.inner", 3 << 20);
  CHECK(to_text(t).find("peak MB") != std::string::npos);
}

TEST_CASE("profile: depth counts a list and a number within it as one") {
  CHECK(io::Profiler::shortened("decoder.levels.0.blocks.1.attention", 1) == "decoder");
  CHECK(io::Profiler::shortened("decoder.levels.0.blocks.1.attention", 2) == "decoder.levels.0");
  CHECK(io::Profiler::shortened("decoder.levels.0.blocks.1.attention", 3) == "decoder.levels.0.blocks.1");
  CHECK(io::Profiler::shortened("fusion.0.context", 1) == "fusion");
  CHECK(io::Profiler::shortened("fusion.0.context", 2) == "fusion.0");
  CHECK(io::Profiler::shortened("loss", 1) == "loss");
}

TEST_CASE("profile: nobody listens by default, and results have the same bits when somebody does") {
  const auto run = [](Net& net) {
    step(net, input());
    std::vector<std::vector<float>> bits;
    for (const auto& p : nn::parameters(net)) {
      bits.push_back(p.value.grad().to_vector());
      p.value.set_grad({});
    }
    return bits;
  };
  Net net;
  io::Profiler profiler;
  nn::name_modules(profiler, net);
  CHECK_FALSE(profiling());
  const auto plain = run(net);
  CHECK(profiler.runs().empty());
  const ProfiledModule recorded = recording_module();
  CHECK(recorded == 0);
  {
    const io::ProfileGuard on(profiler);
    CHECK(profiling());
    CHECK(run(net) == plain);
  }
  CHECK_FALSE(profiling());
  const size_t events = profiler.runs().at(0).events.size();
  CHECK(run(net) == plain);
  CHECK(profiler.runs().size() == 1);
  CHECK(profiler.runs()[0].events.size() == events);
}

TEST_CASE("profile: an exception in a module leaves the state as it was") {
  Net net;
  io::Profiler profiler;
  nn::name_modules(profiler, net, "net");
  {
    const io::ProfileGuard on(profiler);
    const Tensor<> wrong = rand({1, 4, 4, 5}, Key{1});  // five channels into three
    CHECK_THROWS_AS(net(wrong), ShapeError);
    const Tensor<> x = input().set_requires_grad();
    Tensor<> y = tanh(x);
    register_hook(y, [](const Tensor<>& g) -> Tensor<> {
      throw std::runtime_error("in a hook");
      return g;
    });
    CHECK_THROWS_AS(sum(y).backward(), std::runtime_error);
    net(input());
  }
  const auto roots = inside(profiler, "");
  CHECK(roots == Texts{"net", "other tanh", "other sum", "other backward backward", "net"});
  CHECK(inside(profiler, "net") == Texts{"pairs.0", "pairs.0", "pairs.1", "head"});
  for (const io::ProfileEvent& e : profiler.runs()[0].events) CHECK(e.end_ns >= e.begin_ns);

  // Also when it leaves the guard's own scope.
  CHECK_THROWS_AS(
      [&] {
        const io::ProfileGuard on(profiler);
        const ProfilePart part("loss");
        throw std::runtime_error("out of all scopes");
      }(),
      std::runtime_error);
  CHECK_FALSE(profiling());
  CHECK(profiler.runs().size() == 2);
}

TEST_CASE("profile: guards nest, and each puts back what it found") {
  Net net;
  io::Profiler outer, inner;
  nn::name_modules(outer, net, "net");
  nn::name_modules(inner, net, "same");
  {
    const io::ProfileGuard on(outer);
    const ProfilePart part("outside");
    {
      const io::ProfileGuard other(inner);
      net(input());
    }
    tanh(input());
  }
  CHECK(inside(inner, "") == Texts{"same"});
  CHECK(inside(outer, "") == Texts{"outside"});
  CHECK(inside(outer, "outside") == Texts{"outside tanh"});
}

TEST_CASE("profile: what was recorded for nobody, or for another profiler, is of no module") {
  Net net;
  io::Profiler first, second;
  nn::name_modules(first, net, "net");
  nn::name_modules(second, net, "net");
  const Tensor<> unheard = mean(net(input()));
  Tensor<> heard;
  {
    const io::ProfileGuard on(first);
    heard = mean(net(input()));
  }
  for (const Tensor<>& y : {unheard, heard}) {
    const io::ProfileGuard on(second);
    const ProfilePart part("step");
    y.backward();
  }
  for (size_t run : {size_t(0), size_t(1)}) {
    CHECK(inside(second, "step", run) == Texts{"step backward backward"});
    for (const std::string& text : inside(second, "step backward backward", run)) CHECK(text == "other backward");
  }
}

TEST_CASE("profile: a part that is computed again counts as backward, and as its own modules") {
  Net net;
  io::Profiler profiler;
  nn::name_modules(profiler, net, "net");
  {
    const io::ProfileGuard on(profiler);
    const Tensor<> x = input().set_requires_grad();
    sum(checkpoint([&net](std::span<const Tensor<>> in) { return net.pairs[0](in[0]); }, std::vector<Tensor<>>{x}))
        .backward();
  }
  const io::ProfileTable t = profiler.operations();
  CHECK(row_of(t, "tanh").forward_calls == 1);
  CHECK(row_of(t, "tanh").backward_calls == 2);  // again, and back
  CHECK(inside(profiler, "pairs.0 tanh").empty());
  const auto rows = profiler.modules(9);
  CHECK(row_of(rows, "pairs.0.first").backward_ms > 0);
  double sum_ms = 0;
  for (const auto& row : rows.rows) sum_ms += row.total_ms();
  CHECK(sum_ms == doctest::Approx(rows.total_ms).epsilon(1e-9));
}

TEST_CASE("profile: a thread is heard while it has a guard of its own") {
  Net net;
  io::Profiler profiler;
  nn::name_modules(profiler, net, "net");
  {
    const io::ProfileGuard on(profiler);
    std::thread unheard([&] {
      CHECK_FALSE(profiling());
      net(input());
    });
    unheard.join();
  }
  CHECK(inside(profiler, "").empty());
  std::vector<std::thread> all;
  for (int t = 0; t < 4; ++t)
    all.emplace_back([&] {
      for (int i = 0; i < 20; ++i) {
        const io::ProfileGuard on(profiler);
        const ProfilePart part("threads");
        net(input());  // backward would have four threads write the same gradients
      }
    });
  for (std::thread& thread : all) thread.join();
  std::set<int64_t> numbers;
  for (size_t run = 1; run < profiler.runs().size(); ++run) {
    numbers.insert(profiler.runs()[run].thread);
    CHECK(inside(profiler, "threads", run) == Texts{"net"});
    CHECK(inside(profiler, "net", run) == Texts{"pairs.0", "pairs.1", "head"});
  }
  CHECK(numbers.size() == 4);
  CHECK(profiler.runs().size() == 81);
}

TEST_CASE("profile: the trace is valid JSON with the events of all runs") {
  Net net;
  io::Profiler profiler;
  nn::name_modules(profiler, net, "a \"net\" \\ of\ttwo");
  for (int i = 0; i < 2; ++i) {
    const io::ProfileGuard on(profiler);
    step(net, input());
  }
  std::thread([&] {
    const io::ProfileGuard on(profiler);
    net(input());
  }).join();
  const test::ScratchFolder folder;
  const std::string path = folder / "trace.json";
  io::write_chrome_trace(path, profiler);
  const auto trace = nlohmann::json::parse(io::read_file(path));
  size_t complete = 0;
  std::map<std::string, int> names;
  std::set<int64_t> threads;
  for (const auto& e : trace.at("traceEvents")) {
    if (e.at("ph") != "X") continue;
    ++complete;
    ++names[e.at("name").get<std::string>() + ", " + e.at("cat").get<std::string>() + ", " +
            e.at("args").at("pass").get<std::string>()];
    threads.insert(e.at("tid").get<int64_t>());
    CHECK(e.at("pid") == 1);
    CHECK(e.at("ts").get<double>() >= 0);
    CHECK(e.at("dur").get<double>() >= 0);
  }
  // Whole nanoseconds, in the order of the events.
  std::vector<std::pair<int64_t, int64_t>> written, recorded;
  for (const auto& e : trace.at("traceEvents"))
    if (e.at("ph") == "X")
      written.emplace_back(std::llround(e.at("ts").get<double>() * 1000),
                           std::llround(e.at("dur").get<double>() * 1000));
  for (const io::ProfileRun& run : profiler.runs())
    for (const io::ProfileEvent& e : run.events) recorded.emplace_back(e.begin_ns, e.end_ns - e.begin_ns);
  CHECK(written == recorded);
  CHECK(complete == recorded.size());
  CHECK(threads.size() == 2);
  CHECK(names["run 1, run, forward"] == 1);
  CHECK(names["run 3, run, forward"] == 1);
  CHECK(names["a \"net\" \\ of\ttwo, module, forward"] == 3);
  CHECK(names["tanh, operation, forward"] == 6);
  CHECK(names["tanh, operation, backward"] == 4);
  CHECK(names["pairs.0.first, module, forward"] == 3);
  CHECK(names["backward, operation, backward"] == 2);

  CHECK_THROWS_AS(io::write_chrome_trace(folder / "nowhere/trace.json", profiler), IoError);
}

}  // namespace
}  // namespace clearsky

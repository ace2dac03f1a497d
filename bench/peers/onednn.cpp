// oneDNN by itself, as a peer of single operations: those rows of bench/cpu/rows.hpp that it has primitives for.
//
//     onednn_benchmarks --version     its version, as JSON
//     onednn_benchmarks --list        the names of its rows, as JSON
//     onednn_benchmarks --serve       answers as cpu_benchmarks --serve does
//
// Its best case: activations channels-last, weights in the layout that it asks for and packed before the timed part,
// primitives and memory made once, large pages as in clearsky's own pool, algorithms of its own choice.

#include <omp.h>
#include <sys/mman.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <new>
#include <nlohmann/json.hpp>
#include <oneapi/dnnl/dnnl.hpp>
#include <random>
#include <sstream>
#include <string>
#include <unordered_map>
#include <vector>

namespace {

using dnnl::memory;
using Json = nlohmann::ordered_json;
using Dims = memory::dims;
using Tag = memory::format_tag;
using Kind = dnnl::prop_kind;
using Arguments = std::unordered_map<int, memory>;

/// Version 3 makes primitive descriptors from their parts; version 2 has a descriptor of the operation in between.
template <class Primitive, class... Parts>
typename Primitive::primitive_desc describe(const dnnl::engine& engine, const Parts&... parts) {
#if DNNL_VERSION_MAJOR >= 3
  return typename Primitive::primitive_desc(engine, parts...);
#else
  return typename Primitive::primitive_desc(typename Primitive::desc(parts...), engine);
#endif
}
/// The same for backward, which is told of the forward it belongs to.
template <class Primitive, class Forward, class... Parts>
typename Primitive::primitive_desc describe_backward(const dnnl::engine& engine, const Forward& forward,
                                                     const Parts&... parts) {
#if DNNL_VERSION_MAJOR >= 3
  return typename Primitive::primitive_desc(engine, parts..., forward);
#else
  return typename Primitive::primitive_desc(typename Primitive::desc(parts...), engine, forward);
#endif
}

/// Primitives in the order in which they run, and the memory they run on.
class Program {
 public:
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};

  /// Memory of this layout; 2 MiB pages where the system has them.
  memory empty(const memory::desc& layout) {
    constexpr size_t kHugePage = size_t(2) << 20;
    const size_t bytes = layout.get_size(), alignment = bytes >= kHugePage ? kHugePage : 64;
    const size_t rounded = (bytes + alignment - 1) / alignment * alignment;
    std::shared_ptr<void> block(std::aligned_alloc(alignment, rounded), std::free);
    if (!block) throw std::bad_alloc();
    if (alignment == kHugePage) (void)::madvise(block.get(), rounded, MADV_HUGEPAGE);
    std::memset(block.get(), 0, rounded);
    blocks_.push_back(block);
    return memory(layout, engine, block.get());
  }

  /// Numbers from -1 to 1 in `tag`'s layout.
  memory random(const Dims& dims, Tag tag) {
    memory out = empty({dims, memory::data_type::f32, tag});
    auto* values = static_cast<float*>(out.get_data_handle());
    std::uniform_real_distribution<float> draw(-1, 1);
    for (size_t i = 0; i < out.get_desc().get_size() / sizeof(float); ++i) values[i] = draw(generator_);
    return out;
  }

  /// The same numbers in another layout.
  memory packed(memory from, const memory::desc& layout) {
    if (from.get_desc() == layout) return from;
    memory to = empty(layout);
    dnnl::reorder(from, to).execute(stream_, from, to);
    stream_.wait();
    return to;
  }

  void add(const dnnl::primitive& primitive, const Arguments& arguments) { steps_.emplace_back(primitive, arguments); }

  void operator()() {
    for (auto& [primitive, arguments] : steps_) primitive.execute(stream_, arguments);
    stream_.wait();
  }

 private:
  dnnl::stream stream_{engine};
  std::mt19937 generator_{1};
  std::vector<std::shared_ptr<void>> blocks_;
  std::vector<std::pair<dnnl::primitive, Arguments>> steps_;
};

memory::desc any(const Dims& dims) {
  return {dims, memory::data_type::f32, Tag::any};
}

/// y = conv(x, w); backward: both gradients.
void convolution(Program& program, bool backward, int64_t size, int64_t in, int64_t out, int64_t window,
                 int64_t groups = 1) {
  const Dims strides{1, 1}, padding{window / 2, window / 2};
  const bool grouped = groups > 1;
  const memory x = program.random({1, in, size, size}, Tag::nhwc), dy = program.random({1, out, size, size}, Tag::nhwc);
  const Dims w_dims = grouped ? Dims{groups, out / groups, in / groups, window, window} : Dims{out, in, window, window};
  const memory w = program.random(w_dims, grouped ? Tag::goihw : Tag::oihw);
  const auto automatic = dnnl::algorithm::convolution_auto;

  const auto forward = describe<dnnl::convolution_forward>(
      program.engine, backward ? Kind::forward_training : Kind::forward_inference, automatic, x.get_desc(), any(w_dims),
      dy.get_desc(), strides, padding, padding);
  program.add(dnnl::convolution_forward(forward), {{DNNL_ARG_SRC, x},
                                                   {DNNL_ARG_WEIGHTS, program.packed(w, forward.weights_desc())},
                                                   {DNNL_ARG_DST, program.empty(dy.get_desc())}});
  if (!backward) return;
  const auto of_data = describe_backward<dnnl::convolution_backward_data>(
      program.engine, forward, automatic, x.get_desc(), any(w_dims), dy.get_desc(), strides, padding, padding);
  program.add(dnnl::convolution_backward_data(of_data), {{DNNL_ARG_DIFF_DST, dy},
                                                         {DNNL_ARG_WEIGHTS, program.packed(w, of_data.weights_desc())},
                                                         {DNNL_ARG_DIFF_SRC, program.empty(x.get_desc())}});
  const auto of_weights = describe_backward<dnnl::convolution_backward_weights>(
      program.engine, forward, automatic, x.get_desc(), any(w_dims), dy.get_desc(), strides, padding, padding);
  program.add(dnnl::convolution_backward_weights(of_weights),
              {{DNNL_ARG_SRC, x},
               {DNNL_ARG_DIFF_DST, dy},
               {DNNL_ARG_DIFF_WEIGHTS, program.empty(of_weights.diff_weights_desc())}});
}

/// Over the columns of a table, one row per pixel.
void layer_norm(Program& program, bool backward, int64_t rows, int64_t columns) {
  const memory x = program.random({rows, columns}, Tag::ab), dy = program.random({rows, columns}, Tag::ab);
  const memory scale = program.random({columns}, Tag::a), shift = program.random({columns}, Tag::a);
  const auto flags = dnnl::normalization_flags::use_scale | dnnl::normalization_flags::use_shift;
  const float epsilon = 1e-5f;
  const Kind kind = backward ? Kind::forward_training : Kind::forward_inference;
#if DNNL_VERSION_MAJOR >= 3
  const auto forward =
      describe<dnnl::layer_normalization_forward>(program.engine, kind, x.get_desc(), dy.get_desc(), epsilon, flags);
#else
  const auto forward = describe<dnnl::layer_normalization_forward>(program.engine, kind, x.get_desc(), epsilon, flags);
#endif
  Arguments arguments{{DNNL_ARG_SRC, x},
                      {DNNL_ARG_SCALE, scale},
                      {DNNL_ARG_SHIFT, shift},
                      {DNNL_ARG_DST, program.empty(dy.get_desc())}};
  if (!backward) return program.add(dnnl::layer_normalization_forward(forward), arguments);
  const memory mean = program.empty(forward.mean_desc()), variance = program.empty(forward.variance_desc());
  arguments.insert({{DNNL_ARG_MEAN, mean}, {DNNL_ARG_VARIANCE, variance}});
  program.add(dnnl::layer_normalization_forward(forward), arguments);
#if DNNL_VERSION_MAJOR >= 3
  const auto gradients = describe_backward<dnnl::layer_normalization_backward>(
      program.engine, forward, Kind::backward, x.get_desc(), dy.get_desc(), x.get_desc(), epsilon, flags);
#else
  const auto gradients = describe_backward<dnnl::layer_normalization_backward>(
      program.engine, forward, Kind::backward, dy.get_desc(), x.get_desc(), epsilon, flags);
#endif
  program.add(dnnl::layer_normalization_backward(gradients), {{DNNL_ARG_SRC, x},
                                                              {DNNL_ARG_SCALE, scale},
                                                              {DNNL_ARG_SHIFT, shift},
                                                              {DNNL_ARG_MEAN, mean},
                                                              {DNNL_ARG_VARIANCE, variance},
                                                              {DNNL_ARG_DIFF_DST, dy},
                                                              {DNNL_ARG_DIFF_SRC, program.empty(x.get_desc())},
                                                              {DNNL_ARG_DIFF_SCALE, program.empty(scale.get_desc())},
                                                              {DNNL_ARG_DIFF_SHIFT, program.empty(shift.get_desc())}});
}

void gelu(Program& program, bool backward, int64_t rows, int64_t columns) {
  const memory x = program.random({rows, columns}, Tag::ab), dy = program.random({rows, columns}, Tag::ab);
  const auto erf = dnnl::algorithm::eltwise_gelu_erf;
  const Kind kind = backward ? Kind::forward_training : Kind::forward_inference;
#if DNNL_VERSION_MAJOR >= 3
  const auto forward =
      describe<dnnl::eltwise_forward>(program.engine, kind, erf, x.get_desc(), dy.get_desc(), 0.0f, 0.0f);
#else
  const auto forward = describe<dnnl::eltwise_forward>(program.engine, kind, erf, x.get_desc(), 0.0f, 0.0f);
#endif
  program.add(dnnl::eltwise_forward(forward), {{DNNL_ARG_SRC, x}, {DNNL_ARG_DST, program.empty(dy.get_desc())}});
  if (!backward) return;
#if DNNL_VERSION_MAJOR >= 3
  const auto gradient = describe_backward<dnnl::eltwise_backward>(program.engine, forward, erf, x.get_desc(),
                                                                  dy.get_desc(), x.get_desc(), 0.0f, 0.0f);
#else
  const auto gradient =
      describe_backward<dnnl::eltwise_backward>(program.engine, forward, erf, dy.get_desc(), x.get_desc(), 0.0f, 0.0f);
#endif
  program.add(dnnl::eltwise_backward(gradient),
              {{DNNL_ARG_SRC, x}, {DNNL_ARG_DIFF_DST, dy}, {DNNL_ARG_DIFF_SRC, program.empty(x.get_desc())}});
}

/// The rows of bench/cpu/rows.hpp, by the same names without ".forward" or ".forward_backward".
const std::map<std::string, std::function<void(Program&, bool)>> kOperations = {
    {"conv3x3_64_64_at_128", [](Program& p, bool backward) { convolution(p, backward, 128, 64, 64, 3); }},
    {"conv3x3_128_128_at_64", [](Program& p, bool backward) { convolution(p, backward, 64, 128, 128, 3); }},
    {"conv3x3_32_32_at_256", [](Program& p, bool backward) { convolution(p, backward, 256, 32, 32, 3); }},
    {"conv3x3_15_32_at_256", [](Program& p, bool backward) { convolution(p, backward, 256, 15, 32, 3); }},
    {"conv1x1_64_256_at_128", [](Program& p, bool backward) { convolution(p, backward, 128, 64, 256, 1); }},
    {"conv1x1_32_64_at_256", [](Program& p, bool backward) { convolution(p, backward, 256, 32, 64, 1); }},
    {"depthwise3x3_128_at_128", [](Program& p, bool backward) { convolution(p, backward, 128, 128, 128, 3, 128); }},
    {"layer_norm_64_at_128", [](Program& p, bool backward) { layer_norm(p, backward, 128 * 128, 64); }},
    {"gelu_64_at_128", [](Program& p, bool backward) { gelu(p, backward, 128 * 128, 64); }},
};

std::unique_ptr<Program> make(const std::string& row) {
  const size_t dot = row.find('.');
  const auto found = kOperations.find(row.substr(0, dot));
  const std::string direction = dot == row.npos ? "" : row.substr(dot + 1);
  if (found == kOperations.end() || (direction != "forward" && direction != "forward_backward"))
    throw std::runtime_error("oneDNN has no row " + row);
  auto program = std::make_unique<Program>();
  found->second(*program, direction == "forward_backward");
  return program;
}

double milliseconds() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void serve() {
  std::string current;
  std::unique_ptr<Program> program;
  for (std::string line; std::getline(std::cin, line);) {
    Json answer;
    try {
      std::istringstream in(line);
      std::string name;
      int threads = 1, repeats = 1;
      double warm_ms = 0;
      in >> name >> threads >> repeats >> warm_ms;
      omp_set_num_threads(threads);
      // Primitives are made for a number of threads.
      if (const std::string asked = name + " " + std::to_string(threads); asked != current) {
        current.clear();
        program = make(name);
        current = asked;
        (*program)();
        (*program)();
      }
      for (const double begin = milliseconds(); milliseconds() - begin < warm_ms;) (*program)();
      answer["ms"] = Json::array();
      for (int i = 0; i < repeats; ++i) {
        const double begin = milliseconds();
        (*program)();
        answer["ms"].push_back(milliseconds() - begin);
      }
    } catch (const std::exception& e) {
      answer = {{"error", e.what()}};
    }
    std::cout << answer.dump() << std::endl;
  }
}

void list() {
  Json rows = Json::array();
  for (const auto& [name, make_row] : kOperations)
    for (const char* direction : {".forward", ".forward_backward"}) rows.push_back(name + direction);
  std::cout << Json{{"rows", rows}}.dump() << std::endl;
}

void version() {
  const dnnl_version_t* v = dnnl_version();
  const std::string text = std::to_string(v->major) + "." + std::to_string(v->minor) + "." + std::to_string(v->patch);
  std::cout << Json{{"onednn", text}}.dump() << std::endl;
}

}  // namespace

int main(int argc, char** argv) try {
  const std::string mode = argc > 1 ? argv[1] : "";
  if (mode == "--version") version();
  else if (mode == "--list") list();
  else if (mode == "--serve") serve();
  else std::cerr << "onednn_benchmarks: one of --version, --list, --serve\n";
  return mode.starts_with("--") ? 0 : 1;
} catch (const std::exception& e) {
  std::cerr << e.what() << "\n";
  return 1;
}

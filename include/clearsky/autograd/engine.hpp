#pragma once
// The backward pass: from one tensor to every leaf it was computed from.

#include <algorithm>
#include <atomic>
#include <span>
#include <utility>
#include <vector>

#include "clearsky/autograd/node.hpp"
#include "clearsky/core/threads.hpp"

namespace clearsky {

namespace detail {

/// sum <- sum + g, in place when nobody else sees `sum`. Differentiable when gradients are being recorded.
TensorBase add_gradients(const TensorBase& sum, const TensorBase& g);

/// One backward pass. Nodes are taken in falling sequence order, so that each has its whole gradient before it runs;
/// the order, and with it every bit of the sums, depends on the graph alone.
class BackwardPass {
 public:
  struct Options {
    bool retain_graph = false;
    bool create_graph = false;
    /// When not empty: gradients of these tensors are collected instead of those of the leaves.
    std::span<const TensorBase> wanted = {};
    /// For a pass inside another one, over a part computed again: the outer pass, and the first operation of the part.
    /// What leaves the part goes on in the outer pass.
    BackwardPass* outer = nullptr;
    uint64_t first = 0;
  };

  /// The pass that is running on this thread, or null.
  static BackwardPass*& current() {
    static thread_local BackwardPass* pass = nullptr;
    return pass;
  }

  explicit BackwardPass(const Options& options) : options_(options), found_(options.wanted.size()) {}
  ~BackwardPass() {  // also when an exception ends the pass: the next one must find no gradient left over
    for (auto& n : queue_) {
      n->pending = {};
      n->queued = false;
    }
    for (auto& v : leaves_) {
      v->pending = {};
      v->queued = false;
    }
  }

  std::vector<TensorBase> run(const TensorBase& root, const TensorBase& seed) {
    const GradModeGuard mode(options_.create_graph);
    const Running running(this);
    const ProfileOperation profiled("backward", Pass::backward);
    send(edge_to(root), seed);
    std::vector<TensorBase> inputs;
    while (!queue_.empty()) {
      std::pop_heap(queue_.begin(), queue_.end(), earlier);
      const Pointer<Node> node = std::move(queue_.back());
      queue_.pop_back();
      node->queued = false;
      const ProfileBackward through(node->recorded_in);
      TensorBase g = std::exchange(node->pending, {});
      CLEARSKY_CHECK(AutogradError, !node->released, node->name(),
                     ": backward through a graph whose saved values are gone; pass Retain::yes to the first backward");
      run_hooks(node->hooks, g);
      if (node->retained != nullptr && options_.wanted.empty()) keep_gradient(*node->retained, g);
      note_wanted(*node, g);
      inputs.assign(node->edges.size(), {});
      {
        const ProfileOperation operation(node->name());
        node->backward(g, inputs);
      }
      g = {};
      for (size_t i = 0; i < inputs.size(); ++i) {
        TensorBase input = std::move(inputs[i]);
        if (node->edges[i] && input.defined()) send(node->edges[i], std::move(input));
      }
      if (!options_.retain_graph) node->release();
    }
    for (const Pointer<Variable>& leaf : leaves_) {
      TensorBase g = std::exchange(leaf->pending, {});
      leaf->queued = false;
      run_hooks(leaf->hooks, g);
      if (options_.wanted.empty()) {
        keep_gradient(*leaf, g);
      } else {
        for (size_t i = 0; i < options_.wanted.size(); ++i)
          if (variable_of(options_.wanted[i]) == leaf.get()) found_[i] = g;
      }
    }
    leaves_.clear();
    return std::move(found_);
  }

 private:
  /// Makes a pass the current one for as long as it runs.
  struct Running {
    explicit Running(BackwardPass* pass) : before(current()) { current() = pass; }
    ~Running() { current() = before; }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;
    BackwardPass* before;
  };

  static void run_hooks(const std::vector<NamedHook>& hooks, TensorBase& g) {
    for (const NamedHook& hook : hooks) {
      const Shape shape = g.shape();
      g = hook.run(g);
      CLEARSKY_CHECK(AutogradError, g.defined() && g.shape() == shape, "register_hook: a hook was given a gradient of ",
                     "shape ", shape, " and returned ",
                     g.defined() ? "shape " + to_text(g.shape()) : "an undefined one",
                     "; return the gradient itself to leave it as it is");
    }
  }

  bool wants(const Variable& leaf) const {
    for (const TensorBase& w : options_.wanted)
      if (variable_of(w) == &leaf) return true;
    return false;
  }

  static bool earlier(const Pointer<Node>& a, const Pointer<Node>& b) { return a->sequence() < b->sequence(); }

  void send(const Edge& edge, TensorBase g) {
    if (options_.outer != nullptr &&
        (edge.node ? edge.node->sequence() < options_.first : edge.leaf && !wants(*edge.leaf))) {
      options_.outer->send(edge, std::move(g));
      return;
    }
    if (edge.node) {
      collect(edge.node->pending, std::move(g));
      if (!std::exchange(edge.node->queued, true)) {
        queue_.push_back(edge.node);
        std::push_heap(queue_.begin(), queue_.end(), earlier);
      }
    } else if (edge.leaf) {
      collect(edge.leaf->pending, std::move(g));
      if (!std::exchange(edge.leaf->queued, true)) leaves_.push_back(edge.leaf);
    }
  }

  static void collect(TensorBase& pending, TensorBase g) {
    if (pending.defined()) {
      const ProfileOperation operation("add_gradients");
      const TensorBase sum = std::exchange(pending, {});
      pending = add_gradients(sum, g);
    } else {
      pending = std::move(g);
    }
  }

  void keep_gradient(Variable& v, const TensorBase& g) const;

  void note_wanted(const Node& node, const TensorBase& g) {
    for (size_t i = 0; i < options_.wanted.size(); ++i) {
      const Variable* v = variable_of(options_.wanted[i]);
      if (v != nullptr && v->node.get() == &node) found_[i] = g;
    }
  }

  Options options_;
  std::vector<Pointer<Node>> queue_;       // a heap, latest operation first
  std::vector<Pointer<Variable>> leaves_;  // in the order in which they were met
  std::vector<TensorBase> found_;
};

/// What the engine does to gradients itself, for one element type.
struct GradientArithmetic {
  TensorBase (*add)(const TensorBase& sum, const TensorBase& g);
  TensorBase (*copy)(const TensorBase& g);
};

template <class T>
Tensor<T> add_typed(const TensorBase& sum, const TensorBase& g);  // in clearsky/ops/elementwise.hpp

template <class T>
inline constexpr GradientArithmetic kGradientArithmetic = {
    [](const TensorBase& sum, const TensorBase& g) -> TensorBase { return add_typed<T>(sum, g); },
    [](const TensorBase& g) -> TensorBase { return Tensor<T>::from(g).clone(); }};

/// Of float and of double. The engine knows tensors without their type, and a program that has gradients in one of the
/// two only would otherwise compile the sum of the other, with every operation that its derivative is made of.
inline std::atomic<const GradientArithmetic*> gradient_arithmetic[2];

inline std::atomic<const GradientArithmetic*>& gradient_arithmetic_of(DType dtype) {
  return gradient_arithmetic[dtype == DType::f64 ? 1 : 0];
}

/// Called before the first gradient of this type: by who starts a pass, and by an operation that changes the type.
template <class T>
void enable_gradients_of() {
  gradient_arithmetic_of(kDType<T>).store(&kGradientArithmetic<T>, std::memory_order_relaxed);
}

inline TensorBase add_gradients(const TensorBase& sum, const TensorBase& g) {
  return gradient_arithmetic_of(sum.dtype()).load(std::memory_order_relaxed)->add(sum, g);
}

/// The leaf's gradient is its own: nobody else's tensor may change when an optimizer scales it.
inline void BackwardPass::keep_gradient(Variable& v, const TensorBase& g) const {
  if (v.grad.defined()) {
    v.grad = add_gradients(v.grad, g);
  } else if (options_.create_graph || (g.storage()->references() == 1 && g.is_contiguous())) {
    v.grad = g;
  } else {
    v.grad = gradient_arithmetic_of(g.dtype()).load(std::memory_order_relaxed)->copy(g);
  }
}

template <class T>
void check_seed(const char* op, const Tensor<T>& y, const Tensor<T>& seed) {
  CLEARSKY_CHECK(AutogradError, y.defined() && needs_grad(y), op,
                 ": the tensor does not depend on anything that requires a gradient; call set_requires_grad() on the "
                 "inputs, and leave NoGrad scopes, before computing it");
  CLEARSKY_CHECK(ShapeError, seed.shape() == y.shape(), op, ": the seed has shape ", seed.shape(),
                 " but the tensor has shape ", y.shape());
}

template <class T>
Tensor<T> unit_seed(const char* op, const Tensor<T>& y) {
  CLEARSKY_CHECK(ShapeError, y.numel() == 1, op, ": shape ", y.shape(), " has ", y.numel(),
                 " elements; without a seed it needs exactly 1, so reduce it or pass a seed of that shape");
  return ones<T>(y.shape(), y.device());
}

}  // namespace detail

template <class T>
bool Tensor<T>::requires_grad() const {
  return detail::needs_grad(*this);
}

template <class T>
bool Tensor<T>::is_leaf() const {
  const detail::Variable* v = detail::variable_of(*this);
  return v == nullptr || !v->node;
}

template <class T>
Tensor<T>& Tensor<T>::set_requires_grad(bool on) {
  static_assert(kDifferentiable<T>, "only float and double tensors have gradients");
  CLEARSKY_CHECK(AutogradError, defined(), "set_requires_grad: the tensor is undefined");
  CLEARSKY_CHECK(AutogradError, is_leaf(), "set_requires_grad: the tensor is the result of ",
                 detail::variable_of(*this)->node->name(), "; only leaves can be changed, use detach() first");
  detail::variable_for(*this).requires_grad = on;
  return *this;
}

template <class T>
Tensor<T> Tensor<T>::grad() const {
  const detail::Variable* v = detail::variable_of(*this);
  return v == nullptr ? Tensor<T>() : Tensor<T>::from(v->grad);
}

template <class T>
void Tensor<T>::set_grad(const Tensor& g) const {
  detail::Variable* v = detail::variable_of(*this);
  CLEARSKY_CHECK(AutogradError, v != nullptr, "set_grad: the tensor takes part in no differentiation");
  CLEARSKY_CHECK(ShapeError, !g.defined() || g.shape() == shape_, "set_grad: gradient of shape ", g.shape(),
                 " for a tensor of shape ", shape_);
  v->grad = g;
}

template <class T>
void Tensor<T>::retain_grad() const {
  detail::Variable* v = detail::variable_of(*this);
  CLEARSKY_CHECK(AutogradError, v != nullptr && requires_grad(), "retain_grad: the tensor requires no gradient");
  if (v->node) v->node->retained = v;
}

template <class T>
void Tensor<T>::backward(const Tensor& seed, Retain retain) const {
  detail::check_seed("backward", *this, seed);
  detail::enable_gradients_of<T>();
  detail::BackwardPass({.retain_graph = retain == Retain::yes}).run(*this, seed);
}

template <class T>
void Tensor<T>::backward(Retain retain) const {
  CLEARSKY_CHECK(AutogradError, defined(), "backward: the tensor is undefined");
  backward(detail::unit_seed("backward", *this), retain);
}

/// Whether a gradient can be differentiated again.
enum class CreateGraph { no, yes };

/// The gradients of `y` with respect to `inputs`, without touching any tensor's grad().
///
/// @param seed          gradient of y, same shape; undefined for a y with one element
/// @param create_graph  yes: the result can be differentiated again (and the graph of y is kept)
/// @return              one gradient per input; undefined where y does not depend on it
/// @throws AutogradError when y requires no gradient, or an operation has no second derivative
template <class T>
std::vector<Tensor<T>> grad(const Tensor<T>& y, const std::vector<Tensor<T>>& inputs, Tensor<T> seed = {},
                            CreateGraph create_graph = CreateGraph::no, Retain retain = Retain::no) {
  if (!seed.defined()) seed = detail::unit_seed("grad", y);
  detail::check_seed("grad", y, seed);
  detail::enable_gradients_of<T>();
  const std::vector<detail::TensorBase> wanted(inputs.begin(), inputs.end());
  const bool twice = create_graph == CreateGraph::yes;
  detail::BackwardPass pass({.retain_graph = twice || retain == Retain::yes, .create_graph = twice, .wanted = wanted});
  std::vector<Tensor<T>> grads;
  for (auto& g : pass.run(y, seed)) grads.push_back(Tensor<T>::from(std::move(g)));
  return grads;
}

/// Calls hook(gradient) when the gradient of `x` is complete; what it returns goes on in its place.
/// @return  the id to remove it with
template <class T, class F>
HookId register_hook(Tensor<T>& x, F hook) {
  CLEARSKY_CHECK(AutogradError, x.requires_grad(), "register_hook: the tensor requires no gradient");
  static std::atomic<HookId> next{1};
  detail::Variable* v = detail::variable_of(x);
  auto& hooks = v->node ? v->node->hooks : v->hooks;
  const HookId id = next++;
  hooks.push_back({id, [hook](const detail::TensorBase& g) -> detail::TensorBase { return hook(Tensor<T>::from(g)); }});
  return id;
}

template <class T>
void remove_hook(Tensor<T>& x, HookId id) {
  if (detail::Variable* v = detail::variable_of(x)) {
    auto& hooks = v->node ? v->node->hooks : v->hooks;
    std::erase_if(hooks, [id](const detail::NamedHook& h) { return h.id == id; });
  }
}

}  // namespace clearsky

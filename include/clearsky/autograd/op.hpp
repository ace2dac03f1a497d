#pragma once
// apply(): runs an operation forward and records it for backward.
//
// An operation is a plain struct:
//
//     template <class T>
//     struct Softmax {
//       static constexpr const char* kName = "softmax";
//       int64_t dim;                                                    // its options
//       Tensor<T> forward(Saved<T>& saved, const Tensor<T>& x) const;    // one Tensor per differentiable input
//       Grads<T, 1> backward(const Saved<T>& saved, const Tensor<T>& g) const;
//     };
//
// backward returns one gradient per input, undefined where saved.needs(i) is false. Inputs that have no gradient
// (masks, indices) are members of the struct. An operation whose backward is a kernel and not made of operations says
//     static constexpr bool kTwiceDifferentiable = false;
// An operation on a list of tensors takes a std::span<const Tensor<T>> and returns a std::vector<Tensor<T>>.

#include <array>
#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "clearsky/autograd/engine.hpp"

namespace clearsky {

/// One gradient per input.
template <class T, size_t N>
using Grads = std::array<Tensor<T>, N>;

/// What an operation keeps from forward for backward.
template <class T>
class Saved {
 public:
  Saved() = default;
  Saved(const Saved&) = delete;
  Saved& operator=(const Saved&) = delete;
  [[gnu::noinline]] ~Saved() = default;  // each operation has one: its code would be in every program fifty times

  /// True when a gradient will be asked for; an operation need not compute what only backward reads otherwise.
  bool recording() const { return node_ != nullptr; }
  /// True when input i will be asked for its gradient.
  bool needs(size_t i) const { return i < needs_.size() && needs_[i]; }

  /// Keeps a tensor; returns its place for get(). Does nothing when no gradient will be asked for.
  [[gnu::noinline]] void keep(const Tensor<T>& t) {
    if (recording()) kept_.push_back({t, t.defined() ? t.storage()->version() : 0, false});
  }
  /// Keeps the output. Apart from keep(), because the output points to the graph, which would then point to itself.
  [[gnu::noinline]] void keep_output(const Tensor<T>& y) {
    if (recording()) kept_.push_back({y.detach(), y.storage()->version(), true});
  }

  /// The i-th kept tensor. @throws AutogradError when its elements were changed since
  Tensor<T> get(size_t i) const {
    const Entry& e = kept_[i];
    if (!e.value.defined()) return {};
    const uint64_t now = e.value.storage()->version();
    CLEARSKY_CHECK(AutogradError, now == e.version, node_->name(), ": a value of shape ", e.value.shape(),
                   " that was saved for backward was changed in place (version ", e.version, " then, ", now,
                   " now); change a clone() instead, or after backward");
    if (!e.output || !grad_enabled()) return e.value;
    Tensor<T> y = e.value;  // differentiable again, as it was seen by the caller
    detail::variable_for(y).node = detail::Pointer<detail::Node>(node_);
    return y;
  }
  Tensor<T> operator[](size_t i) const { return get(i); }
  size_t size() const { return kept_.size(); }

  Shape shapes[2];        ///< for an operation whose backward needs shapes only
  Tensor<int64_t> index;  ///< for an operation whose backward needs positions, not values

  // Used by apply().
  void record_for(detail::Node* node, std::vector<bool, detail::PoolAllocator<bool>> needs) {
    node_ = node;
    needs_ = std::move(needs);
  }
  void clear() {
    kept_.clear();
    index = {};
  }

 private:
  struct Entry {
    Tensor<T> value;
    uint64_t version;
    bool output;
  };
  std::vector<Entry, detail::PoolAllocator<Entry>> kept_;
  std::vector<bool, detail::PoolAllocator<bool>> needs_;
  detail::Node* node_ = nullptr;
};

namespace detail {

template <class Op>
constexpr bool twice_differentiable() {
  if constexpr (requires { Op::kTwiceDifferentiable; }) return Op::kTwiceDifferentiable;
  else return true;
}

/// What the engine must know of one operation on inputs of In.
template <class In>
struct OpKind {
  const char* name;
  bool twice_differentiable;
  void (*backward)(const void* op, const Saved<In>& saved, const TensorBase& g, std::span<TensorBase> inputs);
  size_t bytes;
  void* (*copy)(const void* op);  // null: its bytes are
  void (*destroy)(void* op);
};

template <class In>
[[gnu::noinline]] void hand_over(const char* op, std::span<Tensor<In>> grads, std::span<TensorBase> inputs) {
  CLEARSKY_CHECK(AutogradError, grads.size() == inputs.size(), op, ": backward gave ", int64_t(grads.size()),
                 " gradients for ", int64_t(inputs.size()), " inputs");
  for (size_t i = 0; i < inputs.size(); ++i) inputs[i] = std::move(grads[i]);
}

template <class Op>
inline constexpr bool kOpIsBytes = std::is_trivially_copyable_v<Op> && alignof(Op) <= alignof(std::max_align_t);
template <class Op>
constexpr auto copy_of_op() -> void* (*)(const void*) {
  if constexpr (kOpIsBytes<Op>) return nullptr;
  else return [](const void* op) -> void* { return new Op(*static_cast<const Op*>(op)); };
}
inline void free_op(void* op) {
  ::operator delete(op);
}
template <class Op>
constexpr auto end_of_op() -> void (*)(void*) {
  if constexpr (kOpIsBytes<Op>) return free_op;
  else return [](void* op) { delete static_cast<Op*>(op); };
}

/// In and Out are element types; they differ for cast only.
template <class Op, class In, class Out>
inline constexpr OpKind<In> kOpKind = {
    Op::kName,
    twice_differentiable<Op>(),
    [](const void* op, const Saved<In>& saved, const TensorBase& g, std::span<TensorBase> inputs) {
      if constexpr (!std::is_same_v<In, Out>) enable_gradients_of<In>();
      auto grads = static_cast<const Op*>(op)->backward(saved, Tensor<Out>::from(g));
      hand_over<In>(Op::kName, grads, inputs);
    },
    sizeof(Op),
    copy_of_op<Op>(),
    end_of_op<Op>()};

/// The node of one applied operation. It does not know its type: a class for each, with its table and its destructors,
/// would be a tenth of what a training step takes to compile.
template <class In>
class OpNode final : public Node {
 public:
  /// @param op  is copied
  OpNode(const OpKind<In>& kind, const void* op)
      : kind_(kind),
        op_(kind.copy != nullptr ? kind.copy(op) : std::memcpy(::operator new(kind.bytes), op, kind.bytes),
            kind.destroy) {}
  const char* name() const override { return kind_.name; }

  void backward(const TensorBase& g, std::span<TensorBase> inputs) override {
    CLEARSKY_CHECK(AutogradError, kind_.twice_differentiable || !grad_enabled(), name(),
                   ": no second derivative, its backward is a fused kernel; differentiate once, or compose it of "
                   "elementwise operations");
    kind_.backward(op_.get(), saved, g, inputs);
  }
  void release() override {
    saved.clear();
    Node::release();
  }

  Saved<In> saved;

 private:
  const OpKind<In>& kind_;
  std::unique_ptr<void, void (*)(void*)> op_;
};

inline void check_same_device(const char* op, const TensorBase& a, const TensorBase& b) {
  if (a.defined() && b.defined())
    CLEARSKY_CHECK(DeviceError, a.device() == b.device(), op, ": tensors on ", a.device(), " and ", b.device(),
                   "; move one with to()");
}

using NeedsList = std::vector<bool, PoolAllocator<bool>>;

/// Checks the devices; true when the operation must be recorded.
[[gnu::noinline]] inline bool must_record(const char* op, std::span<const TensorBase* const> inputs) {
  for (size_t i = 1; i < inputs.size(); ++i) check_same_device(op, *inputs[0], *inputs[i]);
  if (grad_enabled())
    for (const TensorBase* x : inputs)
      if (needs_grad(*x)) return true;
  return false;
}

template <class In>
[[gnu::noinline]] void connect(OpNode<In>& node, std::span<const TensorBase* const> inputs) {
  NeedsList needs;
  needs.reserve(inputs.size());
  node.edges.reserve(inputs.size());
  for (const TensorBase* x : inputs) {
    needs.push_back(needs_grad(*x));
    node.edges.push_back(edge_to(*x));
  }
  node.saved.record_for(&node, std::move(needs));
}

/// What goes on around one forward. Not inlined: there are fifty in a program.
template <class T>
class Recording {
 public:
  [[gnu::noinline]] Recording(const OpKind<T>& kind, const void* op, std::span<const TensorBase* const> inputs)
      : running_(kind.name) {
    if (!must_record(kind.name, inputs)) return;
    auto* node = new OpNode<T>(kind, op);
    node_ = Pointer<Node>(node);
    connect(*node, inputs);
    saved_ = &node->saved;
    guard_.emplace();
  }
  [[gnu::noinline]] ~Recording() = default;
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;

  Saved<T>& saved() { return *saved_; }

  template <class Out>
  [[gnu::noinline]] void finish(Tensor<Out>& y) {
    guard_.reset();
    if (!node_) return;
    if (y.grad_state()) y = y.detach();  // a forward that returned its input itself
    variable_for(y).node = std::move(node_);
  }

 private:
  const ProfileOperation running_;
  Pointer<Node> node_;
  Saved<T> nothing_;
  Saved<T>* saved_ = &nothing_;
  std::optional<NoGrad> guard_;
};

template <class Op, class T, class Forward>
auto apply_recorded(const Op& op, std::span<const TensorBase* const> inputs, Forward&& forward) {
  using Result = decltype(forward(op, std::declval<Saved<T>&>()));
  Recording<T> recording(kOpKind<Op, T, typename Result::value_type>, &op, inputs);
  Result y = forward(op, recording.saved());  // written once: it is the operation itself, inlined
  recording.finish(y);
  return y;
}

}  // namespace detail

/// Runs op.forward on the inputs and, when one of them needs a gradient, records it.
/// @throws DeviceError when the inputs lie on two devices
template <class Op, class T, class... Rest>
auto apply(const Op& op, const Tensor<T>& x, const Rest&... rest) {
  const detail::TensorBase* inputs[] = {&x, &rest...};
  return detail::apply_recorded<Op, T>(op, inputs,
                                       [&](const Op& o, Saved<T>& saved) { return o.forward(saved, x, rest...); });
}

/// As apply, for an operation on any number of tensors.
template <class Op, class T>
auto apply_list(const Op& op, std::span<const Tensor<T>> inputs) {
  std::vector<const detail::TensorBase*> pointers;
  pointers.reserve(inputs.size());
  for (const Tensor<T>& x : inputs) pointers.push_back(&x);
  return detail::apply_recorded<Op, T>(op, pointers,
                                       [&](const Op& o, Saved<T>& saved) { return o.forward(saved, inputs); });
}

}  // namespace clearsky

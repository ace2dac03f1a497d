#pragma once
// The graph: one Node per recorded operation, with an edge to where each input's gradient goes.

#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "clearsky/autograd/grad_mode.hpp"
#include "clearsky/core/profile.hpp"
#include "clearsky/core/tensor.hpp"

namespace clearsky::detail {

class Node;
class Variable;

/// Changes or observes a gradient on its way; returns the gradient to go on with.
using Hook = std::function<TensorBase(const TensorBase&)>;

struct NamedHook {
  HookId id;
  Hook run;
};

/// Where an input's gradient goes: into the node that made it, or into a leaf. Neither when none is wanted.
struct Edge {
  Pointer<Node> node;
  Pointer<Variable> leaf;
  explicit operator bool() const { return node || leaf; }
};

using Edges = std::vector<Edge, PoolAllocator<Edge>>;

/// One recorded operation with one output.
class Node : public RefCounted {
 public:
  Node() : recorded_in(recording_module()), sequence_(next_sequence()) {}

  virtual const char* name() const = 0;
  /// Gradients of the inputs from that of the output; entries without an edge may stay undefined.
  virtual void backward(const TensorBase& g, std::span<TensorBase> inputs) = 0;
  /// Drops the saved values and the edges, so that memory is free as soon as it has been consumed.
  virtual void release() {
    released = true;
    edges.clear();
  }

  /// Later operations have larger numbers; an operation's inputs always have smaller ones.
  uint64_t sequence() const { return sequence_; }
  /// The number that the next operation gets, on whatever thread.
  static uint64_t upcoming_sequence() { return counter().load(std::memory_order_relaxed); }

  const ProfiledModule recorded_in;  ///< whose time backward through it is, where somebody listens
  Edges edges;
  bool released = false;
  std::vector<NamedHook> hooks;
  Variable* retained = nullptr;  ///< the tensor that wants a copy of the gradient, or null

  // Used by the engine while a pass runs.
  TensorBase pending;
  bool queued = false;

 private:
  static std::atomic<uint64_t>& counter() {
    static std::atomic<uint64_t> next{0};
    return next;
  }
  static uint64_t next_sequence() { return counter().fetch_add(1, std::memory_order_relaxed); }

  /// A long chain of nodes must not be destroyed by recursion: each one is put on a list and the list is worked off.
  void dispose() override {
    static thread_local std::vector<Node*>* dying = nullptr;
    if (dying != nullptr) {
      dying->push_back(this);
      return;
    }
    std::vector<Node*> list{this};
    dying = &list;
    while (!list.empty()) {
      Node* next = list.back();
      list.pop_back();
      delete next;
    }
    dying = nullptr;
  }

  uint64_t sequence_;
};

/// What a tensor that takes part in differentiation has beside its elements.
class Variable : public GradState {
 public:
  ~Variable() override {
    if (node && node->retained == this) node->retained = nullptr;
  }

  bool requires_grad = false;
  Pointer<Node> node;  ///< what computed it; null for a leaf
  TensorBase grad;
  std::vector<NamedHook> hooks;  ///< of a leaf; other tensors' hooks are kept at their node

  // Used by the engine while a pass runs.
  TensorBase pending;
  bool queued = false;
};

inline Variable* variable_of(const TensorBase& t) {
  return static_cast<Variable*>(t.grad_state().get());
}

[[gnu::noinline]] inline Variable& variable_for(TensorBase& t) {
  if (!t.grad_state()) t.set_grad_state(Pointer<GradState>(new Variable));
  return *variable_of(t);
}

inline bool needs_grad(const TensorBase& t) {
  const Variable* v = variable_of(t);
  return v != nullptr && (v->requires_grad || v->node);
}

[[gnu::noinline]] inline Edge edge_to(const TensorBase& t) {
  Variable* v = variable_of(t);
  if (v == nullptr) return {};
  if (v->node) return {v->node, {}};
  if (v->requires_grad) return {{}, Pointer<Variable>(v)};
  return {};
}

}  // namespace clearsky::detail

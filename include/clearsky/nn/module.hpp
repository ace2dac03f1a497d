#pragma once
// Modules: plain structs that hold parameters and other modules, and list them once, in each_part.
//
//     struct ResidualBlock {
//       nn::Conv2d<> conv1, conv2;
//       Tensor<> operator()(const Tensor<>& x) const {
//         const ProfileModule scope(*this);  // may be left out: its time is then that of who called it
//         return x + conv2(relu(conv1(x)));
//       }
//       template <class Visit>
//       void each_part(Visit&& visit) {
//         visit("conv1", conv1);
//         visit("conv2", conv2);
//       }
//     };
//
// That list is the only place where names are born: weight files, optimizers, freezing, summaries, start values and
// profiles all take the same walk over it. A part is a Parameter, a Buffer, a module, or a List, vector, array or
// optional of modules; elements of lists are named by their number.

#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "clearsky/autograd/engine.hpp"
#include "clearsky/nn/init.hpp"

namespace clearsky::nn {

/// Whether a module learns from what it sees now; dropout and batch normalisation ask for it.
enum class Mode { inference, training };

/// Whether a layer adds a constant to each output.
enum class Bias { no, yes };

/// A tensor that is trained, and the rule of its start values.
///
/// Undefined (default-constructed) it stands for an absent one, as the bias of a layer without, and is passed over by
/// walks. It cannot be copied, since both copies would share their elements; load_state copies values.
template <class T = float>
struct Parameter {
  using value_type = T;
  Tensor<T> value;
  Initial initial;

  // Not inlined, as moving is not: a block has a dozen.
  [[gnu::noinline]] Parameter() = default;
  /// Filled by its rule from one fixed key, so that a layer on its own works at once; initialise() gives each parameter
  /// of a module numbers of its own.
  Parameter(const Shape& shape, const Initial& rule) : value(shape), initial(rule) {
    fill_initial(value, initial, Key{});
    value.set_requires_grad();
  }
  [[gnu::noinline]] Parameter(Parameter&&) noexcept = default;
  [[gnu::noinline]] Parameter& operator=(Parameter&&) noexcept = default;

  bool defined() const { return value.defined(); }
};

/// A tensor that belongs to a module's state but is not trained: running statistics.
template <class T = float>
struct Buffer {
  using value_type = T;
  Tensor<T> value;
  Initial initial;

  Buffer() = default;
  Buffer(const Shape& shape, double start) : value(shape), initial(init::constant(start)) {
    fill_initial(value, initial, Key{});
  }
  Buffer(Buffer&&) noexcept = default;
  Buffer& operator=(Buffer&&) noexcept = default;

  bool defined() const { return value.defined(); }
};

/// Modules of one kind, as many as they are made with. A std::vector would do as well, but for what it compiles to move
/// them when it grows: a hundred lines of machine code for each parameter of a block.
template <class Module>
class List {
 public:
  List() = default;
  /// @param make  from a place 0 .. count - 1 to the module there
  template <class Make>
  [[gnu::cold]] List(int64_t count, Make&& make) : List() {
    memory_.reset(static_cast<Module*>(::operator new(size_t(count) * sizeof(Module))));
    for (int64_t i = 0; i < count; ++i, ++size_) new (memory_.get() + i) Module(make(i));
  }
  List(List&& other) noexcept : size_(std::exchange(other.size_, 0)), memory_(std::move(other.memory_)) {}
  List& operator=(List&& other) noexcept {
    std::swap(size_, other.size_);
    std::swap(memory_, other.memory_);
    return *this;
  }
  ~List() { std::destroy(begin(), end()); }

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  Module* begin() { return memory_.get(); }
  Module* end() { return begin() + size_; }
  const Module* begin() const { return memory_.get(); }
  const Module* end() const { return begin() + size_; }
  Module& operator[](size_t i) { return begin()[i]; }
  const Module& operator[](size_t i) const { return begin()[i]; }

 private:
  struct Free {
    void operator()(Module* memory) const { ::operator delete(memory); }
  };
  size_t size_ = 0;
  std::unique_ptr<Module, Free> memory_;
};

/// A parameter's name and its tensor, a handle on the same elements and the same gradient.
template <class T = float>
struct NamedParameter {
  std::string name;
  Tensor<T> value;
};

namespace detail {

template <class Part>
struct LeafKind {
  static constexpr bool parameter = false, buffer = false;
};
template <class T>
struct LeafKind<Parameter<T>> {
  static constexpr bool parameter = true, buffer = false;
};
template <class T>
struct LeafKind<Buffer<T>> {
  static constexpr bool parameter = false, buffer = true;
};

struct AnyVisit {
  template <class Part>
  void operator()(const char*, Part&) const {}
};

[[gnu::noinline]] inline std::string join_names(const std::string& path, std::string_view name) {
  std::string joined = path;
  if (!path.empty()) joined += '.';
  return joined += name;
}

template <class Visit>
struct Walk;

/// visit(name, leaf) for every Parameter and Buffer below `part`, in the order of each_part.
template <class Part, class Visit>
void walk(Part& part, const std::string& path, Visit& visit) {
  if constexpr (LeafKind<Part>::parameter || LeafKind<Part>::buffer) {
    if (part.defined()) visit(path, part);
  } else if constexpr (requires { part.each_part(AnyVisit{}); }) {
    part.each_part(Walk<Visit>{path, visit});
  } else if constexpr (requires { part.begin() != part.end(); }) {
    size_t i = 0;
    for (auto& element : part) Walk<Visit>{path, visit}(std::to_string(i++).c_str(), element);
  } else {
    static_assert(
        requires { part.has_value(); },
        "a part is a Parameter, a Buffer, a module with each_part, or a list or std::optional of modules");
    if (part.has_value()) walk(*part, path, visit);
  }
}

/// One part further down. Compiled once for each type of part, and for size: walks are rare.
template <class Visit>
struct Walk {
  const std::string& path;
  Visit& visit;

  template <class Part>
  [[gnu::cold, gnu::noinline]] void operator()(const char* name, Part& part) const {
    walk(part, join_names(path, name), visit);
  }
};

/// The element type of a module: its value_type, or float.
template <class Module>
struct ElementOf {
  using type = float;
};
template <class Module>
requires requires {
  typename Module::value_type;
}
struct ElementOf<Module> {
  using type = typename Module::value_type;
};

/// True for "decoder" and everything below it; an empty prefix names everything.
inline bool name_is_below(const std::string& name, const std::string& prefix) {
  return prefix.empty() || name == prefix || (name.starts_with(prefix) && name[prefix.size()] == '.');
}

}  // namespace detail

/// The element type of a module's parameters.
template <class Module>
using ElementType = typename detail::ElementOf<std::remove_const_t<Module>>::type;

/// Calls visit(name, parameter) for every parameter below `module`, names joined by dots. A module's constness is that
/// of its handles: the elements can be changed through a const one, too.
template <class Module, class Visit>
void each_parameter(Module& module, Visit&& visit, const std::string& prefix = "") {
  auto only_parameters = [&](const std::string& name, auto& leaf) {
    if constexpr (detail::LeafKind<std::remove_reference_t<decltype(leaf)>>::parameter) visit(name, leaf);
  };
  detail::walk(const_cast<std::remove_const_t<Module>&>(module), prefix, only_parameters);
}

/// As each_parameter, for the buffers.
template <class Module, class Visit>
void each_buffer(Module& module, Visit&& visit, const std::string& prefix = "") {
  auto only_buffers = [&](const std::string& name, auto& leaf) {
    if constexpr (detail::LeafKind<std::remove_reference_t<decltype(leaf)>>::buffer) visit(name, leaf);
  };
  detail::walk(const_cast<std::remove_const_t<Module>&>(module), prefix, only_buffers);
}

/// All parameters in the order of the walk.
template <class Module, class T = ElementType<Module>>
std::vector<NamedParameter<T>> parameters(Module& module) {
  std::vector<NamedParameter<T>> list;
  each_parameter(module, [&](const std::string& name, Parameter<T>& p) { list.push_back({name, p.value}); });
  return list;
}

/// The parameters that are not frozen.
template <class Module, class T = ElementType<Module>>
std::vector<NamedParameter<T>> trainable_parameters(Module& module) {
  std::vector<NamedParameter<T>> list = parameters(module);
  std::erase_if(list, [](const auto& p) { return !p.value.requires_grad(); });
  return list;
}

/// The number of elements of all parameters below `prefix`.
template <class Module>
int64_t parameter_count(Module& module, const std::string& prefix = "") {
  int64_t count = 0;
  each_parameter(module, [&](const std::string& name, auto& p) {
    if (detail::name_is_below(name, prefix)) count += p.value.numel();
  });
  return count;
}

/// Moves every parameter and buffer to a device. Their gradients are dropped, and what holds on to the old tensors
/// (an optimizer, an average) must be made anew.
/// @throws DeviceError when the program has no such device
template <class Module>
void to(Module& module, Device device) {
  auto move = [&](const std::string&, auto& leaf) {
    if (leaf.value.device() == device) return;
    const bool trained = leaf.value.requires_grad();
    leaf.value = clearsky::detail::copy_on(leaf.value, device);
    if (trained) leaf.value.set_requires_grad();
  };
  detail::walk(module, "", move);
}

/// Gives every parameter and buffer its start value.
///
/// The numbers depend on seed and name alone, so that a part that is added, left out or attached later changes no
/// other.
///
/// @param prefix  where the module stands in a larger one that the names are meant for
template <class Module>
void initialise(Module& module, uint64_t seed, const std::string& prefix = "") {
  auto fill = [&](const std::string& name, auto& leaf) {
    fill_initial(leaf.value, leaf.initial, Key{seed}.at(detail::name_hash(name)));
  };
  detail::walk(module, prefix, fill);
}

namespace detail {

template <class Module>
void set_trainable(const char* op, Module& module, const std::string& prefix, bool on) {
  bool found = false;
  std::string tops, last;
  each_parameter(module, [&](const std::string& name, auto& p) {
    if (const std::string top = name.substr(0, name.find('.')); top != last) {
      tops += (tops.empty() ? "" : ", ") + top;
      last = top;
    }
    if (!name_is_below(name, prefix)) return;
    found = true;
    p.value.set_requires_grad(on);
    if (!on) p.value.set_grad({});
  });
  CLEARSKY_CHECK(ValueError, found, op, ": no parameter is named ", prefix, " or lies below it; the module has ", tops);
}

}  // namespace detail

/// Freezes the parameters below `prefix` (a whole part of the name; empty: all): operations record nothing for their
/// sake, optimizers pass them over, and a gradient they hold is dropped.
/// @throws ValueError when there is none
template <class Module>
void freeze(Module& module, const std::string& prefix = "") {
  detail::set_trainable("freeze", module, prefix, false);
}
/// The opposite of freeze.
template <class Module>
void unfreeze(Module& module, const std::string& prefix = "") {
  detail::set_trainable("unfreeze", module, prefix, true);
}

/// The parameters for which `chosen(name, value)` holds, and the others; both in the order given.
template <class T, class Predicate>
std::pair<std::vector<NamedParameter<T>>, std::vector<NamedParameter<T>>> partition(
    const std::vector<NamedParameter<T>>& list, Predicate&& chosen) {
  std::pair<std::vector<NamedParameter<T>>, std::vector<NamedParameter<T>>> parts;
  for (const auto& p : list) (chosen(p.name, p.value) ? parts.first : parts.second).push_back(p);
  return parts;
}

}  // namespace clearsky::nn

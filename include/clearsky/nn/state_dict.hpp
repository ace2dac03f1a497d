#pragma once
// Tensors by name, out of a module and into it: what weight files and checkpoints hold.

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "clearsky/nn/module.hpp"

namespace clearsky::nn {

/// Tensors of any element type by name; the type that clearsky/io/safetensors.hpp reads and writes.
using StateDict = std::map<std::string, clearsky::detail::TensorBase>;

/// Whether names must be the same on both sides.
enum class Strict { no, yes };

struct LoadOptions {
  std::string source = "the given tensors";  ///< for messages: the file's name
  std::string owner = "the model";           ///< for messages: what is loaded into
  Strict strict = Strict::yes;
};

/// What a load with Strict::no left alone.
struct LoadReport {
  std::vector<std::string> missing;     ///< in the model only
  std::vector<std::string> unexpected;  ///< in the source only
};

namespace detail {

template <class From, class To>
void copy_converted(const clearsky::detail::TensorBase& from, To* to) {
  Tensor<From> typed = Tensor<From>::from(from);
  if (typed.device() != Device::cpu) typed = clearsky::detail::copy_on(typed, Device::cpu);
  clearsky::detail::each_offset(typed.shape(), typed.strides(),
                                [&, p = typed.data()](int64_t o) { *to++ = convert_element<To>(p[o]); });
}

inline bool is_floating(DType t) {
  return t == DType::f32 || t == DType::f64 || t == DType::f16 || t == DType::bf16;
}

/// Elements of `from`, converted, into the contiguous tensor `to` of the same shape. Other types than these have been
/// refused before.
template <class T>
void load_elements(const clearsky::detail::TensorBase& from, const Tensor<T>& to) {
  if (to.device() != Device::cpu) {
    const Tensor<T> host(to.shape());
    load_elements(from, host);
    clearsky::detail::transfer(to.mutable_data(), to.device(), host.data(), Device::cpu, size_t(to.bytes()));
    return;
  }
  T* out = to.mutable_data();
  if constexpr (kDifferentiable<T>) {
    if (from.dtype() == DType::f32) return copy_converted<float>(from, out);
    if (from.dtype() == DType::f64) return copy_converted<double>(from, out);
    if (from.dtype() == DType::f16) return copy_converted<Half>(from, out);
    if (from.dtype() == DType::bf16) return copy_converted<BFloat16>(from, out);
  }
  return copy_converted<T>(from, out);
}

inline std::string and_others(size_t count) {
  return count > 1 ? " and " + std::to_string(count - 1) + (count > 2 ? " others" : " other") : "";
}

/// Where a state dict's tensors go.
struct LoadTarget {
  std::string name;
  Shape shape;
  DType dtype;
};

/// Compares names, shapes and types; throws before anything has been written.
inline LoadReport compare_states(const std::vector<LoadTarget>& targets, const StateDict& dict,
                                 const LoadOptions& options) {
  LoadReport report;
  std::map<std::string, const LoadTarget*> wanted;
  int64_t differing = 0;
  const LoadTarget* first = nullptr;
  for (const LoadTarget& t : targets) {
    wanted.emplace(t.name, &t);
    const auto found = dict.find(t.name);
    if (found == dict.end()) {
      report.missing.push_back(t.name);
      continue;
    }
    if (found->second.shape() != t.shape && ++differing == 1) first = &t;
    const DType from = found->second.dtype();
    CLEARSKY_CHECK(DTypeError, from == t.dtype || (is_floating(from) && is_floating(t.dtype)), "load_weights: ", t.name,
                   " has elements of type ", from, " in ", options.source, " but ", t.dtype, " in ", options.owner,
                   "; only floating types are converted");
  }
  const auto all = int64_t(targets.size());
  if (first != nullptr)
    CLEARSKY_FAIL(ShapeError, "load_weights: ", first->name, " is ", dict.at(first->name).shape(), " in ",
                  options.source, " but ", first->shape, " in ", options.owner, "; ", differing, " of ", all,
                  " tensors differ");
  for (const auto& [name, tensor] : dict)
    if (wanted.count(name) == 0) report.unexpected.push_back(name);
  if (options.strict == Strict::no) return report;
  CLEARSKY_CHECK(ValueError, report.missing.empty(), "load_weights: ", options.source, " has no ",
                 report.missing.empty() ? "" : report.missing[0], and_others(report.missing.size()), " of the ", all,
                 " tensors of ", options.owner, "; load with Strict::no to leave such tensors as they are");
  CLEARSKY_CHECK(ValueError, report.unexpected.empty(), "load_weights: ", options.source, " has ",
                 report.unexpected.empty() ? "" : report.unexpected[0], and_others(report.unexpected.size()),
                 ", which ", options.owner, " has not; load with Strict::no to pass over such tensors");
  return report;
}

}  // namespace detail

/// Every parameter and buffer by name. The tensors share their elements with the module: write them to a file, or
/// clone them, before the next training step.
template <class Module>
StateDict state_dict(Module& module, const std::string& prefix = "") {
  StateDict dict;
  auto add = [&](const std::string& name, auto& leaf) { dict.emplace(name, leaf.value.detach()); };
  detail::walk(const_cast<std::remove_const_t<Module>&>(module), prefix, add);
  return dict;
}

/// Copies tensors into the parameters and buffers of the same names, converting between floating types.
///
/// Everything is compared first: when it throws, the module is as it was.
///
/// @return  with Strict::no, the names that only one side has
/// @throws  ShapeError when a tensor differs in shape; ValueError, unless Strict::no, when a name is missing or
///          unexpected; DTypeError for a tensor of integers
template <class Module>
LoadReport load_state(Module& module, const StateDict& dict, const LoadOptions& options = {}) {
  std::vector<detail::LoadTarget> targets;
  auto list = [&](const std::string& name, auto& leaf) {
    targets.push_back({name, leaf.value.shape(), leaf.value.dtype()});
  };
  detail::walk(module, "", list);
  LoadReport report = detail::compare_states(targets, dict, options);
  auto copy = [&](const std::string& name, auto& leaf) {
    const auto found = dict.find(name);
    if (found != dict.end()) detail::load_elements(found->second, leaf.value);
  };
  detail::walk(module, "", copy);
  return report;
}

}  // namespace clearsky::nn

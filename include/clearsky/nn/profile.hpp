#pragma once
// Names of modules for a profile: those that their parameters' names begin with.

#include "clearsky/nn/module.hpp"

namespace clearsky::nn {
namespace detail {

template <class Profiler, class Part>
void name_parts(Profiler& profiler, Part& part, const std::string& path, const std::string& own_name) {
  if constexpr (LeafKind<Part>::parameter || LeafKind<Part>::buffer) {
    return;
  } else if constexpr (requires { part.each_part(AnyVisit{}); }) {
    profiler.name(part, path.empty() ? own_name : path);
    part.each_part([&](const char* name, auto& child) { name_parts(profiler, child, join_names(path, name), ""); });
  } else if constexpr (requires { part.begin() != part.end(); }) {
    size_t i = 0;
    for (auto& element : part) name_parts(profiler, element, join_names(path, std::to_string(i++)), "");
  } else if (part.has_value()) {
    name_parts(profiler, *part, path, "");
  }
}

}  // namespace detail

/// Gives every module below `module` its name, as nn::each_parameter gives parameters theirs. The model must stay where
/// it is for as long as it is profiled with these names.
///
/// @param profiler  an io::Profiler (clearsky/io/profiler.hpp)
/// @param own_name   of the whole: the row of what it does itself
template <class Profiler, class Module>
void name_modules(Profiler& profiler, Module& module, const std::string& own_name = "model") {
  detail::name_parts(profiler, const_cast<std::remove_const_t<Module>&>(module), "", own_name);
}

}  // namespace clearsky::nn

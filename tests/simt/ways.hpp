#pragma once
// Every way in which simt can run a kernel, and the text of what it reports.

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "clearsky/cuda/portable.cuh"

namespace clearsky::test {

inline std::vector<simt::Settings> every_way() {
  std::vector<simt::Settings> ways;
  for (simt::FiberKind fibers : {simt::kDefaultFibers, simt::FiberKind::ucontext})
    for (simt::Order order : {simt::Order::forward, simt::Order::reverse, simt::Order::random})
      ways.push_back({order, ways.size(), simt::Copies::late, fibers});
  return ways;
}

/// Calls body() once for each way of running kernels.
template <class Body>
void each_way(Body&& body) {
  for (const simt::Settings& way : every_way()) {
    CAPTURE(int(way.order));
    CAPTURE(int(way.fibers));
    const simt::UseSettings guard(way);
    body();
  }
}

/// The message of the exception that body() throws, or "nothing thrown".
template <class Body>
std::string message_of(Body&& body) {
  try {
    body();
  } catch (const Error& e) {
    return e.what();
  }
  return "nothing thrown";
}

inline bool contains(const std::string& text, const std::string& part) {
  const bool found = text.find(part) != text.npos;
  if (!found) MESSAGE("missing: " << part << "\nin: " << text);
  return found;
}

}  // namespace clearsky::test

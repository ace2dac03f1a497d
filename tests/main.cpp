// The test program's main: fresh memory is poisoned with NaN and watched for writes behind its end, in every test.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>

#include "clearsky/core/memory.hpp"

int main(int argc, char** argv) {
  clearsky::detail::guard_memory = true;
  doctest::Context context(argc, argv);
  const int result = context.run();
  const auto overruns = clearsky::detail::memory_overruns.load();
  if (overruns != 0) std::fprintf(stderr, "%ld blocks of memory were written behind their end\n", long(overruns));
  return overruns != 0 ? 1 : result;
}

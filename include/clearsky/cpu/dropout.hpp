#pragma once
// Masks for dropout.

#include <cstdint>

#include "clearsky/core/compile_once.hpp"
#include "clearsky/core/philox.hpp"
#include "clearsky/core/threads.hpp"

namespace clearsky::cpu {

/// 0 with probability p, else 1 / (1 - p); by number i of the key's sequence for element i.
template <class T>
struct DropoutMask {
  Key key;
  double p;  // 0 to 1
  T* y;      // (count)  written
  int64_t count;
};

template <class T>
void dropout_mask(const DropoutMask<T>& d) {
  const T kept = d.p < 1 ? T(1 / (1 - d.p)) : T(0);
  parallel_for(d.count, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) d.y[i] = d.key.uniform(uint64_t(i)) < d.p ? T(0) : kept;
  });
}
CLEARSKY_COMPILE_ONCE(dropout_mask)

}  // namespace clearsky::cpu

#pragma once
// How kernels are run on the CPU. No correct kernel can tell the orders apart.

#include <cstdint>

#include "clearsky/simt/fiber.hpp"

namespace clearsky::simt {

/// The order of the threads in a warp, of the warps in a block and of the blocks in a grid. A warp runs as far as it
/// can, up to a barrier of the block, before the next one does: so far apart, and no further, may warps be on a device.
enum class Order {
  forward,
  reverse,
  random,  ///< drawn anew at each turn, from the seed; some threads sit a turn out
};

/// When asynchronous copies happen. Late ones show a missing wait, early ones a tile that is still being read.
enum class Copies {
  late,   ///< at the wait
  early,  ///< at once
};

struct Settings {
  Order order = Order::forward;
  uint64_t seed = 0;
  Copies copies = Copies::late;
  FiberKind fibers = kDefaultFibers;
};

namespace detail {
inline constinit thread_local Settings settings{};
}

/// What launches of this thread use.
inline const Settings& settings() {
  return detail::settings;
}

/// While alive, launches of this thread use these settings.
///
///     for (Order order : {Order::forward, Order::reverse, Order::random}) {
///       UseSettings guard({.order = order});
///       launch(...);
///     }
class [[nodiscard]] UseSettings {
 public:
  explicit UseSettings(const Settings& settings) : before_(detail::settings) { detail::settings = settings; }
  ~UseSettings() { detail::settings = before_; }
  UseSettings(const UseSettings&) = delete;
  UseSettings& operator=(const UseSettings&) = delete;

 private:
  Settings before_;
};

}  // namespace clearsky::simt

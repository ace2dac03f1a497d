#pragma once
// launch(): the CPU in place of <<<grid, block, shared_bytes, stream>>>.

#include <atomic>
#include <exception>
#include <map>
#include <mutex>
#include <numeric>
#include <tuple>
#include <utility>

#include "clearsky/core/philox.hpp"
#include "clearsky/core/threads.hpp"
#include "clearsky/simt/block.hpp"
#include "clearsky/simt/global_memory.hpp"
#include "clearsky/simt/recording.hpp"

namespace clearsky::simt {

/// Kernels that may use more dynamic shared memory than every kernel may.
class SharedAttributes {
 public:
  static SharedAttributes& global() {
    static SharedAttributes attributes;
    return attributes;
  }
  void allow(AnyKernel kernel, size_t bytes) {
    CLEARSKY_CHECK(ValueError, bytes <= kSharedLimit, "allow_shared: ", bytes,
                   " bytes of shared memory, a block can have ", kSharedLimit, "; use smaller tiles");
    std::lock_guard lock(mutex_);
    allowed_[kernel] = bytes;
  }
  size_t allowed(AnyKernel kernel) {
    std::lock_guard lock(mutex_);
    const auto found = allowed_.find(kernel);
    return found == allowed_.end() ? kSharedWithoutAttribute : (std::max)(found->second, kSharedWithoutAttribute);
  }

 private:
  std::mutex mutex_;
  std::map<AnyKernel, size_t> allowed_;
};

namespace detail {

inline void check_launch(AnyKernel kernel, const cuda::dim3& grid, const cuda::dim3& block, size_t shared_bytes) {
  CLEARSKY_CHECK(ValueError, Block::current == nullptr, "launch: called by a kernel; launch from the host");
  const uint64_t threads = uint64_t(block.x) * block.y * block.z;
  CLEARSKY_CHECK(ValueError, 1 <= threads && block.x <= 1024 && block.y <= 1024 && block.z <= 64 && threads <= 1024,
                 "launch: block ", to_text(block), " has ", threads,
                 " threads; use 1 to 1024, at most (1024, 1024, 64)");
  CLEARSKY_CHECK(ValueError, grid.x >= 1 && grid.y >= 1 && grid.z >= 1, "launch: grid ", to_text(grid),
                 " is empty; return before the launch when there is nothing to do");
  CLEARSKY_CHECK(ValueError, grid.x <= 0x7fffffffu && grid.y <= 65535 && grid.z <= 65535, "launch: grid ",
                 to_text(grid), " is too large; use at most (2147483647, 65535, 65535)");
  const size_t allowed = SharedAttributes::global().allowed(kernel);
  CLEARSKY_CHECK(ValueError, shared_bytes <= allowed, "launch: ", shared_bytes,
                 " bytes of dynamic shared memory, this kernel may use ", allowed,
                 "; call allow_shared(kernel, bytes) first, for at most ", kSharedLimit);
}

inline Block& block_of_this_thread() {
  static thread_local Block block;
  return block;
}

}  // namespace detail

/// Runs every block of the grid, spread over the threads of parallel_for. Of several blocks that fail, the error of the
/// first is thrown, whatever the number of threads.
inline void run_grid(Block::Kernel kernel, const void* arguments, const cuda::dim3& grid, const cuda::dim3& block,
                     size_t shared_bytes) {
  const Settings use = settings();
  const int64_t blocks = int64_t(grid.x) * grid.y * grid.z;
  std::mutex mutex;
  std::exception_ptr error;
  std::atomic<int64_t> failed{blocks};
  // Odd and coprime to `blocks`, so that each block comes up once.
  uint64_t step = (Key{use.seed}.bits(0)[0] | 1u) % uint64_t(blocks);
  while (blocks > 1 && std::gcd(step, uint64_t(blocks)) != 1) step = (step + 1) % uint64_t(blocks);
  const auto run_block = [&](int64_t begin, int64_t) {
    int64_t i = begin;
    if (use.order == Order::reverse) i = blocks - 1 - begin;
    if (use.order == Order::random) i = int64_t(uint64_t(begin) * step % uint64_t(blocks));
    if (i > failed.load(std::memory_order_relaxed)) return;
    const cuda::uint3 index{unsigned(i % grid.x), unsigned(i / grid.x % grid.y), unsigned(i / grid.x / grid.y)};
    try {
      detail::block_of_this_thread().run(kernel, arguments, index, block, grid, shared_bytes, use,
                                         use.seed * 0x9e3779b97f4a7c15u + uint64_t(i));
    } catch (...) {
      std::lock_guard lock(mutex);
      if (i < failed.load(std::memory_order_relaxed)) {
        error = std::current_exception();
        failed.store(i, std::memory_order_relaxed);
      }
    }
  };
  if (kLens && watcher != nullptr) {
    for (int64_t i = 0; i < blocks; ++i) run_block(i, i + 1);
    watcher->launch_ends();
  } else {
    parallel_for(blocks, 1, run_block);
  }
  if (error != nullptr) std::rethrow_exception(error);
}

}  // namespace clearsky::simt

namespace clearsky::cuda::inline CLEARSKY_MEANING {

/// Lets a kernel use more than 48 KiB of dynamic shared memory (cudaFuncAttributeMaxDynamicSharedMemorySize).
/// @throws ValueError when no block can have that much
template <class... Parameters>
void allow_shared(void (*kernel)(Parameters...), size_t bytes) {
  simt::SharedAttributes::global().allow(reinterpret_cast<simt::AnyKernel>(kernel), bytes);
}

/// Runs a kernel. On a device it returns at once; here it returns when the kernel is done.
///
/// @param shared_bytes  dynamic shared memory of each block
/// @throws ValueError   when a limit of the hardware is passed, or the kernel waits or addresses memory wrongly;
///                      and whatever a thread of the kernel threw
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), const dim3& grid, const dim3& block, size_t shared_bytes,
            [[maybe_unused]] Stream stream, Arguments&&... arguments) {
  simt::detail::check_launch(reinterpret_cast<simt::AnyKernel>(kernel), grid, block, shared_bytes);
  struct Call {
    void (*kernel)(Parameters...);
    std::tuple<std::remove_cv_t<Parameters>...> arguments;  // converted once, copied by each thread, as on a device
  } call{kernel, std::tuple<std::remove_cv_t<Parameters>...>(std::forward<Arguments>(arguments)...)};
  const auto run = [call, grid, block, shared_bytes] {
    const simt::GlobalMemory::Access access;
    if (simt::kLens && simt::watcher != nullptr)
      simt::watcher->launch_begins(reinterpret_cast<simt::AnyKernel>(call.kernel), grid, block);
    simt::run_grid(
        [](const void* raw) {
          const Call c = *static_cast<const Call*>(raw);  // on the fiber's own stack, as the lens wants it
          [[maybe_unused]] const simt::Kernel runs;
          std::apply(c.kernel, c.arguments);
        },
        &call, grid, block, shared_bytes);
  };
  if (simt::recording() != nullptr) simt::recording()->push_back(run);
  else run();
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

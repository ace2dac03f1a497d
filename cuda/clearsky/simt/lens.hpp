#pragma once
// The lens: what kernels do to memory, access by access, on unmodified kernels.
//
//     simt::Lens lens;
//     my_kernel_launcher(arguments, nullptr);
//     lens.errors();            // empty for a correct kernel
//     lens.report().table();    // per source line: requests, sectors, bank conflicts, active lanes
//
// Kernels must be compiled with -fsanitize=thread -g1 -DCLEARSKY_SIMT_LENS=1 and linked without -fsanitize=thread, and
// one unit, compiled without -fsanitize=thread but with -DCLEARSKY_SIMT_LENS=1, includes
// clearsky/simt/lens/implementation.hpp: it has the functions that the compiler puts before each access. See
// tests/CMakeLists.txt.
//
// Errors: races between threads of a block and between blocks, accesses outside of an allocation or a shared array,
// memory that is no device memory, reads of memory that nobody wrote, accesses to what cp.async still copies.
//
// What orders two accesses: __syncthreads for a block, __syncwarp for the lanes of its mask, and cp_wait plus one of
// these for asynchronous copies. Shuffles and votes do not (CUDA C++ Programming Guide, "Warp Vote Functions"), nor do
// atomics, which only never race with each other.

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "clearsky/simt/watch.hpp"

namespace clearsky::simt {

struct LensOptions {
  bool statistics = true;                   ///< false: errors only, which is faster
  int64_t cache_bytes = int64_t{40} << 20;  ///< of the modelled L2 cache; an A100 has 40 MiB
};

struct SourceLine {
  std::string file;  ///< its name without folders; empty where nothing is known
  int line = 0;
  std::string function;
  uintptr_t address = 0;  ///< in the program's file, where the lines of the program are not known
};
/// "gemm.cuh:95", or the address.
std::string to_text(const SourceLine& line);

enum class LensErrorKind {
  shared_race,
  global_race,  ///< within a block
  block_race,   ///< between blocks
  shared_bounds,
  global_bounds,
  not_device_memory,
  uninitialized,   ///< shared or global memory that nobody wrote
  copy_under_way,  ///< access to what an asynchronous copy has not been waited for
  nothing_seen,    ///< since the lens is there: kernels that were compiled without instrumentation
};

struct LensError {
  LensErrorKind kind{};
  SourceLine line;   ///< of the access that showed it
  SourceLine other;  ///< of the earlier access, for races and copies
  std::string kernel;
  std::string text;   ///< says all of it
  int64_t times = 0;  ///< in this launch, for this pair of lines
};

/// What one source line did in one launch, for one kind of access to one kind of memory.
struct LensLine {
  SourceLine line;
  bool shared = false;
  AccessKind access{};
  int64_t requests = 0;          ///< of warps: lanes that run the same access together count once
  int64_t lanes = 0;             ///< that took part, over all requests: 32 times requests at best
  int64_t bytes = 0;             ///< asked for, over all lanes
  int64_t sectors = 0;           ///< global: of 32 bytes, that the requests touch
  int64_t ideal_sectors = 0;     ///< global: the least that hold the different bytes of each request
  int64_t wavefronts = 0;        ///< shared: passes that the banks need
  int64_t ideal_wavefronts = 0;  ///< shared: without conflicts
  int worst_ways = 0;            ///< shared: the most different words of one bank in one pass
};

struct LensLaunch {
  std::string kernel;
  uint32_t grid[3] = {}, block[3] = {};
  std::vector<LensLine> lines;                ///< by file and line
  int64_t read_bytes = 0, written_bytes = 0;  ///< global memory, as asked for by all threads (atomics: both)
  /// The least that must come from and go to global memory: different bytes that are read before this launch wrote
  /// them, and different bytes that are written.
  int64_t compulsory_read_bytes = 0, compulsory_written_bytes = 0;
  int64_t compulsory_read_sectors = 0, compulsory_written_sectors = 0;
  /// Sectors if nothing is kept between blocks and everything within one: DRAM traffic lies between this and the
  /// compulsory sectors, as far as the L2 cache serves several blocks. A model, not a measurement.
  int64_t block_read_sectors = 0, block_written_sectors = 0;
  /// Sectors that come from and go to memory behind an L2 cache of LensOptions::cache_bytes, empty before the launch,
  /// that keeps what was used last. Blocks run one after the other. A model, too.
  int64_t cached_read_sectors = 0, cached_written_sectors = 0;
};

struct LensReport {
  std::vector<LensLaunch> launches;
  std::vector<LensError> errors;
  std::string table() const;
  std::string json() const;
};

class LensTracker;

/// While it lives, it sees every access of the kernels that its thread launches. At most one lives at a time. Other
/// threads may use global memory meanwhile, and launch kernels, which it does not see.
class Lens {
 public:
  explicit Lens(const LensOptions& options = {});
  ~Lens();
  Lens(const Lens&) = delete;
  Lens& operator=(const Lens&) = delete;

  /// Asks addr2line for the lines, where there is something to report: that takes a moment.
  std::vector<LensError> errors() const;
  /// The texts of errors(), one a line.
  std::string error_text() const;
  std::vector<LensLaunch> launches() const;
  LensReport report() const;
  /// As report(), and forgets launches and errors.
  LensReport take();
  int64_t accesses() const;  ///< seen up to now, those to registers and locals left out

 private:
  std::unique_ptr<LensTracker> tracker_;
};

/// While it lives, this thread's lens sees no launch, and blocks run on all threads again. What kernels write meanwhile
/// counts as never written.
class LensPause {
 public:
  LensPause() : lens_(std::exchange(watcher, nullptr)) {}
  ~LensPause() { watcher = lens_; }
  LensPause(const LensPause&) = delete;
  LensPause& operator=(const LensPause&) = delete;

 private:
  Watcher* lens_;
};

}  // namespace clearsky::simt

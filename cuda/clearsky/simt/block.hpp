#pragma once
// One block of CUDA threads on one thread of the operating system: who runs, who waits for what, and the report when
// nobody can go on.

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "clearsky/simt/language.hpp"
#include "clearsky/simt/settings.hpp"
#include "clearsky/simt/shared_memory.hpp"

namespace clearsky::simt {

inline constexpr int kWarp = 32;

/// Where a kernel waits. Compared by line, and so each wait of a kernel needs a line of its own.
struct Site {
  const char* name;
  const char* file;
  int line;
};

inline std::string to_text(const Site& s) {
  const std::string path = s.file;
  return std::string(s.name) + " (" + path.substr(path.rfind('/') + 1) + ":" + std::to_string(s.line) + ")";
}

inline std::string mask_text(uint32_t mask) {
  char text[16];
  return std::string(text, size_t(__builtin_snprintf(text, sizeof text, "0x%08x", mask)));
}

inline std::string to_text(const cuda::uint3& v) {
  return "(" + std::to_string(v.x) + ", " + std::to_string(v.y) + ", " + std::to_string(v.z) + ")";
}
inline std::string to_text(const cuda::dim3& v) {
  return to_text(cuda::uint3{v.x, v.y, v.z});
}

/// An asynchronous copy that was asked for, and waits for its wait.
struct PendingCopy {
  void* to;
  const void* from;
  int bytes, valid;  // zeros are written behind the valid ones
  int group;
  bool done = false;         // early, as the settings want it
  const void* pc = nullptr;  // for the lens
};

class Block;

/// One CUDA thread.
struct Thread {
  enum class State : uint8_t { ready, at_barrier, at_warp, finished };
  /// Gives every lane of the mask its result. Run once, by the lane that came last.
  using Complete = void (*)(Thread* const* lanes, uint32_t mask);

  explicit Thread(FiberKind kind) : fiber(kind) {}

  Fiber fiber;
  Block* block = nullptr;
  cuda::uint3 index;
  int number = 0;
  State state = State::ready;
  bool started = false;
  Site site{};
  bool predicate = false;       // given to a barrier
  uint32_t mask = 0;            // of a rendezvous of the warp
  Complete complete = nullptr;  // what kind of rendezvous
  void* part = nullptr;         // what this lane gives to it, and gets
  bool orders_memory = false;   // __syncwarp does, shuffles and votes do not
  std::vector<PendingCopy> copies;
  int group = 0;  // copies up to now were committed in groups 0 to group - 1
};

class Block {
 public:
  using Kernel = void (*)(const void* arguments);

  /// Runs a whole block; throws what its first failing thread threw, after all its fibers are unwound.
  void run(Kernel kernel, const void* arguments, const cuda::uint3& index, const cuda::dim3& block,
           const cuda::dim3& grid, size_t dynamic_bytes, const Settings& settings, uint64_t draw) {
    kernel_ = kernel;
    arguments_ = arguments;
    count_ = int(block.x * block.y * block.z);
    cuda::blockIdx = index;
    cuda::blockDim = block;
    cuda::gridDim = grid;
    shared.start_block(dynamic_bytes);
    start_threads(block, settings.fibers);
    if constexpr (kLens)
      if (watcher != nullptr) {
        watcher->block_begins(index, shared);
        if (dynamic_bytes != 0) watcher->shared_array(shared.dynamic_array(), dynamic_bytes);
      }
    random_ = draw;
    order_ = settings.order;
    copies = settings.copies;
    while (finished_ < count_ && error_ == nullptr && take_turns()) {
    }
    const std::string stuck = error_ == nullptr && finished_ < count_ ? waiting() : std::string();
    unwind();
    current = nullptr;
    if constexpr (kLens)
      if (watcher != nullptr) watcher->block_ends();
    if (error_ != nullptr) std::rethrow_exception(std::exchange(error_, nullptr));
    CLEARSKY_CHECK(ValueError, stuck.empty(), "simt: block ", to_text(index), " is stuck: ", stuck,
                   "; every thread must come to the same barrier, and every lane of a mask to the same warp function");
    shared.check_gaps();
  }

  /// The thread whose fiber runs, or null outside of kernels.
  static inline constinit thread_local Thread* current = nullptr;

  /// All threads that have not ended come here; then everyone goes on, with the number of true predicates.
  int barrier(const Site& site, bool predicate) {
    Thread& t = *current;
    refuse_if_unwinding();
    if (arrived_ == 0) {
      barrier_site_ = site;
      predicates_ = 0;
    }
    CLEARSKY_CHECK(ValueError, same(site, barrier_site_), "simt: divergent barriers in block ", to_text(cuda::blockIdx),
                   ": ", waiting(), ", and thread ", t.number, " comes to ", to_text(site),
                   "; move the barrier out of the branch");
    ++arrived_;
    predicates_ += predicate;
    wait(Thread::State::at_barrier, site, [&] { release_barrier(); });
    return barrier_result_;
  }

  /// The lanes of the mask come here; the last one completes, then they go on.
  void rendezvous(const Site& site, uint32_t mask, Thread::Complete complete, void* part, bool orders_memory = false) {
    Thread& t = *current;
    refuse_if_unwinding();
    const int lane = t.number % kWarp;
    CLEARSKY_CHECK(ValueError, (mask >> lane & 1) != 0, "simt: lane ", lane, " of warp ", t.number / kWarp, " calls ",
                   to_text(site), " with mask ", mask_text(mask), ", which leaves it out; set its bit");
    Thread* const* lanes = warp(t);
    for (int i = 0; i < kWarp; ++i) {
      if (lanes[i] == nullptr || lanes[i]->state != Thread::State::at_warp || (mask >> i & 1) == 0) continue;
      const Thread& other = *lanes[i];
      if ((other.mask >> lane & 1) == 0) continue;  // waits for others first
      CLEARSKY_CHECK(ValueError, other.mask == mask, "simt: lanes of warp ", t.number / kWarp,
                     " disagree on the mask: lane ", i, " waits at ", to_text(other.site), " with ",
                     mask_text(other.mask), ", lane ", lane, " comes to ", to_text(site), " with ", mask_text(mask),
                     "; give every lane of a mask the same mask");
      CLEARSKY_CHECK(ValueError, other.complete == complete, "simt: lanes of warp ", t.number / kWarp,
                     " call different functions: lane ", i, " waits at ", to_text(other.site), ", lane ", lane,
                     " comes to ", to_text(site), "; let every lane of the mask call the same one");
    }
    t.mask = mask;
    t.complete = complete;
    t.part = part;
    t.orders_memory = orders_memory;
    wait(Thread::State::at_warp, site, [&] { release_warp(lanes, mask); });
  }

  /// The current thread does not go on, and the block ends with this error. For an access that would end the program:
  /// the compiler thinks that instrumentation throws nothing.
  [[noreturn]] void stop(std::exception_ptr error) {
    if (error_ == nullptr) error_ = std::move(error);
    current->state = Thread::State::finished;
    ++finished_;
    current->fiber.suspend();
    __builtin_unreachable();
  }

  /// Lanes of the current warp that have not ended.
  uint32_t live_lanes() const {
    Thread* const* lanes = warp(*current);
    uint32_t live = 0;
    for (int i = 0; i < kWarp; ++i)
      if (lanes[i] != nullptr && lanes[i]->state != Thread::State::finished) live |= 1u << i;
    return live;
  }

  SharedMemory shared;
  Copies copies = Copies::late;

 private:
  /// Thrown through fibers that are left over when a block fails, so that their locals are destroyed.
  struct Unwind {};

  static bool same(const Site& a, const Site& b) {
    return a.line == b.line && (a.file == b.file || std::strcmp(a.file, b.file) == 0);
  }

  void start_threads(const cuda::dim3& block, FiberKind kind) {
    if (kind != kind_) threads_.clear();
    kind_ = kind;
    while (threads_.size() < size_t(count_)) threads_.push_back(std::make_unique<Thread>(kind));
    lanes_.assign(size_t((count_ + kWarp - 1) / kWarp * kWarp), nullptr);
    for (int i = 0; i < count_; ++i) {
      Thread& t = *threads_[size_t(i)];
      lanes_[size_t(i)] = &t;
      t.block = this;
      t.number = i;
      t.index = {unsigned(i) % block.x, unsigned(i) / block.x % block.y, unsigned(i) / (block.x * block.y)};
      t.state = Thread::State::ready;
      t.started = false;
      t.copies.clear();
      t.group = 0;
      t.fiber.prepare(&Block::run_thread, &t);
    }
    finished_ = arrived_ = 0;
    unwinding_ = false;
    error_ = nullptr;
  }

  static void run_thread(void* context) {
    Thread& t = *static_cast<Thread*>(context);
    Block& block = *t.block;
    try {
      block.kernel_(block.arguments_);
    } catch (const Unwind&) {
    } catch (...) {
      if (block.error_ == nullptr) block.error_ = std::current_exception();
    }
    t.state = Thread::State::finished;
    ++block.finished_;
    // Nobody waits for a thread that has ended.
    if (block.unwinding_ || block.error_ != nullptr) return;
    try {
      if (block.arrived_ != 0) block.release_barrier();
      Thread* const* lanes = block.warp(t);
      for (int i = 0; i < kWarp; ++i)
        if (lanes[i] != nullptr && lanes[i]->state == Thread::State::at_warp) block.release_warp(lanes, lanes[i]->mask);
    } catch (...) {
      block.error_ = std::current_exception();
    }
  }

  template <class Release>
  void wait(Thread::State state, const Site& site, Release&& release) {
    Thread& t = *current;
    t.state = state;
    t.site = site;
    release();
    t.fiber.suspend();
    refuse_if_unwinding();
  }

  void refuse_if_unwinding() const {
    if (unwinding_) throw Unwind{};
  }

  void release_barrier() {
    if (arrived_ + finished_ != count_) return;
    barrier_result_ = predicates_;
    arrived_ = 0;
    ++phase_;
    if constexpr (kLens)
      if (watcher != nullptr) watcher->block_synchronized();
    for (int i = 0; i < count_; ++i)
      if (lanes_[size_t(i)]->state == Thread::State::at_barrier) lanes_[size_t(i)]->state = Thread::State::ready;
  }

  /// Lets the mask's lanes go, and no others: tiles smaller than a warp move on their own.
  static void release_warp(Thread* const* lanes, uint32_t mask) {
    uint32_t here = 0;
    for (int i = 0; i < kWarp; ++i) {
      if ((mask >> i & 1) == 0 || lanes[i] == nullptr || lanes[i]->state == Thread::State::finished) continue;
      if (lanes[i]->state != Thread::State::at_warp || lanes[i]->mask != mask) return;
      here |= 1u << i;
    }
    const Thread& first = *lanes[std::countr_zero(here)];
    first.complete(lanes, here);
    if constexpr (kLens)
      if (watcher != nullptr) watcher->warp_met(unsigned(first.number / kWarp), here, first.orders_memory);
    for (int i = 0; i < kWarp; ++i)
      if ((here >> i & 1) != 0) lanes[i]->state = Thread::State::ready;
  }

  Thread* const* warp(const Thread& t) const { return lanes_.data() + t.number / kWarp * kWarp; }

  /// The order of up to a warp's threads or a block's warps.
  class Turns {
   public:
    Turns(Block& block, int count) : order_(block.order_), count_(count) {
      if (order_ != Order::random) return;
      for (int i = 0; i < count; ++i) drawn_[i] = i;
      for (int i = count - 1; i > 0; --i) std::swap(drawn_[i], drawn_[block.draw() % uint64_t(i + 1)]);
    }
    int at(int i) const { return order_ == Order::forward ? i : order_ == Order::reverse ? count_ - 1 - i : drawn_[i]; }

   private:
    Order order_;
    int count_;
    int drawn_[kWarp];
  };

  /// Every thread that can run does so until it waits; false when there was none.
  bool take_turns() {
    const int phase = phase_;
    bool any = false;
    const Turns warps(*this, int(lanes_.size()) / kWarp);
    for (int w = 0; w < int(lanes_.size()) / kWarp; ++w) {
      Thread* const* lanes = lanes_.data() + warps.at(w) * kWarp;
      for (bool ran = true; ran;) {
        ran = false;
        const Turns turns(*this, kWarp);
        for (int i = 0; i < kWarp; ++i) {
          Thread* t = lanes[turns.at(i)];
          if (t == nullptr || t->state != Thread::State::ready) continue;
          if (order_ == Order::random && ran && (draw() & 3) == 0) continue;  // sits this turn out
          ran = any = true;
          resume(*t);
          // After a barrier the first one in the order is first again.
          if (phase_ != phase || error_ != nullptr) return true;
        }
      }
    }
    return any;
  }

  void resume(Thread& t) {
    current = &t;
    cuda::threadIdx = t.index;
    t.started = true;
    if constexpr (kLens)
      if (watcher != nullptr) watcher->thread_runs(t);
    t.fiber.resume();
  }

  void unwind() {
    unwinding_ = true;
    for (int i = 0; i < count_; ++i) {
      Thread& t = *lanes_[size_t(i)];
      while (t.started && t.state != Thread::State::finished) resume(t);
    }
  }

  /// Numbers of the splitmix64 sequence.
  uint64_t draw() {
    uint64_t z = random_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  /// "threads 0-31, 40 at __syncthreads (a.cuh:12); threads 32-39 ended"
  std::string waiting() const {
    struct Group {
      std::string what, who;
      int first, last, members;
    };
    std::vector<Group> groups;
    const auto close = [](Group& g) {
      g.who += (g.who.empty() ? "" : ", ") + std::to_string(g.first) +
               (g.last == g.first ? "" : "-" + std::to_string(g.last));
    };
    for (int i = 0; i < count_; ++i) {
      const Thread& t = *lanes_[size_t(i)];
      if (t.state == Thread::State::ready) continue;  // also: has not started
      std::string what = " ended";
      if (t.state == Thread::State::at_barrier) what = " at " + to_text(t.site);
      if (t.state == Thread::State::at_warp) what = " at " + to_text(t.site) + " with mask " + mask_text(t.mask);
      auto g = std::find_if(groups.begin(), groups.end(), [&](const Group& group) { return group.what == what; });
      if (g == groups.end()) {
        groups.push_back({what, "", i, i, 1});
      } else {
        if (g->last + 1 != i) {
          close(*g);
          g->first = i;
        }
        g->last = i;
        ++g->members;
      }
    }
    std::string text;
    for (Group& g : groups) {
      close(g);
      text += (text.empty() ? "" : "; ") + std::string(g.members == 1 ? "thread " : "threads ") + g.who + g.what;
    }
    return text;
  }

  Kernel kernel_ = nullptr;
  const void* arguments_ = nullptr;
  FiberKind kind_ = kDefaultFibers;
  std::vector<std::unique_ptr<Thread>> threads_;
  std::vector<Thread*> lanes_;  // (count_, rounded up to warps)  null behind the last thread
  Order order_ = Order::forward;
  uint64_t random_ = 0;
  int count_ = 0, finished_ = 0, arrived_ = 0, phase_ = 0, predicates_ = 0, barrier_result_ = 0;
  Site barrier_site_{};
  bool unwinding_ = false;
  std::exception_ptr error_;
};

}  // namespace clearsky::simt

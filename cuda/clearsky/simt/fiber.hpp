#pragma once
// Fibers: stacks that a thread of the operating system switches between. One fiber runs one CUDA thread of a block.
//
// Three functions do it, in two ways: prepare(), resume() and suspend(). The x86-64 way saves the six registers that a
// function must keep and takes a few nanoseconds; ucontext works on every Unix, and pays a system call per switch for
// the signal mask. CLEARSKY_SIMT_PORTABLE_FIBERS leaves the first one out, as does any other processor.

#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "clearsky/core/error.hpp"

#if defined(__x86_64__) && !defined(CLEARSKY_SIMT_PORTABLE_FIBERS)
#define CLEARSKY_SIMT_ASSEMBLY 1
#else
#define CLEARSKY_SIMT_ASSEMBLY 0
#endif

#if defined(__SANITIZE_ADDRESS__)
#define CLEARSKY_SIMT_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CLEARSKY_SIMT_ASAN 1
#endif
#endif
#ifndef CLEARSKY_SIMT_ASAN
#define CLEARSKY_SIMT_ASAN 0
#endif
#if CLEARSKY_SIMT_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

// For functions that are on two stacks at once. As a standard attribute, clang 14 does not know it.
#define CLEARSKY_SIMT_PLAIN __attribute__((no_sanitize("address")))

#if CLEARSKY_SIMT_ASSEMBLY
// clearsky_switch_stack(void** keep, void* next): pushes what a function must preserve, stores the stack pointer in
// *keep and takes up the stack at `next`. It leaves with a jump: with `ret` the processor would predict a return into
// the fiber that it just left, and be wrong each time. It is written outside of any function, so that neither a
// sanitizer nor the compiler's knowledge of which registers a callee leaves alone gets into it.
// It stands in a COMDAT section, as an inline function does, so that two units may include this header.
// The unwinder never walks through it: an exception stops at the fiber's first frame.
asm(R"(
  .pushsection .text.clearsky_switch_stack,"axG",@progbits,clearsky_switch_stack,comdat
  .weak clearsky_switch_stack
  .hidden clearsky_switch_stack
  .type clearsky_switch_stack,@function
  .p2align 4
clearsky_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  popq %rcx
  jmp *%rcx
  .size clearsky_switch_stack, .-clearsky_switch_stack
  .popsection
)");
extern "C" void clearsky_switch_stack(void** keep, void* next);
#endif

namespace clearsky::simt {

enum class FiberKind {
  assembly,  ///< x86-64 only
  ucontext,
};

inline constexpr FiberKind kDefaultFibers = CLEARSKY_SIMT_ASSEMBLY ? FiberKind::assembly : FiberKind::ucontext;

/// Memory for a fiber's stack, with a page below it that no one may touch: an overflow faults at once.
class Stack {
 public:
#if CLEARSKY_SIMT_ASAN
  static constexpr size_t kBytes = size_t(512) << 10;  // red zones make frames several times as large
#else
  static constexpr size_t kBytes = size_t(128) << 10;  // pages that are never touched cost nothing
#endif

  Stack() : page_(size_t(sysconf(_SC_PAGESIZE))) {
    void* memory = mmap(nullptr, kBytes + page_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CLEARSKY_CHECK(MemoryError, memory != MAP_FAILED, "simt: the system has no ", kBytes,
                   " bytes left for a fiber's stack; use smaller blocks or fewer threads");
    memory_ = static_cast<char*>(memory);
    mprotect(memory_, page_, PROT_NONE);
  }
  ~Stack() {
    if (memory_ != nullptr) munmap(memory_, kBytes + page_);
  }
  Stack(Stack&& other) noexcept : memory_(other.memory_), page_(other.page_) {
    other.memory_ = nullptr;
  }
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;
  Stack& operator=(Stack&&) = delete;

  char* bottom() const {
    return memory_ + page_;
  }
  char* top() const {
    return bottom() + kBytes;
  }

 private:
  char* memory_ = nullptr;
  size_t page_;
};

/// One stack and what is needed to go there and back. The body runs inside the first resume(), up to its first
/// suspend(), and so on; a body must neither throw nor be left unfinished when its locals need destructors.
class Fiber {
 public:
  using Body = void (*)(void* context);

  explicit Fiber(FiberKind kind) : kind_(kind) {}
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// The next resume() starts body(context) on an empty stack.
  CLEARSKY_SIMT_PLAIN void prepare(Body body, void* context) {
    body_ = body;
    context_ = context;
#if CLEARSKY_SIMT_ASAN
    ASAN_UNPOISON_MEMORY_REGION(stack_.bottom(), Stack::kBytes);
    fake_stack_ = nullptr;
#endif
#if CLEARSKY_SIMT_ASSEMBLY
    if (kind_ == FiberKind::assembly) {
      // As the switch pops it: six registers, then where to go. A function expects 8 bytes below a multiple of 16.
      void** sp = reinterpret_cast<void**>(stack_.top()) - 1;
      *sp = nullptr;
      *--sp = reinterpret_cast<void*>(&Fiber::first_frame);
      for (int i = 0; i < 6; ++i) *--sp = nullptr;  // rbp 0 ends a debugger's walk
      own_ = sp;
      return;
    }
#endif
    getcontext(&own_context_);
    own_context_.uc_stack.ss_sp = stack_.bottom();
    own_context_.uc_stack.ss_size = Stack::kBytes;
    own_context_.uc_link = nullptr;
    makecontext(&own_context_, &Fiber::first_frame, 0);
  }

  /// From outside: runs the fiber until it suspends itself or its body returns.
  CLEARSKY_SIMT_PLAIN void resume() {
    starting = this;
#if CLEARSKY_SIMT_ASAN
    void* outer = nullptr;
    __sanitizer_start_switch_fiber(&outer, stack_.bottom(), Stack::kBytes);
#endif
    go(caller_, own_, caller_context_, own_context_);
#if CLEARSKY_SIMT_ASAN
    __sanitizer_finish_switch_fiber(outer, nullptr, nullptr);
#endif
  }

  const char* stack_bottom() const {
    return stack_.bottom();
  }

  /// From inside: back to the caller of resume().
  CLEARSKY_SIMT_PLAIN void suspend() {
    leave(false);
  }

 private:
  CLEARSKY_SIMT_PLAIN void leave([[maybe_unused]] bool for_good) {
#if CLEARSKY_SIMT_ASAN
    // Null in place of the fake stack gives it back: this fiber does not return.
    __sanitizer_start_switch_fiber(for_good ? nullptr : &fake_stack_, caller_bottom_, caller_bytes_);
#endif
    go(own_, caller_, own_context_, caller_context_);
#if CLEARSKY_SIMT_ASAN
    __sanitizer_finish_switch_fiber(fake_stack_, &caller_bottom_, &caller_bytes_);
#endif
  }

  CLEARSKY_SIMT_PLAIN void go([[maybe_unused]] void*& from, [[maybe_unused]] void* to, ucontext_t& from_context,
                              ucontext_t& to_context) {
#if CLEARSKY_SIMT_ASSEMBLY
    if (kind_ == FiberKind::assembly) return clearsky_switch_stack(&from, to);
#endif
    swapcontext(&from_context, &to_context);
  }

  /// Never returns, and so is not instrumented: its red zones would stay behind on the stack.
  CLEARSKY_SIMT_PLAIN static void first_frame() {
    Fiber* self = starting;
#if CLEARSKY_SIMT_ASAN
    __sanitizer_finish_switch_fiber(nullptr, &self->caller_bottom_, &self->caller_bytes_);
#endif
    self->body_(self->context_);
    self->leave(true);
    __builtin_unreachable();
  }

  static inline constinit thread_local Fiber* starting = nullptr;

  FiberKind kind_;
  Stack stack_;
  Body body_ = nullptr;
  void* context_ = nullptr;
  void* own_ = nullptr;
  void* caller_ = nullptr;
  ucontext_t own_context_{};
  ucontext_t caller_context_{};
#if CLEARSKY_SIMT_ASAN
  void* fake_stack_ = nullptr;
  const void* caller_bottom_ = nullptr;
  size_t caller_bytes_ = 0;
#endif
};

}  // namespace clearsky::simt

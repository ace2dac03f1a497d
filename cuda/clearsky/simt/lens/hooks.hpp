#pragma once
// The functions that gcc and clang call for -fsanitize=thread, in place of that sanitizer's run time. Included by
// clearsky/simt/lens/implementation.hpp.

#include "clearsky/simt/lens/accesses.hpp"
#include "clearsky/simt/lens/launches.hpp"
#include "clearsky/simt/lens/report.hpp"

#if CLEARSKY_SIMT_LENS

#if defined(__SANITIZE_THREAD__)
#error "compile the unit with clearsky/simt/lens/implementation.hpp without -fsanitize=thread"
#endif

namespace clearsky::simt {

namespace detail {
/// Whether a kernel runs, and not simt or the host.
inline constinit thread_local bool watching = false;

/// The lens itself may call functions of the standard library that the linker took from an instrumented unit.
inline void see(const void* p, size_t bytes, AccessKind kind, const void* pc) {
  watching = false;
  static_cast<LensTracker*>(watcher)->access(p, bytes, kind, pc);
  watching = true;
}
}  // namespace detail

bool set_watching(bool on) {
  return std::exchange(detail::watching, on);
}
const void* return_address() {
  return __builtin_return_address(0);
}
void note_access(const void* p, size_t bytes, AccessKind kind) {
  if (watcher != nullptr) watcher->access(p, bytes, kind, __builtin_return_address(0));
}

Lens::Lens(const LensOptions& options) : tracker_(std::make_unique<LensTracker>(options)) {}
Lens::~Lens() = default;
std::vector<LensError> Lens::errors() const {
  return tracker_->errors();
}
std::string Lens::error_text() const {
  std::string text;
  for (const LensError& e : errors()) text += e.text + "\n";
  return text;
}
std::vector<LensLaunch> Lens::launches() const {
  return tracker_->launches();
}
LensReport Lens::report() const {
  return {launches(), errors()};
}
std::string LensReport::table() const {
  return report_table(*this);
}
std::string LensReport::json() const {
  return report_json(*this);
}
LensReport Lens::take() {
  LensReport taken = report();
  tracker_->forget();
  return taken;
}
int64_t Lens::accesses() const {
  return tracker_->accesses();
}

}  // namespace clearsky::simt

#define CLEARSKY_SIMT_SEE(p, bytes, kind)              \
  if (::clearsky::simt::detail::watching) [[unlikely]] \
  ::clearsky::simt::detail::see(p, bytes, ::clearsky::simt::AccessKind::kind, __builtin_return_address(0))

#define CLEARSKY_SIMT_HOOKS(bytes)                       \
  void __tsan_read##bytes(void* p) {                     \
    CLEARSKY_SIMT_SEE(p, bytes, read);                   \
  }                                                      \
  void __tsan_write##bytes(void* p) {                    \
    CLEARSKY_SIMT_SEE(p, bytes, write);                  \
  }                                                      \
  void __tsan_unaligned_read##bytes(void* p) {           \
    CLEARSKY_SIMT_SEE(p, bytes, read);                   \
  }                                                      \
  void __tsan_unaligned_write##bytes(void* p) {          \
    CLEARSKY_SIMT_SEE(p, bytes, write);                  \
  }                                                      \
  void __tsan_volatile_read##bytes(void* p) {            \
    CLEARSKY_SIMT_SEE(p, bytes, read);                   \
  }                                                      \
  void __tsan_volatile_write##bytes(void* p) {           \
    CLEARSKY_SIMT_SEE(p, bytes, write);                  \
  }                                                      \
  void __tsan_unaligned_volatile_read##bytes(void* p) {  \
    CLEARSKY_SIMT_SEE(p, bytes, read);                   \
  }                                                      \
  void __tsan_unaligned_volatile_write##bytes(void* p) { \
    CLEARSKY_SIMT_SEE(p, bytes, write);                  \
  }                                                      \
  void __tsan_read##bytes##_pc(void* p, void*) {         \
    CLEARSKY_SIMT_SEE(p, bytes, read);                   \
  }                                                      \
  void __tsan_write##bytes##_pc(void* p, void*) {        \
    CLEARSKY_SIMT_SEE(p, bytes, write);                  \
  }                                                      \
  void __tsan_read_write##bytes(void* p) {               \
    CLEARSKY_SIMT_SEE(p, bytes, read);                   \
    CLEARSKY_SIMT_SEE(p, bytes, write);                  \
  }                                                      \
  void __tsan_unaligned_read_write##bytes(void* p) {     \
    CLEARSKY_SIMT_SEE(p, bytes, read);                   \
    CLEARSKY_SIMT_SEE(p, bytes, write);                  \
  }

// Atomic operations of instrumented units come here and are done here, by host code mostly. The strongest order does
// for all.
#define CLEARSKY_SIMT_ATOMIC_CHANGE(bits, type, name)                            \
  type __tsan_atomic##bits##_##name(volatile void* p, type v, int) {             \
    CLEARSKY_SIMT_SEE(const_cast<const void*>(p), sizeof(type), atomic);         \
    return __atomic_##name(static_cast<volatile type*>(p), v, __ATOMIC_SEQ_CST); \
  }
#define CLEARSKY_SIMT_ATOMIC_COMPARE(bits, type, strength, weak)                                              \
  int __tsan_atomic##bits##_compare_exchange_##strength(volatile void* p, void* expected, type v, int, int) { \
    CLEARSKY_SIMT_SEE(const_cast<const void*>(p), sizeof(type), atomic);                                      \
    return __atomic_compare_exchange_n(static_cast<volatile type*>(p), static_cast<type*>(expected), v, weak, \
                                       __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                                   \
  }
#define CLEARSKY_SIMT_ATOMICS(bits, type)                                                              \
  type __tsan_atomic##bits##_load(const volatile void* p, int) {                                       \
    CLEARSKY_SIMT_SEE(const_cast<const void*>(p), sizeof(type), atomic);                               \
    return __atomic_load_n(static_cast<const volatile type*>(p), __ATOMIC_SEQ_CST);                    \
  }                                                                                                    \
  void __tsan_atomic##bits##_store(volatile void* p, type v, int) {                                    \
    CLEARSKY_SIMT_SEE(const_cast<const void*>(p), sizeof(type), atomic);                               \
    __atomic_store_n(static_cast<volatile type*>(p), v, __ATOMIC_SEQ_CST);                             \
  }                                                                                                    \
  type __tsan_atomic##bits##_exchange(volatile void* p, type v, int) {                                 \
    CLEARSKY_SIMT_SEE(const_cast<const void*>(p), sizeof(type), atomic);                               \
    return __atomic_exchange_n(static_cast<volatile type*>(p), v, __ATOMIC_SEQ_CST);                   \
  }                                                                                                    \
  CLEARSKY_SIMT_ATOMIC_CHANGE(bits, type, fetch_add)                                                   \
  CLEARSKY_SIMT_ATOMIC_CHANGE(bits, type, fetch_sub)                                                   \
  CLEARSKY_SIMT_ATOMIC_CHANGE(bits, type, fetch_and)                                                   \
  CLEARSKY_SIMT_ATOMIC_CHANGE(bits, type, fetch_or)                                                    \
  CLEARSKY_SIMT_ATOMIC_CHANGE(bits, type, fetch_xor)                                                   \
  CLEARSKY_SIMT_ATOMIC_CHANGE(bits, type, fetch_nand)                                                  \
  CLEARSKY_SIMT_ATOMIC_COMPARE(bits, type, strong, false)                                              \
  CLEARSKY_SIMT_ATOMIC_COMPARE(bits, type, weak, true)                                                 \
  type __tsan_atomic##bits##_compare_exchange_val(volatile void* p, type expected, type v, int, int) { \
    CLEARSKY_SIMT_SEE(const_cast<const void*>(p), sizeof(type), atomic);                               \
    __atomic_compare_exchange_n(static_cast<volatile type*>(p), &expected, v, false, __ATOMIC_SEQ_CST, \
                                __ATOMIC_SEQ_CST);                                                     \
    return expected;                                                                                   \
  }

extern "C" {
CLEARSKY_SIMT_HOOKS(1)
CLEARSKY_SIMT_HOOKS(2)
CLEARSKY_SIMT_HOOKS(4)
CLEARSKY_SIMT_HOOKS(8)
CLEARSKY_SIMT_HOOKS(16)
void __tsan_read_range(void* p, size_t bytes) {
  CLEARSKY_SIMT_SEE(p, bytes, read);
}
void __tsan_write_range(void* p, size_t bytes) {
  CLEARSKY_SIMT_SEE(p, bytes, write);
}

CLEARSKY_SIMT_ATOMICS(8, uint8_t)
CLEARSKY_SIMT_ATOMICS(16, uint16_t)
CLEARSKY_SIMT_ATOMICS(32, uint32_t)
CLEARSKY_SIMT_ATOMICS(64, uint64_t)
void __tsan_atomic_thread_fence(int) {
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
void __tsan_atomic_signal_fence(int) {
  __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

// clang's names for memcpy and the others in instrumented units; gcc calls the plain ones.
void* __tsan_memcpy(void* to, const void* from, size_t bytes) {
  CLEARSKY_SIMT_SEE(from, bytes, read);
  CLEARSKY_SIMT_SEE(to, bytes, write);
  return std::memcpy(to, from, bytes);
}
void* __tsan_memmove(void* to, const void* from, size_t bytes) {
  CLEARSKY_SIMT_SEE(from, bytes, read);
  CLEARSKY_SIMT_SEE(to, bytes, write);
  return std::memmove(to, from, bytes);
}
void* __tsan_memset(void* to, int byte, size_t bytes) {
  CLEARSKY_SIMT_SEE(to, bytes, write);
  return std::memset(to, byte, bytes);
}

void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
void __tsan_acquire(void*) {}
void __tsan_release(void*) {}
}

#undef CLEARSKY_SIMT_SEE
#undef CLEARSKY_SIMT_HOOKS
#undef CLEARSKY_SIMT_ATOMIC_CHANGE
#undef CLEARSKY_SIMT_ATOMIC_COMPARE
#undef CLEARSKY_SIMT_ATOMICS

#endif

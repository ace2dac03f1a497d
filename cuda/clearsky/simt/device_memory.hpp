#pragma once
// What kernels do to memory: shared arrays, 16-byte accesses, asynchronous copies, atomics.

#include <type_traits>

#include "clearsky/simt/warp.hpp"

namespace clearsky::simt {

/// The array of the declaration whose lambda this is: each has a type of its own, also in each instance of a template.
template <class Array, class Declaration>
Array& static_shared(Declaration) {
  [[maybe_unused]] const Quiet quiet;
  static constexpr char kSite = 0;
  return *reinterpret_cast<Array*>(Block::current->block->shared.static_array(&kSite, sizeof(Array)));
}

template <class T>
T* dynamic_shared() {
  [[maybe_unused]] const Quiet quiet;
  return reinterpret_cast<T*>(Block::current->block->shared.dynamic_array());
}

inline void check_aligned(const void* p, size_t bytes, const Site& site) {
  const auto past = reinterpret_cast<uintptr_t>(p) % bytes;
  CLEARSKY_CHECK(ValueError, past == 0, "simt: thread ", to_text(Block::current->index), " of block ",
                 to_text(cuda::blockIdx), " accesses ", bytes, " bytes at an address that is ", past,
                 " bytes past a multiple of ", bytes, ", at ", to_text(site),
                 "; align the rows, or use single elements");
}

inline void check_shared(const void* p, size_t bytes, const Site& site) {
  CLEARSKY_CHECK(ValueError, Block::current->block->shared.contains(p, bytes), "simt: thread ",
                 to_text(Block::current->index), " of block ", to_text(cuda::blockIdx), " gives ", to_text(site), " ",
                 bytes, " bytes that are not in a shared array; check the index and the array's size");
}

inline void do_copy(const PendingCopy& c) {
  if (c.valid != 0) std::memcpy(c.to, c.from, size_t(c.valid));
  std::memset(static_cast<char*>(c.to) + c.valid, 0, size_t(c.bytes - c.valid));
}

/// @source  PTX ISA 8.0, sec. 9.7.8.22.3.1, cp.async: the copy has no order until it is waited for
inline void ask_copy(void* to, const void* from, int bytes, int valid, const Site& site, const void* pc) {
  check_aligned(to, size_t(bytes), site);
  if (valid != 0) check_aligned(from, size_t(bytes), site);
  check_shared(to, size_t(bytes), site);
  CLEARSKY_CHECK(ValueError, 0 <= valid && valid <= bytes, "simt: ", to_text(site), " copies ", valid, " of ", bytes,
                 " bytes; use 0 to ", bytes);
  const bool early = Block::current->block->copies == Copies::early;
  const PendingCopy copy{to, from, bytes, valid, Block::current->group, early, pc};
  if constexpr (kLens)
    if (watcher != nullptr) watcher->copy_asked({to, from, bytes, valid, pc});
  if (early) do_copy(copy);
  if (!early || (kLens && watcher != nullptr)) Block::current->copies.push_back(copy);
}

CLEARSKY_SIMT_INLINE void copy_later(void* to, const void* from, int bytes, int valid, const Site& site) {
  [[maybe_unused]] const Quiet quiet;
  ask_copy(to, from, bytes, valid, site, return_address());
}

/// Does the copies of all committed groups but the last `newest`.
inline void do_copies(int newest) {
  [[maybe_unused]] const Quiet quiet;
  Thread& t = *Block::current;
  const int last = t.group - newest;
  size_t kept = 0;
  for (const PendingCopy& c : t.copies) {
    if (c.group >= last) {
      t.copies[kept++] = c;
      continue;
    }
    if (!c.done) do_copy(c);
    if constexpr (kLens)
      if (watcher != nullptr) watcher->copy_waited({c.to, c.from, c.bytes, c.valid, c.pc});
  }
  t.copies.resize(kept);
}

inline void end_group() {
  [[maybe_unused]] const Quiet quiet;
  ++Block::current->group;
}

template <class T, class Change>
CLEARSKY_SIMT_INLINE T change_atomically(T* p, Change&& change) {
  [[maybe_unused]] const Quiet quiet;
  note_access(p, sizeof(T), AccessKind::atomic);
  static_assert(std::is_arithmetic_v<T> && (sizeof(T) == 4 || sizeof(T) == 8));
  T before;
  __atomic_load(p, &before, __ATOMIC_RELAXED);
  T after = change(before);
  while (!__atomic_compare_exchange(p, &before, &after, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
    after = change(before);
  return before;
}

}  // namespace clearsky::simt

/// CLEARSKY_SHARED(float, tile, [64][65]); declares static shared memory.
#define CLEARSKY_SHARED(type, name, dims) \
  using name##_array = type dims;         \
  auto& name = ::clearsky::simt::static_shared<name##_array>([] {})
/// CLEARSKY_DYNAMIC_SHARED(float, tiles); a pointer to the dynamic shared memory of the launch, aligned to 128 bytes.
#define CLEARSKY_DYNAMIC_SHARED(type, name) type* name = ::clearsky::simt::dynamic_shared<type>()

namespace clearsky::cuda::inline CLEARSKY_MEANING {

/// One access of 8 or 16 bytes.
template <class Vector, class T>
CLEARSKY_SIMT_INLINE Vector load_vector(const T* p, CLEARSKY_SIMT_CALLER) {
  static_assert(sizeof(Vector) == 8 || sizeof(Vector) == 16);
  [[maybe_unused]] const simt::Quiet quiet;
  simt::check_aligned(p, sizeof(Vector), {"load_vector", file, line});
  simt::note_access(p, sizeof(Vector), simt::AccessKind::read);
  Vector v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <class Vector, class T>
CLEARSKY_SIMT_INLINE void store_vector(T* p, const Vector& v, CLEARSKY_SIMT_CALLER) {
  static_assert(sizeof(Vector) == 8 || sizeof(Vector) == 16);
  [[maybe_unused]] const simt::Quiet quiet;
  simt::check_aligned(p, sizeof(Vector), {"store_vector", file, line});
  simt::note_access(p, sizeof(Vector), simt::AccessKind::write);
  std::memcpy(p, &v, sizeof v);
}
CLEARSKY_SIMT_INLINE float4 ld4(const float* p, CLEARSKY_SIMT_CALLER) {
  return load_vector<float4>(p, file, line);
}
CLEARSKY_SIMT_INLINE int4 ld4(const int* p, CLEARSKY_SIMT_CALLER) {
  return load_vector<int4>(p, file, line);
}
CLEARSKY_SIMT_INLINE void st4(float* p, const float4& v, CLEARSKY_SIMT_CALLER) {
  store_vector(p, v, file, line);
}
CLEARSKY_SIMT_INLINE void st4(int* p, const int4& v, CLEARSKY_SIMT_CALLER) {
  store_vector(p, v, file, line);
}
inline void st4_global(float* p, const float4& v, CLEARSKY_SIMT_CALLER) {
  store_vector(p, v, file, line);
}

/// Copies 16 bytes from global to shared memory by the time of a wait; of these the first `valid` are read, the rest is
/// filled with zeros.
CLEARSKY_SIMT_INLINE void cp_async16(void* to, const void* from, int valid = 16, CLEARSKY_SIMT_CALLER) {
  simt::copy_later(to, from, 16, valid, {"cp_async16", file, line});
}
CLEARSKY_SIMT_INLINE void cp_async4(void* to, const void* from, int valid = 4, CLEARSKY_SIMT_CALLER) {
  simt::copy_later(to, from, 4, valid, {"cp_async4", file, line});
}
/// Ends a group of this thread's copies.
inline void cp_commit() {
  simt::end_group();
}
/// Waits for all of this thread's groups but the last `Newest`. Other threads see the copies after a barrier.
template <int Newest>
void cp_wait() {
  simt::do_copies(Newest);
}

inline void __threadfence() {
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

template <class T>
CLEARSKY_SIMT_INLINE T atomicAdd(T* p, std::type_identity_t<T> v) {
  return simt::change_atomically(p, [v](T old) { return T(old + v); });
}
template <class T>
CLEARSKY_SIMT_INLINE T atomicMax(T* p, std::type_identity_t<T> v) {
  static_assert(std::is_integral_v<T>, "CUDA has no atomicMax of floating-point numbers");
  return simt::change_atomically(p, [v](T old) { return old > v ? old : v; });
}
template <class T>
CLEARSKY_SIMT_INLINE T atomicMin(T* p, std::type_identity_t<T> v) {
  static_assert(std::is_integral_v<T>, "CUDA has no atomicMin of floating-point numbers");
  return simt::change_atomically(p, [v](T old) { return old < v ? old : v; });
}
template <class T>
CLEARSKY_SIMT_INLINE T atomicExch(T* p, std::type_identity_t<T> v) {
  return simt::change_atomically(p, [v](T) { return v; });
}
template <class T>
CLEARSKY_SIMT_INLINE T atomicCAS(T* p, std::type_identity_t<T> compare, std::type_identity_t<T> v) {
  static_assert(std::is_integral_v<T>, "CUDA has no atomicCAS of floating-point numbers");
  return simt::change_atomically(p, [=](T old) { return old == compare ? v : old; });
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

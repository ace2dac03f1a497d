#pragma once
// An intrusive reference-counted pointer: one word, and the object's memory comes from the pool.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "clearsky/core/memory.hpp"

namespace clearsky::detail {

/// Base of what Pointer points to. Objects live in pooled memory, so that making a tensor or recording an operation
/// asks the system for nothing in a steady state.
class RefCounted {
 public:
  RefCounted() = default;
  RefCounted(const RefCounted&) = delete;
  RefCounted& operator=(const RefCounted&) = delete;
  virtual ~RefCounted() = default;

  static void* operator new(size_t bytes) { return MemoryPool::global().allocate(bytes); }
  static void operator delete(void* p, size_t bytes) { MemoryPool::global().release(p, bytes); }

  int64_t references() const { return references_.load(std::memory_order_relaxed); }

 private:
  template <class T>
  friend class Pointer;
  /// Called when the last reference is gone.
  virtual void dispose() { delete this; }

  std::atomic<int64_t> references_{0};
};

template <class T>
class Pointer {
 public:
  Pointer() = default;
  explicit Pointer(T* p) : p_(p) { retain(); }
  Pointer(const Pointer& other) : p_(other.p_) { retain(); }
  Pointer(Pointer&& other) noexcept : p_(std::exchange(other.p_, nullptr)) {}
  Pointer& operator=(Pointer other) noexcept {
    std::swap(p_, other.p_);
    return *this;
  }
  ~Pointer() { reset(); }

  void reset() {
    if (T* p = std::exchange(p_, nullptr)) {
      RefCounted* counted = p;
      if (counted->references_.fetch_sub(1, std::memory_order_acq_rel) == 1) counted->dispose();
    }
  }
  T* get() const { return p_; }
  T* operator->() const { return p_; }
  T& operator*() const { return *p_; }
  explicit operator bool() const { return p_ != nullptr; }
  friend bool operator==(const Pointer& a, const Pointer& b) { return a.p_ == b.p_; }

 private:
  void retain() {
    if (p_ != nullptr) static_cast<RefCounted*>(p_)->references_.fetch_add(1, std::memory_order_relaxed);
  }
  T* p_ = nullptr;
};

}  // namespace clearsky::detail

#pragma once
// Tensor<T>: a cheap handle on shared storage, seen through a shape and strides.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "clearsky/core/device.hpp"
#include "clearsky/core/draws.hpp"
#include "clearsky/core/dtype.hpp"
#include "clearsky/core/error.hpp"
#include "clearsky/core/memory.hpp"
#include "clearsky/core/philox.hpp"
#include "clearsky/core/pointer.hpp"
#include "clearsky/core/shape.hpp"

namespace clearsky {

template <class T>
class Tensor;

namespace detail {
template <class T>
Tensor<T> copy_on(const Tensor<T>& x, Device device);
}

/// What register_hook returns; remove_hook takes it.
using HookId = int64_t;

/// Whether backward keeps the graph for another pass.
enum class Retain { no, yes };

namespace detail {

/// A run of bytes that tensors share. `version` counts changes, so that backward can tell that a value it saved is
/// no longer the one it saw.
class Storage : public RefCounted {
 public:
  Storage(size_t bytes, Device device)
      : bytes_(bytes),
        device_(device),
        pool_(device == Device::cpu ? &MemoryPool::current() : nullptr),
        data_(pool_ != nullptr ? pool_->allocate(bytes) : device_runtime(device).allocate(bytes)) {}
  ~Storage() override {
    if (pool_ != nullptr) pool_->release(data_, bytes_);
    else device_runtime(device_).release(data_, bytes_);
  }

  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  Device device() const { return device_; }
  uint64_t version() const { return version_; }
  void bump_version() { ++version_; }

 private:
  size_t bytes_;
  Device device_;
  uint64_t version_ = 0;
  MemoryPool* pool_;  // of the thread that made it, another one may drop it; null on other devices
  void* data_;
};

/// Sizes of a tensor that can exist: none negative, and a number of elements that can be counted.
[[gnu::noinline]] inline void check_sizes(const Shape& shape) {
  int64_t numel = 1;
  bool overflow = false;
  for (int64_t s : shape) {
    CLEARSKY_CHECK(ShapeError, s >= 0, "Tensor: shape ", shape, " has a negative size");
    overflow |= __builtin_mul_overflow(numel, s, &numel);
  }
  CLEARSKY_CHECK(ShapeError, !overflow && numel <= (int64_t(1) << 60), "Tensor: shape ", shape,
                 " has more elements than memory has addresses");
}

/// What autograd keeps beside a tensor; clearsky/autograd derives from it.
class GradState : public RefCounted {};

/// Tensor<T> without its element type, for the engine and for files: the same members, so that a Tensor<T> is only
/// another view of it.
class TensorBase {
 public:
  TensorBase() = default;
  // Not inlined: handles are copied and dropped everywhere, and the code for it would be a third of every program and
  // of its compile time.
  [[gnu::noinline]] TensorBase(const TensorBase&) = default;
  [[gnu::noinline]] TensorBase(TensorBase&&) noexcept = default;
  [[gnu::noinline]] TensorBase& operator=(const TensorBase&) = default;
  [[gnu::noinline]] TensorBase& operator=(TensorBase&&) noexcept = default;
  [[gnu::noinline]] ~TensorBase() = default;
  TensorBase(Pointer<Storage> storage, DType dtype, const Shape& shape, const Shape& strides, int64_t offset)
      : storage_(std::move(storage)), shape_(shape), strides_(strides), offset_(offset), dtype_(dtype) {}

  /// False for a default-constructed tensor: "no bias", "no gradient".
  bool defined() const { return bool(storage_); }
  const Shape& shape() const { return shape_; }
  const Shape& strides() const { return strides_; }  ///< in elements
  int64_t offset() const { return offset_; }         ///< of the first element in the storage, in elements
  int64_t rank() const { return shape_.rank(); }
  int64_t numel() const { return defined() ? shape_.numel() : 0; }
  int64_t bytes() const { return numel() * element_bytes(dtype_); }
  DType dtype() const { return dtype_; }
  Device device() const { return storage_ ? storage_->device() : Device::cpu; }
  const Pointer<Storage>& storage() const { return storage_; }
  const Pointer<GradState>& grad_state() const { return grad_state_; }
  void set_grad_state(Pointer<GradState> state) { grad_state_ = std::move(state); }

  /// The size along a dimension; negative counts from the back.
  int64_t size(int64_t dim) const { return shape_[size_t(normal_dim("size", dim, shape_))]; }
  int64_t stride(int64_t dim) const { return strides_[size_t(normal_dim("stride", dim, shape_))]; }

  /// True when the elements lie one behind the other in row-major order.
  bool is_contiguous() const {
    int64_t step = 1;
    for (size_t d = shape_.size(); d-- > 0;) {
      if (shape_[d] != 1 && strides_[d] != step) return shape_.numel() == 0;
      step *= shape_[d];
    }
    return true;
  }

 protected:
  Pointer<Storage> storage_;
  Pointer<GradState> grad_state_;
  Shape shape_, strides_;
  int64_t offset_ = 0;
  DType dtype_ = DType::f32;
};

/// Calls body(offset) for every index of `shape` in row-major order, offset = sum of index * stride.
template <class Body>
void each_offset(const Shape& shape, const Shape& strides, Body&& body) {
  if (shape.numel() == 0) return;
  if (shape.empty()) {
    body(int64_t(0));
    return;
  }
  Shape index = Shape::filled(shape.rank(), 0);
  const size_t last = shape.size() - 1;
  int64_t offset = 0;
  while (true) {
    for (int64_t i = 0; i < shape[last]; ++i) body(offset + i * strides[last]);
    size_t d = last;
    while (d-- > 0) {
      offset += strides[d];
      if (++index[d] < shape[d]) break;
      offset -= strides[d] * shape[d];
      index[d] = 0;
    }
    if (d == size_t(-1)) return;
  }
}

}  // namespace detail

/// A dense n-dimensional array of T on one device, seen through strides.
///
/// Copying a Tensor copies a handle: both see the same elements and the same gradient. Views (clearsky/ops/view.hpp)
/// share storage too. A default-constructed Tensor is "undefined" and stands for an absent one.
///
/// @tparam T  float (default), double, int64_t, int32_t, uint8_t, bool; Half and BFloat16 for storage
template <class T = float>
class Tensor : public detail::TensorBase {
 public:
  using value_type = T;
  using detail::TensorBase::TensorBase;

  Tensor() { dtype_ = kDType<T>; }
  /// A new tensor, not initialised.
  explicit Tensor(const Shape& shape, Device device = Device::cpu) {
    detail::check_sizes(shape);
    dtype_ = kDType<T>;
    shape_ = shape;
    strides_ = detail::dense_strides(shape);
    storage_ = detail::Pointer<detail::Storage>(new detail::Storage(size_t(shape.numel()) * sizeof(T), device));
  }
  /// A new tensor with the given elements in row-major order.
  Tensor(const Shape& shape, const std::vector<T>& values) : Tensor(shape) {
    CLEARSKY_CHECK(ShapeError, int64_t(values.size()) == shape.numel(), "Tensor: shape ", shape, " has ", shape.numel(),
                   " elements, got ", int64_t(values.size()), " values");
    std::copy(values.begin(), values.end(), mutable_data());
  }
  /// The typed view of an untyped tensor. @throws DTypeError when its elements are not T
  [[gnu::noinline]] static Tensor from(detail::TensorBase base) {
    if (!base.defined()) return {};
    CLEARSKY_CHECK(DTypeError, base.dtype() == kDType<T>, "Tensor: elements are ", base.dtype(), ", expected ",
                   kDType<T>, "; convert with cast");
    Tensor t;
    static_cast<detail::TensorBase&>(t) = std::move(base);
    return t;
  }

  /// The first element, in the device's memory; others lie at multiples of the strides.
  const T* data() const { return storage_ ? static_cast<const T*>(storage_->data()) + offset_ : nullptr; }
  /// As data(), for writing. Counts as a change: a backward that saved these values will refuse to run.
  T* mutable_data() const {
    if (!storage_) return nullptr;
    storage_->bump_version();
    return static_cast<T*>(storage_->data()) + offset_;
  }
  std::span<const T> span() const {
    CLEARSKY_CHECK(ShapeError, is_contiguous(), "span: elements of shape ", shape_, " with strides ", strides_,
                   " do not lie side by side; call contiguous() first");
    CLEARSKY_CHECK(DeviceError, device() == Device::cpu, "span: the elements are on ", device(),
                   ", not in the CPU's memory; move them with to(Device::cpu)");
    return {data(), size_t(numel())};
  }

  /// One element. @throws ShapeError when the index does not fit
  T at(std::initializer_list<int64_t> index) const {
    const Shape i(index);
    CLEARSKY_CHECK(ShapeError, i.size() == shape_.size(), "at: ", int64_t(i.size()), " indices for shape ", shape_);
    int64_t offset = 0;
    for (size_t d = 0; d < i.size(); ++d) {
      CLEARSKY_CHECK(ShapeError, 0 <= i[d] && i[d] < shape_[d], "at: index ", i, " is outside shape ", shape_);
      offset += i[d] * strides_[d];
    }
    return element(offset);
  }
  /// The only element. @throws ShapeError when there are more
  T item() const {
    CLEARSKY_CHECK(ShapeError, numel() == 1, "item: shape ", shape_, " has ", numel(), " elements, needs exactly 1");
    return element(0);
  }
  /// All elements in row-major order.
  std::vector<T> to_vector() const {
    std::vector<T> values;
    values.reserve(size_t(numel()));
    if (device() != Device::cpu) return detail::copy_on(*this, Device::cpu).to_vector();
    if (defined()) detail::each_offset(shape_, strides_, [&](int64_t o) { values.push_back(data()[o]); });
    return values;
  }

  /// A view with other sizes and steps; not recorded by autograd, see clearsky/ops/view.hpp for views that are.
  Tensor view_as(const Shape& shape, const Shape& strides, int64_t offset) const {
    return Tensor(storage_, kDType<T>, shape, strides, offset);
  }
  /// The same elements, cut off from the graph: no gradient flows back through it.
  Tensor detach() const { return view_as(shape_, strides_, offset_); }
  /// A copy with storage of its own, dense, cut off from the graph.
  Tensor clone() const {
    Tensor out(shape_, device());
    T* to = out.mutable_data();
    if (is_contiguous()) detail::transfer(to, device(), data(), device(), size_t(bytes()));
    else if (device() != Device::cpu) device_runtime(device()).copy_strided(to, data(), sizeof(T), shape_, strides_);
    else detail::each_offset(shape_, strides_, [&, from = data()](int64_t o) { *to++ = from[o]; });
    return out;
  }

  /// The same values on a device: this tensor itself when they are there already, else a dense copy. Gradients flow
  /// back through it. Defined in clearsky/ops/view.hpp.
  /// @throws DeviceError when the program has no such device
  Tensor to(Device device) const;

  // Gradients; defined in clearsky/autograd.

  /// True for a leaf that collects a gradient and for everything computed from one.
  bool requires_grad() const;
  /// Marks a leaf as one that collects a gradient (or no longer does); returns itself.
  Tensor& set_requires_grad(bool on = true);
  /// The gradient collected by backward; undefined before. Shares storage with what the optimizer reads.
  Tensor grad() const;
  void set_grad(const Tensor& g) const;
  /// Keeps the gradient of a tensor that is not a leaf, too.
  void retain_grad() const;
  bool is_leaf() const;
  /// Adds the gradient of this tensor to every leaf it was computed from; see clearsky/autograd/engine.hpp.
  void backward(Retain retain = Retain::no) const;
  void backward(const Tensor& seed, Retain retain = Retain::no) const;

 private:
  T element(int64_t offset) const {
    if (device() == Device::cpu) return data()[offset];
    T value;
    detail::transfer(&value, Device::cpu, data() + offset, device(), sizeof(T));
    return value;
  }
};

namespace detail {

/// A dense copy on a device, cut off from the graph.
template <class T>
Tensor<T> copy_on(const Tensor<T>& x, Device device) {
  if (!x.defined()) return {};
  if (!x.is_contiguous() || x.device() == device) {
    const Tensor<T> dense = x.clone();
    return x.device() == device ? dense : copy_on(dense, device);
  }
  Tensor<T> y(x.shape(), device);
  transfer(y.mutable_data(), device, x.data(), x.device(), size_t(x.bytes()));
  return y;
}

/// Sets every element of a contiguous tensor, wherever it is.
template <class T>
void fill_elements(const Tensor<T>& t, T value) {
  if (t.device() == Device::cpu) std::fill_n(t.mutable_data(), t.numel(), value);
  else if (t.numel() != 0) device_runtime(t.device()).fill(t.mutable_data(), &value, sizeof(T), t.numel());
}

}  // namespace detail

template <class T = float>
Tensor<T> empty(const Shape& shape, Device device = Device::cpu) {
  return Tensor<T>(shape, device);
}
template <class T = float>
Tensor<T> full(const Shape& shape, std::type_identity_t<T> value, Device device = Device::cpu) {
  Tensor<T> t(shape, device);
  detail::fill_elements(t, value);
  return t;
}
template <class T = float>
Tensor<T> zeros(const Shape& shape, Device device = Device::cpu) {
  return full<T>(shape, T(0), device);
}
template <class T = float>
Tensor<T> ones(const Shape& shape, Device device = Device::cpu) {
  return full<T>(shape, T(1), device);
}
template <class T = float>
Tensor<T> scalar(std::type_identity_t<T> value, Device device = Device::cpu) {
  return full<T>({}, value, device);
}
/// 0, 1, ..., count - 1.
template <class T = float>
Tensor<T> arange(int64_t count, Device device = Device::cpu) {
  Tensor<T> t({count});
  T* p = t.mutable_data();
  for (int64_t i = 0; i < count; ++i) p[i] = T(i);
  return device == Device::cpu ? t : detail::copy_on(t, device);
}
namespace detail {
/// On the device, where it has a kernel for that, or else on the CPU. @param draw  all but where to
template <class T, class Draw>
Tensor<T> drawn(const Shape& shape, Device device, Draw draw) {
  const Device where = draw_kernel<Draw>.exists_on(device) ? device : Device::cpu;
  const Tensor<T> t(shape, where);
  draw.y = t.mutable_data(), draw.count = t.numel();
  if (t.numel() != 0) draw_kernel<Draw>(where, draw);
  return where == device ? t : copy_on(t, device);
}
}  // namespace detail

// Random numbers are made where they are wanted. In a captured step they are the same at each replay.

/// Uniform in [low, high); element i is number i of the key's sequence. The same bits on every device whose compiler
/// fuses products and sums, as it does for the CPU.
template <class T = float>
Tensor<T> rand(const Shape& shape, Key key, double low = 0, double high = 1, Device device = Device::cpu) {
  return detail::drawn<T>(shape, device, detail::UniformDraw<T>{key, low, high, nullptr, 0});
}
/// Standard normal; element i is number i of the key's sequence. On another device the last bit may be another one.
template <class T = float>
Tensor<T> randn(const Shape& shape, Key key, Device device = Device::cpu) {
  return detail::drawn<T>(shape, device, detail::NormalDraw<T>{key, nullptr, 0});
}
/// Uniform integers in [low, high). @throws ValueError when there are none
template <class T = int64_t>
Tensor<T> randint(const Shape& shape, Key key, int64_t low, int64_t high, Device device = Device::cpu) {
  CLEARSKY_CHECK(ValueError, low < high, "randint: the range [", low, ", ", high, ") is empty");
  return detail::drawn<T>(shape, device, detail::IntegerDraw<T>{key, low, high, nullptr, 0});
}

}  // namespace clearsky

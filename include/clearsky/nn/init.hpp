#pragma once
// Start values of parameters: rules, and the filling of a tensor by a rule.

#include <cmath>
#include <string_view>

#include "clearsky/core/tensor.hpp"
#include "clearsky/core/threads.hpp"

namespace clearsky::nn {

/// How a parameter's elements start. Made by the functions in nn::init.
struct Initial {
  enum class Rule : uint8_t {
    constant,          ///< `centre`
    uniform,           ///< in centre +- spread
    normal,            ///< standard deviation spread
    truncated_normal,  ///< the same, drawn again while further than 2 spread from the centre
    orthogonal,        ///< rows, or columns where there are fewer of them, at right angles and of length spread
  };
  Rule rule = Rule::constant;
  double centre = 0;
  double spread = 0;
};

/// The rules. fan_in is the number of products that one output adds up (kH kW C / groups for a convolution), fan_out
/// the number of outputs that one input reaches.
namespace init {

inline Initial constant(double value) {
  return {Initial::Rule::constant, value, 0};
}
inline Initial uniform(double low, double high) {
  return {Initial::Rule::uniform, (low + high) / 2, (high - low) / 2};
}
inline Initial normal(double deviation, double mean = 0) {
  return {Initial::Rule::normal, mean, deviation};
}
inline Initial truncated_normal(double deviation, double mean = 0) {
  return {Initial::Rule::truncated_normal, mean, deviation};
}
inline Initial orthogonal(double gain = 1) {
  return {Initial::Rule::orthogonal, 0, gain};
}

/// Uniform in +- 1 / sqrt(fan_in): what PyTorch gives the weights and biases of its convolutions and linear layers.
inline Initial fan_in_uniform(int64_t fan_in) {
  const double bound = fan_in > 0 ? 1 / std::sqrt(double(fan_in)) : 0;
  return uniform(-bound, bound);
}

/// Keeps the variance of features through layers followed by a (leaky) rectifier: variance 2 / ((1 + slope^2) fan_in).
/// @source He et al., "Delving Deep into Rectifiers", ICCV 2015, eq. 15
inline Initial kaiming_normal(int64_t fan_in, double slope = 0) {
  return normal(std::sqrt(2 / ((1 + slope * slope) * double(fan_in))));
}
inline Initial kaiming_uniform(int64_t fan_in, double slope = 0) {
  const double bound = std::sqrt(6 / ((1 + slope * slope) * double(fan_in)));
  return uniform(-bound, bound);
}

/// Keeps the variance of features and of gradients about equal: variance 2 gain^2 / (fan_in + fan_out).
/// @source Glorot, Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010,
///         eq. 16
inline Initial xavier_normal(int64_t fan_in, int64_t fan_out, double gain = 1) {
  return normal(gain * std::sqrt(2 / double(fan_in + fan_out)));
}
inline Initial xavier_uniform(int64_t fan_in, int64_t fan_out, double gain = 1) {
  const double bound = gain * std::sqrt(6 / double(fan_in + fan_out));
  return uniform(-bound, bound);
}

}  // namespace init

namespace detail {

/// FNV-1a, 64 bits: the same number for a name in every program.
constexpr uint64_t name_hash(std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : name) hash = (hash ^ uint8_t(c)) * 0x100000001b3u;
  return hash;
}

/// Gram and Schmidt on `count` vectors of `length` elements, each at `x + i * length`; twice, since once leaves an
/// error that grows with the condition of the draw.
inline void orthonormalise(double* x, int64_t count, int64_t length) {
  for (int64_t i = 0; i < count; ++i) {
    double* row = x + i * length;
    for (int pass = 0; pass < 2; ++pass)
      for (int64_t j = 0; j < i; ++j) {
        const double* other = x + j * length;
        double dot = 0;
        for (int64_t k = 0; k < length; ++k) dot += row[k] * other[k];
        for (int64_t k = 0; k < length; ++k) row[k] -= dot * other[k];
      }
    double squares = 0;
    for (int64_t k = 0; k < length; ++k) squares += row[k] * row[k];
    for (int64_t k = 0; k < length; ++k) row[k] /= std::sqrt(squares);
  }
}

/// Four elements from one call of the generator: large models have millions. Steps of 2^-31 spread.
template <class T>
void fill_uniform(T* x, int64_t count, double centre, double spread, const Key& key) {
  constexpr int64_t kPerCall = 4;
  parallel_for(count, kPerCall * 1024, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i += kPerCall) {
      const auto words = key.bits(uint64_t(i / kPerCall));
      for (int64_t k = 0; k < kPerCall && i + k < end; ++k)
        x[i + k] = T(centre + spread * ((double(words[size_t(k)]) + 0.5) * 0x1p-31 - 1));
    }
  });
}

template <class T>
void fill_orthogonal(T* x, int64_t rows, int64_t columns, double gain, const Key& key) {
  const int64_t count = (std::min)(rows, columns), length = (std::max)(rows, columns);
  Scratch<double> q(count * length);
  for (int64_t i = 0; i < count * length; ++i) q[i] = key.normal(uint64_t(i));
  orthonormalise(q.data(), count, length);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c)
      x[r * columns + c] = T(gain * (rows <= columns ? q[r * length + c] : q[c * length + r]));
}

}  // namespace detail

/// Writes start values into x, which must be contiguous: a pure function of rule, shape and key. For orthogonal, the
/// first dimension counts the rows.
template <class T>
void fill_initial(const Tensor<T>& x, const Initial& initial, Key key) {
  if (x.device() != Device::cpu) {  // the same numbers on every device
    const Tensor<T> host(x.shape());
    fill_initial(host, initial, key);
    clearsky::detail::transfer(x.mutable_data(), x.device(), host.data(), Device::cpu, size_t(x.bytes()));
    return;
  }
  T* out = x.mutable_data();
  const int64_t count = x.numel();
  const double centre = initial.centre, spread = initial.spread;
  const auto each = [&](auto&& draw) {
    parallel_for(count, 4096, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) out[i] = T(draw(uint64_t(i)));
    });
  };
  switch (initial.rule) {
    case Initial::Rule::constant:
      std::fill_n(out, count, T(centre));
      break;
    case Initial::Rule::uniform:
      detail::fill_uniform(out, count, centre, spread, key);
      break;
    case Initial::Rule::normal:
      each([&](uint64_t i) { return centre + spread * key.normal(i); });
      break;
    case Initial::Rule::truncated_normal:
      each([&](uint64_t i) {
        double z = key.normal(i);
        // One draw in 22 lies outside; the next ones are taken from far behind every element's own number.
        for (uint64_t draw = 1; std::fabs(z) > 2; ++draw) z = key.normal(i + (draw << 48));
        return centre + spread * z;
      });
      break;
    case Initial::Rule::orthogonal:
      if (count > 0) detail::fill_orthogonal(out, x.size(0), count / x.size(0), spread, key);
      break;
  }
}

}  // namespace clearsky::nn

#pragma once
// Rank correlation: whether one map rises where another does, whatever the shape of the relation.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "clearsky/core/error.hpp"

namespace clearsky::metrics {

namespace detail {

/// The rank of each value, 1 for the smallest; equal values share the mean of their ranks.
inline std::vector<double> average_ranks(const std::vector<double>& values) {
  std::vector<size_t> order(values.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] < values[b]; });
  std::vector<double> ranks(values.size());
  for (size_t begin = 0; begin < order.size();) {
    size_t end = begin + 1;
    while (end < order.size() && values[order[end]] == values[order[begin]]) ++end;
    for (size_t i = begin; i < end; ++i) ranks[order[i]] = 0.5 * double(begin + 1 + end);
    begin = end;
  }
  return ranks;
}

inline double pearson(const std::vector<double>& x, const std::vector<double>& y) {
  double mx = 0, my = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    mx += x[i];
    my += y[i];
  }
  mx /= double(x.size());
  my /= double(y.size());
  double xx = 0, yy = 0, xy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    xx += (x[i] - mx) * (x[i] - mx);
    yy += (y[i] - my) * (y[i] - my);
    xy += (x[i] - mx) * (y[i] - my);
  }
  return xx == 0 || yy == 0 ? std::numeric_limits<double>::quiet_NaN() : xy / std::sqrt(xx * yy);
}

template <class T>
double spearman_of(std::span<const T> x, std::span<const T> y) {
  CLEARSKY_CHECK(ShapeError, x.size() == y.size(), "spearman: ", int64_t(x.size()), " and ", int64_t(y.size()),
                 " values; give pairs");
  std::vector<double> a, b;
  a.reserve(x.size());
  b.reserve(y.size());
  for (size_t i = 0; i < x.size(); ++i) {
    if (std::isnan(x[i]) || std::isnan(y[i])) continue;
    a.push_back(double(x[i]));
    b.push_back(double(y[i]));
  }
  return pearson(average_ranks(a), average_ranks(b));
}

}  // namespace detail

/// Spearman's rank correlation: -1 to 1; 1 when y never falls while x rises.
///
///     rho = Pearson's correlation of the ranks; equal values share the mean of their ranks
///
/// Used for the maps of SAR reliance and of uncertainty against cloud thickness: no straight line is expected there.
///
/// @param x, y  pairs; one with a NaN is left out
/// @return      NaN for less than two pairs, or when all x or all y are equal
/// @throws      ShapeError when the numbers differ
/// @source      Spearman, Am. J. Psychol. 15 (1904), 72
inline double spearman(std::span<const float> x, std::span<const float> y) {
  return detail::spearman_of(x, y);
}
inline double spearman(std::span<const double> x, std::span<const double> y) {
  return detail::spearman_of(x, y);
}

}  // namespace clearsky::metrics

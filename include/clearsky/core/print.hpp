#pragma once
// Tensors as text.

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>
#include <type_traits>
#include <vector>

#include "clearsky/core/tensor.hpp"

namespace clearsky {
namespace detail {

inline constexpr int64_t kPrintWhole = 1000;  ///< a tensor with more elements is summarised
inline constexpr int64_t kPrintEdge = 3;      ///< elements shown at each end of a dimension when summarised
inline constexpr size_t kPrintWidth = 100;    ///< columns, after which a row goes on in the next line

inline std::string print_number(const char* format, int decimals, double v) {
  char buffer[64];
  const int length = std::snprintf(buffer, sizeof buffer, format, decimals, v);
  return std::string(buffer, size_t(length));
}

/// Numbers with the same number of decimals each, so that the smallest keeps at least 4 significant digits; with an
/// exponent where that would take more than 6 decimals, or 6 digits before the point.
[[gnu::noinline]] inline std::vector<std::string> print_cells(const std::vector<double>& values) {
  double smallest = INFINITY, largest = 0;
  bool whole = true;
  for (double v : values) {
    if (!std::isfinite(v) || v == 0) continue;
    smallest = std::fmin(smallest, std::fabs(v));
    largest = std::fmax(largest, std::fabs(v));
    whole = whole && v == std::floor(v);
  }
  const bool exponent = largest >= 1e6 || smallest < 1e-3;
  int decimals = 3;
  if (!exponent) decimals = whole ? 0 : int(std::fmin(6, std::fmax(1, 3 - std::floor(std::log10(smallest)))));
  std::vector<std::string> cells;
  size_t zeros = size_t(decimals);  // at the end of every number: not printed
  for (double v : values) {
    cells.push_back(!std::isfinite(v) ? (std::isnan(v) ? "nan"
                                         : v > 0       ? "inf"
                                                       : "-inf")
                                      : print_number(exponent ? "%.*e" : "%.*f", decimals, v));
    if (exponent || !std::isfinite(v)) continue;
    size_t n = 0;
    while (n < zeros && cells.back()[cells.back().size() - 1 - n] == '0') ++n;
    zeros = n;
  }
  if (exponent) return cells;
  for (size_t i = 0; i < cells.size(); ++i) {
    if (!std::isfinite(values[i])) continue;
    cells[i].resize(cells[i].size() - zeros);
    if (decimals == 0) cells[i] += '.';  // the mark of a floating-point number
  }
  return cells;
}
[[gnu::noinline]] inline std::vector<std::string> print_cells(const std::vector<int64_t>& values) {
  std::vector<std::string> cells;
  for (int64_t v : values) cells.push_back(std::to_string(v));
  return cells;
}

/// Nested brackets around the shown elements, columns aligned.
class BracketPrinter {
 public:
  BracketPrinter(const std::vector<std::string>& cells, const Shape& shape, bool summarised)
      : cells_(cells), shape_(shape), summarised_(summarised) {
    for (const std::string& c : cells) width_ = (std::max)(width_, c.size());
  }
  std::string text() {
    part(0);
    return std::move(text_);
  }

 private:
  void part(size_t dim) {
    if (dim == shape_.size()) {
      const std::string& cell = cells_[next_++];
      text_.append(width_ - cell.size(), ' ');
      text_ += cell;
      return;
    }
    const bool row = dim + 1 == shape_.size();
    const size_t per_line = (std::max)(size_t(1), (kPrintWidth - dim) / (width_ + 2));
    const int64_t n = shape_[dim];
    const bool gap = summarised_ && n > 2 * kPrintEdge;
    text_ += '[';
    size_t in_line = 0;
    for (int64_t i = 0; i < n; ++i) {
      if (i > 0) text_ += ',';
      if (row ? in_line == per_line : i > 0) {
        // A blank line for each further level that closes here, as in a book of tables.
        text_.append(row ? 1 : shape_.size() - dim - 1, '\n');
        text_.append(dim + 1, ' ');
        in_line = 0;
      } else if (i > 0) {
        text_ += ' ';
      }
      if (gap && i == kPrintEdge) {
        text_ += row ? "..., " : "...,";
        if (!row) {
          text_.append(shape_.size() - dim - 1, '\n');
          text_.append(dim + 1, ' ');
        }
        i = n - kPrintEdge;
      }
      part(dim + 1);
      ++in_line;
    }
    text_ += ']';
  }

  const std::vector<std::string>& cells_;
  Shape shape_;
  bool summarised_;
  size_t width_ = 0, next_ = 0;
  std::string text_;
};

}  // namespace detail

/// The elements in nested brackets, then a line with dtype and shape:
///
///     [[ 0.50, -1.25],
///      [ 2.00,  3.00]]
///     float32 (2, 2)
///
/// Beyond 1000 elements, only the first and last three along each dimension.
template <class T>
std::string to_text(const Tensor<T>& x) {
  const std::string kind = to_text(x.dtype()) + " " + to_text(x.shape());
  if (!x.defined()) return "undefined " + to_text(x.dtype());
  if (x.device() != Device::cpu) return "on " + to_text(x.device()) + ": " + kind;
  const bool summarised = x.numel() > detail::kPrintWhole;
  using Value = std::conditional_t<std::is_integral_v<T>, int64_t, double>;
  std::vector<Value> shown;
  Shape index = Shape::filled(x.rank(), 0);
  for (bool more = x.numel() > 0; more;) {
    int64_t offset = 0;
    for (size_t d = 0; d < index.size(); ++d) offset += index[d] * x.strides()[d];
    shown.push_back(convert_element<Value>(x.data()[offset]));
    more = false;
    for (size_t d = index.size(); !more && d-- > 0;) {
      const int64_t n = x.shape()[d];
      ++index[d];
      if (summarised && n > 2 * detail::kPrintEdge && index[d] == detail::kPrintEdge) index[d] = n - detail::kPrintEdge;
      more = index[d] < n;
      if (!more) index[d] = 0;
    }
  }
  std::vector<std::string> cells;
  if constexpr (std::is_same_v<T, bool>) {
    for (int64_t v : shown) cells.emplace_back(v ? "true" : "false");
  } else {
    cells = detail::print_cells(shown);
  }
  const std::string elements = x.numel() == 0 ? "[]" : detail::BracketPrinter(cells, x.shape(), summarised).text();
  return elements + "\n" + kind;
}

/// Writes to_text(x) and a newline to the standard output.
template <class T>
void print(const Tensor<T>& x) {
  std::puts(to_text(x).c_str());
}

}  // namespace clearsky

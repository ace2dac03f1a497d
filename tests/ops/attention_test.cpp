#include "clearsky/ops/attention.hpp"

#include "../op_spec.hpp"

namespace clearsky::test::attention_test {
namespace {

using Real = long double;

/// One query after the other, from the definition. allowed(b, h, i, j) says whether query i may look at key j.
///
/// Scale: a score is a sum of D products; its rounding is absolute in the exponent, so that a probability is relatively
/// off by sum |q k| scale. An error in the probability of key j moves y by P_j (v_j - y).
template <class Allowed>
Expected attend(const Inputs& in, double scale, const Allowed& allowed) {
  const Tensor<double>&q = in[0], &k = in[1], &v = in[2];
  const int64_t heads = q.size(1), queries = q.size(2), keys = k.size(2), width = q.size(3);
  Expected e;
  e.values.assign(size_t(q.numel()), 0);
  e.scale.assign(size_t(q.numel()), 0);
  e.terms = double(std::max(keys, width));
  std::vector<Real> score(static_cast<size_t>(keys)), size(static_cast<size_t>(keys));
  for (int64_t row = 0; row < q.size(0) * heads * queries; ++row) {
    const int64_t head = row / queries, i = row % queries;
    Real top = -INFINITY, sum = 0;
    for (int64_t j = 0; j < keys; ++j) {
      Real dot = 0, absolute = 0;
      for (int64_t c = 0; c < width; ++c) {
        const Real product = Real(q.data()[row * width + c]) * k.data()[(head * keys + j) * width + c];
        dot += product;
        absolute += std::fabs(product);
      }
      score[size_t(j)] = allowed(head / heads, head % heads, i, j) ? Real(scale * dot) : Real(-INFINITY);
      size[size_t(j)] = std::fabs(scale) * absolute;
      top = std::max(top, score[size_t(j)]);
    }
    if (std::isinf(top)) continue;  // looks nowhere: 0
    for (int64_t j = 0; j < keys; ++j) sum += std::exp(score[size_t(j)] - top);
    for (int64_t c = 0; c < width; ++c) {
      Real y = 0, off = 0;
      for (int64_t j = 0; j < keys; ++j)
        y += std::exp(score[size_t(j)] - top) / sum * v.data()[(head * keys + j) * width + c];
      for (int64_t j = 0; j < keys; ++j) {
        const Real p = std::exp(score[size_t(j)] - top) / sum, at = v.data()[(head * keys + j) * width + c];
        off += p * (std::fabs(at) + std::fabs(at - y) * size[size_t(j)]);
      }
      e.values[size_t(row * width + c)] = double(y);
      e.scale[size_t(row * width + c)] = double(off);
    }
  }
  return e;
}

Sample sample(int64_t batch, int64_t heads, int64_t queries, int64_t keys, int64_t width, Attrs attrs = {},
              bool check = true) {
  return {.inputs = {{batch, heads, queries, width}, {batch, heads, keys, width}, {batch, heads, keys, width}},
          .attrs = std::move(attrs),
          .gradcheck = check,
          .direction = !check};
}

TEST_CASE("scaled_dot_product_attention") {
  const auto call = [](const auto& in, const Attrs& a) {
    using T = typename std::decay_t<decltype(in[0])>::value_type;
    AttentionOptions<T> options;
    options.causal = a.flag("causal");
    if (a.has("scale")) options.scale = a.at("scale");
    return scaled_dot_product_attention(in[0], in[1], in[2], options);
  };
  const auto reference = [](const Inputs& in, const Attrs& a) {
    const double scale = a.has("scale") ? a.at("scale") : 1 / std::sqrt(double(in[0].size(3)));
    const int64_t shift = in[1].size(2) - in[0].size(2);
    return attend(in, scale,
                  [&](int64_t, int64_t, int64_t i, int64_t j) { return !a.flag("causal") || j <= i + shift; });
  };
  run({.name = "scaled_dot_product_attention",
       .reference = reference,
       .samples = {sample(2, 2, 3, 5, 4),
                   sample(1, 1, 1, 1, 1),
                   sample(1, 3, 7, 2, 17),
                   sample(2, 1, 5, 16, 16),
                   sample(1, 2, 3, 4, 33),
                   sample(0, 2, 3, 4, 5),
                   sample(2, 0, 3, 4, 5),
                   sample(1, 2, 0, 4, 5),
                   sample(1, 2, 3, 0, 5),  // no key: looks nowhere
                   sample(2, 2, 3, 4, 0),
                   sample(1, 1, 4, 6, 5, {{"scale", 2.5}}),
                   sample(1, 1, 4, 6, 5, {{"scale", -1}}),
                   sample(1, 2, 5, 5, 3, {{"causal", 1}}),
                   sample(1, 1, 3, 6, 3, {{"causal", 1}}),  // more keys than queries: the last key is the last query's
                   sample(1, 2, 6, 3, 4, {{"causal", 1}}),  // fewer: the first three queries see nothing
                   sample(1, 2, 49, 129, 3, {}, false),     // one past the borders of both blocks
                   sample(2, 1, 131, 300, 19, {}, false),   // several blocks of both
                   sample(1, 1, 300, 70, 33, {}, false),    // gradients of keys from several parts of the queries
                   sample(1, 1, 300, 129, 3, {}, false),    // whose last key is alone in its block
                   sample(1, 1, 200, 200, 5, {{"causal", 1}}, false),
                   sample(1, 1, 270, 300, 16, {{"causal", 1}}, false),  // keys that a block of queries does not see
                   sample(1, 2, 300, 130, 5, {{"causal", 1}}, false)},
       .rejects = {{{.inputs = {{1, 1, 2, 3}, {1, 1, 2, 4}, {1, 1, 2, 4}}},
                    "scaled_dot_product_attention: q (1, 1, 2, 3), k (1, 1, 2, 4), v (1, 1, 2, 4) do not fit"},
                   {{.inputs = {{1, 1, 2, 3}, {1, 1, 2, 3}, {1, 1, 3, 3}}}, "with k and v alike"},
                   {{.inputs = {{1, 2, 2, 3}, {1, 1, 2, 3}, {1, 1, 2, 3}}}, "do not fit"},
                   {{.inputs = {{2, 1, 2, 3}, {1, 1, 2, 3}, {1, 1, 2, 3}}}, "do not fit"},
                   {{.inputs = {{2, 2, 3}, {2, 2, 3}, {2, 2, 3}}}, "they must be (B, heads, L, D)"}},
       .twice_differentiable = false,
       // dS = P (dP - D) cancels, and the scale, up to 2.5, multiplies what rounding is left.
       .gradient_condition = 4},
      call);
}

/// Which keys a query may look at; shape sizes of 1 are broadcast. Query 1 may look nowhere.
Tensor<bool> mask_of(const Shape& shape) {
  Tensor<bool> mask(shape);
  for (int64_t i = 0; i < mask.numel(); ++i) {
    const int64_t query = i / shape[3] % shape[2];
    mask.mutable_data()[i] = (i * 7 + i / 5) % 3 != 0 && (query != 1 || shape[2] == 1);
  }
  return mask;
}

TEST_CASE("scaled_dot_product_attention with a mask") {
  // Attributes "b", "h", "q": 1 where the mask has that size, else it is broadcast.
  const auto mask_shape = [](const Shape& q, const Shape& k, const Attrs& a) {
    return Shape{a.flag("b") ? q[0] : 1, a.flag("h") ? q[1] : 1, a.flag("q") ? q[2] : 1, k[2]};
  };
  run({.name = "scaled_dot_product_attention, mask",
       .reference =
           [&](const Inputs& in, const Attrs& a) {
             const Shape s = mask_shape(in[0].shape(), in[1].shape(), a);
             const Tensor<bool> mask = mask_of(s);
             const int64_t shift = in[1].size(2) - in[0].size(2);
             return attend(in, 1 / std::sqrt(double(in[0].size(3))), [&](int64_t b, int64_t h, int64_t i, int64_t j) {
               const int64_t at =
                   (((s[0] > 1 ? b : 0) * s[1] + (s[1] > 1 ? h : 0)) * s[2] + (s[2] > 1 ? i : 0)) * s[3] + j;
               return mask.data()[at] && (!a.flag("causal") || j <= i + shift);
             });
           },
       .samples = {sample(2, 3, 4, 5, 3, {{"b", 1}, {"h", 1}, {"q", 1}}), sample(2, 3, 4, 5, 3, {{"q", 1}}),
                   sample(2, 2, 4, 17, 3, {{"b", 1}}), sample(2, 2, 3, 4, 5, {{"h", 1}, {"q", 1}, {"causal", 1}}),
                   sample(2, 2, 61, 140, 5, {{"b", 1}, {"h", 1}, {"q", 1}}, false),
                   sample(2, 1, 61, 270, 5, {{"q", 1}, {"causal", 1}}, false)},
       .twice_differentiable = false},
      [&](const auto& in, const Attrs& a) {
        using T = typename std::decay_t<decltype(in[0])>::value_type;
        AttentionOptions<T> options;
        options.mask = mask_of(mask_shape(in[0].shape(), in[1].shape(), a));
        options.causal = a.flag("causal");
        return scaled_dot_product_attention(in[0], in[1], in[2], options);
      });
  AttentionOptions<float> options;
  options.mask = mask_of({1, 1, 2, 3});
  CHECK_THROWS_AS(scaled_dot_product_attention(ones({1, 1, 2, 4}), ones({1, 1, 4, 4}), ones({1, 1, 4, 4}), options),
                  ShapeError);
}

TEST_CASE("a fully masked query gives 0 and gets no gradient, in whichever block it lies") {
  const int64_t queries = 60, keys = 200;
  Tensor<> q = randn<float>({1, 1, queries, 5}, Key{1}), k = randn<float>({1, 1, keys, 5}, Key{2}),
           v = randn<float>({1, 1, keys, 5}, Key{3});
  Tensor<bool> mask({1, 1, queries, keys});
  for (int64_t i = 0; i < mask.numel(); ++i) {
    const int64_t query = i / keys, key = i % keys;
    // Queries 0 and 50: nowhere. Query 1: only keys of the second block. Key 7 is seen by none.
    mask.mutable_data()[i] = query != 0 && query != 50 && key != 7 && (query != 1 || key >= 130);
  }
  AttentionOptions<float> options;
  options.mask = mask;
  for (Tensor<>* t : {&q, &k, &v}) t->set_requires_grad();
  const Tensor<> y = scaled_dot_product_attention(q, k, v, options);
  sum(square(y) + y).backward();
  const auto rows_are_zero = [](const Tensor<>& t, std::vector<int64_t> rows) {
    for (int64_t r : rows)
      for (int64_t c = 0; c < 5; ++c)
        if (t.data()[r * 5 + c] != 0) return false;
    return true;
  };
  CHECK(rows_are_zero(y.detach(), {0, 50}));
  CHECK(!rows_are_zero(y.detach(), {1}));
  CHECK(rows_are_zero(q.grad(), {0, 50}));
  CHECK(rows_are_zero(k.grad(), {7}));
  CHECK(rows_are_zero(v.grad(), {7}));
  for (const Tensor<>& t : {y.detach(), q.grad(), k.grad(), v.grad()})
    for (float value : t.to_vector()) CHECK_FALSE(std::isnan(value));
}

TEST_CASE("scaled_dot_product_attention of large scores and of NaN") {
  // Scores of 0 to 1e4: the probability of the largest is 1.
  Tensor<> q({1, 1, 1, 1}, {100}), k({1, 1, 200, 1}), v({1, 1, 200, 1});
  for (int64_t j = 0; j < 200; ++j) {
    k.mutable_data()[j] = float((j * 37) % 200) / 2;
    v.mutable_data()[j] = float(j);
  }
  CHECK(scaled_dot_product_attention(q, k, v).item() == 27);  // 27 * 37 % 200 = 199
  k.mutable_data()[150] = NAN;
  CHECK(std::isnan(scaled_dot_product_attention(q, k, v).item()));
}

TEST_CASE("scaled_dot_product_attention of NaN in one query or key") {
  // A NaN of a query stays in its row; that of a key reaches every query that sees it, and no other.
  const int64_t n = 140;
  Tensor<> q = randn<float>({1, 1, n, 4}, Key{1}), k = randn<float>({1, 1, n, 4}, Key{2}), v = k.clone();
  q.mutable_data()[3 * 4 + 1] = NAN;
  k.mutable_data()[130 * 4] = NAN;  // in the second block of keys
  AttentionOptions<float> options;
  options.causal = true;
  const Tensor<> y = scaled_dot_product_attention(q, k, v, options);
  for (int64_t i = 0; i < n; ++i) CHECK(std::isnan(y.data()[i * 4]) == (i == 3 || i >= 130));
}

TEST_CASE("window_attention") {
  run({.name = "window_attention",
       .reference =
           [](const Inputs& in, const Attrs& a) {
             const int64_t heads = a.integer("heads"), window = a.integer("window");
             const Shape s = in[0].shape();
             const int64_t width = s[3] / heads, size = window * window;
             Expected e;
             e.values.resize(size_t(s.numel()));
             e.scale.resize(size_t(s.numel()));
             for (int64_t n = 0; n < s[0]; ++n)
               for (int64_t top = 0; top < s[1]; top += window)
                 for (int64_t left = 0; left < s[2]; left += window)
                   for (int64_t h = 0; h < heads; ++h) {
                     const auto at = [&](int64_t p, int64_t c) {
                       return ((n * s[1] + top + p / window) * s[2] + left + p % window) * s[3] + h * width + c;
                     };
                     Inputs tile(3);
                     for (size_t t = 0; t < 3; ++t) {
                       tile[t] = Tensor<double>({1, 1, size, width});
                       for (int64_t i = 0; i < size * width; ++i)
                         tile[t].mutable_data()[i] = in[t].data()[at(i / width, i % width)];
                     }
                     const Expected part = attend(tile, 1 / std::sqrt(double(width)),
                                                  [](int64_t, int64_t, int64_t, int64_t) { return true; });
                     for (int64_t i = 0; i < size * width; ++i) {
                       e.values[size_t(at(i / width, i % width))] = part.values[size_t(i)];
                       e.scale[size_t(at(i / width, i % width))] = part.scale[size_t(i)];
                     }
                     e.terms = part.terms;
                   }
             return e;
           },
       .samples = {{.inputs = {{2, 2, 4, 4}, {2, 2, 4, 4}, {2, 2, 4, 4}}, .attrs = {{"heads", 2}, {"window", 2}}},
                   {.inputs = {{1, 3, 3, 5}, {1, 3, 3, 5}, {1, 3, 3, 5}}, .attrs = {{"heads", 1}, {"window", 3}}},
                   {.inputs = {{1, 2, 3, 3}, {1, 2, 3, 3}, {1, 2, 3, 3}}, .attrs = {{"heads", 3}, {"window", 1}}},
                   {.inputs = {{0, 2, 2, 3}, {0, 2, 2, 3}, {0, 2, 2, 3}}, .attrs = {{"heads", 1}, {"window", 2}}},
                   {.inputs = {{2, 16, 8, 34}, {2, 16, 8, 34}, {2, 16, 8, 34}},  // heads of a vector and one
                    .attrs = {{"heads", 2}, {"window", 8}},
                    .gradcheck = false,
                    .direction = true},
                   {.inputs = {{1, 24, 12, 10}, {1, 24, 12, 10}, {1, 24, 12, 10}},  // 144 keys: two blocks
                    .attrs = {{"heads", 2}, {"window", 12}},
                    .gradcheck = false,
                    .direction = true}},
       .rejects = {{{.inputs = {{1, 4, 4, 4}, {1, 4, 4, 4}, {1, 4, 4, 2}}, .attrs = {{"heads", 2}, {"window", 2}}},
                    "window_attention: q (1, 4, 4, 4), k (1, 4, 4, 4) and v (1, 4, 4, 2) must all be one (N, H, W, C)"},
                   {{.inputs = {{1, 4, 5, 4}, {1, 4, 5, 4}, {1, 4, 5, 4}}, .attrs = {{"heads", 2}, {"window", 2}}},
                    "height 4 and width 5 must be multiples of the window 2; pad the image"},
                   {{.inputs = {{1, 4, 4, 4}, {1, 4, 4, 4}, {1, 4, 4, 4}}, .attrs = {{"heads", 2}, {"window", 0}}},
                    "must be multiples of the window 0"},
                   {{.inputs = {{1, 4, 4, 4}, {1, 4, 4, 4}, {1, 4, 4, 4}}, .attrs = {{"heads", 3}, {"window", 2}}},
                    "window_attention: 4 channels do not divide into 3 heads"}},
       .twice_differentiable = false},
      [](const auto& in, const Attrs& a) {
        return window_attention(in[0], in[1], in[2], a.integer("heads"), a.integer("window"));
      });
}

}  // namespace
}  // namespace clearsky::test::attention_test

#include "clearsky/ops/matmul.hpp"

#include "../op_spec.hpp"

namespace clearsky::test::matmul_test {
namespace {

/// Vectors as one row on the left and one column on the right, batches by their broadcast index.
Expected matmul_reference(const Inputs& in, const Attrs&) {
  const Tensor<double> a = in[0].rank() == 1 ? unsqueeze(in[0], 0) : in[0];
  const Tensor<double> b = in[1].rank() == 1 ? unsqueeze(in[1], 1) : in[1];
  const int64_t m = a.size(-2), k = a.size(-1), n = b.size(-1), rank = (std::max)(a.rank(), b.rank()) - 2;
  const auto batch = [&](const Tensor<double>& t, int64_t d) {  // size of batch dimension d, counted from the back
    return d + 2 < t.rank() ? t.size(-3 - d) : 1;
  };
  int64_t batches = 1;
  for (int64_t d = 0; d < rank; ++d) batches *= batch(a, d) == 1 ? batch(b, d) : batch(a, d);
  const auto matrix = [&](const Tensor<double>& t, int64_t index) {  // which of t's matrices is used
    int64_t at = 0, step = 1;
    for (int64_t d = 0; d < rank; ++d) {
      const int64_t size = batch(a, d) == 1 ? batch(b, d) : batch(a, d);
      if (batch(t, d) != 1) at += index % size * step;
      step *= batch(t, d);
      index /= size;
    }
    return at;
  };
  Expected want;
  want.terms = double(k);
  for (int64_t q = 0; q < batches; ++q) {
    const double *u = a.data() + matrix(a, q) * m * k, *v = b.data() + matrix(b, q) * k * n;
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) {
        double sum = 0, scale = 0;
        for (int64_t p = 0; p < k; ++p) {
          sum += u[i * k + p] * v[p * n + j];
          scale += std::fabs(u[i * k + p] * v[p * n + j]);
        }
        want.values.push_back(sum);
        want.scale.push_back(scale);
      }
  }
  return want;
}

TEST_CASE("matmul") {
  run({.name = "matmul",
       .reference = matmul_reference,
       .samples =
           {
               {.inputs = {{3, 4}, {4, 5}}},
               {.inputs = {{1, 1}, {1, 1}}},
               {.inputs = {{4}, {4}}},  // the dot product, a scalar
               {.inputs = {{4}, {4, 3}}},
               {.inputs = {{3, 4}, {4}}},
               {.inputs = {{2, 3, 4}, {4}}},
               {.inputs = {{4}, {2, 4, 3}}},
               {.inputs = {{2, 3, 4}, {2, 4, 5}}},
               {.inputs = {{2, 3, 4}, {4, 5}}},  // one matrix for a batch of rows
               {.inputs = {{3, 4}, {2, 4, 5}}},
               {.inputs = {{2, 1, 3, 2}, {4, 2, 3}}},  // batches broadcast both ways
               {.inputs = {{1, 2, 3}, {5, 3, 1}}},
               {.inputs = {{3, 0}, {0, 2}}},  // an empty sum is 0
               {.inputs = {{2, 3, 0}, {0, 2}}},
               {.inputs = {{0, 3}, {3, 2}}},
               {.inputs = {{0, 2, 3}, {3, 4}}},
               {.inputs = {{0, 2, 3}, {0, 3, 4}}},
               {.inputs = {{70, 33}, {33, 49}}, .gradcheck = false, .direction = true},
               {.inputs = {{12, 9, 17}, {12, 17, 40}}, .gradcheck = false, .direction = true},
               {.inputs = {{3000, 18}, {18, 35}},
                .gradcheck = false,
                .direction = true},  // the gradient of b is a long sum
           },
       .rejects = {{{.inputs = {{2, 3}, {4, 5}}}, "matmul: (2, 3) x (4, 5): inner sizes 3 and 4 differ"},
                   {{.inputs = {{}, {3}}}, "matmul: needs at least 1 dimension each, got () and (3)"},
                   {{.inputs = {{2, 3, 4}, {3, 4, 5}}}, "matmul: shapes (2) and (3) do not broadcast"}}},
      [](const auto& in, const Attrs&) { return matmul(in[0], in[1]); });
}

TEST_CASE("matmul reads transposed views in place") {
  const Tensor<float> a = rand({5, 7}, Key{1}), b = rand({6, 5}, Key{2});
  const auto got = matmul(transpose(a, 0, 1), transpose(b, 0, 1)).to_vector();
  const auto want = matmul(contiguous(transpose(a, 0, 1)), contiguous(transpose(b, 0, 1))).to_vector();
  CHECK(got == want);
}

Expected linear_reference(const Inputs& in, const Attrs&) {
  const int64_t inputs = in[1].size(1), outputs = in[1].size(0);
  int64_t rows = 1;
  for (int64_t d = 0; d + 1 < in[0].rank(); ++d) rows *= in[0].size(d);
  Expected want;
  want.terms = double(inputs + 1);
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t o = 0; o < outputs; ++o) {
      double sum = in.size() > 2 ? in[2].data()[o] : 0, scale = std::fabs(sum);
      for (int64_t c = 0; c < inputs; ++c) {
        const double product = in[0].data()[i * inputs + c] * in[1].data()[o * inputs + c];
        sum += product;
        scale += std::fabs(product);
      }
      want.values.push_back(sum);
      want.scale.push_back(scale);
    }
  return want;
}

TEST_CASE("linear") {
  run({.name = "linear",
       .reference = linear_reference,
       .samples = {{.inputs = {{3, 4}, {2, 4}, {2}}},
                   {.inputs = {{3, 4}, {2, 4}}},
                   {.inputs = {{4}, {3, 4}, {3}}},  // one vector
                   {.inputs = {{2, 3, 2, 4}, {5, 4}, {5}}},
                   {.inputs = {{0, 4}, {2, 4}, {2}}},
                   {.inputs = {{3, 0}, {2, 0}, {2}}},  // only the bias is left
                   {.inputs = {{2100, 19}, {33, 19}, {33}}, .gradcheck = false, .direction = true}},
       .rejects = {{{.inputs = {{3, 4}, {4, 2}}}, "linear: input (3, 4) does not fit weight (4, 2)"},
                   {{.inputs = {{3, 4}, {2, 4}, {4}}}, "linear: bias (4) for weight (2, 4)"}}},
      [](const auto& in, const Attrs&) { return in.size() > 2 ? linear(in[0], in[1], in[2]) : linear(in[0], in[1]); });
}

}  // namespace
}  // namespace clearsky::test::matmul_test

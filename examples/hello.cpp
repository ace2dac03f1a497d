// The ten lines of README.md: a tensor, a function of it, its gradient.
#include <clearsky/clearsky.hpp>

int main() {
  using namespace clearsky;
  Tensor x = randn({2, 3}, Key{1}).set_requires_grad();
  Tensor y = sum(exp(x) * x);
  y.backward();
  print(x.grad());  // (1 + x) exp(x), float32 (2, 3)
}

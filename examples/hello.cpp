// The ten lines of README.md: a tensor, a function of it, its gradient.
#include <clearsky/clearsky.hpp>

int main() {
  using namespace clearsky;
  Tensor x = randn({2, 3}, Key{1}).set_requires_grad();
  Tensor y = sum(softmax(x, 1) * x);
  y.backward();
  print(x.grad());  // three numbers per row, then: float32 (2, 3)
}

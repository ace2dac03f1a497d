// What each kernel does to memory at the shapes of the default TDP-CR (width 32, patches of 64 x 64), seen by the lens.
// Prints JSON: one entry per launch. bench/kernels/table.py runs it and adds what nvcc knows.
//
// A launch's share of the work (flops) is given for the one kernel that does it; sums in slots and the like have none.

#include "losses_and_updates.hpp"
#include "products.hpp"
#include "rows_and_images.hpp"

int main() {
  clearsky::cuda::convolutions();
  clearsky::cuda::look_at_depthwise(64, 96);
  clearsky::cuda::look_at_depthwise(8, 768);
  clearsky::cuda::attention();
  clearsky::cuda::rows_of_channels();
  clearsky::cuda::elements_and_images();
  clearsky::cuda::losses_and_updates();
  std::printf("\n]\n");
}

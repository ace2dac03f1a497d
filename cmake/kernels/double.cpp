// The library clearsky::kernels in double: operations and kernels of the CPU (see clearsky/core/compile_once.hpp).
#define CLEARSKY_COMPILED_KERNELS
#define CLEARSKY_COMPILING_KERNELS_IN_DOUBLE
#include "clearsky/ops.hpp"
#include "clearsky/optim.hpp"

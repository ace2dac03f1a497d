// The harness as C++: its kernels run on the CPU, to compare.
#include "all.cu"

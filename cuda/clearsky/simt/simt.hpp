#pragma once
// Runs CUDA kernels on the CPU: the same source, compiled as C++, with one fiber for each CUDA thread. It finds what a
// kernel does wrong (docs of each part say what); its time says nothing about a device's.

#include "clearsky/simt/launch.hpp"
#include "clearsky/simt/matrix.hpp"

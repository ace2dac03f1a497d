#pragma once
// The simt device, enabled for the tests of this folder.

#include "clearsky/core/device.hpp"

namespace clearsky {

namespace cuda {
struct DeviceLibrary;
}

namespace test {

const cuda::DeviceLibrary& simt_kernels();  // simt_kernels.cpp
/// Enables the device; any number of times. @return Device::simt
Device use_simt();
/// As GlobalMemory::set_closed_to_host: off for long runs.
void close_memory_to_host(bool on);

}  // namespace test
}  // namespace clearsky

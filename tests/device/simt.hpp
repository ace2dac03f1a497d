#pragma once
// The simt device, enabled for the tests of this folder.

#include "clearsky/core/device.hpp"

namespace clearsky::test {

/// Enables the device; any number of times. @return Device::simt
Device use_simt();
/// As GlobalMemory::set_closed_to_host: off for long runs.
void close_memory_to_host(bool on);

}  // namespace clearsky::test

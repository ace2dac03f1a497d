#pragma once
// Which device the program computes on.

#include <string>
#include <string_view>

#include "clearsky/core/device.hpp"

namespace clearsky::program {

/// What --device asks for.
class DeviceChoice {
 public:
  /// @param name  "auto", "cpu", "cuda" or "simt"
  explicit DeviceChoice(std::string name) : name_(std::move(name)) {}

  /// Whether it was asked for by this name.
  bool is(std::string_view name) const { return name_ == name; }

  /// Makes the device usable, and says in one line what was chosen and why. "auto" takes a GPU where there is one.
  /// @param quiet  say nothing
  /// @throws DeviceError when a device was asked for by name and cannot be used
  Device enable(bool quiet = false) const;

 private:
  std::string name_;
};

}  // namespace clearsky::program

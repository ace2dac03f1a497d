#pragma once
// All of clearsky/core. Written by tests/structure/layers.py --write.

#include "clearsky/core/compile_once.hpp"
#include "clearsky/core/device.hpp"
#include "clearsky/core/draws.hpp"
#include "clearsky/core/dtype.hpp"
#include "clearsky/core/error.hpp"
#include "clearsky/core/memory.hpp"
#include "clearsky/core/philox.hpp"
#include "clearsky/core/pointer.hpp"
#include "clearsky/core/print.hpp"
#include "clearsky/core/profile.hpp"
#include "clearsky/core/shape.hpp"
#include "clearsky/core/tensor.hpp"
#include "clearsky/core/threads.hpp"

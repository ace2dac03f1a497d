#pragma once
// All of clearsky/metrics. Written by tests/structure/layers.py --write.

#include "clearsky/metrics/correlation.hpp"
#include "clearsky/metrics/image.hpp"
#include "clearsky/metrics/segmentation.hpp"

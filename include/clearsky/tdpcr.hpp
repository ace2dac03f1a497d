#pragma once
// All of clearsky/tdpcr. Written by tests/structure/layers.py --write.

#include "clearsky/tdpcr/blocks.hpp"
#include "clearsky/tdpcr/config.hpp"
#include "clearsky/tdpcr/decoder.hpp"
#include "clearsky/tdpcr/encoder.hpp"
#include "clearsky/tdpcr/fusion.hpp"
#include "clearsky/tdpcr/model.hpp"
#include "clearsky/tdpcr/prompt.hpp"
#include "clearsky/tdpcr/segmentation.hpp"
#include "clearsky/tdpcr/summary.hpp"

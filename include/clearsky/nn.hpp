#pragma once
// All of clearsky/nn. Written by tests/structure/layers.py --write.

#include "clearsky/nn/attention.hpp"
#include "clearsky/nn/conv2d.hpp"
#include "clearsky/nn/dropout.hpp"
#include "clearsky/nn/init.hpp"
#include "clearsky/nn/linear.hpp"
#include "clearsky/nn/module.hpp"
#include "clearsky/nn/norm.hpp"
#include "clearsky/nn/profile.hpp"
#include "clearsky/nn/state_dict.hpp"

#pragma once
// All of clearsky/autograd. Written by tests/structure/layers.py --write.

#include "clearsky/autograd/checkpoint.hpp"
#include "clearsky/autograd/engine.hpp"
#include "clearsky/autograd/grad_mode.hpp"
#include "clearsky/autograd/gradcheck.hpp"
#include "clearsky/autograd/node.hpp"
#include "clearsky/autograd/op.hpp"

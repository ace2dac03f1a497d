#pragma once
// All of clearsky/optim. Written by tests/structure/layers.py --write.

#include "clearsky/optim/adamw.hpp"
#include "clearsky/optim/clip.hpp"
#include "clearsky/optim/ema.hpp"
#include "clearsky/optim/loss_scaler.hpp"
#include "clearsky/optim/optimizer.hpp"
#include "clearsky/optim/parameter_set.hpp"
#include "clearsky/optim/schedule.hpp"
#include "clearsky/optim/sgd.hpp"

#pragma once
// Everything that needs the standard library alone: tensors, gradients, operations, networks, optimizers,
// metrics and the TDP-CR model. Files (clearsky/io), rasters (clearsky/geo), data sets (clearsky/data) and training
// (clearsky/train) are included one by one, since they need other libraries.
// Written by tests/structure/layers.py --write.

#include "clearsky/autograd.hpp"
#include "clearsky/core.hpp"
#include "clearsky/metrics.hpp"
#include "clearsky/nn.hpp"
#include "clearsky/ops.hpp"
#include "clearsky/optim.hpp"
#include "clearsky/tdpcr.hpp"
#include "clearsky/version.hpp"

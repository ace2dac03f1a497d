#!/usr/bin/env bash
# Builds the kernels' tests for the GPU of this machine and runs them there: bash tests/cuda/device/run.sh [ARGUMENTS]
# The arguments are doctest's, as in --test-case='*softmax*'.
set -euo pipefail
cd "$(dirname "$0")/../../.."
source tests/cuda/device/build.sh cuda_device_tests
build/gpu/tests/cuda_device_tests "$@"

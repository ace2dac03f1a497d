#!/usr/bin/env bash
# Tests the kernels on the GPU, then measures them: bash bench/gpu/run.sh. Writes bench/results/gpu/<device name>.json.
# With --no-tests it only measures. For cuDNN in an unusual place: CMAKE_PREFIX_PATH=/its/folder bash bench/gpu/run.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
targets="cuda_device_tests gpu_benchmarks"
[ "${1:-}" = --no-tests ] && targets=gpu_benchmarks
source tests/cuda/device/build.sh $targets
name=$(nvidia-smi -i 0 --query-gpu=name --format=csv,noheader | tr -c 'A-Za-z0-9.\n' '_')
result=bench/results/gpu/$name.json
if [ "${1:-}" != --no-tests ]; then
  build/gpu/tests/cuda_device_tests
  build/gpu/bench/gpu_benchmarks --check | { grep -v '^ok' || true; }  # the rows at tiny shapes
fi
mkdir -p bench/results/gpu
status=0
build/gpu/bench/gpu_benchmarks "$(git describe --always --dirty)" >"$result.new" || status=$?
python3 -m json.tool "$result.new" >/dev/null || { echo "bench/gpu/run.sh: broke off, see $result.new" >&2; exit 1; }
mv "$result.new" "$result"
echo "$result"
exit $status

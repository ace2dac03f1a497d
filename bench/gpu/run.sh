#!/usr/bin/env bash
# Builds and runs the GPU harness: bash bench/gpu/run.sh. Writes bench/results/gpu/<device name>.json.
set -euo pipefail
cd "$(dirname "$0")/../.."
nvcc=$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)
[ -x "$nvcc" ] || { echo "bench/gpu/run.sh: no nvcc; install the CUDA toolkit" >&2; exit 1; }
nvidia-smi -L >/dev/null 2>&1 || { echo "bench/gpu/run.sh: no CUDA device; run this where there is one" >&2; exit 77; }
name=$(nvidia-smi -i 0 --query-gpu=name --format=csv,noheader | tr -c 'A-Za-z0-9.\n' '_')
cmake -S . -B build/release -DCMAKE_BUILD_TYPE=Release -DCLEARSKY_CUDA=ON -DCLEARSKY_BENCHMARKS=ON
cmake --build build/release --target gpu_benchmarks
mkdir -p bench/results/gpu
build/release/bench/gpu_benchmarks "$(git describe --always --dirty)" >"bench/results/gpu/$name.json.new"
mv "bench/results/gpu/$name.json.new" "bench/results/gpu/$name.json"
echo "bench/results/gpu/$name.json"

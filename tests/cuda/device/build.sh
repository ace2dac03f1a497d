# source build.sh TARGET...: from the root of the sources, builds these in build/gpu, for the GPU that is there.
nvcc=$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)
[ -x "$nvcc" ] || { echo "$0: no nvcc; install the CUDA toolkit" >&2; exit 1; }
nvidia-smi -L >/dev/null 2>&1 || { echo "$0: no CUDA device; run this where there is one" >&2; exit 77; }
architecture=$(nvidia-smi -i 0 --query-gpu=compute_cap --format=csv,noheader | tr -d .)
cmake -S . -B build/gpu -DCMAKE_BUILD_TYPE=Release -DCMAKE_CUDA_COMPILER="$nvcc" \
  -DCMAKE_CUDA_ARCHITECTURES="$architecture" -DCLEARSKY_CUDA=ON -DCLEARSKY_BENCHMARKS=ON
cmake --build build/gpu --parallel "$(nproc)" --target "$@"

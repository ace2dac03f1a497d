#!/usr/bin/env bash
# nvcc.sh: compiles tests/cuda/*.cu for sm_80 and sm_90, warnings and register spills being errors. Needs no device.
set -uo pipefail
cd "$(dirname "$0")/../.."
nvcc=${CUDACXX:-$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)}
if [[ ! -x $nvcc ]]; then
  echo "skipped: no nvcc on PATH, in CUDACXX or in /usr/local/cuda/bin; install the CUDA toolkit to compile the kernels"
  exit 77
fi
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
failed=0
for arch in sm_80 sm_90; do
  for source in tests/cuda/*.cu; do
    if ! "$nvcc" -std=c++20 -arch=$arch -Xptxas -v,--warn-on-spills -Werror all-warnings -Iinclude -Icuda \
      -c "$source" -o "$out/object.o" >"$out/log" 2>&1; then
      echo "$source does not compile for $arch:"
      grep -v -e 'Compiling entry' -e 'Function properties' -e 'Used ' "$out/log" | head -60
      failed=1
      continue
    fi
    # ptxas -v prints the stack and the spills of each kernel in one line; a warning is not promised for each spill.
    if grep -E '[1-9][0-9]* bytes spill' "$out/log"; then
      echo "$source: kernels spill registers on $arch"
      failed=1
    fi
    echo "$arch $source: $(grep -c 'Compiling entry' "$out/log") kernels, at most" \
      "$(sed -n 's/.*Used \([0-9]*\) registers.*/\1/p' "$out/log" | sort -n | tail -1) registers"
  done
done
exit $failed

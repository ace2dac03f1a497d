#!/usr/bin/env bash
# study.sh FILE.cpp: compiles a study of a kernel and runs it. The lens itself is compiled the first time only. CXX may
# name the compiler, g++ or clang++; no GPU is needed.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
file=${1:-$root/examples/kernel_study/transpose.cpp}
out=$root/build/kernel_study
mkdir -p "$out"
compiler=${CXX:-g++}
flags=(-std=c++20 -DCLEARSKY_SIMT_LENS=1 -I "$root/include" -I "$root/cuda" -I "$root/examples/kernel_study")
lens=$out/lens_$(basename "$compiler").o
if [ ! -f "$lens" ] || [ -n "$(find "$root/cuda/clearsky/simt" "$root/include/clearsky/core" -newer "$lens" -print -quit)" ]; then
  "$compiler" "${flags[@]}" -O2 -c "$root/examples/kernel_study/lens.cpp" -o "$lens"
fi
# -fsanitize=thread for compiling only: it puts a call before each access, and the lens takes it.
name=$out/$(basename "$file" .cpp)
"$compiler" "${flags[@]}" -O1 -g1 -gdwarf-4 -fsanitize=thread -c "$file" -o "$name.o"
"$compiler" "$name.o" "$lens" -o "$name" -pthread
"$name"

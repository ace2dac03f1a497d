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
# A file of its own for each run, until it is whole: several studies may be compiled at a time.
scratch=$(mktemp -d "$out/XXXXXX")
trap 'rm -rf "$scratch"' EXIT
lens=$out/lens_$(basename "$compiler").o
if [ ! -f "$lens" ] || [ -n "$(find "$root/cuda/clearsky/simt" "$root/include/clearsky/core" -newer "$lens" -print -quit)" ]; then
  "$compiler" "${flags[@]}" -O2 -c "$root/examples/kernel_study/lens.cpp" -o "$scratch/lens.o"
  mv "$scratch/lens.o" "$lens"
fi
# -fsanitize=thread for compiling only: it puts a call before each access, and the lens takes it. Each access of the
# source is to be one: vectors out of single accesses must not be made, nor calls of memcpy, which are not seen.
watched=(-O1 -g1 -gdwarf-4 -fsanitize=thread)
if "$compiler" --version | grep -q clang; then
  watched+=(-fno-vectorize -fno-slp-vectorize -mllvm -disable-loop-idiom-all -mllvm -tsan-instrument-read-before-write=1)
else
  watched+=(-finline-small-functions -Wno-tsan --param tsan-instrument-func-entry-exit=0)
fi
"$compiler" "${flags[@]}" "${watched[@]}" -c "$file" -o "$scratch/study.o"
"$compiler" "$scratch/study.o" "$lens" -o "$scratch/study" -pthread
program=$out/$(basename "$file" .cpp)
mv "$scratch/study" "$program"
"$program"

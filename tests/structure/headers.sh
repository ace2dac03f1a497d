#!/usr/bin/env bash
# headers.sh COMPILER FLAG...: each header compiles when it is the only one included, without a warning.
set -euo pipefail
cd "$(dirname "$0")/../.."
export command="$* -std=c++20 -fsyntax-only -Wall -Wextra -Wpedantic -Wshadow -Werror -Iinclude -Icuda -x c++ -"
alone() { echo "#include \"$1\"" | $command || { echo "$1 does not compile alone"; return 1; }; }
export -f alone
# These three are for nvcc alone, which reads them in tests/cuda/*.cu and the program.
all=$(find include/clearsky cuda/clearsky \( -name '*.hpp' -o -name '*.cuh' \) ! -name device.cuh ! -name cublas.cuh ! -name cuda_library.cuh -printf '%H/%P\n' |
  sed 's|^[a-z]*/||' | sort)
# A header that is the first that some test includes compiles alone there, but where tests are compiled together.
first=$(awk 'FNR == 1 { done = 0 } /^#include/ && !done { done = 1; if (/"clearsky/) { gsub(/#include |"/, ""); print } }' \
  $(ls tests/*/*_test.cpp | grep -vE '^tests/(train|tdpcr|device)/') | sort -u)
headers=$(comm -23 <(echo "$all") <(echo "$first"))
# From a file and not to a pipe: the exit code of xargs says whether one of them failed.
if xargs -P "$(nproc)" -I{} bash -c 'alone {}' <<<"$headers"; then
  echo "$(wc -l <<<"$all") headers compile alone, $(wc -l <<<"$headers") of them tried here"
else
  exit 1
fi

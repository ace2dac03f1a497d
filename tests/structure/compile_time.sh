#!/usr/bin/env bash
# compile_time.sh [COMPILER]: what including a header costs, as printed figures (the best of three; others may be
# working on this machine). Aims: core 1 s, everything 4 s.
set -euo pipefail
cd "$(dirname "$0")/../../include"
object=$(mktemp)
trap 'rm -f "$object"' EXIT
for header in clearsky/core.hpp clearsky/clearsky.hpp; do
  best=
  for _ in 1 2 3; do
    started=$(date +%s%N)
    echo "#include \"$header\"" | "${1:-g++}" -std=c++20 -O2 -I. -c -x c++ -o "$object" -
    spent=$((($(date +%s%N) - started) / 10000000))
    if [ -z "$best" ] || [ "$spent" -lt "$best" ]; then best=$spent; fi
  done
  printf 'Including %s compiles in %d.%02d s\n' "$header" $((best / 100)) $((best % 100))
done

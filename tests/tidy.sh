#!/usr/bin/env bash
# tidy.sh [FILE...]: clang-tidy over the tests and examples, and through them over every header; minutes, so that it is
# no part of run.sh. Uses the compile commands of build/release.
set -euo pipefail
cd "$(dirname "$0")/.."
cmake -S . -B build/release -DCMAKE_EXPORT_COMPILE_COMMANDS=ON >/dev/null
files=("$@")
[ ${#files[@]} -gt 0 ] || mapfile -t files < <(git ls-files 'tests/*_test.cpp' 'examples/*.cpp')
printf '%s\0' "${files[@]}" | xargs -0 -n1 -P "$(nproc)" clang-tidy --quiet -p build/release

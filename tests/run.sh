#!/usr/bin/env bash
# Every test, from nothing: installs what is missing, builds with g++, then runs one ctest that also builds and runs a
# part of the tests with clang and under sanitizers. Ends with ctest's summary. Arguments go to ctest, as in -R conv.
set -euo pipefail
cd "$(dirname "$0")/.."

source cmake/packages.sh
need_packages g++ clang libclang-rt-dev cmake ninja-build python3 doctest-dev nlohmann-json3-dev libcli11-dev \
  libstb-dev libgdal-dev

generator=()
command -v ninja >/dev/null && [ ! -e build/release/CMakeCache.txt ] && generator=(-G Ninja)
cores=$(nproc)

# CLEARSKY_TEST_COMPILERS=OFF leaves out what clang and the sanitizers build again: a third of the time.
started=$SECONDS
cmake -S . -B build/release "${generator[@]}" -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_COMPILER=g++ \
  -DCLEARSKY_TESTS=ON -DCLEARSKY_WARNINGS_AS_ERRORS=ON -DCLEARSKY_TEST_COMPILERS="${CLEARSKY_TEST_COMPILERS:-ON}"
cmake --build build/release --parallel "$cores"
echo "Built with g++ in $((SECONDS - started)) s"
bash tests/structure/compile_time.sh
ctest --test-dir build/release --output-on-failure --parallel "$cores" "$@"

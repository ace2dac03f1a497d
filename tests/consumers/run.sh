#!/usr/bin/env bash
# run.sh find_package|add_subdirectory|kernels|compiler_line BUILD_FOLDER COMPILER GENERATOR: builds examples/hello.cpp as a
# stranger would, in a folder of its own, and runs it.
set -euo pipefail
kind=$1 build=$2 compiler=$3 generator=${4:-Unix Makefiles}
root=$(cd "$(dirname "$0")/../.." && pwd)
folder=$build/consumers/$kind
rm -rf "$folder"
mkdir -p "$folder"

case $kind in
  find_package)
    cmake --install "$build" --prefix "$folder/prefix" >"$folder/install.log"
    cmake -S "$root/tests/consumers/find_package" -B "$folder/build" -G "$generator" -DCMAKE_CXX_COMPILER="$compiler" \
      -DCMAKE_PREFIX_PATH="$folder/prefix" -DHELLO="$root/examples/hello.cpp"
    cmake --build "$folder/build"
    ;;
  add_subdirectory | kernels)  # kernels: with the operations compiled once
    link=clearsky::clearsky
    [ "$kind" = add_subdirectory ] || link=clearsky::kernels
    cmake -S "$root/tests/consumers/add_subdirectory" -B "$folder/build" -G "$generator" \
      -DCMAKE_CXX_COMPILER="$compiler" -DCLEARSKY="$root" -DHELLO="$root/examples/hello.cpp" -DLINK="$link"
    cmake --build "$folder/build"
    ;;
  compiler_line)
    # The program and the command as they stand in the README.
    python3 - "$root/README.md" "$root/examples/hello.cpp" <<'PYTHON'
import re, sys
readme, hello = open(sys.argv[1]).read(), open(sys.argv[2]).read()
program = re.search(r"```cpp\n(.*?)```", readme, re.S).group(1)
assert program in hello, "the program in README.md is not the one in examples/hello.cpp"
PYTHON
    mkdir "$folder/build"
    line=$(grep -m1 -- '-I include' "$root/README.md")
    line=${line/c++ /"$compiler" } line=${line%%&&*}
    cd "$root"
    eval "${line/-o hello/-o $folder/build/hello}"
    ;;
  *) echo "run.sh: no consumer called $kind" >&2; exit 2 ;;
esac
"$folder/build/hello" | tee "$folder/out.txt"
grep -q 'float32 (2, 3)' "$folder/out.txt"

#!/usr/bin/env bash
# binaries.sh BINARY...: each takes cudart as a shared library and has no relocatable device code.
set -euo pipefail
for binary in "$@"; do
  readelf -d "$binary" | grep -q 'NEEDED.*libcudart\.so' || { echo "$binary: cudart is not a shared library"; exit 1; }
  # What nvcc's device linker leaves behind, and nothing else does.
  if readelf -SW "$binary" | grep -q '__nv_relfatbin'; then
    echo "$binary: has relocatable device code"
    exit 1
  fi
  readelf -SW "$binary" | grep -q '\.nv_fatbin' || { echo "$binary: has no device code"; exit 1; }
  echo "$binary: shared cudart, no relocatable device code"
done

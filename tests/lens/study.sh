#!/usr/bin/env bash
# study.sh PROGRAM: what the study of the transpose prints is what docs/kernels/README.md quotes.
set -euo pipefail
cd "$(dirname "$0")/../.."
printed=$("$1")
quoted=$(sed -n '/^== /,/^```$/p' docs/kernels/README.md)
# Blank lines and the ends of the quotes are the page's own.
if ! diff <(grep -v '^$' <<<"$printed") <(grep -v '^```$' <<<"$quoted"); then
  echo "docs/kernels/README.md quotes something else than examples/kernel_study/transpose.cpp prints; copy it anew"
  exit 1
fi
echo "$(wc -l <<<"$printed") lines, as quoted"

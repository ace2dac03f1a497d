#!/usr/bin/env bash
# compile_time.sh [COMPILER]: what including a header costs (the best of three; others may be working on this machine),
# and a program with the model and a training step (once), as printed figures. Aims: core 1 s, everything 4 s, the
# program 15 s.
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

# Both at the same time, since this is long; with clearsky::kernels the operations are compiled elsewhere, once.
compile_step() {
  local started
  started=$(date +%s%N)
  "$1" -std=c++20 -O2 -I. "${@:3}" -c -x c++ -o /dev/null - <<'PROGRAM'
#include "clearsky/clearsky.hpp"
int main() {
  using namespace clearsky;
  tdpcr::Model<float> model(tdpcr::Config{}, 1);
  const Tensor<> optical = rand({1, 64, 64, 13}, Key{1}), sar = rand({1, 64, 64, 2}, Key{2});
  const Tensor<> clear = rand({1, 64, 64, 13}, Key{3});
  optim::AdamW<float> optimizer(nn::trainable_parameters(model));
  const Tensor<> image = model(optical, sar).reconstruction;
  (l1_loss(image, clear) + (1.0F - ssim(image, clear))).backward();
  optimizer.step(1e-4);
}
PROGRAM
  local spent=$((($(date +%s%N) - started) / 10000000))
  printf 'The model and a training step%s compile in %d.%02d s\n' "$2" $((spent / 100)) $((spent % 100))
}
compile_step "${1:-g++}" "" &
compile_step "${1:-g++}" " with clearsky::kernels" -DCLEARSKY_COMPILED_KERNELS
wait $!

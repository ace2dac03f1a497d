#!/usr/bin/env bash
# What the program does with input that cannot work: one line on stderr that begins with "clearsky: " and says what is
# wrong, exit status 1 (2 for a command line that does not parse), and no half-written file. Argument: the program.
set -uo pipefail

clearsky=$(realpath "${1:?usage: bad_input_test.sh PROGRAM}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
failures=0
checks=0

problem() {
  failures=$((failures + 1))
  echo "FAILED: $1"
  shift
  [ $# -eq 0 ] || printf '    %s\n' "$@"
}

# refuses STATUS TEXT ARGUMENTS...: the program ends with STATUS and one line that contains TEXT, and leaves no part of a
# file anywhere and no result in out/.
refuses() {
  local status=$1 text=$2 got lines
  shift 2
  checks=$((checks + 1))
  rm -rf out && mkdir out
  "$clearsky" --threads 1 "$@" >stdout 2>stderr
  got=$?
  lines=$(wc -l <stderr)
  [ "$got" -eq "$status" ] || problem "$*" "exit status $got, expected $status" "$(head -3 stderr)"
  [ "$lines" -eq 1 ] || problem "$*" "$lines lines on stderr, expected 1" "$(head -5 stderr)"
  grep -q '^clearsky: ' stderr || problem "$*" "stderr does not begin with clearsky: " "$(head -1 stderr)"
  grep -qF -- "$text" stderr || problem "$*" "stderr does not say: $text" "$(head -1 stderr)"
  grep -q '\.hpp:' stderr && problem "$*" "names a place in the sources" "$(head -1 stderr)"
  local left
  left=$(find . -name '*.part-*' -o -name '.*.part*' -o -path './out/*.tif' -o -path './out/*.png' -o -path './out/*.safetensors')
  [ -z "$left" ] || problem "$*" "left behind: $left"
}

# tiff FILE HEIGHT WIDTH BANDS KIND EXPRESSION: an uncompressed TIFF of one strip; EXPRESSION gives the value from r, c, b.
tiff() {
  python3 - "$@" <<'PYTHON'
import struct, sys
path, height, width, bands, kind, expression = sys.argv[1], *map(int, sys.argv[2:5]), *sys.argv[5:7]
code, size, sample_format = {"uint8": ("B", 1, 1), "uint16": ("H", 2, 1), "float32": ("f", 4, 3)}[kind]
nan = float("nan")
values = [eval(expression) for r in range(height) for c in range(width) for b in range(bands)]
pixels = struct.pack(f"<{len(values)}{code}", *values)
shorts = lambda v: struct.pack(f"<{bands}H", *[v] * bands)
at_bits = 8 + len(pixels)
at_format, at_ifd = at_bits + 2 * bands, at_bits + 4 * bands
array = lambda tag, at, v: (tag, 3, bands, at if bands > 2 else struct.unpack("<I", shorts(v).ljust(4, b"\0"))[0])
entries = [(256, 4, 1, width), (257, 4, 1, height), array(258, at_bits, 8 * size), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8),
           (277, 3, 1, bands), (278, 4, 1, height), (279, 4, 1, len(pixels)), (284, 3, 1, 1), array(339, at_format, sample_format)]
with open(path, "wb") as f:
    f.write(b"II*\0" + struct.pack("<I", at_ifd) + pixels + shorts(8 * size) + shorts(sample_format))
    f.write(struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *e) for e in entries) + b"\0\0\0\0")
PYTHON
}

# A small run, whose weights and data the cases below damage.
tiny=(--set model.width=8 --set 'model.optical_blocks=[1,1,1,1]' --set 'model.sar_blocks=[1,1,1,1]'
  --set 'model.decoder_blocks=[1,1,1,1]' --set model.segmentation_width=8 --set data.split=random --set augment.crop=16
  --set phase1.steps=2 --set phase2.steps=2 --set phase1.batch_size=1 --set phase2.batch_size=1)
made=(--set data.count=6 --set data.size=32)
"$clearsky" --threads 1 train "${tiny[@]}" "${made[@]}" --out run --quiet 2>stderr || { cat stderr; echo "FAILED: the run to begin with"; exit 1; }
"$clearsky" --threads 1 synthesize --out tree --count 6 --height 32 --width 32 >/dev/null || { echo "FAILED: synthesize"; exit 1; }
weights=run/weights.safetensors
optical=$(find tree -path '*/s2_cloudy/*.tif' | sort | head -1)
sar=${optical//s2_cloudy/s1}
restore() { refuses "$1" "$2" predict --weights "$weights" --optical "${3:-$optical}" --sar "${4:-$sar}" --out "${5:-out/clear.tif}"; }

# What is right passes, or the rest proves nothing.
mkdir -p good
"$clearsky" --threads 1 predict --weights "$weights" --optical "$optical" --sar "$sar" --out good/clear.tif --classes good/map.png \
  --reliance good/reliance.tif >/dev/null 2>stderr || problem "predict with good input" "$(cat stderr)"
for file in clear.tif map.png reliance.tif; do [ -s good/$file ] || problem "predict with good input" "good/$file is missing"; done

# The command line and the configuration.
refuses 2 "subcommand"
refuses 2 "--cuont" synthesize --out out --cuont 3
refuses 2 "--out is required" predict --weights "$weights" --optical "$optical" --sar "$sar"
refuses 1 "unknown key phase1.stpes; did you mean phase1.steps" train --set phase1.stpes=3 --out out
refuses 1 "phase1.steps is \"many\"; it must be a whole number" train --set phase1.steps=many --out out
refuses 1 "use one of replace, inject, concat, add, none" train --set model.fusion=mix --out out
refuses 1 "config: width = 7" train --set model.width=7 --out out
refuses 1 "none.json" train --config none.json --out out
echo '{"model": {"width": 8,' >broken.json
refuses 1 "not valid JSON" train --config broken.json --out out
echo '{"model": {"wdith": 8}}' >unknown.json
refuses 1 "unknown key model.wdith; did you mean model.width" train --config unknown.json --out out
refuses 1 "unknown key" info --set model.widht=8

# Files that are missing, truncated or something else.
restore 1 "none.tif" none.tif
restore 1 "none.tif" "$optical" none.tif
head -c 2000 "$optical" >short.tif
restore 1 "short.tif" short.tif
echo "no image" >text.tif
restore 1 "text.tif" text.tif
weights=none.safetensors restore 1 "none.safetensors"
head -c 5000 run/weights.safetensors >short.safetensors
weights=short.safetensors restore 1 "is truncated"
head -c 100000 run/weights.safetensors >shorter.safetensors
weights=shorter.safetensors restore 1 "shorter.safetensors"
weights=text.tif restore 1 "text.tif"

# Images that do not fit.
restore 1 "has 2 bands, 13 are needed" "$sar"
tiff l2a.tif 32 32 12 uint16 '10 + r'
restore 1 "B10 is missing" l2a.tif
restore 1 "has 13 bands, 2 are needed" "$optical" "$optical"
tiff small.tif 24 32 2 float32 '-10.0'
restore 1 "24 x 32" "$optical" small.tif
tiff tiny.tif 4 4 13 uint16 '10'
tiff tiny_sar.tif 4 4 2 float32 '-10.0'
restore 1 "8 x 8" tiny.tif tiny_sar.tif
tiff nan.tif 32 32 2 float32 'nan if r < 2 else -10.0'
restore 1 "NaN" "$optical" nan.tif
"$clearsky" --threads 1 predict --weights "$weights" --optical "$optical" --sar nan.tif --out good/zero.tif --zero-invalid >/dev/null 2>stderr ||
  problem "predict --zero-invalid" "$(cat stderr)"

# Outputs that cannot be written.
restore 1 "nowhere" "" "" nowhere/clear.tif
restore 1 ".tif nor .png" "" "" out/clear.jpg
ln -s /dev/full full.png
restore 1 "No space left" "" "" full.png
# A limit on the size of files stands for a disk that fills up in the middle of a file.
clearsky_before=$clearsky
printf '#!/bin/bash\nulimit -f 4\nexec %q "$@"\n' "$clearsky" >limited && chmod +x limited
clearsky=$work/limited
restore 1 "File too large"
refuses 1 "File too large" synthesize --out out/tree --count 2 --height 64 --width 64
refuses 1 "File too large" train "${tiny[@]}" "${made[@]}" --out out --quiet
clearsky=$clearsky_before
touch file
refuses 1 "file" train "${tiny[@]}" "${made[@]}" --out file/run --quiet

# Data sets.
from_tree=(--set data.source=luojiaset --set data.path=tree)
refuses 1 "no such folder" train "${tiny[@]}" --set data.source=luojiaset --set data.path=nowhere --out out --quiet
mkdir -p empty
refuses 1 "empty" train "${tiny[@]}" --set data.source=luojiaset --set data.path=empty --out out --quiet
refuses 1 "does not fit an image of 32 x 32" train "${tiny[@]}" "${from_tree[@]}" --set augment.crop=64 --out out --quiet
refuses 1 "no sample has the id" train "${tiny[@]}" "${from_tree[@]}" --set data.split=ids --set 'data.test_ids=["p99"]' --out out --quiet
cp -r tree labels && for file in labels/*/land_cover_maps/*.tif; do tiff "$file" 32 32 1 uint8 '9'; done
refuses 1 "label 9" train "${tiny[@]}" --set data.source=luojiaset --set data.path=labels --set phases=joint --out out --quiet
cp -r tree sizes && for file in sizes/*/s1/*.tif; do tiff "$file" 16 32 2 float32 '-10.0'; done
refuses 1 "16, 32" train "${tiny[@]}" --set data.source=luojiaset --set data.path=sizes --out out --quiet
cp -r tree torn && for file in torn/*/s2/*.tif; do head -c 1500 "$file" >part && mv part "$file"; done
refuses 1 "torn/" train "${tiny[@]}" --set data.source=luojiaset --set data.path=torn --out out --quiet
rm -r sizes/*/s1
refuses 1 "is missing" train "${tiny[@]}" --set data.source=luojiaset --set data.path=sizes --out out --quiet
printf 'optical_clear,sar,colour\na.tif,b.tif,red\n' >list.csv
refuses 1 "unknown column colour" train "${tiny[@]}" --set data.source=manifest --set data.path=list.csv --out out --quiet
printf 'optical_clear,sar\na.tif,b.tif\n' >list.csv
refuses 1 "a.tif does not exist" train "${tiny[@]}" --set data.source=manifest --set data.path=list.csv --out out --quiet

# Weights and checkpoints of another model.
refuses 1 "in the model" train "${tiny[@]}" "${made[@]}" --set model.width=16 --weights run/weights.safetensors --out out --quiet
refuses 1 "another configuration" train "${tiny[@]}" "${made[@]}" --set seed=9 --resume run/checkpoint.safetensors --out out --quiet
refuses 1 "cannot be changed" evaluate --weights run/weights.safetensors --set model.width=16 --out out
"$clearsky" --threads 1 train "${tiny[@]}" "${made[@]}" --set data.split_seed=7 --out other --quiet || { echo "FAILED: the second run"; exit 1; }
refuses 1 "trained on different data" evaluate --weights run/weights.safetensors other/weights.safetensors --out out
"$clearsky" --threads 1 train "${tiny[@]}" "${made[@]}" --set model.prompt=none --out plain --quiet || { echo "FAILED: the third run"; exit 1; }
weights="run/weights.safetensors --weights plain/weights.safetensors"
refuses 1 "of different networks" predict --weights $weights --optical "$optical" --sar "$sar" --out out/clear.tif

echo "$checks refusals checked, $failures failures"
[ "$failures" -eq 0 ]

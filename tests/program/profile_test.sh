#!/usr/bin/env bash
# `clearsky profile`: the tables, the JSON and the trace say the same, rows add up to the whole, and what cannot work is
# refused in one line without leaving a file. Argument: the program.
set -uo pipefail

clearsky=$(realpath "${1:?usage: profile_test.sh PROGRAM}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
failures=0

problem() {
  failures=$((failures + 1))
  echo "FAILED: $1"
  shift
  [ $# -eq 0 ] || printf '    %s\n' "$@"
}

tiny=(--set model.width=8 --set 'model.optical_blocks=[2,1,1,1]' --set 'model.sar_blocks=[1,1,1,1]'
  --set 'model.decoder_blocks=[1,1,1,1]' --set model.segmentation_width=8)

# profile NAME ARGUMENTS...: NAME.txt, NAME.json, NAME.trace.json
profile() {
  local name=$1
  shift
  "$clearsky" profile --threads 1 --size $size --repeats 3 "${tiny[@]}" --json "$name.json" --trace "$name.trace.json" "$@" \
    >"$name.txt" 2>stderr || problem "profile $*" "$(cat stderr)"
}
size=20 profile odd --phase inference  # no multiple of 8
size=32
profile phase1
profile phase2 --phase 2
profile inference --phase inference --batch 2
profile naf --block naf --depth 3
profile parts --depth 1

python3 - <<'PYTHON' || problem "what the files say"
import json

def numbers(line):
    words = line.replace("%", "").split()
    return words[0], words[1:]

for name in ("phase1", "phase2", "inference", "naf", "parts", "odd"):
    result, trace = json.load(open(f"{name}.json")), json.load(open(f"{name}.trace.json"))
    text = open(f"{name}.txt").read()
    total = result["total_ms"]
    assert result["all_ms"] == sorted(result["all_ms"]) and result["all_ms"][1] == total, f"{name}: the median of three"
    for kind in ("modules", "operations"):
        rows = result[kind]
        spent = sum(r["forward_ms"] + r["backward_ms"] for r in rows)
        assert abs(spent - total) < 1e-6 * total, f"{name}: {kind} add up to {spent} of {total} ms"
        assert abs(sum(r["share"] for r in rows) - 1) < 1e-6, f"{name}: shares of {kind}"
        assert min(min(r["forward_ms"], r["backward_ms"]) for r in rows) >= 0, f"{name}: a negative time in {kind}"
        # The table that was printed has the same rows, and says their sum.
        table = text.split("\n\n")[1 if kind == "modules" else 2].splitlines()[1:]
        assert [t[: t.index("  ")].strip() for t in table] == [r["name"] for r in rows] + ["total"], f"{name}: {table}"
        for line, row in zip(table, rows):
            shown = line[len(row["name"]):].replace("%", "").split()
            assert abs(float(shown[0]) - row["forward_ms"]) < 6e-4 and abs(float(shown[1]) - row["backward_ms"]) < 6e-4, line
        last = table[-1].replace("%", "").split()
        assert abs(float(last[1]) + float(last[2]) - total) < 2e-3 and last[3] == "100.0", table[-1]

    events = [e for e in trace["traceEvents"] if e["ph"] == "X"]
    runs = [e for e in events if e["cat"] == "run"]
    assert len(runs) == 3, f"{name}: {len(runs)} runs in the trace"
    assert sorted(round(r["dur"] / 1000, 6) for r in runs) == [round(ms, 6) for ms in result["all_ms"]], name
    # Complete events of one thread nest: each ends before the one that it lies in does.
    open_until = []
    for e in events:
        begin, end = round(e["ts"] * 1000), round(e["ts"] * 1000) + round(e["dur"] * 1000)
        while open_until and open_until[-1] <= begin:
            open_until.pop()
        assert not open_until or end <= open_until[-1], f"{name}: {e} does not nest"
        open_until.append(end)
    passes = {(e["args"]["pass"], e["cat"]) for e in events}
    assert ("forward", "module") in passes and ("forward", "operation") in passes, passes
    assert (("backward", "operation") in passes) == (name in ("phase1", "phase2", "naf", "parts")), (name, passes)

rows = {name: {r["name"]: r for r in json.load(open(f"{name}.json"))["modules"]} for name in ("phase1", "phase2", "inference", "naf", "parts")}
for name in ("loss", "clipping", "optimizer", "other", "model", "prompt_generator.conv1", "optical_encoder.stem", "optical_encoder.levels.0",
             "sar_encoder.levels.3", "fusion.0", "decoder.levels.2", "decoder.head"):
    assert name in rows["phase1"], f"phase1 has no row {name}: {list(rows['phase1'])}"
for name in ("optical_encoder.levels.0", "sar_encoder.stem", "fusion.3", "decoder.levels.0", "loss"):
    row = rows["phase1"][name]
    assert row["forward_ms"] > 0 and row["backward_ms"] > 0 and row["calls"] > 0 and row["backward_calls"] > 0, row
assert rows["phase1"]["optimizer"]["backward_ms"] == 0
# Phase 2 trains the segmentation decoder alone: nothing else has a backward.
for name, row in rows["phase2"].items():
    trained = name.startswith("segmentation_decoder") or name in ("loss", "other")
    assert trained or row["backward_ms"] == 0, row
assert rows["phase2"]["segmentation_decoder.refine"]["backward_ms"] > 0
assert "loss" not in rows["inference"] and "segmentation_decoder.refine" in rows["inference"]
assert all(r["backward_ms"] == 0 for r in rows["inference"].values())
assert "optical_encoder.levels.0.blocks.1" in rows["naf"] and "optical_encoder.levels.1.blocks.1" not in rows["naf"]
assert list(rows["parts"])[-1] == "other" and not any("." in name for name in rows["parts"]), list(rows["parts"])

# FLOP are the network's, whatever the depth: in a step of phase 1 three times those of forward.
flop = {name: sum(r.get("gflop", 0) for r in rows[name].values()) for name in rows}
assert abs(flop["phase1"] - flop["parts"]) < 1e-9 * flop["parts"], flop
kinds = {r["name"]: r for r in json.load(open("phase1.json"))["operations"]}
assert kinds["conv2d"]["calls"] > 0 and kinds["conv2d"]["backward_calls"] > 0 and "ssim" in kinds and "no operation" in kinds, list(kinds)
assert "naf_block" in {r["name"] for r in json.load(open("naf.json"))["operations"]}
PYTHON

# refuses STATUS TEXT ARGUMENTS...: one line that begins with "clearsky: " and contains TEXT, and no file in out/.
refuses() {
  local status=$1 text=$2 got
  shift 2
  rm -rf out && mkdir out
  "$clearsky" "$@" >stdout 2>stderr
  got=$?
  [ "$got" -eq "$status" ] || problem "$*" "exit status $got, expected $status" "$(head -3 stderr)"
  [ "$(wc -l <stderr)" -eq 1 ] || problem "$*" "$(wc -l <stderr) lines on stderr, expected 1" "$(head -5 stderr)"
  grep -q '^clearsky: ' stderr || problem "$*" "stderr does not begin with clearsky: " "$(head -1 stderr)"
  grep -qF -- "$text" stderr || problem "$*" "stderr does not say: $text" "$(head -1 stderr)"
  [ -z "$(ls -A out)" ] || problem "$*" "left behind: $(ls -A out)"
}
refuses 2 "--size" profile --size 7
refuses 2 "--size" profile --size big
refuses 2 "--phase" profile --phase 3
refuses 2 "--block" profile --block swin
refuses 2 "--repeats" profile --repeats 0
refuses 2 "--depth" profile --depth 0
refuses 2 "--bacth" profile --bacth 2
refuses 1 "unknown key model.widht; did you mean model.width" profile --set model.widht=8
refuses 1 "none.json" profile --config none.json
refuses 1 "phases = joint is a single phase" profile --size 32 "${tiny[@]}" --phase 2 --set phases=joint
refuses 1 "measures the CPU alone" --device simt profile --size 32 "${tiny[@]}"
refuses 1 "nowhere/trace.json" profile --size 32 --repeats 1 "${tiny[@]}" --trace nowhere/trace.json
refuses 1 "nowhere/tables.json" profile --size 32 --repeats 1 "${tiny[@]}" --json nowhere/tables.json
# A limit on the size of files stands for a disk that fills up in the middle of a file.
printf '#!/bin/bash\nulimit -f 8\nexec %q "$@"\n' "$clearsky" >limited && chmod +x limited
clearsky=$work/limited refuses 1 "File too large" profile --size 32 --repeats 1 "${tiny[@]}" --trace out/trace.json

echo "$failures failures"
[ "$failures" -eq 0 ]

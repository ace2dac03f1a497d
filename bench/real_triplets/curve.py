#!/usr/bin/env python3
"""How good the restored test scenes are after so many minutes of training: writes bench/results/real_triplets/curve.json.

    bash examples/demo.sh                                   # builds the program
    python3 bench/real_triplets/curve.py --data DATA/osfcr-mini --python PYTHON_WITH_TORCH

Seed after seed is trained with examples/tdpcr/configs/real_triplets.json, and after each the mean of the models so far
is measured on the three test scenes. Minutes are those of `clearsky train`, from start to end of the program. Then the
same network's training step is timed in PyTorch, eager, and in turns with a training of ours: PyTorch's curve is the
same points at its time per step, without anything for reading and augmenting the scenes.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIG = ROOT / "examples/tdpcr/configs/real_triplets.json"
STEPS, CROP, BATCH = 300, 64, 8  # as in CONFIG


def train(program: str, data: str, seed: int, folder: pathlib.Path) -> float:
    """Seconds."""
    command = [program, "train", "--quiet", "--config", str(CONFIG), "--set", f"data.path={data}", "--set",
               f"seed={seed}", "--out", str(folder)]
    begin = time.monotonic()
    subprocess.run(command, check=True, cwd=ROOT)
    return time.monotonic() - begin


def evaluate(program: str, weights: list[pathlib.Path], folder: pathlib.Path) -> dict:
    command = [program, "evaluate", "--pictures", "0", "--weights", *map(str, weights), "--out", str(folder)]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    return json.loads((folder / "metrics.json").read_text())


def peer_step(python: str, threads: int) -> tuple[str, list[float]]:
    """PyTorch's version, and milliseconds of twelve steps."""
    rows = [python, str(ROOT / "bench/peers/torch_rows.py")]
    version = json.loads(subprocess.run(rows + ["--version"], check=True, capture_output=True, text=True).stdout)
    request = f"triplets.phase1_at_{CROP}_batch_{BATCH} {threads} 12\n"
    answer = subprocess.run(rows + ["--serve"], input=request, check=True, capture_output=True, text=True).stdout
    return f"pytorch {version['torch']} eager", json.loads(answer)["ms"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="a folder in LuojiaSET-OSFCR's layout")
    parser.add_argument("--python", default=sys.executable, help="an interpreter that has torch and safetensors")
    parser.add_argument("--program", default=str(ROOT / "build/release/clearsky"))
    parser.add_argument("--work", default=str(ROOT / "build/curve"))
    parser.add_argument("--minutes", type=float, default=15, help="no training begins after as many minutes of training")
    parser.add_argument("--out", default=str(ROOT / "bench/results/real_triplets/curve.json"))
    options = parser.parse_args()

    work = pathlib.Path(options.work)
    threads = os.cpu_count() or 1
    points, weights, seconds, peer_ms, version = [], [], 0.0, [], ""
    report = {}
    while seconds < options.minutes * 60:
        seed = len(weights) + 1
        folder = work / f"seed{seed}"
        seconds += train(options.program, options.data, seed, folder)
        weights.append(folder / "weights.safetensors")
        alone = evaluate(options.program, weights[-1:], folder)
        report = evaluate(options.program, weights, work / "mean")
        if seed <= 3:
            version, ms = peer_step(options.python, threads)
            peer_ms += ms
        points.append({"models": seed, "minutes": round(seconds / 60, 2),
                       "peer_minutes": round(seed * STEPS * statistics.median(peer_ms) / 6e4, 2),
                       "psnr_db": round(report["model"]["all pixels"]["psnr_db"], 3),
                       "last_model_alone_db": round(alone["model"]["all pixels"]["psnr_db"], 3)})
        print(points[-1], flush=True)
    result = {"made_by": report["made_by"] | {"peer": version},
              "peer_step_ms": round(statistics.median(peer_ms), 1), "points": points}
    aside = pathlib.Path(options.out + ".part")
    aside.write_text(json.dumps(result, indent=1) + "\n")
    os.replace(aside, options.out)


if __name__ == "__main__":
    main()

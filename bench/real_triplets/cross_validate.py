#!/usr/bin/env python3
"""Chooses how to train on the real triplets without a look at the test scenes.

The nine training scenes are split into three folds of mixed cloud cover; each candidate trains on six scenes and is
measured on the three others. What counts is the mean PSNR over the five scenes with a cover of at least 20 %: the test
scenes are such scenes, and on an almost clear one a copy of the input is the best answer. Three scenes stay out of all of it.

    bash examples/demo.sh                                   # builds the program
    python3 bench/real_triplets/cross_validate.py --data DATA/osfcr-mini --work build/cross_validation > result.json

A fold that has been measured in --work is not trained again. Needs the standard library only.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIG = ROOT / "examples/tdpcr/configs/real_triplets.json"
FOLDS = [["316", "5254", "3968"], ["1302", "4065", "6780"], ["2729", "5349", "7264"]]
CLOUDY = ["5254", "3968", "4065", "6780", "7264"]  # cover of at least 20 %
CANDIDATES = json.loads((pathlib.Path(__file__).parent / "candidates.json").read_text())


def ids(scenes: list[str]) -> str:
    return json.dumps([f"ROIs_01_p{s}" for s in scenes])


def measure(program: str, data: str, folder: pathlib.Path, held_out: list[str], settings: list[str]) -> dict:
    report = folder / "metrics.json"
    if not report.exists():
        train = [s for fold in FOLDS for s in fold if s not in held_out]
        sets = [f"data.path={data}", f"data.train_ids={ids(train)}", f"data.test_ids={ids(held_out)}", *settings]
        command = [program, "train", "--quiet", "--config", str(CONFIG), "--out", str(folder)]
        subprocess.run(command + [word for s in sets for word in ("--set", s)], check=True, cwd=ROOT)
        command = [program, "evaluate", "--weights", str(folder / "weights.safetensors"), "--out", str(folder)]
        subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    return json.loads(report.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=str(ROOT / "build/release/clearsky"))
    parser.add_argument("--data", required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    arguments = parser.parse_args()

    results, made_by = {}, None
    for name, settings in CANDIDATES.items():
        gain, psnr = {}, {}
        for k, held_out in enumerate(FOLDS):
            report = measure(arguments.program, arguments.data, arguments.work / f"{name}_{'ABC'[k]}", held_out, settings)
            made_by = report.get("made_by", made_by)
            for image in report["per_image"]:
                scene = image["id"].split("_p")[1]
                psnr[scene] = image["model"]["psnr_db"]
                gain[scene] = psnr[scene] - image["mean_colour"]["psnr_db"]
        results[name] = {
            "settings": settings,
            "psnr_db_cloudy_five": round(statistics.fmean(psnr[s] for s in CLOUDY), 3),
            "gain_over_mean_colour_db_cloudy_five": round(statistics.fmean(gain[s] for s in CLOUDY), 3),
            "psnr_db_all_nine": round(statistics.fmean(psnr.values()), 3),
            "gain_over_mean_colour_db": {s: round(gain[s], 2) for fold in FOLDS for s in fold},
        }
        print(name, results[name]["psnr_db_cloudy_five"], file=sys.stderr, flush=True)
    chosen = max(results, key=lambda name: results[name]["psnr_db_cloudy_five"])
    json.dump({"made_by": made_by, "chosen": chosen, "folds": FOLDS, "candidates": results}, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Chooses how to train on the real triplets without a look at the test scenes.

The nine training scenes are split into three folds of mixed cloud cover; each candidate trains on six scenes and is
measured on the three others. What counts is the mean PSNR over the five scenes with a cover of at least 20 %: the test
scenes are such scenes, and on an almost clear one a copy of the input is the best answer. Three scenes stay out of all of it.
A candidate may name several seeds; its score is then the mean over them.

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


def evaluate(program: str, weights: list[pathlib.Path], folder: pathlib.Path) -> dict:
    command = [program, "evaluate", "--weights", *map(str, weights), "--out", str(folder)]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    return json.loads((folder / "metrics.json").read_text())


def measure(program: str, data: str, folder: pathlib.Path, held_out: list[str], settings: list[str]) -> dict:
    report = folder / "metrics.json"
    if report.exists():
        return json.loads(report.read_text())
    train = [s for fold in FOLDS for s in fold if s not in held_out]
    sets = [f"data.path={data}", f"data.train_ids={ids(train)}", f"data.test_ids={ids(held_out)}", *settings]
    command = [program, "train", "--quiet", "--config", str(CONFIG), "--out", str(folder)]
    subprocess.run(command + [word for s in sets for word in ("--set", s)], check=True, cwd=ROOT)
    return evaluate(program, [folder / "weights.safetensors"], folder)


def summary(reports: list[dict]) -> dict:
    psnr, gain = {}, {}
    for image in (i for report in reports for i in report["per_image"]):
        scene = image["id"].split("_p")[1]
        psnr[scene] = image["model"]["psnr_db"]
        gain[scene] = psnr[scene] - image["mean_colour"]["psnr_db"]
    return {
        "psnr_db_cloudy_five": round(statistics.fmean(psnr[s] for s in CLOUDY), 3),
        "gain_over_mean_colour_db_cloudy_five": round(statistics.fmean(gain[s] for s in CLOUDY), 3),
        "psnr_db_all_nine": round(statistics.fmean(psnr.values()), 3),
        "gain_over_mean_colour_db": {s: round(gain[s], 2) for fold in FOLDS for s in fold},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=str(ROOT / "build/release/clearsky"))
    parser.add_argument("--data", required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    arguments = parser.parse_args()

    def folder(name: str, fold: int) -> pathlib.Path:
        return arguments.work / f"{name}, fold {fold + 1}"

    made_by = {}  # of the last measurement

    def cross_validate(name: str, settings: list[str]) -> dict:
        reports = [measure(arguments.program, arguments.data, folder(name, k), fold, settings) for k, fold in enumerate(FOLDS)]
        nonlocal made_by
        made_by = reports[-1].get("made_by", made_by)
        result = summary(reports)
        print(name, result["psnr_db_cloudy_five"], file=sys.stderr, flush=True)
        return result

    results = {}
    for name, candidate in CANDIDATES.items():
        settings = candidate["settings"]
        seeds = [
            cross_validate(name if seed == 1 else f"{name}, seed {seed}", settings + [f"seed={seed}"])
            for seed in candidate["seeds"]
        ]
        results[name] = {
            "settings": settings,
            "psnr_db_cloudy_five": round(statistics.fmean(s["psnr_db_cloudy_five"] for s in seeds), 3),
            "by_seed": dict(zip(candidate["seeds"], seeds)),
        }
        if len(seeds) > 1:  # and what the mean of the models gives
            names = [name] + [f"{name}, seed {seed}" for seed in candidate["seeds"][1:]]
            means = []
            for k in range(len(FOLDS)):
                weights = [folder(n, k) / "weights.safetensors" for n in names]
                means.append(evaluate(arguments.program, weights, folder(f"{name}, mean of the models", k)))
            results[name]["mean_of_the_models"] = summary(means)
    result = {"made_by": made_by, "folds": FOLDS, "candidates": results}
    json.dump(result, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()

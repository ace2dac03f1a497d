#!/usr/bin/env python3
"""What bench/peers makes of measured rows, on rows made up here: python3 tests/docs/peers.py"""

import copy
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench/peers"))
import run  # noqa: E402
import table  # noqa: E402

MACHINE = {"cpu": "c", "vector_bytes": 64} | {f"threads_{n}": {"gflops": 100.0 * n, "l2_gb_per_s": 100.0, "l3_gb_per_s": 80.0, "dram_gb_per_s": 20.0} for n in (1, 2)}
MADE_BY = {"commit": "a", "cpu": "c", "compiler": "g", "peer": "pytorch 2.0", "peers": {"pytorch 2.0": {"blas": "MKL", "instructions": "AVX2"}}, "minutes": 1.0}


def row(name, kind, threads, ours, peer, **more):
    return {"name": name, "kind": kind, "threads": threads, "ours_ms": ours, "limit_ms": 1.0, "flop": 1e8 * threads, "bytes": 0, "peer": peer,
            "peer_ms": 3 * ours, "ratio": 3.0, "peers": {peer: {"ms": 3 * ours}}, "measured": f"2020-01-01 0{threads}:00", "others": 0.01 * threads} | more


def refused(action):
    try:
        action()
    except SystemExit as error:
        return str(error)
    raise AssertionError("was not refused")


def gain(name, one, two):
    return {"name": name, "one_thread": {"ms": one}, "two_threads": {"ms": two}, "gain": round(one / two, 3)}


def test_merging():
    before = {"made_by": MADE_BY, "machine": MACHINE, "left_out": ["b, threads 2", "c, threads 1"],
              "rows": [row("a", "other", 2, 9.0, "oneDNN 3"), row("a", "other", 1, 8.0, "oneDNN 3")]}
    now = copy.deepcopy(before) | {"rows": [row("a", "other", 2, 5.0, "oneDNN 3"), row("b", "other", 2, 4.0, "oneDNN 3")], "left_out": []}
    before["thread_gain"] = [gain("a", 9.0, 6.0), gain("b", 4.0, 2.0)]
    now["thread_gain"] = [gain("a", 9.0, 5.0)]
    now["machine"]["threads_2"]["gflops"] = 400.0
    both = run.merged(now, before)
    assert {(r["name"], r["threads"]): r["ours_ms"] for r in both["rows"]} == {("a", 2): 5.0, ("b", 2): 4.0, ("a", 1): 8.0}
    assert both["left_out"] == ["c, threads 1"]
    assert both["made_by"]["minutes"] == 2.0
    assert {r["name"]: r["gain"] for r in both["thread_gain"]} == {"a": 1.8, "b": 2.0}
    del before["thread_gain"]  # as files of earlier versions
    assert [r["name"] for r in run.merged(now, before)["thread_gain"]] == ["a"]
    # A machine can do what it has done once: limits are those of the better measurement, 2e8 FLOP at 400 and 1e8 at 100 GFLOP/s.
    assert {(r["name"], r["threads"]): r["limit_ms"] for r in both["rows"]} == {("a", 2): 0.5, ("b", 2): 0.5, ("a", 1): 1.0}
    now["made_by"]["commit"] = "z"
    assert "commit a" in refused(lambda: run.merged(now, before))


def test_growth():
    rows = [{"name": f"scaling.inference_at_{s}_batch_1", "threads": 2, "ours_ms": s * s / 64.0} for s in (32, 64, 128)]
    assert run.scaling(rows) == {"inference.pixels.threads_2.ms": {"exponent": 1.0, "points": [(s * s, s * s / 64.0) for s in (32, 64, 128)]}}


def test_tables():
    old = {"torch_1_13_ms": 390.0, "ratio_torch_1_13": 3.9, "torch_1_13_mb": 70.0, "ours_mb": 20.0, "peer_mb": 50.0}
    rows = [row("tdpcr.inference_at_256_batch_1", "model", 2, 100.0, "pytorch 2.0 compiled", **old, failed={"pytorch 2.0 eager": "why"}),
            row("tdpcr_bf16.inference_at_256_batch_1", "model_bf16", 2, 50.0, "pytorch 2.0 eager"), row("gelu", "other", 2, 1.5, "oneDNN 3")]
    data = {"made_by": MADE_BY, "machine": MACHINE, "rows": rows, "left_out": [], "scaling": {},
            "thread_gain": [gain("tdpcr.inference_at_256_batch_1", 359.6, 200.2), gain("gelu", 1.8, 1.0)]}
    assert table.threads_gain(data)[2:] == ["| tdpcr.inference_at_256_batch_1 | 360 | 200 | 1.80 | missed |", "| gelu | 1.80 | 1.00 | 1.80 | reached |"]
    models = table.models(data)
    assert "| 300 | compiled | 3.00 | 390 | 3.90 |" in models[2] and models[2].endswith("| 0.40 | 70 | missed: 4x PyTorch 1.13 |")
    assert models[-1] == "Failed: tdpcr.inference_at_256_batch_1, 2 threads: pytorch 2.0 eager: why."
    assert table.bfloat16(data)[2] == "| tdpcr_bf16.inference_at_256_batch_1 | 2 | 50 | 150 | 3.00 | 100 | 2.00 | - | - |"
    assert table.operations(data, 2)[2:] == ["| gelu | 1.50 | 4.50 | oneDNN 3 | 3.00 | - | 1.00 | 1.50 | reached |"]
    assert "pytorch 2.0 (MKL, AVX2). Measured from 2020-01-01 02:00 to 2020-01-01 02:00." in table.made_by(data)[0]
    # Every table has a line of dashes with as many columns as its head.
    for lines in (models[:3], table.bfloat16(data), table.operations(data, 2), table.threads_gain(data)):
        assert len({line.count("|") for line in lines}) == 1


if __name__ == "__main__":
    for name, test in sorted(globals().items()):
        if name.startswith("test_"):
            test()
            print(f"{name[5:]}: as they should be")

"""Ours and PyTorch side by side, in turns, in one run: writes bench/results/peers.json.

    cmake -S . -B build/release -DCLEARSKY_BENCHMARKS=ON && cmake --build build/release --target cpu_benchmarks
    python3 bench/peers/run.py --python PYTHON_WITH_TORCH

Each row is timed in rounds, ours, eager, compiled, ours, ..., so that a machine that drifts is slow for all of them;
what is written is the median of all repeats and the quartiles. The peer of a row is the fastest of PyTorch's modes.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Server:
    def __init__(self, command: list[str]):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        stderr=subprocess.DEVNULL)

    def times(self, row: str, threads: int, repeats: int) -> list[float] | str:
        """Milliseconds, or what went wrong."""
        try:
            self.process.stdin.write(f"{row} {threads} {repeats}\n")
            self.process.stdin.flush()
            answer = json.loads(self.process.stdout.readline() or '{"error": "the process ended"}')
        except (BrokenPipeError, json.JSONDecodeError) as error:
            return str(error)
        return answer.get("ms") or answer["error"]

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def ask(command: list[str]) -> dict:
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def summary(times: list[float]) -> dict:
    low, middle, high = statistics.quantiles(times, n=4) if len(times) > 1 else times * 3
    return {"ms": round(middle, 4), "quartiles": [round(low, 4), round(high, 4)], "repeats": len(times)}


def bandwidth(machine: dict, megabytes: float) -> float:
    """GB/s of the level that the data fits into."""
    return machine["l2_gb_per_s" if megabytes < 0.5 else "l3_gb_per_s" if megabytes < 12 else "dram_gb_per_s"]


def measure(row: dict, threads: int, machine: dict, servers: dict, options) -> dict | None:
    model = row["kind"] in ("model", "model_naf", "scaling")
    rounds, repeats = (5, 1) if model else (6, 5)
    if options.quick or row["kind"] == "scaling":
        rounds, repeats = (3, 1) if model else (3, 2)
    times: dict[str, list[float]] = {name: [] for name in servers}
    failed = {}
    for _ in range(rounds):
        for name, server in servers.items():
            if name in failed or (row["kind"] == "scaling" and name != "ours"):
                continue
            answer = server.times(row["name"], threads, repeats)
            if isinstance(answer, str):
                failed[name] = answer
            else:
                times[name] += answer
    if not times["ours"]:
        sys.exit(f"{row['name']}: {failed['ours']}")
    ours = summary(times["ours"])
    limits = machine[f"threads_{threads}"]
    limit = max(row["flop"] / limits["gflops"] / 1e6, row["bytes"] / bandwidth(limits, row["bytes"] / 1e6) / 1e6)
    result = {"name": row["name"], "kind": row["kind"], "threads": threads, "ours_ms": ours["ms"],
              "ours_quartiles": ours["quartiles"], "limit_ms": round(limit, 4), "flop": row["flop"],
              "bytes": row["bytes"]}
    peers = {name: summary(t) for name, t in times.items() if name != "ours" and t}
    if peers:
        best = min(peers, key=lambda name: peers[name]["ms"])
        result |= {"peer": best, "peer_ms": peers[best]["ms"], "peer_quartiles": peers[best]["quartiles"],
                   "ratio": round(peers[best]["ms"] / ours["ms"], 3)}
    if failed:
        result["failed"] = failed
    return result


def exponent(points: list[tuple[float, float]]) -> float:
    """The slope of a line through log y over log x."""
    import math

    xs, ys = [math.log(x) for x, _ in points], [math.log(y) for _, y in points]
    mx, my = statistics.mean(xs), statistics.mean(ys)
    return sum((x - mx) * (y - my) for x, y in zip(xs, ys)) / sum((x - mx) ** 2 for x in xs)


def scaling(rows: list[dict]) -> dict:
    """Fitted exponents of time and of memory over pixels and over images, per number of threads."""
    out = {}
    for threads in sorted({r["threads"] for r in rows}):
        for work in ("inference", "phase1"):
            for of, unit in (("ours_ms", "ms"), ("ours_mb", "MB")):
                size, batch = [], []
                for r in rows:
                    match = re.fullmatch(rf"scaling\.{work}_at_(\d+)_batch_(\d+)", r["name"])
                    if match and r["threads"] == threads and of in r:
                        pixels, images = int(match[1]) ** 2, int(match[2])
                        if images == 1:
                            size.append((pixels, r[of]))
                        if pixels == 64 * 64:
                            batch.append((images, r[of]))
                for name, points in (("pixels", size), ("images", batch)):
                    if len(points) > 2:
                        out[f"{work}.{name}.threads_{threads}.{unit}"] = {"exponent": round(exponent(points), 3),
                                                                          "points": points}
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="an interpreter that has torch and safetensors")
    parser.add_argument("--ours", default=str(ROOT / "build/release/bench/cpu_benchmarks"))
    parser.add_argument("--out", default=str(ROOT / "bench/results/peers.json"))
    parser.add_argument("--only", default="", help="regular expression: these rows alone")
    parser.add_argument("--modes", default="eager,compiled")
    parser.add_argument("--threads", default="2,1")
    parser.add_argument("--minutes", type=float, default=60, help="rows that would begin later are left out")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    started = time.monotonic()

    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_CORETYPE"}
    os.environ.clear()
    os.environ.update(environment)
    torch_rows = [options.python, str(ROOT / "bench/peers/torch_rows.py")]
    listed = ask([options.ours, "--list"])
    version = "pytorch " + ask(torch_rows + ["--version"])["torch"]
    rows = [r for r in listed["rows"] if re.search(options.only, r["name"])]
    # What is small first: a run that is cut off has most of it.
    rows.sort(key=lambda r: r["kind"] in ("model", "model_naf", "scaling"))
    results, left_out, memory = [], [], {}
    machine = ask([options.ours, "--machine"])
    modes = options.modes.split(",")
    for threads in map(int, options.threads.split(",")):
        # On one thread the models first: they say whether two threads were worth it.
        for row in rows if threads > 1 else sorted(rows, key=lambda r: r["kind"] not in ("model", "model_naf")):
            if time.monotonic() - started > options.minutes * 60:
                left_out.append(f"{row['name']}, threads {threads}")
                continue
            if threads == 1 and (row["kind"] == "scaling" or row["name"].endswith("batch_4")):
                continue  # two threads have shown how it grows
            # Compiling a whole model takes longer than all other rows together; a convolution compiles to the same call.
            whole = row["kind"].startswith(("model", "scaling")) or row["name"].startswith(("conv", "depthwise", "adamw"))
            use = [m for m in modes if m == "eager" or not whole]
            servers = {"ours": Server([options.ours, "--serve"])}
            if row["kind"] != "scaling":
                servers |= {f"{version} {m}": Server(torch_rows + ["--serve", "--mode", m]) for m in use}
            result = measure(row, threads, machine, servers, options)
            for server in servers.values():
                server.close()
            if row["kind"] in ("model", "model_naf"):
                if row["name"] not in memory:
                    memory[row["name"]] = {"ours_mb": ask([options.ours, "--memory", row["name"]])["mb"],
                                           "peer_mb": ask(torch_rows + ["--memory", row["name"]])["mb"]}
                result |= memory[row["name"]]
            elif row["kind"] == "scaling":
                result["ours_mb"] = ask([options.ours, "--memory", row["name"]])["mb"]
            results.append(result)
            peer = f"{result['peer_ms']:10.3f} {result['ratio']:6.2f}x  {result['peer']}" if "peer" in result else ""
            print(f"{result['name']:48} {threads} {result['ours_ms']:10.3f} {peer}", flush=True)

    made_by = {"commit": listed["commit"], "cpu": machine["cpu"], "compiler": machine["compiler"], "peer": version,
               "minutes": round((time.monotonic() - started) / 60, 1), "load_average": os.getloadavg()}
    text = json.dumps({"made_by": made_by, "machine": machine, "rows": results, "scaling": scaling(results),
                       "left_out": left_out}, indent=1)
    aside = options.out + ".part"
    pathlib.Path(aside).write_text(text + "\n")
    os.replace(aside, options.out)


if __name__ == "__main__":
    main()

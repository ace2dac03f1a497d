"""Ours and its peers side by side, in turns, in one run: writes bench/results/peers.json.

    cmake -S . -B build/release -DCLEARSKY_BENCHMARKS=ON
    cmake --build build/release --target cpu_benchmarks onednn_benchmarks
    python3 bench/peers/run.py --python PYTHON_WITH_TORCH [--old-python PYTHON_WITH_TORCH_1_13]
    python3 bench/peers/run.py --python ... --only REGEX --merge      measures these rows anew, keeps the others

Each row is timed in rounds, ours, eager, compiled, oneDNN, ..., ours, ..., so that a machine that drifts is slow for all
of them; what is written is the median of all repeats and the quartiles. The peer of a row is the fastest of the newest
PyTorch's modes and oneDNN; PyTorch 1.13 has a ratio of its own.

No turn begins before the threads of the one before it sleep: OpenMP's go on spinning for a while. Each begins with calls
that are not timed. All programs' threads are bound, each to a CPU of its own (OMP_PROC_BIND): unbound ones are sometimes
put on one CPU together, and stay there, some programs' more often than others'.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import pathlib
import re
import select
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / "build/release/bench"
MODELS = ("model", "model_naf", "model_bf16")
WARM_MS = 50  # threads that the system has put on one CPU are apart after 10 to 25, where nothing else runs
COMPILED_MODELS = r"tdpcr(_naf)?\.(inference|phase1)_at_256_batch_1"
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """Of all threads of a process, so far; 0 where it has ended."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


def busy_seconds() -> float:
    """Of all CPUs and all programs, and what the host took away (steal)."""
    user, nice, system, _idle, _wait, irq, soft, steal = map(int, pathlib.Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + soft + steal) / TICKS


class Server:
    def __init__(self, command: list[str], environment: dict | None = None, patience: float = 300):
        self.patience = patience  # seconds for one answer
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        stderr=subprocess.DEVNULL, env=environment)

    def times(self, row: str, threads: int, repeats: int, warm_ms: float) -> list[float] | str:
        """Milliseconds, or what went wrong. Returns when the process has come to rest."""
        try:
            self.process.stdin.write(f"{row} {threads} {repeats} {warm_ms}\n")
            self.process.stdin.flush()
            if not select.select([self.process.stdout], [], [], self.patience)[0]:
                self.process.kill()
                return f"no answer within {self.patience / 60:g} minutes"
            answer = json.loads(self.process.stdout.readline() or '{"error": "the process ended"}')
        except (BrokenPipeError, json.JSONDecodeError) as error:
            return str(error)
        self.rest()
        return answer.get("ms") or answer["error"]

    def rest(self) -> None:
        """Waits until no thread spins any more: none has used a tick of the clock in 50 ms. At most a second."""
        before = cpu_seconds(self.process.pid)
        for _ in range(20):
            time.sleep(0.05)
            now = cpu_seconds(self.process.pid)
            if now == before:
                return
            before = now

    def close(self) -> float:
        """CPU seconds that it used."""
        used = cpu_seconds(self.process.pid)
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        return used


def ask(command: list[str], environment: dict | None = None) -> dict:
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


class Peer:
    """A program that serves rows, and which it has."""

    def __init__(self, name: str, command: list[str], rows, environment: dict | None = None, patience: float = 300):
        self.name, self.command, self.rows, self.environment, self.patience = name, command, rows, environment, patience

    def start(self) -> Server:
        return Server(self.command, self.environment, self.patience)


def summary(times: list[float]) -> dict:
    low, middle, high = statistics.quantiles(times, n=4) if len(times) > 1 else times * 3
    return {"ms": round(middle, 4), "quartiles": [round(low, 4), round(high, 4)], "repeats": len(times)}


def bandwidth(machine: dict, megabytes: float) -> float:
    """GB/s of the level that the data fits into."""
    return machine["l2_gb_per_s" if megabytes < 0.5 else "l3_gb_per_s" if megabytes < 12 else "dram_gb_per_s"]


def limit_ms(row: dict, machine: dict) -> float:
    limits = machine[f"threads_{row['threads']}"]
    return round(max(row["flop"] / limits["gflops"] / 1e6, row["bytes"] / bandwidth(limits, row["bytes"] / 1e6) / 1e6), 4)


def fastest(one: dict, other: dict) -> dict:
    """What a machine can do at most, of two measurements."""
    return {key: fastest(value, other[key]) if isinstance(value, dict) else max(value, other[key])
            if isinstance(value, float) else value for key, value in one.items()}


def plan(kind: str, ms: float, quick: bool) -> tuple[int, int, float]:
    """Rounds, repeats in each, and milliseconds of calls before them, for a row that takes `ms`."""
    if quick:
        return (2, 1, 0) if ms > 100 else (3, 5, WARM_MS)
    if kind == "scaling":
        return (3, 2, WARM_MS) if ms < 100 else (3, 1, 0)
    return (10, 20, WARM_MS) if ms < 1 else (10, 5, WARM_MS) if ms < 100 else (5, 2, 0)


def measure(row: dict, threads: int, machine: dict, peers: list[Peer], old: str | None, ours: Peer, quick: bool) -> dict:
    servers = {peer.name: peer.start() for peer in [ours, *peers]}
    busy, began = busy_seconds(), time.time()
    # The first turns are not counted: they make the work, compile it, and say how long it takes.
    # Ours is the last of them: by then no program is still being loaded.
    first = {name: servers[name].times(row["name"], threads, 1, WARM_MS) for name in [*(p.name for p in peers), "ours"]}
    failed = {name: answer for name, answer in first.items() if isinstance(answer, str)}
    if "ours" in failed:
        sys.exit(f"{row['name']}: {failed['ours']}")
    rounds, repeats, warm_ms = plan(row["kind"], first["ours"][0], quick)
    times: dict[str, list[float]] = {name: [] for name in servers if name not in failed}
    for _ in range(rounds):
        for name in list(times):
            answer = servers[name].times(row["name"], threads, repeats, warm_ms)
            if isinstance(answer, str):
                failed[name] = answer
                del times[name]
            else:
                times[name] += answer
    # Children of a server (a compiler) count as others; they run in the first turn.
    used = sum(server.close() for server in servers.values())
    others = max(0.0, busy_seconds() - busy - used) / ((time.time() - began) * (os.cpu_count() or 1))

    found = {name: summary(t) for name, t in times.items()}
    mine = found.pop("ours")
    result = {"name": row["name"], "kind": row["kind"], "threads": threads, "ours_ms": mine["ms"],
              "ours_quartiles": mine["quartiles"], "repeats": mine["repeats"], "limit_ms": 0.0, "flop": row["flop"],
              "bytes": row["bytes"]}
    result["limit_ms"] = limit_ms(result, machine)
    if found:
        result["peers"] = found
    if old in found:
        result |= {"torch_1_13_ms": found[old]["ms"], "ratio_torch_1_13": round(found[old]["ms"] / mine["ms"], 3)}
    best = min((name for name in found if name != old), key=lambda name: found[name]["ms"], default=None)
    if best:
        result |= {"peer": best, "peer_ms": found[best]["ms"], "peer_quartiles": found[best]["quartiles"],
                   "ratio": round(found[best]["ms"] / mine["ms"], 3)}
    if failed:
        result["failed"] = failed
    # How much of the machine was somebody else's meanwhile: a row with much of it is worth another run.
    return result | {"measured": time.strftime("%Y-%m-%d %H:%M"), "others": round(others, 3)}


def thread_gain(row: dict, ours: Peer, quick: bool) -> dict:
    """One thread and two of ours, in turns: rows of one run are minutes apart, in which a shared machine drifts."""
    servers = {threads: ours.start() for threads in (1, 2)}
    first = {threads: server.times(row["name"], threads, 1, WARM_MS) for threads, server in servers.items()}
    rounds, repeats, warm_ms = plan(row["kind"], first[2][0], False)
    times: dict[int, list[float]] = {1: [], 2: []}
    for _ in range((rounds + 1) // 2 if quick else rounds):
        for threads, server in servers.items():
            times[threads] += server.times(row["name"], threads, repeats, warm_ms)
    for server in servers.values():
        server.close()
    one, two = summary(times[1]), summary(times[2])
    return {"name": row["name"], "one_thread": one, "two_threads": two, "gain": round(one["ms"] / two["ms"], 3),
            "measured": time.strftime("%Y-%m-%d %H:%M")}


def exponent(points: list[tuple[float, float]]) -> float:
    """The slope of a line through log y over log x."""
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


def whole(row: dict) -> bool:
    """Compiling a model takes longer than all other rows together; a convolution compiles to the same call."""
    return row["kind"] in MODELS or row["name"].startswith(("conv", "depthwise", "adamw"))


def find_peers(options, environment: dict) -> tuple[list[Peer], Peer | None, dict, dict]:
    """Peers in the order of their turns, the old PyTorch among them, how to ask for memory, and what each is made with."""
    script = str(ROOT / "bench/peers/torch_rows.py")
    peers, memory, about = [], {}, {}
    newest = ask([options.python, script, "--version"], environment)
    version = f"pytorch {newest['torch']}"
    about[version] = {"blas": newest["blas"], "instructions": newest["instructions"]}
    for mode in options.modes.split(","):
        serves = (lambda r: True) if mode == "eager" else (
            lambda r: not whole(r) or (options.compile_models and re.fullmatch(COMPILED_MODELS, r["name"])))
        peers.append(Peer(f"{version} {mode}", [options.python, script, "--serve", "--mode", mode], serves, environment,
                          300 if mode == "eager" else options.compile_minutes * 60))
    memory["peer_mb"] = ([options.python, script, "--memory"], environment, lambda r: True)
    for program in options.onednn:
        if pathlib.Path(program).exists():
            name = "oneDNN " + ask([program, "--version"], environment)["onednn"]
            names = set(ask([program, "--list"], environment)["rows"])
            peers.append(Peer(name, [program, "--serve"], lambda r, has=names: r["name"] in has, environment))
            about[name] = {}
    old = None
    if options.old_python:
        variables = dict(environment)
        if " avx512f " in pathlib.Path("/proc/cpuinfo").read_text():
            variables["ATEN_CPU_CAPABILITY"] = "avx512"  # which later versions choose by themselves
        found = ask([options.old_python, script, "--version"], variables)
        if found["blas"] == "the reference BLAS":
            print("PyTorch 1.13 multiplies with the reference BLAS here, twenty times slower than with OpenBLAS: install "
                  "one that uses OpenMP (Debian: libopenblas0-openmp)", file=sys.stderr)
        name = f"pytorch {found['torch']} eager"
        about[name.removesuffix(" eager")] = {"blas": found["blas"], "instructions": found["instructions"]}
        old = Peer(name, [options.old_python, script, "--serve"], lambda r: r["kind"] != "model_bf16", variables)
        memory["torch_1_13_mb"] = ([options.old_python, script, "--memory"], variables, old.rows)
        peers.append(old)
    return peers, old, memory, about


def merged(data: dict, before: dict) -> dict:
    """What was measured now, in place of the same rows of an earlier run, and of it all that was not."""
    for key in ("commit", "cpu", "compiler"):
        if before["made_by"][key] != data["made_by"][key]:
            sys.exit(f"--merge: the file is of {key} {before['made_by'][key]}, this run of {data['made_by'][key]}; "
                     "measure all rows anew, or write to another file with --out")
    now = {(r["name"], r["threads"]) for r in data["rows"]}
    rows = data["rows"] + [r for r in before["rows"] if (r["name"], r["threads"]) not in now]
    machine = fastest(data["machine"], before["machine"])
    for row in rows:
        row["limit_ms"] = limit_ms(row, machine)
    have = {f"{r['name']}, threads {r['threads']}" for r in rows}
    left_out = [name for name in dict.fromkeys(before["left_out"] + data["left_out"]) if name not in have]
    made_by = data["made_by"] | {"peers": before["made_by"].get("peers", {}) | data["made_by"]["peers"],
                                 "minutes": round(before["made_by"]["minutes"] + data["made_by"]["minutes"], 1)}
    gains = {r["name"]: r for r in [*before.get("thread_gain", []), *data["thread_gain"]]}
    return {"made_by": made_by, "machine": machine, "rows": rows, "left_out": left_out, "thread_gain": [*gains.values()]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="an interpreter that has the newest torch")
    parser.add_argument("--old-python", help="an interpreter that has torch 1.13")
    parser.add_argument("--ours", default=str(BUILD / "cpu_benchmarks"))
    parser.add_argument("--onednn", nargs="*", default=[str(BUILD / "onednn_benchmarks")], help="one for each version")
    parser.add_argument("--out", default=str(ROOT / "bench/results/peers.json"))
    parser.add_argument("--only", default="", help="regular expression: these rows alone")
    parser.add_argument("--merge", action="store_true", help="into --out: replace the rows measured now, keep the others")
    parser.add_argument("--modes", default="eager,compiled")
    parser.add_argument("--compile-models", action="store_true", help="inference and phase 1 at batch 1 as well")
    parser.add_argument("--compile-minutes", type=float, default=30, help="for compiling one row, at most")
    parser.add_argument("--threads", default="2,1")
    parser.add_argument("--minutes", type=float, default=600, help="rows that would begin later are left out")
    parser.add_argument("--unbound", action="store_true", help="leave it to the system where threads run")
    parser.add_argument("--quick", action="store_true", help="a few repeats: to see that it runs")
    options = parser.parse_args()
    started = time.monotonic()

    environment = {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OMP_PROC_BIND", "OMP_PLACES")}
    if not options.unbound:
        environment |= {"OMP_PROC_BIND": "true", "OMP_PLACES": "cores"}
    listed = ask([options.ours, "--list"])
    before = json.loads(pathlib.Path(options.out).read_text()) if options.merge else None
    if before and before["made_by"]["commit"] != listed["commit"]:
        sys.exit(f"--merge: {options.out} is of commit {before['made_by']['commit']}, {options.ours} of {listed['commit']}; "
                 "measure all rows anew, or write to another file with --out")
    if before and listed["commit"].endswith("+"):
        print("--merge: built with changes that are not committed; nothing says that both runs had the same", file=sys.stderr)
    peers, old, memory_of, about = find_peers(options, environment)
    ours = Peer("ours", [options.ours, "--serve"], lambda r: True, environment)
    rows = [r for r in listed["rows"] if re.search(options.only, r["name"])]
    # What is small first: a run that is cut off has most of it.
    rows.sort(key=lambda r: r["kind"] in (*MODELS, "scaling"))
    results, left_out, memory, gains = [], [], {}, []
    machine = ask([options.ours, "--machine"])

    def write() -> None:
        made_by = {"commit": listed["commit"], "cpu": machine["cpu"], "compiler": machine["compiler"],
                   "peer": peers[0].name.rsplit(" ", 1)[0], "peers": about, "bound": not options.unbound,
                   "minutes": round((time.monotonic() - started) / 60, 1)}
        data = {"made_by": made_by, "machine": machine, "rows": results, "left_out": left_out, "thread_gain": gains}
        if before:
            data = merged(data, before)
        order = {r["name"]: i for i, r in enumerate(listed["rows"])}
        data["rows"] = sorted(data["rows"], key=lambda r: (-r["threads"], order.get(r["name"], -1)))
        data["scaling"] = scaling(data["rows"])
        aside = options.out + ".part"
        pathlib.Path(aside).write_text(json.dumps(data, indent=1) + "\n")
        os.replace(aside, options.out)

    for threads in map(int, options.threads.split(",")):
        # On one thread the models first: they say whether two threads were worth it.
        for row in rows if threads > 1 else sorted(rows, key=lambda r: r["kind"] not in MODELS):
            if time.monotonic() - started > options.minutes * 60:
                left_out.append(f"{row['name']}, threads {threads}")
                continue
            if threads == 1 and (row["kind"] == "scaling" or row["name"].endswith("batch_4")):
                continue  # two threads have shown how it grows
            beside = [peer for peer in peers if row["kind"] != "scaling" and peer.rows(row)]
            result = measure(row, threads, machine, beside, old.name if old else None, ours, options.quick)
            if row["kind"] in MODELS:
                if row["name"] not in memory:
                    memory[row["name"]] = {"ours_mb": ask([options.ours, "--memory", row["name"]])["mb"]} | {
                        # PyTorch's differs by a fifth from one process to the next.
                        key: statistics.median(ask([*command, row["name"]], variables)["mb"]
                                               for _ in range(1 if options.quick else 3))
                        for key, (command, variables, has) in memory_of.items() if has(row)}
                result |= memory[row["name"]]
            elif row["kind"] == "scaling":
                result["ours_mb"] = ask([options.ours, "--memory", row["name"]])["mb"]
            results.append(result)
            lost = [name for r in (before["rows"] if before else []) if (r["name"], r["threads"]) == (row["name"], threads)
                    for name in r.get("peers", {}) if name not in result.get("peers", {})]
            if lost:
                print(f"{row['name']}: the row had {', '.join(lost)} before, and has no longer", file=sys.stderr)
            peer = f"{result['peer_ms']:10.3f} {result['ratio']:6.2f}x  {result['peer']}" if "peer" in result else ""
            older = f", {result['ratio_torch_1_13']:.2f}x PyTorch 1.13" if "ratio_torch_1_13" in result else ""
            rest = "".join(f"; failed: {name}: {why[:100]}" for name, why in result.get("failed", {}).items())
            print(f"{result['name']:48} {threads} {result['ours_ms']:10.3f} {peer}{older}{rest}", flush=True)
            write()
    # What arithmetic limits, and not the memory that both threads share.
    for row in rows if {"1", "2"} <= set(options.threads.split(",")) else []:
        if not re.match(r"(tdpcr|tdpcr_naf)\.|conv|mdta|attention|window", row["name"]) or row["name"].endswith("batch_4"):
            continue
        gains.append(thread_gain(row, ours, options.quick))
        print(f"{row['name']:48} two threads for one: {gains[-1]['gain']:.2f}x", flush=True)
        write()
    write()


if __name__ == "__main__":
    main()

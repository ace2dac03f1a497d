#!/usr/bin/env python3
"""What the kernels move and what a GPU's limits make of it, without a GPU: python3 bench/kernels/table.py

Builds bench/kernels/shapes.cpp with the lens's instrumentation, runs it, joins each launch with its row of
tests/cuda/budgets.csv, and writes bench/results/kernels/kernels.json and docs/kernels/table.md.

Static, from nvcc: registers, occupancy. Modelled, by running the kernel on the CPU: bytes, sectors, bank conflicts.
Modelled, by arithmetic: the least time on a device, the larger of flops / peak and bytes / bandwidth. No time in this
table was measured; a device can only be slower.
"""

import json
import os
import pathlib
import platform
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/cuda"))
from nvcc import read_table, short_name  # noqa: E402

# Data sheets: NVIDIA A100 40 GB SXM and H100 SXM. TFLOP/s without sparsity, GB/s.
DEVICES = {
    "A100": {"arch": "sm_80", "float32": 19.5, "tf32": 156.0, "bfloat16": 312.0, "bandwidth": 1555.0},
    "H100": {"arch": "sm_90", "float32": 66.9, "tf32": 494.7, "bfloat16": 989.4, "bandwidth": 3350.0},
}


def run_shapes():
    compiler = os.environ.get("CXX", "g++")
    flags = ["-std=c++20", "-DCLEARSKY_SIMT_LENS=1", "-w", f"-I{ROOT}/include", f"-I{ROOT}/cuda"]
    with tempfile.TemporaryDirectory() as folder:
        hooks, shapes, program = (f"{folder}/{n}" for n in ("hooks.o", "shapes.o", "shapes"))
        subprocess.run([compiler, *flags, "-O2", "-c", str(ROOT / "tests/lens/hooks.cpp"), "-o", hooks], check=True)
        subprocess.run([compiler, *flags, "-O1", "-g1", "-gdwarf-4", "-fsanitize=thread", "-c",
                        str(ROOT / "bench/kernels/shapes.cpp"), "-o", shapes], check=True)
        subprocess.run([compiler, shapes, hooks, "-o", program, "-pthread"], check=True)
        output = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True).stdout.splitlines()[0]
    return json.loads(output), version


def normal(name):
    """A kernel's name without what compilers write differently: spaces, casts, namespaces, the names of enumerators."""
    name = short_name(name.removesuffix(")") + "(") if "(" not in name else short_name(name)
    name = re.sub(r"\b(on_cpu|on_device|clearsky|cuda|cpu)::", "", name)
    name = re.sub(r"\((?:[\w:]+)\)(\d+)", r"\1", name)
    return re.sub(r"[\s]|\b(\d+)[uUlL]+\b", lambda m: m[1] or "", name)


def main():
    launches, compiler = run_shapes()
    budgets = {}
    for r in read_table()[1].values():
        budgets[normal(r["kernel"]), r["arch"]] = r
    missing = set()
    for launch in launches:
        precision = next((p for p in ("tf32", "bfloat16") if launch["shape"].endswith(p)), "float32")
        launch["memory_ratio"] = launch["memory_bytes"] / max(launch["compulsory_bytes"], 1)
        launch["block_ratio"] = launch["block_bytes"] / max(launch["compulsory_bytes"], 1)
        launch["intensity"] = launch["flops"] / max(launch["memory_bytes"], 1)
        for device, limit in DEVICES.items():
            row = budgets.get((normal(launch["kernel"]), limit["arch"]))
            if row is None:
                missing.add(normal(launch["kernel"]))
            compute, memory = launch["flops"] / limit[precision] / 1e6, launch["compulsory_bytes"] / limit["bandwidth"] / 1e3
            launch[device] = {
                "registers (static)": row and int(row["registers"]),
                "occupancy (static)": row and float(row["occupancy"]),
                "least microseconds (modelled)": round(max(compute, memory), 3),
                "bound (modelled)": "compute" if compute > memory else "memory",
            }
    commit = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=9"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    cpu = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.processor())
    result = {"made_by": {"commit": commit, "cpu": cpu, "compiler": compiler, "command": "python3 bench/kernels/table.py"},
              "static": "registers and occupancy are nvcc's (tests/cuda/budgets.csv)",
              "modelled": "bytes, sectors, wavefronts and lanes are those of the kernel run on the CPU; memory_bytes pass an "
                          "L2 cache of 2.5 MiB, a 16th of an A100's, that is empty before the launch and keeps what was "
                          "used last; block_bytes are kept within a block and not between blocks; times are bounds, not "
                          "measurements",
              "devices": DEVICES, "launches": launches}
    folder = ROOT / "bench/results/kernels"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kernels.json").write_text(json.dumps(result, indent=1) + "\n")

    lines = ["# The kernels at the model's shapes", "",
             "Written by `python3 bench/kernels/table.py` from "
             "[bench/results/kernels/kernels.json](../../bench/results/kernels/kernels.json) "
             f"(commit {commit}, {compiler}, {cpu}). The shapes are those of the default TDP-CR for a patch of 64 x 64: its "
             "first level, which is the largest, and some further down. No GPU was involved, and no time was measured.", "",
             "- **memory** (modelled): bytes between memory and an L2 cache of 2.5 MiB, over the least there are (each byte "
             "that is needed once in, each that is written once out). The cache is a 16th of an A100's, as one image of a "
             "batch of 16 has it; it is empty before the launch and keeps what was used last. Launches that add up a few floats "
             "move a whole sector of 32 bytes for them: these are the only rows above 1.25.",
             "- **blocks** (modelled): the same without that cache: a block keeps what it once read, and nothing is kept "
             "between blocks. What is between the two columns is the cache's traffic.",
             "- **conflicts** (modelled): passes of shared memory's banks over the least there are; 1 is none.",
             "- **lanes** (modelled): share of a warp's lanes that take part, over all accesses.",
             "- **registers**, **occupancy** (static): nvcc's, on sm_80; occupancy is the share of a multiprocessor's warps.",
             "- **flops / byte** (modelled): arithmetic intensity, of the bytes to and from memory.",
             "- **A100**, **H100** (modelled): the least microseconds, by compute (c) or memory (m): the roofline. At this small "
             "size a launch itself takes longer.", "",
             "| operation | shape | kernel | memory | blocks | conflicts | lanes | registers | occupancy | flops / byte | A100 | H100 |",
             "|---|---|---|---|---|---|---|---|---|---|---|---|"]
    for l in launches:
        conflicts = l["shared_wavefronts"] / l["ideal_shared_wavefronts"] if l["ideal_shared_wavefronts"] else None
        a, h = l["A100"], l["H100"]
        bound = lambda d: f"{d['least microseconds (modelled)']:.2f} {d['bound (modelled)'][0]}"
        name = re.sub(r"<.*", "", normal(l["kernel"]))
        lines.append(f"| {l['operation']} | {l['shape']} | {name} | {l['memory_ratio']:.2f} | {l['block_ratio']:.2f} | "
                     f"{'' if conflicts is None else f'{conflicts:.2f}'} | {l['active_lanes']:.2f} | "
                     f"{a['registers (static)'] or ''} | {a['occupancy (static)'] if a['occupancy (static)'] is not None else ''} | "
                     f"{l['intensity']:.1f} | {bound(a)} | {bound(h)} |")
    (ROOT / "docs/kernels").mkdir(parents=True, exist_ok=True)
    (ROOT / "docs/kernels/table.md").write_text("\n".join(lines) + "\n")
    print(f"{len(launches)} launches; {len(missing)} kernels without a row in tests/cuda/budgets.csv")
    for name in sorted(missing):
        print("  " + name)


if __name__ == "__main__":
    main()

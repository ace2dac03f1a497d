#!/usr/bin/env python3
"""What nvcc makes of the kernels, held to a table: python3 tests/cuda/nvcc.py [--write]

Compiles tests/cuda/*.cu for sm_80 and sm_90, warnings being errors, and compares with tests/cuda/budgets.csv:

  kernel, arch     the instance; every one that is compiled must stand in the table, and the other way round
  threads          of a block, from __launch_bounds__
  registers        at most so many per thread
  shared           at most so many bytes of static shared memory
  dynamic_shared   bytes of dynamic shared memory that a launch asks for at most; kept by hand, for the occupancy
  occupancy        at least this share of a multiprocessor's warps, by cuda_occupancy.h
  instructions     PTX that must appear: mma.sync, cp.async, ldmatrix, 16-byte loads and stores (ld.global.v4, ...)

No spilled register is allowed anywhere. Another release of nvcc than the one in the table's first line may need a few
registers more or less: what it makes is then printed and does not fail. Needs no device. --write writes the table anew from what was compiled: look at
the difference before you commit it. Exit status 77: no nvcc.
"""

import argparse
import collections
import csv
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
TABLE = ROOT / "tests/cuda/budgets.csv"
ARCHS = ["sm_80", "sm_90"]
FIELDS = ["kernel", "arch", "threads", "registers", "shared", "dynamic_shared", "occupancy", "instructions"]
INSTRUCTIONS = {
    "mma.sync": r"\bmma\.sync",
    "cp.async": r"\bcp\.async\.c[ag]\.shared",
    "ldmatrix": r"\bldmatrix\.sync",
    "ld.global.v4": r"\bld\.global(\.nc)?(\.L[12]::\w+)*\.v4",
    "st.global.v4": r"\bst\.global\.v4",
    "ld.shared.v4": r"\bld\.shared\.v4",
    "st.shared.v4": r"\bst\.shared\.v4",
}


def find_nvcc():
    for candidate in (os.environ.get("CUDACXX"), shutil.which("nvcc"), "/usr/local/cuda/bin/nvcc"):
        if candidate and os.access(candidate, os.X_OK):
            return candidate
    return None


def release_of(nvcc):
    text = subprocess.run([nvcc, "--version"], capture_output=True, text=True).stdout
    return re.search(r"release ([\d.]+)", text)[1]


def read_table():
    """The release of nvcc that wrote the table, and its rows by kernel and architecture."""
    if not TABLE.exists():
        return "", {}
    first, *lines = TABLE.read_text().splitlines()
    return first.removeprefix("# nvcc "), {(r["kernel"], r["arch"]): r for r in csv.DictReader(lines)}


def short_name(demangled):
    """gemm_tiles<Travel(0), Travel(1)> of the full signature."""
    name = re.sub(r"\(anonymous namespace\)::", "", demangled)
    name = re.sub(r"\b(clearsky|cuda|cpu|on_device|fn|detail)::", "", name)
    name = name.removeprefix("void ")
    depth, end = 0, len(name)
    for i, c in enumerate(name):  # up to the parameters: the first "(" outside of < >
        depth += (c == "<") - (c == ">")
        if c == "(" and depth == 0:
            end = i
            break
    return name[:end].replace("(int)", "").replace("(bool)", "")


def compile_one(nvcc, source, arch, folder):
    """{mangled name: facts} of one file. Exits with what the compiler said when it refuses."""
    folder.mkdir(parents=True)
    command = [nvcc, "-std=c++20", f"-arch={arch}", "-Xptxas", "-v,--warn-on-spills", "-Werror", "all-warnings",
               f"-I{ROOT}/include", f"-I{ROOT}/cuda", "--keep", "--keep-dir", str(folder), "-c", str(source),
               "-o", str(folder / "object.o")]
    run = subprocess.run(command, capture_output=True, text=True)
    text = run.stdout + run.stderr
    if run.returncode != 0:
        lines = [l for l in text.splitlines() if not re.search(r"Compiling entry|Function properties|Used |stack", l)]
        sys.exit(f"{source.name} does not compile for {arch}:\n" + "\n".join(lines[:60]))
    facts = {}
    name = None
    for line in text.splitlines():
        if m := re.search(r"Compiling entry function '(\w+)'", line):
            name = m[1]
            facts[name] = {"spills": 0, "shared": 0}
        elif m := re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line):
            facts[name]["spills"] += int(m[1]) + int(m[2])
        elif m := re.search(r"Used (\d+) registers", line):
            facts[name]["registers"] = int(m[1])
            if s := re.search(r"(\d+) bytes smem", line):
                facts[name]["shared"] = int(s[1])
    ptx = (folder / (source.stem + ".ptx")).read_text()
    for part in re.split(r"(?=^\.visible \.entry )", ptx, flags=re.M)[1:]:
        name = re.match(r"\.visible \.entry (\w+)", part)[1]
        bound = re.search(r"\.maxntid (\d+)(?:, (\d+))?(?:, (\d+))?", part)
        facts[name]["threads"] = 0
        if bound:
            facts[name]["threads"] = int(bound[1]) * int(bound[2] or 1) * int(bound[3] or 1)
        facts[name]["instructions"] = " ".join(i for i, pattern in INSTRUCTIONS.items() if re.search(pattern, part))
    return facts


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    nvcc = find_nvcc()
    if nvcc is None:
        print("skipped: no nvcc on PATH, in CUDACXX or in /usr/local/cuda/bin; install the CUDA toolkit to compile "
              "the kernels")
        sys.exit(77)
    written_by, table = read_table()
    release = release_of(nvcc)
    rows, problems, notes = [], [], []
    differs = problems if release == written_by else notes
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        for arch in ARCHS:
            for source in sorted((ROOT / "tests/cuda").glob("*.cu")):
                facts = compile_one(nvcc, source, arch, folder / arch / source.stem)
                demangled = subprocess.run(["c++filt", *facts], capture_output=True, text=True).stdout.splitlines()
                for full, f in zip(demangled, facts.values()):
                    name = short_name(full)
                    known = table.get((name, arch), {})
                    rows.append({"kernel": name, "arch": arch, **f, "dynamic_shared": known.get("dynamic_shared", "0")})
                    if f["spills"]:
                        problems.append(f"{name} spills {f['spills']} bytes of registers on {arch}")
                    if not f["threads"]:
                        problems.append(f"{name} has no __launch_bounds__")
        include = pathlib.Path(nvcc).resolve().parents[1] / "include"
        program = folder / "occupancy"
        compiler = os.environ.get("CXX", "g++")
        subprocess.run([compiler, "-std=c++17", "-w", f"-I{include}", str(ROOT / "tests/cuda/occupancy.cpp"), "-o",
                        str(program)], check=True)
        lines = "".join(f"{r['arch'][3:]} {r['registers']} {r['threads'] or 1024} {r['shared']} {r['dynamic_shared']}\n"
                        for r in rows)
        answers = subprocess.run([str(program)], input=lines, capture_output=True, text=True, check=True)
        for row, share in zip(rows, answers.stdout.split()):
            row["occupancy"] = float(share)
    double = [k for k, n in collections.Counter((r["kernel"], r["arch"]) for r in rows).items() if n > 1]
    problems += [f"{k} ({a}) is compiled in two files" for k, a in double]

    if arguments.write:
        with TABLE.open("w", newline="") as f:
            f.write(f"# nvcc {release}\n")
            writer = csv.DictWriter(f, FIELDS, extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            for row in sorted(rows, key=lambda r: (r["kernel"], r["arch"])):
                writer.writerow({**row, "occupancy": f"{row['occupancy']:.4f}"})
        print(f"wrote {len(rows)} rows to {TABLE.relative_to(ROOT)}")
    else:
        for row in rows:
            budget = table.pop((row["kernel"], row["arch"]), None)
            at = f"{row['kernel']} on {row['arch']}"
            if budget is None:
                problems.append(f"{at} is not in the table")
                continue
            for field in ("registers", "shared"):
                if int(row[field]) > int(budget[field]):
                    differs.append(f"{at}: {row[field]} {field}, the budget is {budget[field]}")
            if row["threads"] != int(budget["threads"]):
                problems.append(f"{at}: blocks of {row['threads']} threads, the table says {budget['threads']}")
            if row["occupancy"] < float(budget["occupancy"]) - 1e-4:
                differs.append(f"{at}: occupancy {row['occupancy']:.4f}, the budget is {budget['occupancy']}")
            for instruction in budget["instructions"].split():
                if instruction not in row["instructions"].split():
                    problems.append(f"{at}: no {instruction} in its PTX any more")
        problems += [f"{k} on {a} stands in the table but was not compiled" for k, a in table]
    if notes:
        print(f"nvcc {release}, the table is {written_by}'s:\n" + "\n".join(notes))
    if problems:
        sys.exit("\n".join(problems) + "\nRun tests/cuda/nvcc.py --write, and look at the difference, if this is meant.")
    for arch in ARCHS:
        mine = [r for r in rows if r["arch"] == arch]
        print(f"{arch}: {len(mine)} kernels, no spills, at most {max(r['registers'] for r in mine)} registers, "
              f"{sum('mma.sync' in r['instructions'] for r in mine)} with mma.sync, "
              f"{sum('cp.async' in r['instructions'] for r in mine)} with cp.async")


if __name__ == "__main__":
    main()

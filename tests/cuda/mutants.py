#!/usr/bin/env python3
"""Whether the kernels' tests notice broken kernels: python3 tests/cuda/mutants.py [--all] [--only TEXT] [--jobs N] [--no-control]

Each entry of tests/cuda/mutants.txt breaks one line of one kernel header:

    @ gemm.cuh gemm: no barrier between the copies' arrival and their use
    - __syncthreads();  // everyone's part of this pair has arrived
    + 

after the @ the header in cuda/clearsky/cuda/kernels/ and the test tests/cuda/NAME_test.cpp that must fail; after the -
text that stands in that header once; after the + what replaces it. The test is compiled against the broken header, in a
folder that shadows the real one, and run on the CPU under every order of threads. A mutant that the test does not
notice fails this test, and so does one that does not apply or compile. Those after @+ in place of @ are tried with
--all or --only alone: they take time, and resemble others. Before that, each test runs without a mutant, or
one that always fails would seem to catch everything; --no-control leaves this out where the tests run anyway.
"""

import argparse
import concurrent.futures
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
KERNELS = "clearsky/cuda/kernels"
LEAST = 40
COMPILER = os.environ.get("CXX", "g++")
FLAGS = ["-std=c++20", "-O1", "-ffp-contract=fast", "-w"]
FOLDERS = [f"-I{ROOT}/include", f"-I{ROOT}/cuda", f"-I{ROOT}/tests"]
SECONDS = 120  # of a run; a kernel that never ends is caught too


def read_mutants(path):
    mutants = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        mark, text = line[0], line[2:]  # of "@+ ...", text begins with a blank
        if mark == "@":
            extra = text.startswith(" ")
            head, _, what = text.strip().partition(": ")
            header, test = head.split()
            mutants.append({"header": header, "test": test, "what": what, "line": number, "extra": extra})
        elif mark in "-+" and mutants and mark not in mutants[-1]:
            mutants[-1][mark] = text
        else:
            sys.exit(f"{path.name}:{number}: expected '@ HEADER TEST: what', '- text' or '+ text', in this order")
    for m in mutants:
        if "-" not in m or "+" not in m:
            sys.exit(f"{path.name}:{m['line']}: needs one line '- text' and one '+ text'")
    return mutants


def build_and_run(folder, test, main_object):
    """The exit status of the test (None: it did not end) and what it printed; raises when it does not compile."""
    program = folder / "test"
    command = [COMPILER, *FLAGS, f"-I{folder}", *FOLDERS, "-include", str(main_object.with_name("first.hpp")),
               str(ROOT / f"tests/cuda/{test}_test.cpp"), str(main_object), "-o", str(program), "-pthread"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    try:
        run = subprocess.run([str(program), "--abort-after=1"], capture_output=True, text=True, timeout=SECONDS, cwd=ROOT)
    except subprocess.TimeoutExpired:
        return None, ""
    return run.returncode, run.stdout + run.stderr


def try_mutant(mutant, scratch, main_object):
    """None when it was caught, else what went wrong."""
    name = f"{mutant['header']}: {mutant['what']}"
    source = (ROOT / "cuda" / KERNELS / mutant["header"]).read_text()
    if source.count(mutant["-"]) != 1:
        return f"{name}: its text stands {source.count(mutant['-'])} times in the header, not once"
    folder = pathlib.Path(tempfile.mkdtemp(dir=scratch))
    (folder / KERNELS).mkdir(parents=True)
    (folder / KERNELS / mutant["header"]).write_text(source.replace(mutant["-"], mutant["+"]))
    try:
        status, _ = build_and_run(folder, mutant["test"], main_object)
    except subprocess.CalledProcessError as e:
        return f"{name}: does not compile: " + e.stderr[:600]
    finally:
        shutil.rmtree(folder)
    return f"{name}: {mutant['test']}_test.cpp does not notice" if status == 0 else None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--all", action="store_true", help="those after @+ too")
    parser.add_argument("--only", default="", help="mutants whose header, test or description has this text")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--no-control", action="store_true", help="do not run the tests without a mutant first")
    arguments = parser.parse_args()
    mutants = read_mutants(ROOT / "tests/cuda/mutants.txt")
    chosen = [m for m in mutants if arguments.only in f"{m['header']} {m['test']}: {m['what']}"
              and (arguments.all or arguments.only or not m["extra"])]
    with tempfile.TemporaryDirectory() as scratch, concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        main_object = pathlib.Path(scratch) / "main.o"
        subprocess.run([COMPILER, *FLAGS, *FOLDERS, "-c", str(ROOT / "tests/main.cpp"), "-o", str(main_object)], check=True)
        # What no mutant changes is compiled once for all: a third of the time.
        first = main_object.with_name("first.hpp")
        first.write_text('#include "cuda/kernels.hpp"\n')
        if "clang" not in COMPILER:
            subprocess.run([COMPILER, *FLAGS, *FOLDERS, "-x", "c++-header", str(first), "-o", f"{first}.gch"], check=True)
        tests = sorted({m["test"] for m in chosen})
        empty = pathlib.Path(scratch)

        def healthy(test):
            folder = pathlib.Path(tempfile.mkdtemp(dir=empty))
            status, output = build_and_run(folder, test, main_object)
            return None if status == 0 else f"{test}_test.cpp fails without a mutant:\n{output[-2000:]}"

        problems = [p for p in pool.map(healthy, [] if arguments.no_control else tests) if p]
        missed = [p for p in pool.map(lambda m: try_mutant(m, scratch, main_object), chosen) if p]
    print(f"{len(chosen) - len(missed)} of {len(chosen)} mutants were caught by {len(tests)} kernel tests")
    if not arguments.only and len(chosen) < LEAST:
        problems.append(f"{len(chosen)} mutants were tried, at least {LEAST} are wanted")
    if problems + missed:
        sys.exit("\n".join(problems + missed))


if __name__ == "__main__":
    main()

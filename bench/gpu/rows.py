#!/usr/bin/env python3
"""Every kernel's launcher has a row in the harness: python3 bench/gpu/rows.py

Reads cuda/clearsky/cuda/kernels/*.cuh for functions outside of namespace detail that take a Stream last, and wants each
to be called in some bench/gpu/*.cu. Left out are parts of launchers, and shorthands of others.
"""

import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "tests/structure"))
from ops_have_rows import without_comments_and_texts, without_detail  # noqa: E402

DECLARED = re.compile(r"^(?:inline )?void (\w+)\(([^;{}]*)\bStream stream\) \{", re.M)
NOT_ALONE = {"map_of", "gemm_bfloat16"}


def launchers(text):
    names = {name for name, _ in DECLARED.findall(without_detail(without_comments_and_texts(text)))}
    return {name for name in names if not name.startswith("launch_")} - NOT_ALONE


def main():
    found, texts = {}, ""
    for path in sorted((ROOT / "cuda/clearsky/cuda/kernels").glob("*.cuh")):
        found.update({name: path.name for name in launchers(path.read_text())})
    for path in sorted(HERE.glob("*.cu")):
        texts += without_comments_and_texts(path.read_text())
    # As a statement of the timed work, on the stream `t`, and not the CPU's of the same name.
    missing = [n for n in found if not re.search(rf"(?<![\w:.]){n}\s*\((?:[^;]*),\s*t\);", texts)]
    for name in missing:
        print(f"bench/gpu: no row for {name} of {found[name]}; call it in the family's file")
    if len(found) < 60:
        print(f"bench/gpu/rows.py: only {len(found)} launchers found; has their form changed?")
        return 1
    print(f"{len(found) - len(missing)} of {len(found)} launchers have rows")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())

"""Reads a safetensors file written by clearsky with the safetensors package, and compares it bit for bit.

    python check_interchange.py FILE        exit status 0 and one line when all is well

The file must hold the tensors and the metadata of interchange.py: no more, no fewer.
"""

from __future__ import annotations

import sys

import torch
from safetensors import safe_open


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Bits, not values: -0 is not 0, NaN is itself."""
    raw = lambda x: x.contiguous().reshape(-1).view(torch.uint8)
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(raw(a), raw(b))


def problems(path: str) -> list[str]:
    from interchange import METADATA, contents

    found = []
    expected = contents()
    with safe_open(path, framework="pt") as file:
        names = set(file.keys())
        found += [f"{name} is missing" for name in sorted(set(expected) - names)]
        found += [f"{name} does not belong there" for name in sorted(names - set(expected))]
        for name in sorted(names & set(expected)):
            got, want = file.get_tensor(name), expected[name]
            if not same(got, want):
                found.append(f"{name} is {got.dtype} {tuple(got.shape)} {got.flatten()[:8].tolist()}, want {want.dtype} {tuple(want.shape)} {want.flatten()[:8].tolist()}")
        metadata = file.metadata() or {}
        for key in sorted(set(METADATA) | set(metadata)):
            if METADATA.get(key) != metadata.get(key):
                found.append(f"metadata {key!r} is {metadata.get(key)!r}, want {METADATA.get(key)!r}")
    return found


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit("use: check_interchange.py FILE")
    torch.set_default_dtype(torch.float64)
    found = problems(sys.argv[1])
    for line in found:
        print(f"check_interchange: {line}")
    if found:
        raise SystemExit(1)
    print(f"check_interchange: {sys.argv[1]} holds what it should")


if __name__ == "__main__":
    main()

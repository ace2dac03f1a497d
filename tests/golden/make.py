"""Writes tests/golden/data/*.safetensors: what PyTorch, scikit-image and NumPy say, in float64.

    python make.py                 all files
    python make.py ops training    some of them
"""

from __future__ import annotations

import importlib.metadata
import sys

import torch

import golden


def ops() -> None:
    import ops_elementwise
    import ops_image
    import ops_learning

    cases = golden.Cases()
    for module in (ops_elementwise, ops_image, ops_learning):
        module.build(cases)
    golden.write("ops", cases.tensors, cases.metadata)
    print(f"  {len(cases.metadata)} cases")


def blocks() -> None:
    import blocks

    blocks.build()


def model() -> None:
    import model

    model.build()


def training() -> None:
    import training

    training.build()


def metrics() -> None:
    import metrics

    metrics.build()


def interchange() -> None:
    import interchange

    interchange.build()


FILES = {f.__name__: f for f in (ops, blocks, model, training, metrics, interchange)}


def main() -> None:
    wanted = sys.argv[1:] or list(FILES)
    unknown = [w for w in wanted if w not in FILES]
    if unknown:
        raise SystemExit(f"make.py: no file {', '.join(unknown)}; there are {', '.join(FILES)}")
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    print(", ".join(f"{p} {importlib.metadata.version(p)}" for p in ("torch", "numpy", "safetensors", "scikit-image")))
    for name in wanted:
        FILES[name]()


if __name__ == "__main__":
    main()

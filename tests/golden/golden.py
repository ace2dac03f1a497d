"""What every golden module shares: seeds, the file writer, layouts, and replayable cases.

Tensors in the files are clearsky's: features N x H x W x C, convolution weights (O, kH, kW, I). Everything is computed
in float64 on one thread.
"""

from __future__ import annotations

import json
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(__file__).resolve().parent / "data"
sys.path.insert(0, str(ROOT / "bench" / "peers"))

DTYPES = {torch.float64: "F64", torch.float32: "F32", torch.int64: "I64", torch.int32: "I32", torch.uint8: "U8"}


def rng(name: str) -> np.random.Generator:
    """One stream per name, so that a new case leaves all others as they are."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def nchw(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)


def nhwc(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1)


def exact(x: Tensor) -> Tensor:
    """Rounded to float32 but kept in float64: stored as F32 without loss, at half the size."""
    return x.float().double()


def write(name: str, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """A safetensors file with sorted names, so that the same values give the same bytes (the library's own order varies)."""
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    parts, offset = [], 0
    for key in sorted(tensors):
        tensor = tensors[key].detach().contiguous()
        data = tensor.numpy().tobytes()
        header[key] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, offset + len(data)]}
        parts.append(data)
        offset += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the data starts at a multiple of 8
    DATA.mkdir(exist_ok=True)
    path = DATA / f"{name}.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(parts))
    print(f"{path.name}: {len(tensors)} tensors, {path.stat().st_size / 1e6:.3f} MB")


class Cases:
    """Calls an op on given inputs, differentiates it, and keeps all that a test needs to replay it.

    Inputs are float64 (differentiated), int64 (indices, labels) or bool (stored as U8). `Constant` marks a float64
    input that is given but not differentiated: a buffer, a mask with soft edges.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self.metadata: dict[str, str] = {}

    def add(self, name: str, op: str, call, inputs: list, **attrs) -> None:
        """call(*inputs) -> output, or (output, {name: further tensor}) in clearsky's layouts."""
        if name in self.metadata:
            raise ValueError(f"case {name} exists already")
        kinds, arguments = [], []
        for i, value in enumerate(inputs):
            kind = "float"
            if isinstance(value, Constant):
                kind, value = "constant", value.tensor
            elif value.dtype == torch.bool:
                kind = "mask"
            elif value.dtype == torch.int64:
                kind = "index"
            kinds.append(kind)
            self.tensors[f"{name}/input.{i}"] = value.to(torch.uint8) if kind == "mask" else value.clone()
            arguments.append(value.clone().requires_grad_(kind == "float"))
        result = call(*arguments)
        output, further = result if isinstance(result, tuple) else (result, {})
        self.tensors[f"{name}/output"] = output
        for key, value in further.items():
            self.tensors[f"{name}/{key}"] = value
        if output.requires_grad:
            grad = torch.from_numpy(np.asarray(rng(name + "/grad_output").standard_normal(tuple(output.shape))))
            leaves = [a for a, kind in zip(arguments, kinds) if kind == "float"]
            grads = iter(torch.autograd.grad(output, leaves, grad))
            self.tensors[f"{name}/grad_output"] = grad
            for i, kind in enumerate(kinds):
                if kind == "float":
                    self.tensors[f"{name}/grad_input.{i}"] = next(grads)
        for key in (k for k in self.tensors if k.startswith(name + "/")):
            if not torch.isfinite(self.tensors[key]).all():
                raise ValueError(f"{key} is not finite")
        self.metadata[name] = json.dumps({"op": op, "inputs": len(inputs), "kinds": kinds, "attrs": attrs})


class Constant:
    """A float64 input that carries no gradient."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


class Draw:
    """Random inputs for one case."""

    def __init__(self, name: str) -> None:
        self.random = rng(name)

    def normal(self, *shape: int, scale: float = 1.0, shift: float = 0.0) -> Tensor:
        return torch.from_numpy(np.asarray(self.random.standard_normal(shape))) * scale + shift

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return torch.from_numpy(np.asarray(self.random.uniform(low, high, shape)))

    def integers(self, *shape: int, below: int) -> Tensor:
        return torch.from_numpy(np.asarray(self.random.integers(0, below, shape, dtype=np.int64)))

    def mask(self, *shape: int, share: float = 0.5) -> Tensor:
        return self.uniform(*shape) < share

    def labels(self, *shape: int, classes: int, ignored: float = 0.2) -> Tensor:
        """Class ids with some pixels at 255, which counts for no class."""
        return torch.where(self.mask(*shape, share=ignored), 255, self.integers(*shape, below=classes))

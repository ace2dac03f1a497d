"""Weights for the golden modules: every parameter away from its start value, every branch at work.

A network as initialised hides mistakes (beta = 0 switches NAF's branches off, a temperature of 1 is no factor), so all
parameters are drawn, on a scale that keeps features near 1. Values are exact in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from golden import Draw, exact
from tdpcr_torch import to_clearsky


def value(name: str, parameter: Tensor, draw: Draw) -> Tensor:
    leaf = name.rsplit(".", 1)[-1]
    shape = tuple(parameter.shape)
    if leaf == "temperature":
        return draw.uniform(*shape, low=0.7, high=2)
    if leaf in ("beta", "gamma"):
        return draw.normal(*shape, scale=0.5)
    if name.endswith("spatial.depthwise.bias"):
        return draw.normal(*shape, scale=0.5, shift=-1)
    if name.endswith("logits.weight"):  # mixtures from nearly pure to nearly even
        return draw.normal(*shape, scale=2.5)
    if leaf == "bias":
        return draw.normal(*shape, scale=0.2)
    if leaf in ("embeddings", "bank"):
        return draw.normal(*shape)
    if len(shape) == 1:  # a norm's scale
        return draw.normal(*shape, scale=0.2, shift=1)
    return draw.normal(*shape, scale=parameter[0].numel() ** -0.5)


def randomise(module: nn.Module, name: str) -> nn.Module:
    """Each parameter has a stream of its own, named after `name` and the parameter."""
    module.double()
    with torch.no_grad():
        for key, parameter in module.named_parameters():
            parameter.copy_(exact(value(key, parameter, Draw(f"{name}/{key}"))))
    return module


def stored(module: nn.Module, prefix: str) -> dict[str, Tensor]:
    """The weights in clearsky's layouts as F32, which holds them exactly."""
    return {f"{prefix}{key}": to_clearsky(p).float() for key, p in module.named_parameters()}


def stored_gradients(module: nn.Module, prefix: str) -> dict[str, Tensor]:
    """Zeros where a parameter had no part in the output."""
    return {f"{prefix}{key}": to_clearsky(torch.zeros_like(p) if p.grad is None else p.grad) for key, p in module.named_parameters()}

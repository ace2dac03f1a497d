"""blocks.safetensors: the parts of TDP-CR one by one, with the gradients of their inputs and weights."""

from __future__ import annotations

import dataclasses
import json

import torch

import golden
import tdpcr_torch as tdpcr
import weights
from golden import Draw, nchw, nhwc


class Parts:
    def __init__(self) -> None:
        self.tensors: dict[str, torch.Tensor] = {}
        self.metadata: dict[str, str] = {}

    def add(self, name: str, part: str, module, shapes: list[tuple], call, unit_range: bool = False, **attrs) -> None:
        """call(module, *NCHW inputs) -> NCHW output, or (output, {name: further NCHW tensor})."""
        weights.randomise(module, name)
        draw = Draw(name)
        inputs = [(draw.uniform(*s) if unit_range else draw.normal(*s)).requires_grad_() for s in shapes]
        result = call(module, *(nchw(x) for x in inputs))
        output, further = result if isinstance(result, tuple) else (result, {})
        output = nhwc(output)
        grad = Draw(name + "/grad_output").normal(*output.shape)
        output.backward(grad)

        self.tensors |= weights.stored(module, f"{name}/weight.")
        self.tensors |= weights.stored_gradients(module, f"{name}/grad_weight.")
        self.tensors |= {f"{name}/output": output, f"{name}/grad_output": grad}
        self.tensors |= {f"{name}/{key}": nhwc(x).detach() for key, x in further.items()}
        for i, x in enumerate(inputs):
            self.tensors[f"{name}/input.{i}"] = x.detach()
            self.tensors[f"{name}/grad_input.{i}"] = torch.zeros_like(x) if x.grad is None else x.grad
        self.metadata[name] = json.dumps({"part": part, "inputs": len(inputs), "attrs": attrs})


def build() -> None:
    parts = Parts()
    plain = lambda module, *x: module(*x)

    for kind, channels, heads, shape in (("one_head", 6, 1, (1, 7, 3)), ("two_heads", 8, 2, (2, 4, 5))):
        parts.add(f"restormer.{kind}", "restormer", tdpcr.RestormerBlock(channels, heads), [(*shape, channels)], plain, channels=channels, heads=heads)
    for channels, shape in ((5, (1, 7, 3)), (8, (2, 4, 5))):
        parts.add(f"naf.{channels}", "naf", tdpcr.NafBlock(channels, 1), [(*shape, channels)], plain, channels=channels)

    def fuse(module, optical, sar, prompt):
        fused, gate = module(optical, sar, prompt)
        return fused, {} if gate is None else {"reliance": gate}

    config = tdpcr.Config(width=8, prompt_channels=4, prompt_hidden=4)
    image, prompt = (2, 4, 6, 8), 5
    for kind in ("replace", "inject", "concat", "add"):
        module = tdpcr.Fusion(dataclasses.replace(config, fusion=kind), 0)
        parts.add(f"fusion.{kind}", "fusion", module, [image, image, (2, 4, 6, prompt)], fuse, fusion=kind, channels=8, prompt_channels=4)
    module = tdpcr.Fusion(config, 0)
    parts.add("fusion.resized_prompt", "fusion", module, [image, image, (2, 2, 3, prompt)], fuse, fusion="replace", channels=8, prompt_channels=4)

    both = lambda module, x: torch.cat(module(x), dim=1)
    for kind, size in (("mixture", 0), ("bank", 6)):
        module = tdpcr.PromptGenerator(dataclasses.replace(config, prompt=kind, bank_size=size))
        attrs = {"prompt": kind, "prompt_channels": 4, "prompt_hidden": 4, "components": 5, "bank_size": size}
        parts.add(f"prompt_generator.{kind}", "prompt_generator", module, [(2, 12, 16, 13)], both, unit_range=True, **attrs)

    config = tdpcr.Config(width=4, segmentation_width=6, classes=5)
    features = [(1, 16 >> l, 24 >> l, config.channels(l)) for l in range(tdpcr.LEVELS)]
    module = tdpcr.SegmentationDecoder(config)
    parts.add("segmentation_decoder.four_levels", "segmentation_decoder", module, features, lambda m, *x: m(list(x)), width=4, segmentation_width=6, classes=5)

    golden.write("blocks", parts.tensors, parts.metadata)

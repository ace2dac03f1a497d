"""model.safetensors: the whole network at width 4: all outputs, and the gradients of every weight and input.

The variants share the base's weights; a file entry `<variant>/weight.<name>` replaces or adds to them.
"""

from __future__ import annotations

import dataclasses
import json

import torch

import golden
import tdpcr_torch as tdpcr
import weights
from golden import Draw, exact, nchw, nhwc

BASE = tdpcr.Config(
    width=4,
    optical_blocks=(1, 1, 1, 1),
    sar_blocks=(1, 1, 1, 1),
    decoder_blocks=(1, 1, 1, 1),
    prompt_channels=8,
    prompt_hidden=8,
    segmentation_width=16,
)

VARIANTS = {
    "naf": {"block": "naf"},
    "skips_concat": {"skips": "concat"},
    "skips_none": {"skips": "none"},
    "inject": {"fusion": "inject"},
    "fusion_concat": {"fusion": "concat"},
    "fusion_add": {"fusion": "add"},
    "fusion_none": {"fusion": "none"},
    "bank": {"prompt": "bank"},
    "prompt_none": {"prompt": "none"},
    "residual_input": {"residual": "input"},
}

SEED_NAME = "model"  # weights are named after it: a parameter of the same name and shape is the same in every variant


def build_model(config: tdpcr.Config) -> tdpcr.TdpCr:
    return weights.randomise(tdpcr.TdpCr(config), SEED_NAME)


def images(name: str, batch: int, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    draw = Draw(name)
    return exact(draw.uniform(batch, height, width, 13)), exact(draw.uniform(batch, height, width, 2))


def outputs_of(result: dict, prefix: str) -> dict[str, torch.Tensor]:
    return {f"{prefix}{key}": nhwc(x).detach() for key, x in result.items() if x is not None}


def build() -> None:
    tensors, metadata = {}, {}

    def describe(name: str, config: tdpcr.Config) -> None:
        metadata[name] = json.dumps(dataclasses.asdict(config))

    # Whole network with gradients.
    model = build_model(BASE)
    optical, sar = (x.requires_grad_() for x in images("base", 2, 16, 24))
    result = model(nchw(optical), nchw(sar))
    grads = {key: exact(Draw(f"base/grad_{key}").normal(*nhwc(result[key]).shape)) for key in ("reconstruction", "logits")}
    torch.autograd.backward([result["reconstruction"], result["logits"]], [nchw(grads["reconstruction"]), nchw(grads["logits"])])
    base_weights = weights.stored(model, "base/weight.")
    tensors |= base_weights
    tensors |= weights.stored_gradients(model, "base/grad_weight.")
    tensors |= outputs_of(result, "base/")
    tensors |= {"base/optical": optical.detach().float(), "base/sar": sar.detach().float()}
    tensors |= {"base/grad_optical": optical.grad, "base/grad_sar": sar.grad}
    tensors |= {f"base/grad_{key}": g.float() for key, g in grads.items()}
    describe("base", BASE)

    def forward_only(name: str, config: tdpcr.Config, height: int, width: int) -> None:
        model = build_model(config)
        optical, sar = images(name, 1, height, width)
        with torch.no_grad():
            result = model(nchw(optical), nchw(sar))
        for key, tensor in weights.stored(model, "").items():
            if key_in_base(key, tensor):
                continue
            tensors[f"{name}/weight.{key}"] = tensor
        tensors.update(outputs_of(result, f"{name}/"))
        tensors.update({f"{name}/optical": optical.float(), f"{name}/sar": sar.float()})
        describe(name, config)

    def key_in_base(key: str, tensor: torch.Tensor) -> bool:
        known = base_weights.get(f"base/weight.{key}")
        return known is not None and torch.equal(known, tensor)

    forward_only("odd_size", BASE, 19, 21)
    for name, changes in VARIANTS.items():
        forward_only(name, dataclasses.replace(BASE, **changes), 8, 16)
    golden.write("model", tensors, metadata)
    print(f"  base: {tdpcr.parameter_count(model)} parameters")

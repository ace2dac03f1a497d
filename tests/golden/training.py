"""training.safetensors: ten steps of each phase with the model of model.safetensors, from the same weights.

A step: forward, loss, backward, scale all gradients by min(1, 0.5 / (norm + 1e-6)), AdamW with a learning rate that
rises over five steps and falls along half a cosine. Batches 0, 1, 0, 1, ...
"""

from __future__ import annotations

import json

import torch

import golden
import tdpcr_torch as tdpcr
import weights
from golden import Draw, exact, nchw
from model import BASE, build_model

STEPS = 10
LAMBDA = 0.5
ADAMW = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 1e-3}
WARMUP = 5
CLIP = 0.5
RUNS = {"phase1": (1, ""), "phase2_segmentation": (2, "segmentation"), "phase2_decoders": (2, "decoders"), "phase2_all": (2, "all")}


def batches() -> list[dict[str, torch.Tensor]]:
    made = []
    for i in range(2):
        draw = Draw(f"training/batch.{i}")
        clear = draw.uniform(2, 16, 16, 13)
        made.append({
            "optical": exact((clear + draw.normal(2, 16, 16, 13, scale=0.3)).clamp(0, 1)),
            "sar": exact(draw.uniform(2, 16, 16, 2)),
            "clear": exact(clear),
            "labels": draw.labels(2, 16, 16, classes=BASE.classes),
        })
    return made


def run(phase: int, trains: str, data: list[dict[str, torch.Tensor]]) -> tuple[tdpcr.TdpCr, list[float], list[float]]:
    model = build_model(BASE)
    trained = tdpcr.set_trained(model, phase, trains)
    optimizer = torch.optim.AdamW(trained, **ADAMW, foreach=False)
    rise = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=1 / WARMUP, total_iters=WARMUP - 1)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=STEPS - WARMUP)
    schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, [rise, fall], milestones=[WARMUP])
    losses, norms = [], []
    for step in range(STEPS):
        batch = data[step % 2]
        optimizer.zero_grad()
        result = model(nchw(batch["optical"]), nchw(batch["sar"]), segment=phase == 2)
        loss = 0.0
        if trains != "segmentation":
            loss = tdpcr.reconstruction_loss(result["reconstruction"], nchw(batch["clear"]))
        if phase == 2:
            share = 1.0 if trains == "segmentation" else LAMBDA
            loss = loss + share * tdpcr.segmentation_loss(result["logits"], batch["labels"])
        loss.backward()
        losses.append(loss.item())
        norms.append(torch.nn.utils.clip_grad_norm_(trained, CLIP).item())
        optimizer.step()
        schedule.step()
    return model, losses, norms


def build() -> None:
    data = batches()
    tensors = {}
    for i, batch in enumerate(data):
        tensors |= {f"batch.{i}/{key}": x.to(torch.uint8) if key == "labels" else x.float() for key, x in batch.items()}
    start = dict(build_model(BASE).named_parameters())
    for name, (phase, trains) in RUNS.items():
        model, losses, norms = run(phase, trains, data)
        tensors[f"{name}/losses"] = torch.tensor(losses)
        tensors[f"{name}/gradient_norms"] = torch.tensor(norms)
        for key, p in model.named_parameters():
            if p.requires_grad:
                tensors[f"{name}/weight.{key}"] = tdpcr.to_clearsky(p).float()
            elif not torch.equal(p, start[key]):
                raise ValueError(f"{name}: frozen {key} has changed")
        print(f"  {name}: loss {losses[0]:.4f} -> {losses[-1]:.4f}, gradient norm {min(norms):.3f} to {max(norms):.3f}")
    about = {"steps": STEPS, "lambda": LAMBDA, "clip": CLIP, "clip_epsilon": 1e-6, "warmup": WARMUP, **ADAMW, "initial_weights": "model.safetensors: base/weight.*"}
    golden.write("training", tensors, {"training": json.dumps(about)})

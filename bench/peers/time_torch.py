"""Times TDP-CR in PyTorch: median and spread of inference and of training steps, as JSON.

    python time_torch.py --threads 2 --mode eager --repeats 15 --json torch_eager.json

One process per setting: compiled kernels, the allocator's state and the thread pool must not leak from one to the next.
"""

from __future__ import annotations

import argparse
import ctypes
import dataclasses
import json
import os
import platform
import resource
import statistics
import time

import torch

import tdpcr_torch as tdpcr


def retain_memory() -> None:
    """glibc gives large blocks back to the system on every free; keeping them makes PyTorch on the CPU markedly faster."""
    trim_threshold, mmap_threshold, largest = -1, -3, 2**30
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(mmap_threshold, largest)
        libc.mallopt(trim_threshold, 2**31 - 1)


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def cpu_name() -> str:
    try:
        with open("/proc/cpuinfo") as info:
            return next(line.split(":", 1)[1].strip() for line in info if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def measure(step, repeats: int, warmups: int) -> dict:
    """Milliseconds of step(); the spread is given as the quartiles."""
    for _ in range(warmups):
        step()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        step()
        times.append((time.perf_counter() - begin) * 1e3)
    low, _, high = statistics.quantiles(times, n=4) if repeats > 1 else (times[0],) * 3
    return {"median_ms": statistics.median(times), "quartile_low_ms": low, "quartile_high_ms": high, "repeats": repeats}


def one_pass() -> dict:
    """AdamW's fastest form: the fused CPU kernel is younger than AdamW."""
    version = tuple(int(n) for n in torch.__version__.split(".")[:2])
    return {"fused": True} if version >= (2, 4) else {"foreach": True}


def make_step(model, work: str, batch: dict, trains: str, weight: float):
    """work: inference | phase1 | phase2. A training step is everything: forward, backward, clip, AdamW."""
    if work == "inference":
        model.eval()

        def infer():
            with torch.inference_mode():
                model(batch["optical"], batch["sar"])

        return infer

    model.train()
    trained = tdpcr.set_trained(getattr(model, "_orig_mod", model), 1 if work == "phase1" else 2, trains)
    optimizer = torch.optim.AdamW(trained, lr=1e-4, betas=(0.9, 0.999), weight_decay=1e-3, **one_pass())

    def loss_of(out):
        if work == "phase1":
            return tdpcr.reconstruction_loss(out["reconstruction"], batch["clear"])
        loss = tdpcr.segmentation_loss(out["logits"], batch["labels"])
        return loss if trains == "segmentation" else tdpcr.reconstruction_loss(out["reconstruction"], batch["clear"]) + weight * loss

    def train():
        optimizer.zero_grad(set_to_none=True)
        loss_of(model(batch["optical"], batch["sar"], segment=work == "phase2")).backward()
        torch.nn.utils.clip_grad_norm_(trained, 0.5)
        optimizer.step()

    return train


def add_switches(parser: argparse.ArgumentParser) -> None:
    """One option per field of Config; lists are comma separated."""
    for field in dataclasses.fields(tdpcr.Config):
        default = getattr(tdpcr.Config, field.name)
        name = "--" + field.name.replace("_", "-")
        if isinstance(default, bool):
            parser.add_argument(name, action=argparse.BooleanOptionalAction, default=default)
        elif isinstance(default, tuple):
            parser.add_argument(name, type=lambda text: tuple(int(t) for t in text.split(",")), default=default)
        else:
            parser.add_argument(name, type=type(default), default=default)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", default="inference,phase1", help="of inference, phase1, phase2; comma separated; or none")
    parser.add_argument("--trains", default="segmentation", choices=["segmentation", "decoders", "all"], help="phase 2")
    parser.add_argument("--segmentation-weight", type=float, default=0.5, help="lambda of phase 2")
    parser.add_argument("--mode", default="eager", choices=["eager", "compiled"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--warmups", type=int, default=2)
    parser.add_argument("--retain-memory", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--load", help="weights to start from (safetensors)")
    parser.add_argument("--save", help="where to write the weights (safetensors)")
    parser.add_argument("--json", help="where to write the result; it is printed as well")
    add_switches(parser)
    options = parser.parse_args()

    if options.retain_memory:
        retain_memory()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    base = peak_bytes()
    config = tdpcr.Config(**{f.name: getattr(options, f.name) for f in dataclasses.fields(tdpcr.Config)})
    model = tdpcr.TdpCr(config).to(memory_format=torch.channels_last)
    if options.load:
        tdpcr.load_weights(model, options.load)
    if options.save:
        tdpcr.save_weights(model, options.save)

    result = {
        "peer": "pytorch " + torch.__version__,
        "mode": options.mode,
        "cpu": cpu_name(),
        "instructions": torch.backends.cpu.get_cpu_capability() if hasattr(torch.backends, "cpu") else "",
        "threads": options.threads,
        "batch": options.batch,
        "size": options.size,
        "memory_retained": options.retain_memory,
        "config": dataclasses.asdict(config),
        "parameters": tdpcr.parameter_count(model),
        "macs": tdpcr.count_macs(config, options.size, options.size),
        "work": {},
    }
    shape = (options.batch, config.optical_bands, options.size, options.size)
    batch = {
        "optical": torch.rand(shape).to(memory_format=torch.channels_last),
        "clear": torch.rand(shape).to(memory_format=torch.channels_last),
        "sar": torch.rand(options.batch, config.sar_bands, *shape[2:]).to(memory_format=torch.channels_last),
        "labels": torch.randint(config.classes, (options.batch, *shape[2:])),
    }
    if options.mode == "compiled":
        model = torch.compile(model)
    for work in [w for w in options.work.split(",") if w and w != "none"]:
        key = work if work != "phase2" else f"phase2_{options.trains}"
        result["work"][key] = measure(make_step(model, work, batch, options.trains, options.segmentation_weight), options.repeats, options.warmups)
        result["work"][key]["peak_bytes_above_base"] = peak_bytes() - base  # highest so far: list the small work first

    result["load_average"] = os.getloadavg()
    text = json.dumps(result, indent=2)
    print(text)
    if options.json:
        with open(options.json, "w") as file:
            file.write(text + "\n")


if __name__ == "__main__":
    main()

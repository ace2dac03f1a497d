"""The rows of bench/cpu/rows.hpp in PyTorch, by the same names, served in the same way.

    python torch_rows.py --serve [--mode eager|compiled]     answers lines "ROW THREADS REPEATS [WARM_MS]" with milliseconds
    python torch_rows.py --memory ROW                        peak of the resident set above the program's base, in MB

Tuned: large blocks of memory are kept and not given back to the system, images are channels_last. Its convolutions are
oneDNN's; attention is F.scaled_dot_product_attention, and before PyTorch 2 the two products and the softmax between them.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

import tdpcr_torch as tdpcr
from time_torch import make_step, one_pass, peak_bytes, retain_memory


def image(*shape: int) -> torch.Tensor:
    """(N, H, W, C) as clearsky names it: NCHW in channels_last memory."""
    n, h, w, c = shape
    return (torch.rand(n, c, h, w) * 2 - 1).to(memory_format=torch.channels_last)


def attention(q, k, v):
    if hasattr(F, "scaled_dot_product_attention"):
        return F.scaled_dot_product_attention(q, k, v)
    return (q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)).softmax(-1) @ v


class Windows(nn.Module):
    """Attention inside windows of 8 x 8 pixels: cut, attend, put together."""

    def forward(self, q, k, v):
        def cut(x):
            n, c, h, w = x.shape
            x = x.permute(0, 2, 3, 1).reshape(n, h // 8, 8, w // 8, 8, 4, c // 4)
            return x.permute(0, 1, 3, 5, 2, 4, 6).reshape(-1, 4, 64, c // 4)

        n, c, h, w = q.shape
        y = attention(cut(q), cut(k), cut(v))
        y = y.reshape(n, h // 8, w // 8, 4, 8, 8, c // 4).permute(0, 1, 4, 2, 5, 3, 6)
        return y.reshape(n, h, w, c).permute(0, 3, 1, 2)


def operations() -> dict:
    """name -> (function of tensors, tensors)"""

    def convolution(size, inputs, outputs, window, groups=1):
        x = image(1, size, size, inputs)
        w = (torch.rand(outputs, inputs // groups, window, window) - 0.5).to(memory_format=torch.channels_last)
        return lambda a, b: F.conv2d(a, b, padding=window // 2, groups=groups), (x, w)

    rows = {
        "conv3x3_64_64_at_128": lambda: convolution(128, 64, 64, 3),
        "conv3x3_128_128_at_64": lambda: convolution(64, 128, 128, 3),
        "conv3x3_32_32_at_256": lambda: convolution(256, 32, 32, 3),
        "conv3x3_15_32_at_256": lambda: convolution(256, 15, 32, 3),
        "conv1x1_64_256_at_128": lambda: convolution(128, 64, 256, 1),
        "conv1x1_32_64_at_256": lambda: convolution(256, 32, 64, 1),
        "depthwise3x3_128_at_128": lambda: convolution(128, 128, 128, 3, 128),
        # Rows of pixels, as a channels-last program would have them.
        "layer_norm_64_at_128": lambda: (
            lambda x, g, b: F.layer_norm(x, (64,), g, b),
            (torch.rand(1, 128, 128, 64), torch.rand(64), torch.rand(64)),
        ),
        "gelu_64_at_128": lambda: (F.gelu, (torch.rand(1, 128, 128, 64) * 2 - 1,)),
        "attention_1024_4x32": lambda: (
            attention,
            tuple(torch.rand(1, 4, 1024, 32) * 2 - 1 for _ in range(3)),
        ),
        "window_attention_256x64_4x32": lambda: (Windows(), tuple(image(1, 128, 128, 128) for _ in range(3))),
    }

    def mdta():
        part = tdpcr.ChannelAttention(64, 2).to(memory_format=torch.channels_last)
        return lambda x, *weights: part(x), (image(1, 128, 128, 64), *part.parameters())

    def cross_entropy():
        labels = (torch.arange(4 * 256 * 256) * 7 // 64 % 10).view(4, 256, 256)
        return lambda x: F.cross_entropy(x, labels), (torch.rand(4, 10, 256, 256).to(memory_format=torch.channels_last),)

    rows["mdta_64_at_128"] = mdta
    rows["cross_entropy_4x10x256x256"] = cross_entropy
    return rows


def operation_work(name: str, mode: str):
    op, direction = name.rsplit(".", 1)
    function, tensors = operations()[op]()
    if mode == "compiled":
        function = torch.compile(function)
    if direction == "forward":

        def forward():
            with torch.inference_mode():
                function(*tensors)

        return forward
    tensors = [t.detach().requires_grad_() if not isinstance(t, nn.Parameter) else t for t in tensors]
    with torch.no_grad():
        seed = torch.rand_like(function(*tensors))

    def both():
        function(*tensors).backward(seed)
        for t in tensors:
            t.grad = None

    return both


def adamw_work():
    p = nn.Parameter(torch.rand(5000, 1000))
    p.grad = torch.rand(5000, 1000)
    optimizer = torch.optim.AdamW([p], lr=1e-4, weight_decay=1e-3, **one_pass())
    return optimizer.step


def model_work(name: str, mode: str):
    """tdpcr[_naf][_bf16].WORK_at_SIZE_batch_N, scaling.WORK_at_SIZE_batch_N, or triplets.WORK_at_SIZE_batch_N: the narrow network
    of examples/tdpcr/configs/real_triplets.json"""
    which, rest = name.split(".")
    work, _, size, _, batch = rest.split("_")
    size, batch = int(size), int(batch)
    torch.manual_seed(1)
    narrow = {"width": 16, "optical_blocks": (1,) * 4, "sar_blocks": (1,) * 4, "decoder_blocks": (1,) * 4}
    config = tdpcr.Config(block="naf" if "_naf" in which else "restormer", segmentation=work != "phase1",
                          **(narrow if which == "triplets" else {}))
    model = tdpcr.TdpCr(config).to(memory_format=torch.channels_last)
    shape = (batch, config.optical_bands, size, size)
    data = {
        "optical": torch.rand(shape).to(memory_format=torch.channels_last),
        "clear": torch.rand(shape).to(memory_format=torch.channels_last),
        "sar": torch.rand(batch, config.sar_bands, size, size).to(memory_format=torch.channels_last),
        "labels": torch.randint(config.classes, (batch, size, size)),
    }
    if mode == "compiled":
        model = torch.compile(model)
    step = make_step(model, work, data, "segmentation", 0.5)
    if not which.endswith("_bf16"):
        return step

    def in_bfloat16():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            step()

    return in_bfloat16


def make(name: str, mode: str):
    if name == "adamw_5m":
        return adamw_work()
    if name.startswith(("tdpcr", "scaling", "triplets")):
        return model_work(name, mode)
    return operation_work(name, mode)


def blas() -> str:
    """What multiplies matrices: MKL inside the program, or the library that is loaded."""
    if torch.backends.mkl.is_available():
        return "MKL"
    try:
        with open("/proc/self/maps") as maps:
            loaded = {line.split()[-1].rsplit("/", 1)[-1] for line in maps if "blas" in line}
    except OSError:
        return "unknown"
    return next((name for name in sorted(loaded) if "openblas" in name), "the reference BLAS" if loaded else "unknown")


def instructions() -> str:
    """The widest vectors that its own kernels use."""
    return torch.__config__.show().split("CPU capability usage: ")[-1].split("\n")[0]


def serve(mode: str) -> None:
    current, work = None, None
    for line in sys.stdin:
        try:
            name, threads, repeats, *warm = line.split()
            torch.set_num_threads(int(threads))
            if (name, threads) != current:
                current = None
                work = make(name, mode)
                current = name, threads
                work()
                work()
            begin = time.perf_counter()
            while (time.perf_counter() - begin) * 1e3 < float(warm[0] if warm else 0):
                work()
            times = []
            for _ in range(int(repeats)):
                begin = time.perf_counter()
                work()
                times.append((time.perf_counter() - begin) * 1e3)
            answer = {"ms": times}
        except Exception as error:  # the driver says which row could not be run, and why
            answer = {"error": f"{type(error).__name__}: {error}"[:300]}
        print(json.dumps(answer), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", default="eager", choices=["eager", "compiled"])
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--version", action="store_true")
    parser.add_argument("--memory", metavar="ROW")
    options = parser.parse_args()
    retain_memory()
    if options.version:
        print(json.dumps({"torch": torch.__version__, "blas": blas(), "instructions": instructions()}))
    elif options.memory:
        torch.set_num_threads(2)
        base = peak_bytes()
        work = make(options.memory, options.mode)
        for _ in range(3):
            work()
        print(json.dumps({"name": options.memory, "mb": (peak_bytes() - base) / 2**20}))
    elif options.serve:
        serve(options.mode)


if __name__ == "__main__":
    main()

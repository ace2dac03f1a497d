"""Golden cases: arithmetic, functions of one value, reductions, matrix products."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from golden import Cases, Draw


def arithmetic(cases: Cases) -> None:
    shapes = {
        "same": ((3, 5), (3, 5)),
        "row": ((2, 3, 5), (5,)),
        "column": ((3, 5), (3, 1)),
        "outer": ((2, 1, 4), (1, 3, 1)),
        "scalar": ((2, 3), ()),
        "context": ((2, 3, 4, 5), (2, 1, 1, 5)),
    }
    calls = {
        "add": torch.add,
        "sub": torch.sub,
        "mul": torch.mul,
        "div": torch.div,
        "minimum": torch.minimum,
        "maximum": torch.maximum,
    }
    for op, call in calls.items():
        for kind, (a, b) in shapes.items():
            if op in ("minimum", "maximum") and kind not in ("same", "row", "outer"):
                continue
            name = f"{op}.{kind}"
            draw = Draw(name)
            second = draw.normal(*b)
            if op == "div":
                second = second.sign() * (second.abs() + 0.5)
            cases.add(name, op, call, [draw.normal(*a), second])

    for kind, (m, a, b) in {
        "same": ((3, 4), (3, 4), (3, 4)),
        "broadcast": ((2, 3, 1), (3, 4), (2, 1, 4)),
    }.items():
        draw = Draw(f"where.{kind}")
        cases.add(f"where.{kind}", "where", torch.where, [draw.mask(*m), draw.normal(*a), draw.normal(*b)])


def functions(cases: Cases) -> None:
    """y_i = f(x_i). Ranges keep clear of points without a derivative."""
    calls = {
        "exp": (torch.exp, -5, 5),
        "log": (torch.log, 0.01, 20),
        "sqrt": (torch.sqrt, 0.01, 20),
        "rsqrt": (torch.rsqrt, 0.01, 20),
        "abs": (torch.abs, -3, 3),
        "relu": (torch.relu, -3, 3),
        "gelu": (F.gelu, -7, 7),
        "gelu_tanh": (lambda x: F.gelu(x, approximate="tanh"), -7, 7),
        "silu": (F.silu, -20, 20),
        "sigmoid": (torch.sigmoid, -30, 30),
        "tanh": (torch.tanh, -10, 10),
        # F.softplus turns linear above 20; the definition does not.
        "softplus": (lambda x: torch.logaddexp(x, torch.zeros_like(x)), -40, 40),
    }
    for op, (call, low, high) in calls.items():
        for kind, shape in {"matrix": (7, 9), "image": (2, 3, 5, 3)}.items():
            name = f"{op}.{kind}"
            cases.add(name, op, call, [Draw(name).uniform(*shape, low=low, high=high)])

    for slope in (0.01, 0.2):
        name = f"leaky_relu.{slope}"
        cases.add(name, "leaky_relu", lambda x: F.leaky_relu(x, slope), [Draw(name).normal(5, 7)], slope=slope)
    for exponent, low in ((2.0, -3), (3.0, -3), (-1.0, 0.3), (0.5, 0.1), (1.7, 0.1)):
        name = f"pow.{exponent}"
        cases.add(name, "pow", lambda x: x.pow(exponent), [Draw(name).uniform(5, 7, low=low, high=3)], exponent=exponent)
    for low, high in ((0.0, 1.0), (-0.5, 0.75)):
        name = f"clamp.{low}_{high}"
        cases.add(name, "clamp", lambda x: x.clamp(low, high), [Draw(name).normal(6, 7)], low=low, high=high)


def reductions(cases: Cases) -> None:
    shape = (2, 5, 3, 4)
    choices = {
        "all": ([], 0),
        "last": ([3], 0),
        "first_keep": ([0], 1),
        "spatial_keep": ([1, 2], 1),
        "outer": ([0, 3], 0),
        "negative": ([-2], 0),
    }

    def over(dims: list[int]) -> list[int]:
        return dims or list(range(len(shape)))

    for kind, (dims, keepdim) in choices.items():
        attrs = {"dims": dims, "keepdim": keepdim}
        d, keep = over(dims), bool(keepdim)
        for op, call in {
            "sum": lambda x: x.sum(d, keepdim=keep),
            "mean": lambda x: x.mean(d, keepdim=keep),
            "logsumexp": lambda x: x.logsumexp(d, keepdim=keep),
        }.items():
            name = f"{op}.{kind}"
            cases.add(name, op, call, [Draw(name).normal(*shape, scale=3)], **attrs)
        for correction in (0, 1):
            name = f"var.{kind}_{correction}"
            call = lambda x: x.var(d, correction=correction, keepdim=keep)
            cases.add(name, "var", call, [Draw(name).normal(*shape, shift=2)], correction=correction, **attrs)
        for p in (1, 2):
            name = f"norm.{kind}_{p}"
            call = lambda x: torch.linalg.vector_norm(x, p, d, keepdim=keep)
            cases.add(name, "norm", call, [Draw(name).normal(*shape)], p=p, **attrs)

    for kind, dim, keepdim in (("first", 0, 0), ("middle_keep", 2, 1), ("last", -1, 0)):
        for op, call in {
            "max": lambda x: x.max(dim, keepdim=bool(keepdim)).values,
            "min": lambda x: x.min(dim, keepdim=bool(keepdim)).values,
            "argmax": lambda x: x.argmax(dim, keepdim=bool(keepdim)),
        }.items():
            name = f"{op}.{kind}"
            cases.add(name, op, call, [Draw(name).normal(*shape)], dim=dim, keepdim=keepdim)


def products(cases: Cases) -> None:
    shapes = {
        "matrix": ((3, 5), (5, 4), 0, 0),
        "row": ((1, 7), (7, 3), 0, 0),
        "one_inner": ((4, 1), (1, 3), 0, 0),
        "batched": ((3, 4, 5), (3, 5, 2), 0, 0),
        "heads": ((2, 3, 4, 5), (2, 3, 5, 3), 0, 0),
        "broadcast_matrix": ((2, 3, 4, 5), (5, 3), 0, 0),
        "broadcast_batch": ((2, 1, 4, 5), (3, 5, 2), 0, 0),
        "transpose_a": ((5, 3), (5, 4), 1, 0),
        "transpose_b": ((3, 5), (4, 5), 0, 1),
        "transpose_both": ((2, 5, 3), (2, 4, 5), 1, 1),
        "tall": ((17, 9), (9, 11), 0, 0),
    }
    for kind, (a, b, ta, tb) in shapes.items():
        name = f"matmul.{kind}"
        draw = Draw(name)

        def call(x, y):
            return torch.matmul(x.transpose(-2, -1) if ta else x, y.transpose(-2, -1) if tb else y)

        cases.add(name, "matmul", call, [draw.normal(*a), draw.normal(*b)], transpose_a=ta, transpose_b=tb)

    for kind, shape, bias in (("matrix", (4, 6), True), ("image", (2, 3, 4, 6), True), ("plain", (2, 5, 6), False)):
        name = f"linear.{kind}"
        draw = Draw(name)
        inputs = [draw.normal(*shape), draw.normal(5, 6)] + ([draw.normal(5)] if bias else [])
        cases.add(name, "linear", F.linear, inputs)


def build(cases: Cases) -> None:
    for part in (arithmetic, functions, reductions, products):
        part(cases)

"""Golden cases: convolution, pooling, shuffling, resizing, padding, joining, gathering."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from golden import Cases, Draw, nchw, nhwc

PAD_MODES = {"zeros": "constant", "constant": "constant", "reflect": "reflect", "replicate": "replicate"}


def conv2d(x, weight, bias=None, *, stride, stride_w, padding, padding_w, dilation, groups, padding_mode):
    """x (N, H, W, C), weight (O, kH, kW, C / groups)."""
    padded = F.pad(nchw(x), (padding_w, padding_w, padding, padding), mode=PAD_MODES[padding_mode])
    return nhwc(F.conv2d(padded, nchw(weight), bias, (stride, stride_w), 0, dilation, groups))


def convolutions(cases: Cases) -> None:
    def case(kind: str, x, weight, bias=True, stride=1, padding=0, dilation=1, groups=1, padding_mode="zeros", stride_w=None, padding_w=None):
        name = f"conv2d.{kind}"
        draw = Draw(name)
        attrs = {
            "stride": stride,
            "stride_w": stride if stride_w is None else stride_w,
            "padding": padding,
            "padding_w": padding if padding_w is None else padding_w,
            "dilation": dilation,
            "groups": groups,
            "padding_mode": padding_mode,
        }
        inputs = [draw.normal(*x), draw.normal(*weight)] + ([draw.normal(weight[0])] if bias else [])
        cases.add(name, "conv2d", lambda *t: conv2d(*t, **attrs), inputs, **attrs)

    case("1x1", (2, 4, 5, 3), (6, 1, 1, 3))
    case("1x1_no_bias", (1, 3, 7, 9), (17, 1, 1, 9), bias=False)
    case("1x1_stride2", (2, 5, 6, 3), (4, 1, 1, 3), stride=2)
    case("3x3", (2, 5, 6, 3), (4, 3, 3, 3), padding=1)
    case("3x3_valid", (1, 5, 7, 2), (3, 3, 3, 2), bias=False)
    case("3x3_stride2", (2, 7, 6, 3), (4, 3, 3, 3), stride=2, padding=1)
    case("3x3_dilation2", (1, 7, 8, 3), (4, 3, 3, 3), padding=2, dilation=2)
    case("3x3_stride2_dilation2", (1, 9, 8, 2), (3, 3, 3, 2), stride=2, padding=2, dilation=2)
    case("3x3_groups2", (2, 4, 5, 4), (6, 3, 3, 2), padding=1, groups=2)
    case("3x3_depthwise", (2, 5, 6, 5), (5, 3, 3, 1), padding=1, groups=5)
    case("3x3_depthwise_no_bias", (1, 4, 5, 19), (19, 3, 3, 1), bias=False, padding=1, groups=19)
    case("3x3_depthwise_multiplier", (1, 4, 5, 3), (6, 3, 3, 1), padding=1, groups=3)
    case("3x3_depthwise_stride2", (1, 5, 6, 4), (4, 3, 3, 1), stride=2, padding=1, groups=4)
    case("3x3_bands", (1, 4, 5, 13), (16, 3, 3, 13), padding=1)
    case("3x3_wide", (1, 4, 4, 17), (18, 3, 3, 17), bias=False, padding=1)
    case("3x3_one_pixel", (1, 1, 1, 3), (2, 3, 3, 3), padding=1)
    case("5x5", (1, 6, 5, 2), (3, 5, 5, 2), padding=2)
    case("5x5_depthwise", (1, 6, 7, 3), (3, 5, 5, 1), padding=2, groups=3)
    case("1x3", (2, 4, 5, 3), (4, 1, 3, 3), padding=0, padding_w=1)
    case("3x1_stride_w2", (1, 5, 6, 3), (2, 3, 1, 3), padding=1, padding_w=0, stride_w=2)
    case("2x2_even", (1, 5, 6, 3), (4, 2, 2, 3), stride=2)
    case("3x3_reflect", (2, 5, 6, 3), (4, 3, 3, 3), padding=1, padding_mode="reflect")
    case("5x5_reflect", (1, 5, 6, 2), (3, 5, 5, 2), padding=2, padding_mode="reflect")
    case("3x3_replicate", (2, 5, 6, 3), (4, 3, 3, 3), padding=1, padding_mode="replicate")
    case("3x3_replicate_depthwise", (1, 4, 5, 3), (3, 3, 3, 1), padding=1, groups=3, padding_mode="replicate")

    def transposed(kind: str, x, weight, bias=True, **options):
        name = f"conv_transpose2d.{kind}"
        draw = Draw(name)
        attrs = {"stride": 1, "padding": 0, "output_padding": 0, "dilation": 1, "groups": 1} | options
        outputs = weight[3] * attrs["groups"]

        def call(x, w, b=None):
            return nhwc(F.conv_transpose2d(nchw(x), nchw(w), b, *(attrs[k] for k in ("stride", "padding", "output_padding", "groups", "dilation"))))

        cases.add(name, "conv_transpose2d", call, [draw.normal(*x), draw.normal(*weight)] + ([draw.normal(outputs)] if bias else []), **attrs)

    transposed("3x3", (1, 4, 5, 3), (3, 3, 3, 2), padding=1)
    transposed("2x2_stride2", (2, 3, 4, 3), (3, 2, 2, 4), stride=2)
    transposed("3x3_stride2", (1, 4, 3, 3), (3, 3, 3, 2), stride=2, padding=1, output_padding=1)
    transposed("4x4_stride2", (1, 3, 4, 2), (2, 4, 4, 3), bias=False, stride=2, padding=1)
    transposed("3x3_groups2", (2, 3, 4, 4), (4, 3, 3, 3), stride=2, padding=1, output_padding=1, groups=2)
    transposed("3x3_dilation2", (1, 4, 3, 2), (2, 3, 3, 3), dilation=2, padding=1)


def pooling(cases: Cases) -> None:
    for window, stride, padding, shape in ((2, 2, 0, (2, 5, 6, 3)), (3, 2, 1, (1, 7, 6, 2)), (3, 1, 0, (1, 4, 5, 3))):
        attrs = {"window": window, "stride": stride, "padding": padding}
        kind = f"{window}_{stride}_{padding}"
        name = f"max_pool2d.{kind}"
        cases.add(name, "max_pool2d", lambda x: nhwc(F.max_pool2d(nchw(x), window, stride, padding)), [Draw(name).normal(*shape)], **attrs)
        name = f"avg_pool2d.{kind}"
        call = lambda x: nhwc(F.avg_pool2d(nchw(x), window, stride, padding, count_include_pad=True))
        cases.add(name, "avg_pool2d", call, [Draw(name).normal(*shape)], count_include_pad=1, **attrs)
    for shape in ((2, 3, 4, 5), (1, 7, 1, 3)):
        name = f"global_avg_pool.{shape[1]}x{shape[2]}"
        cases.add(name, "global_avg_pool", lambda x: x.mean((1, 2), keepdim=True), [Draw(name).normal(*shape)])


def layout(cases: Cases) -> None:
    for factor, shape in ((2, (2, 3, 4, 8)), (3, (1, 2, 3, 18))):
        name = f"pixel_shuffle.{factor}"
        cases.add(name, "pixel_shuffle", lambda x: nhwc(F.pixel_shuffle(nchw(x), factor)), [Draw(name).normal(*shape)], factor=factor)
    for factor, shape in ((2, (2, 4, 6, 3)), (3, (1, 6, 3, 2))):
        name = f"pixel_unshuffle.{factor}"
        cases.add(name, "pixel_unshuffle", lambda x: nhwc(F.pixel_unshuffle(nchw(x), factor)), [Draw(name).normal(*shape)], factor=factor)

    sizes = {"double": (8, 10), "half": (2, 3), "odd_up": (7, 13), "odd_down": (3, 2), "mixed": (3, 11), "same": (4, 5)}
    modes = {"bilinear": "bilinear", "bicubic": "bicubic", "nearest": "nearest", "nearest_exact": "nearest-exact"}
    for interpolation, mode in modes.items():
        for kind, (height, width) in sizes.items():
            if kind == "same" and interpolation != "bilinear":
                continue
            name = f"resize.{interpolation}_{kind}"
            corners = False if mode in ("bilinear", "bicubic") else None
            call = lambda x: nhwc(F.interpolate(nchw(x), size=(height, width), mode=mode, align_corners=corners))
            cases.add(name, "resize", call, [Draw(name).normal(2, 4, 5, 2)], height=height, width=width, interpolation=interpolation)

    for mode in ("constant", "reflect", "replicate"):
        for kind, (top, bottom, left, right) in {"even": (1, 1, 2, 2), "bottom_right": (0, 3, 0, 2)}.items():
            name = f"pad.{mode}_{kind}"
            attrs = {"top": top, "bottom": bottom, "left": left, "right": right, "mode": mode, "value": 0.5 if mode == "constant" else 0}
            options = {"value": 0.5} if mode == "constant" else {}
            call = lambda x: nhwc(F.pad(nchw(x), (left, right, top, bottom), mode=mode, **options))
            cases.add(name, "pad", call, [Draw(name).normal(2, 4, 5, 2)], **attrs)


def joining(cases: Cases) -> None:
    for dim, shapes in {0: ((1, 3, 4), (2, 3, 4)), 1: ((2, 3, 4), (2, 1, 4), (2, 2, 4)), -1: ((2, 3, 4), (2, 3, 33)), 3: ((1, 2, 3, 4), (1, 2, 3, 5))}.items():
        name = f"concat.{dim}"
        draw = Draw(name)
        cases.add(name, "concat", lambda *t: torch.cat(t, dim), [draw.normal(*s) for s in shapes], dim=dim)
    for dim in (0, 1, -1):
        name = f"stack.{dim}"
        draw = Draw(name)
        cases.add(name, "stack", lambda *t: torch.stack(t, dim), [draw.normal(2, 3) for _ in range(3)], dim=dim)
    for dim, part in ((-1, 0), (-1, 2), (1, 1)):
        name = f"split.{dim}_{part}"
        sizes = [3, 1, 4] if dim == -1 else [2, 3]
        cases.add(name, "split", lambda x: x.split(sizes, dim)[part], [Draw(name).normal(2, 5, 8)], dim=dim, sizes=sizes, part=part)
    for kind, (dim, begin, end, step) in {"middle": (1, 1, 4, 1), "step": (2, 1, 8, 3), "batch": (0, 1, 2, 1)}.items():
        name = f"slice.{kind}"
        call = lambda x: x[tuple(slice(begin, end, step) if d == dim else slice(None) for d in range(3))]
        cases.add(name, "slice", call, [Draw(name).normal(2, 5, 8)], dim=dim, begin=begin, end=end, step=step)


def gathering(cases: Cases) -> None:
    for dim, index in ((0, (4, 5)), (1, (3, 6)), (-1, (3, 2))):
        name = f"gather.{dim}"
        draw = Draw(name)
        cases.add(name, "gather", lambda x, i: x.gather(dim, i), [draw.normal(3, 5), draw.integers(*index, below=(3, 5)[dim])], dim=dim)
    for dim in (0, 1, 2):
        name = f"index_select.{dim}"
        draw = Draw(name)
        x = draw.normal(3, 4, 5)
        cases.add(name, "index_select", lambda x, i: x.index_select(dim, i), [x, draw.integers(7, below=x.shape[dim])], dim=dim)
    name = "one_hot.labels"
    cases.add(name, "one_hot", lambda i: F.one_hot(i, 7).double(), [Draw(name).integers(2, 3, 4, below=7)], classes=7)


def build(cases: Cases) -> None:
    for part in (convolutions, pooling, layout, joining, gathering):
        part(cases)

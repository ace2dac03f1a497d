"""Golden cases: normalisation, softmax, attention, gates, losses."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from golden import Cases, Constant, Draw, nchw, nhwc
from tdpcr_torch import ssim


def norms(cases: Cases) -> None:
    for kind, shape, eps in (("rows", (5, 7), 1e-5), ("image", (2, 3, 4, 19), 1e-5), ("eps", (3, 4), 0.1), ("one_channel", (3, 1), 1e-5)):
        channels = shape[-1:]
        name = f"layer_norm.{kind}"
        draw = Draw(name)
        inputs = [draw.normal(*shape, scale=2, shift=1), draw.normal(*channels, shift=1), draw.normal(*channels)]
        cases.add(name, "layer_norm", lambda x, g, b: F.layer_norm(x, channels, g, b, eps), inputs, eps=eps)
        name = f"rms_norm.{kind}"
        draw = Draw(name)
        inputs = [draw.normal(*shape, scale=2, shift=1), draw.normal(*channels, shift=1)]
        cases.add(name, "rms_norm", lambda x, g: F.rms_norm(x, channels, g, eps), inputs, eps=eps)

    for groups in (1, 2, 6):
        name = f"group_norm.{groups}"
        draw = Draw(name)
        inputs = [draw.normal(2, 3, 4, 6, scale=2, shift=1), draw.normal(6, shift=1), draw.normal(6)]
        cases.add(name, "group_norm", lambda x, g, b: nhwc(F.group_norm(nchw(x), groups, g, b, 1e-5)), inputs, groups=groups, eps=1e-5)

    for training, momentum in ((1, 0.1), (1, 0.3), (0, 0.1)):
        name = f"batch_norm.{'train' if training else 'eval'}_{momentum}"
        draw = Draw(name)

        def call(x, gamma, beta, mean, variance):
            mean, variance = mean.clone(), variance.clone()
            y = F.batch_norm(nchw(x), mean, variance, gamma, beta, bool(training), momentum, 1e-5)
            return nhwc(y), {"running_mean": mean, "running_var": variance}

        inputs = [draw.normal(2, 3, 4, 5, scale=2, shift=1), draw.normal(5, shift=1), draw.normal(5)]
        inputs += [Constant(draw.normal(5)), Constant(draw.uniform(5, low=0.5, high=2))]
        cases.add(name, "batch_norm", call, inputs, training=training, momentum=momentum, eps=1e-5)

    for dim, shape in ((-1, (3, 7)), (1, (2, 5, 3)), (0, (4, 3))):
        name = f"l2_normalise.{dim}"
        cases.add(name, "l2_normalise", lambda x: F.normalize(x, dim=dim, eps=1e-12), [Draw(name).normal(*shape)], dim=dim, eps=1e-12)
    for dim, shape, scale in ((-1, (3, 7), 1), (0, (5, 3), 1), (1, (2, 5, 3), 1), (-1, (2, 9), 300)):
        kind = f"{dim}_{'x'.join(map(str, shape))}"
        cases.add(f"softmax.{kind}", "softmax", lambda x: x.softmax(dim), [Draw(f"softmax.{kind}").normal(*shape, scale=scale)], dim=dim)
        cases.add(f"log_softmax.{kind}", "log_softmax", lambda x: x.log_softmax(dim), [Draw(f"log_softmax.{kind}").normal(*shape, scale=scale)], dim=dim)


def attention(q, k, v, scale, mask=None):
    """softmax(scale q k^T) v over the last two dimensions; mask is true where a query may look."""
    scores = scale * q @ k.transpose(-2, -1)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(-1) @ v


def channel_attention(q, k, v, temperature):
    """MDTA's core on (N, H, W, C): per head, softmax(t q^ k^T) v with q^, k^ normalised along the pixels."""
    n, h, w, c = q.shape
    heads = temperature.shape[0]

    def split(x):  # (N, heads, C / heads, HW)
        return x.reshape(n, h * w, heads, c // heads).permute(0, 2, 3, 1)

    q, k, v = F.normalize(split(q), dim=-1, eps=1e-12), F.normalize(split(k), dim=-1, eps=1e-12), split(v)
    mixing = (temperature.view(heads, 1, 1) * (q @ k.transpose(-2, -1))).softmax(-1)
    return (mixing @ v).permute(0, 3, 1, 2).reshape(n, h, w, c)


def window_attention(q, k, v, heads, window):
    """Attention within non-overlapping window x window tiles of (N, H, W, C); scale 1 / sqrt(C / heads)."""
    n, h, w, c = q.shape

    def tiles(x):  # (N, H/w, W/w, heads, w w, C / heads)
        x = x.view(n, h // window, window, w // window, window, heads, c // heads)
        return x.permute(0, 1, 3, 5, 2, 4, 6).flatten(4, 5)

    y = attention(tiles(q), tiles(k), tiles(v), (c // heads) ** -0.5)
    y = y.unflatten(4, (window, window)).permute(0, 1, 4, 2, 5, 3, 6)
    return y.reshape(n, h, w, c)


def attentions(cases: Cases) -> None:
    def case(kind, queries, keys, dim, heads=2, batch=2, scale=None, causal=0, masked=False):
        name = f"scaled_dot_product_attention.{kind}"
        draw = Draw(name)
        scale = dim**-0.5 if scale is None else scale
        inputs = [draw.normal(batch, heads, queries, dim), draw.normal(batch, heads, keys, dim), draw.normal(batch, heads, keys, dim)]
        if masked:
            mask = draw.mask(batch, 1, queries, keys, share=0.6)
            mask[..., 0] = True  # a query that may look nowhere has no softmax
            inputs.append(mask)
        triangle = torch.ones(queries, keys).tril().bool() if causal else None
        cases.add(name, "scaled_dot_product_attention", lambda q, k, v, m=None: attention(q, k, v, scale, triangle if causal else m), inputs, scale=scale, causal=causal)

    case("plain", 5, 5, 4)
    case("cross", 3, 7, 4)
    case("scale", 4, 4, 3, scale=0.9)
    case("mask", 5, 6, 4, masked=True)
    case("causal", 6, 6, 3, causal=1)
    case("long", 37, 37, 5, heads=1, batch=1)

    for heads, window, shape in ((1, 2, (2, 4, 6, 3)), (2, 3, (1, 6, 3, 4)), (2, 4, (1, 4, 8, 6))):
        name = f"window_attention.{heads}_{window}"
        draw = Draw(name)
        cases.add(name, "window_attention", lambda q, k, v: window_attention(q, k, v, heads, window), [draw.normal(*shape) for _ in range(3)], heads=heads, window=window)

    for heads, shape in ((1, (2, 3, 4, 5)), (2, (2, 3, 3, 6)), (4, (1, 5, 3, 8)), (1, (1, 2, 3, 17))):
        kind = f"{heads}_{shape[-1]}"
        draw = Draw(f"channel_attention.{kind}")
        inputs = [draw.normal(*shape) for _ in range(3)] + [draw.uniform(heads, low=0.5, high=2)]
        cases.add(f"channel_attention.{kind}", "channel_attention", channel_attention, inputs)
        draw = Draw(f"channel_attention_qkv.{kind}")
        inputs = [draw.normal(*shape[:3], 3 * shape[3]), draw.uniform(heads, low=0.5, high=2)]
        cases.add(f"channel_attention_qkv.{kind}", "channel_attention_qkv", lambda x, t: channel_attention(*x.chunk(3, -1), t), inputs)


def gates(cases: Cases) -> None:
    def halves(x):
        return x.chunk(2, -1)

    for shape in ((2, 3, 4, 6), (1, 2, 3, 34)):
        name = f"gelu_gate.{shape[-1]}"
        cases.add(name, "gelu_gate", lambda x: F.gelu(halves(x)[0]) * halves(x)[1], [Draw(name).normal(*shape, scale=2)])
        name = f"simple_gate.{shape[-1]}"
        cases.add(name, "simple_gate", lambda x: halves(x)[0] * halves(x)[1], [Draw(name).normal(*shape)])

    for mode in ("replace", "inject"):
        name = f"prompt_guided_mix.{mode}"
        draw = Draw(name)

        def call(optical, sar, context, bias):
            gate = torch.sigmoid(context + bias)
            change = sar - optical if mode == "replace" else sar
            return optical + gate * change, {"reliance": gate.detach().mean(-1, keepdim=True)}

        shape = (2, 3, 4, 5)
        inputs = [draw.normal(*shape), draw.normal(*shape), draw.normal(2, 1, 1, 5), draw.normal(*shape, shift=-1)]
        cases.add(name, "prompt_guided_mix", call, inputs, mode=mode)


def dice(logits, labels, smooth):
    """1 - mean over classes of (2 sum p t + s) / (sum p + sum t + s); p softmax, pixels at 255 left out."""
    counted = labels != 255
    p = logits.softmax(-1)[counted]  # (pixels, classes)
    t = F.one_hot(labels[counted], logits.shape[-1]).to(p.dtype)
    return 1 - ((2 * (p * t).sum(0) + smooth) / (p.sum(0) + t.sum(0) + smooth)).mean()


def focal(logits, labels, gamma):
    """Mean over counted pixels of -(1 - p_t)^gamma log p_t."""
    counted = labels != 255
    log_p = logits.log_softmax(-1)[counted].gather(1, labels[counted][:, None])
    return -((1 - log_p.exp()) ** gamma * log_p).mean()


def carl(prediction, target, cloudy, mask, weight):
    """mean(|M (y - t)| + |(1 - M)(y - x)|) + lambda mean|y - t|: Meraner et al. 2020, eq. 5; M is 1 in cloud or shadow."""
    guided = (mask * (prediction - target)).abs() + ((1 - mask) * (prediction - cloudy)).abs()
    return guided.mean() + weight * (prediction - target).abs().mean()


def losses(cases: Cases) -> None:
    def pair(name, op, call, shape=(2, 3, 4, 5), **attrs):
        draw = Draw(name)
        cases.add(name, op, call, [draw.normal(*shape), draw.normal(*shape)], **attrs)

    pair("l1_loss.image", "l1_loss", F.l1_loss)
    pair("mse_loss.image", "mse_loss", F.mse_loss)
    for delta in (0.5, 1.0):
        pair(f"huber_loss.{delta}", "huber_loss", lambda a, b: F.huber_loss(a, b, delta=delta), delta=delta)
    for eps in (1e-3, 0.5):
        pair(f"charbonnier_loss.{eps}", "charbonnier_loss", lambda a, b: ((a - b) ** 2 + eps**2).sqrt().mean(), eps=eps)

    for kind, weighted, smoothing in (("plain", 0, 0.0), ("weights", 1, 0.0), ("smoothing", 0, 0.1), ("weights_smoothing", 1, 0.1)):
        name = f"cross_entropy.{kind}"
        draw = Draw(name)
        weights = draw.uniform(5, low=0.2, high=2) if weighted else None
        call = lambda x, y: F.cross_entropy(nchw(x), y, weight=weights, ignore_index=255, label_smoothing=smoothing)
        attrs = {"ignore_index": 255, "label_smoothing": smoothing, "class_weights": weights.tolist() if weighted else []}
        cases.add(name, "cross_entropy", call, [draw.normal(2, 3, 4, 5, scale=2), draw.labels(2, 3, 4, classes=5)], **attrs)
    name = "dice_loss.smooth1"
    draw = Draw(name)
    inputs = [draw.normal(2, 3, 4, 5, scale=2), draw.labels(2, 3, 4, classes=5)]
    cases.add(name, "dice_loss", lambda x, y: dice(x, y, 1.0), inputs, smooth=1.0, ignore_index=255)
    for gamma in (2.0, 1.5):
        name = f"focal_loss.{gamma}"
        draw = Draw(name)
        inputs = [draw.normal(2, 3, 4, 5, scale=2), draw.labels(2, 3, 4, classes=5)]
        cases.add(name, "focal_loss", lambda x, y: focal(x, y, gamma), inputs, gamma=gamma, ignore_index=255)

    for kind, shape in (("image", (1, 13, 12, 2)), ("smaller_than_window", (2, 5, 7, 1))):
        name = f"ssim.{kind}"
        draw = Draw(name)
        a = draw.uniform(*shape)
        b = (a + draw.normal(*shape, scale=0.1)).clamp(0, 1)
        cases.add(name, "ssim", lambda a, b: ssim(nchw(a), nchw(b)), [a, b])

    for kind, soft in (("mask", 0), ("soft", 1)):
        name = f"carl_loss.{kind}"
        draw = Draw(name)
        shape = (2, 3, 4, 5)
        mask = draw.uniform(2, 3, 4, 1)
        mask = mask if soft else (mask < 0.5).double()
        inputs = [draw.uniform(*shape), draw.uniform(*shape), draw.uniform(*shape), Constant(mask)]
        cases.add(name, "carl_loss", lambda y, t, x, m: carl(y, t, x, m, 0.7), inputs, **{"lambda": 0.7})


def build(cases: Cases) -> None:
    for part in (norms, attentions, gates, losses):
        part(cases)

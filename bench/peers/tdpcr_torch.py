"""TDP-CR in PyTorch: the referee of tests/golden and the peer of bench/.

The same network as include/clearsky/tdpcr, with the same parameter names, written as one would write it for PyTorch:
NCHW tensors in channels_last memory, so that every permute to N x H x W x C below is a view.

    python tdpcr_torch.py                              counts, then times inference and a phase-1 step
    python tdpcr_torch.py --mode compiled --json out.json --threads 2

Weight files are clearsky's: convolutions are stored (O, kH, kW, I), which PyTorch wants as (O, I, kH, kW).
Numbers in a shape comment follow model.md: C is the width of a level, Cp the prompt's channels, K its components.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEVELS = 4


@dataclass
class Config:
    """Every switch of the network; the defaults are clearsky's."""

    width: int = 32
    optical_blocks: tuple[int, ...] = (2, 2, 2, 2)
    sar_blocks: tuple[int, ...] = (1, 1, 1, 1)
    decoder_blocks: tuple[int, ...] = (2, 2, 2, 2)
    heads: tuple[int, ...] = (1, 2, 4, 8)
    block: str = "restormer"  # restormer | naf
    prompt: str = "mixture"  # mixture | bank | none
    fusion: str = "replace"  # replace | inject | concat | add | none
    skips: str = "add"  # add | concat | none
    residual: str = "none"  # none | input
    prompt_components: int = 5
    prompt_channels: int = 32
    prompt_hidden: int = 32
    bank_size: int = 16
    optical_bands: int = 13
    sar_bands: int = 2
    segmentation: bool = True
    segmentation_width: int = 64
    classes: int = 7

    def channels(self, level: int) -> int:
        return self.width << level


def bilinear(x: Tensor, size) -> Tensor:
    """Half-pixel centres, no antialiasing."""
    return x if x.shape[-2:] == tuple(size) else F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


class LayerNorm2d(nn.Module):
    """LayerNorm over the channels of each pixel, eps 1e-5."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, 1e-5).permute(0, 3, 1, 2)


class ChannelAttention(nn.Module):
    """Restormer's MDTA: attention between the channels of a head, over all pixels."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.qkv_depthwise = nn.Conv2d(3 * channels, 3 * channels, 3, padding=1, groups=3 * channels, bias=False)
        self.temperature = nn.Parameter(torch.ones(heads))
        self.projection = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        qkv = self.qkv_depthwise(self.qkv(x)).permute(0, 2, 3, 1).view(n, h * w, 3, self.heads, c // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (N, heads, HW, C/h)
        # q k^T is divided by the norms afterwards: normalised copies of q and k are never written.
        norm_q, norm_k = (torch.linalg.vector_norm(t, dim=-2).clamp_min(1e-12) for t in (q, k))
        scores = (q.transpose(-2, -1) @ k) / (norm_q.unsqueeze(-1) * norm_k.unsqueeze(-2))
        mixing = (scores * self.temperature.view(-1, 1, 1)).softmax(-1)  # (N, heads, C/h, C/h)
        mixed = (v @ mixing.transpose(-2, -1)).transpose(1, 2)
        return self.projection(mixed.reshape(n, h, w, c).permute(0, 3, 1, 2))


class FeedForward(nn.Module):
    """Restormer's GDFN, expansion 2."""

    def __init__(self, channels: int):
        super().__init__()
        self.expand = nn.Conv2d(channels, 4 * channels, 1, bias=False)
        self.depthwise = nn.Conv2d(4 * channels, 4 * channels, 3, padding=1, groups=4 * channels, bias=False)
        self.project = nn.Conv2d(2 * channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.depthwise(self.expand(x)).chunk(2, dim=1)
        return self.project(F.gelu(a) * b)


class RestormerBlock(nn.Module):
    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.norm1 = LayerNorm2d(channels)
        self.attention = ChannelAttention(channels, heads)
        self.norm2 = LayerNorm2d(channels)
        self.feed_forward = FeedForward(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.feed_forward(self.norm2(x))


class NafBlock(nn.Module):
    """NAFNet's block without convolution biases; beta and gamma start at 0."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.norm1 = LayerNorm2d(channels)
        self.expand1 = nn.Conv2d(channels, 2 * channels, 1, bias=False)
        self.depthwise = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels, bias=False)
        self.channel_attention = nn.Conv2d(channels, channels, 1, bias=False)
        self.project1 = nn.Conv2d(channels, channels, 1, bias=False)
        self.beta = nn.Parameter(torch.zeros(channels))
        self.norm2 = LayerNorm2d(channels)
        self.expand2 = nn.Conv2d(channels, 2 * channels, 1, bias=False)
        self.project2 = nn.Conv2d(channels, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.depthwise(self.expand1(self.norm1(x))).chunk(2, dim=1)
        u = a * b
        u = u * self.channel_attention(u.mean((2, 3), keepdim=True))
        y = x + self.beta.view(-1, 1, 1) * self.project1(u)
        a, b = self.expand2(self.norm2(y)).chunk(2, dim=1)
        return y + self.gamma.view(-1, 1, 1) * self.project2(a * b)


class Level(nn.Module):
    """The blocks of one depth; `down` or `up` is attached by its owner."""

    def __init__(self, config: Config, level: int, blocks: int):
        super().__init__()
        block = {"restormer": RestormerBlock, "naf": NafBlock}[config.block]
        self.blocks = nn.Sequential(*(block(config.channels(level), config.heads[level]) for _ in range(blocks)))


class Encoder(nn.Module):
    def __init__(self, config: Config, bands: int, blocks: tuple[int, ...]):
        super().__init__()
        self.stem = nn.Conv2d(bands, config.width, 3, padding=1)
        self.levels = nn.ModuleList(Level(config, l, blocks[l]) for l in range(LEVELS))
        for l in range(LEVELS - 1):
            self.levels[l].down = nn.Conv2d(config.channels(l), config.channels(l) // 2, 3, padding=1, bias=False)

    def down(self, level: int, x: Tensor) -> Tensor:
        return F.pixel_unshuffle(self.levels[level].down(x), 2)


class PromptGenerator(nn.Module):
    """The cloudy image -> prompt (N, Cp, H/4, W/4) and uncertainty (N, 1, H/4, W/4)."""

    def __init__(self, config: Config):
        super().__init__()
        self.kind, self.channels = config.prompt, config.prompt_channels
        k = config.prompt_components
        if self.kind == "mixture":
            self.conv1 = nn.Conv2d(config.optical_bands, config.prompt_hidden, 3, stride=2, padding=1)
            self.conv2 = nn.Conv2d(config.prompt_hidden, config.prompt_hidden, 3, stride=2, padding=1)
            self.logits = nn.Conv2d(config.prompt_hidden, k, 1)
            self.embeddings = nn.Parameter(torch.randn(k, self.channels))
        elif self.kind == "bank":
            self.bank = nn.Parameter(torch.randn(k, self.channels, config.bank_size, config.bank_size))
            self.mixing = nn.Linear(config.optical_bands, k)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        n, (h, w) = x.shape[0], (s // 4 for s in x.shape[-2:])
        if self.kind == "mixture":
            log_m = F.log_softmax(self.logits(F.gelu(self.conv2(F.gelu(self.conv1(x))))), dim=1)
            m = log_m.exp()
            prompt = (m.permute(0, 2, 3, 1) @ self.embeddings).permute(0, 3, 1, 2)
            entropy = -(m * log_m).sum(1, keepdim=True)
            return prompt, entropy / math.log(m.shape[1])
        if self.kind == "bank":
            shares = self.mixing(x.mean((2, 3))).softmax(-1)
            prompt = bilinear((shares @ self.bank.flatten(1)).view(n, *self.bank.shape[1:]), (h, w))
            return prompt, prompt.new_zeros(n, 1, h, w)
        return x.new_zeros(n, self.channels, h, w), x.new_zeros(n, 1, h, w)


class ChannelContext(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.hidden = nn.Linear(2 * channels, channels // 4)
        self.output = nn.Linear(channels // 4, channels)

    def forward(self, optical: Tensor, sar: Tensor) -> Tensor:
        pooled = torch.cat([optical.mean((2, 3)), sar.mean((2, 3))], dim=1)
        return self.output(F.gelu(self.hidden(pooled)))[:, :, None, None]


class SpatialBias(nn.Module):
    def __init__(self, channels: int, prompt_channels: int):
        super().__init__()
        self.project = nn.Conv2d(channels + prompt_channels + 1, channels, 1, bias=False)
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        nn.init.constant_(self.depthwise.bias, -2.0)

    def forward(self, normed: Tensor, prompt: Tensor) -> Tensor:
        return self.depthwise(self.project(torch.cat([normed, prompt], dim=1)))


class Fusion(nn.Module):
    """PGF at one depth: (optical, sar, [P ; U] at H/4) -> (optical', mean gate (N, 1, H_l, W_l) or None)."""

    def __init__(self, config: Config, level: int):
        super().__init__()
        c = config.channels(level)
        self.kind = config.fusion
        if self.kind in ("replace", "inject"):
            self.context = ChannelContext(c)
            self.norm = LayerNorm2d(c)
            self.spatial = SpatialBias(c, config.prompt_channels)
        if self.kind in ("replace", "inject", "add"):
            self.sar = nn.Conv2d(c, c, 1, bias=False)
        elif self.kind == "concat":
            self.mix = nn.Conv2d(2 * c, c, 1, bias=False)

    def forward(self, optical: Tensor, sar: Tensor, prompt: Tensor) -> tuple[Tensor, Tensor | None]:
        if self.kind == "concat":
            return self.mix(torch.cat([optical, sar], dim=1)), None
        if self.kind == "add":
            return optical + self.sar(sar), None
        bias = self.spatial(self.norm(optical), bilinear(prompt, optical.shape[-2:]))
        gate = torch.sigmoid(self.context(optical, sar) + bias)
        change = self.sar(sar) if self.kind == "inject" else self.sar(sar) - optical
        return torch.addcmul(optical, gate, change), gate.mean(1, keepdim=True)


class Decoder(nn.Module):
    """Deepest feature first; returns the image and the four levels' features, shallowest first."""

    def __init__(self, config: Config):
        super().__init__()
        self.skips = config.skips
        self.levels = nn.ModuleList(Level(config, l, config.decoder_blocks[l]) for l in range(LEVELS))
        for l in range(1, LEVELS):
            self.levels[l].up = nn.Conv2d(config.channels(l), 2 * config.channels(l), 1, bias=False)
        if self.skips == "concat":
            for l in range(LEVELS - 1):
                self.levels[l].merge = nn.Conv2d(2 * config.channels(l), config.channels(l), 1, bias=False)
        self.head = nn.Conv2d(config.width, config.optical_bands, 3, padding=1)

    def forward(self, fused: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        x, features = fused[-1], []
        for l in reversed(range(LEVELS)):
            level = self.levels[l]
            if l < LEVELS - 1:
                x = F.pixel_shuffle(self.levels[l + 1].up(x), 2)
                if self.skips == "add":
                    x = x + fused[l]
                elif self.skips == "concat":
                    x = level.merge(torch.cat([x, fused[l]], dim=1))
            x = level.blocks(x)
            features.insert(0, x)
        return self.head(x), features


class SegmentationDecoder(nn.Module):
    """The decoder's four levels -> class logits at H x W."""

    def __init__(self, config: Config):
        super().__init__()
        d = config.segmentation_width
        self.levels = nn.ModuleList(nn.Conv2d(config.channels(l), d, 1) for l in range(LEVELS))
        self.fuse = nn.Conv2d(LEVELS * d, d, 1, bias=False)
        self.norm = LayerNorm2d(d)
        self.refine = nn.Conv2d(d, d, 3, padding=1)
        self.classifier = nn.Conv2d(d, config.classes, 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        h, w = features[0].shape[-2:]
        maps = [bilinear(project(x), (h // 2, w // 2)) for project, x in zip(self.levels, features)]
        x = F.gelu(self.norm(self.fuse(torch.cat(maps, dim=1))))
        return bilinear(self.classifier(F.gelu(self.refine(x))), (h, w))


class TdpCr(nn.Module):
    """optical (N, 13, H, W), sar (N, 2, H, W), both in [0, 1], H and W at least 8 -> dict of

    reconstruction (N, 13, H, W); logits (N, classes, H, W) or None; reliance and uncertainty (N, 1, H, W);
    reliance is None when the fusion has no gate. The reliance map is a report and carries no gradient.
    """

    def __init__(self, config: Config = Config()):
        super().__init__()
        self.config = config
        self.prompt_generator = PromptGenerator(config)
        self.optical_encoder = Encoder(config, config.optical_bands, config.optical_blocks)
        if config.fusion != "none":
            self.sar_encoder = Encoder(config, config.sar_bands, config.sar_blocks)
            self.fusion = nn.ModuleList(Fusion(config, l) for l in range(LEVELS))
        self.decoder = Decoder(config)
        self.segmentation_decoder = SegmentationDecoder(config) if config.segmentation else None

    def forward(self, optical: Tensor, sar: Tensor, segment: bool = True) -> dict[str, Tensor | None]:
        height, width = optical.shape[-2:]
        bottom, right = -height % 8, -width % 8
        if bottom or right:
            optical = F.pad(optical, (0, right, 0, bottom), mode="reflect")
            sar = F.pad(sar, (0, right, 0, bottom), mode="reflect")
        size = optical.shape[-2:]

        def crop(x: Tensor) -> Tensor:
            return x[:, :, :height, :width] if bottom or right else x

        prompt, uncertainty = self.prompt_generator(optical)
        both = torch.cat([prompt, uncertainty], dim=1)

        fused, gates = [], []
        x = self.optical_encoder.stem(optical)
        s = self.sar_encoder.stem(sar) if self.config.fusion != "none" else None
        for l in range(LEVELS):
            x = self.optical_encoder.levels[l].blocks(x)
            if s is not None:
                s = self.sar_encoder.levels[l].blocks(s)
                x, gate = self.fusion[l](x, s, both)
                if gate is not None:
                    gates.append(gate.detach())
            fused.append(x)
            if l < LEVELS - 1:
                x = self.optical_encoder.down(l, x)
                s = self.sar_encoder.down(l, s) if s is not None else None

        image, features = self.decoder(fused)
        if self.config.residual == "input":
            image = image + optical
        logits = self.segmentation_decoder(features) if segment and self.segmentation_decoder is not None else None
        return {
            "reconstruction": crop(image),
            "logits": None if logits is None else crop(logits),
            "reliance": crop(sum(bilinear(g, size) for g in gates) / LEVELS) if gates else None,
            "uncertainty": crop(bilinear(uncertainty, size)),
        }


# ---------------------------------------------------------------- losses


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Mean SSIM over images, bands and pixels: 11x11 Gaussian, sigma 1.5, zero padding, data range 1.

    Source: Wang et al., IEEE Trans. Image Process. 13 (2004), eq. 13. The window is separable.
    """
    n, c = a.shape[:2]
    taps = torch.exp(-((torch.arange(11, dtype=a.dtype, device=a.device) - 5) ** 2) / (2 * 1.5**2))
    taps = (taps / taps.sum()).view(1, 1, 11, 1).expand(c, 1, 11, 1).contiguous()
    maps = torch.cat([a, b, a * a, b * b, a * b])
    maps = F.conv2d(F.conv2d(maps, taps, padding=(5, 0), groups=c), taps.transpose(2, 3), padding=(0, 5), groups=c)
    mean_a, mean_b, aa, bb, ab = maps.split(n)
    c1, c2 = 0.01**2, 0.03**2
    var_a, var_b, cov = aa - mean_a * mean_a, bb - mean_b * mean_b, ab - mean_a * mean_b
    top = (2 * mean_a * mean_b + c1) * (2 * cov + c2)
    return (top / ((mean_a * mean_a + mean_b * mean_b + c1) * (var_a + var_b + c2))).mean()


def reconstruction_loss(image: Tensor, clear: Tensor) -> Tensor:
    """Phase 1: 0.9 L1 + 0.1 (1 - SSIM)."""
    return 0.9 * F.l1_loss(image, clear) + 0.1 * (1 - ssim(image, clear))


def segmentation_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Phase 2: cross-entropy over the labelled pixels; 255 means no label."""
    return F.cross_entropy(logits, labels, ignore_index=255)


def set_trained(model: TdpCr, phase: int, trains: str = "segmentation") -> list[nn.Parameter]:
    """Freezes what the phase leaves alone; returns what it trains.

    Phase 1 trains all but the segmentation decoder; phase 2 segmentation | decoders | all.
    """
    parts = {"segmentation": ("segmentation_decoder.",), "decoders": ("segmentation_decoder.", "decoder."), "all": ("",)}
    for name, parameter in model.named_parameters():
        segmenting = name.startswith("segmentation_decoder.")
        parameter.requires_grad_(not segmenting if phase == 1 else name.startswith(parts[trains]))
    return [p for p in model.parameters() if p.requires_grad]


# ---------------------------------------------------------------- weights, counts


def to_clearsky(tensor: Tensor) -> Tensor:
    """Four dimensions mean a convolution's weight, or the prompt's bank: (O, I, kH, kW) -> (O, kH, kW, I)."""
    return tensor.detach().permute(0, 2, 3, 1).contiguous() if tensor.dim() == 4 else tensor.detach().contiguous()


def from_clearsky(tensor: Tensor) -> Tensor:
    return tensor.permute(0, 3, 1, 2).contiguous() if tensor.dim() == 4 else tensor


def save_weights(model: nn.Module, path: str, metadata: dict[str, str] | None = None) -> None:
    from safetensors.torch import save_file  # weight files alone need it

    save_file({name: to_clearsky(p) for name, p in model.state_dict().items()}, path, metadata)


def load_weights(model: nn.Module, path: str) -> None:
    from safetensors.torch import load_file

    model.load_state_dict({name: from_clearsky(t) for name, t in load_file(path).items()})


def parameter_count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def count_macs(config: Config, height: int, width: int) -> dict[str, int]:
    """Multiply-adds of one forward pass per part: convolutions, linear layers, and attention's two products.

    Runs on the meta device: shapes only, no memory, no arithmetic.
    """
    model = TdpCr(config).to("meta")
    totals: dict[str, int] = {}

    def add(part: str, macs: int) -> None:
        totals[part] = totals.get(part, 0) + macs

    def hook(name: str):
        part = name.split(".")[0]

        def convolution(module, inputs, output):
            add(part, output.numel() * module.weight[0].numel())

        def linear(module, inputs, output):
            add(part, output.numel() * module.in_features)

        def attention(module, inputs, output):
            n, c, h, w = output.shape
            add(part, 2 * n * c * (c // module.heads) * h * w)

        return {nn.Conv2d: convolution, nn.Linear: linear, ChannelAttention: attention}

    for name, module in model.named_modules():
        by_type = hook(name)
        if type(module) in by_type:
            module.register_forward_hook(by_type[type(module)])
    image = torch.empty(1, config.optical_bands, height, width, device="meta")
    model(image, image[:, :1].expand(-1, config.sar_bands, -1, -1))
    totals["total"] = sum(totals.values())
    return totals


if __name__ == "__main__":
    from time_torch import main

    main()

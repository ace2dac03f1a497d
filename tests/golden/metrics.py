"""metrics.safetensors: image and segmentation metrics by scikit-image, SciPy and plain NumPy formulas.

Images are clamped to [0, 1] first, each metric is taken per image; the mean over images is the test's to form.
"""

from __future__ import annotations

import json

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

import golden
from golden import Draw, exact

CLASSES = 7
IGNORED = 255


def ssim_map(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """SSIM per pixel and band of (H, W, C); written with the 2-d window, unlike the separable one in bench/peers."""
    line = np.exp(-((np.arange(11) - 5.0) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2

    def blur(x: np.ndarray) -> np.ndarray:
        bands = torch.from_numpy(np.ascontiguousarray(x.transpose(2, 0, 1)))[:, None]
        return F.conv2d(bands, torch.from_numpy(window)[None, None], padding=5)[:, 0].numpy().transpose(1, 2, 0)

    c1, c2 = 0.01**2, 0.03**2
    ma, mb = blur(a), blur(b)
    va, vb, cov = blur(a * a) - ma * ma, blur(b * b) - mb * mb, blur(a * b) - ma * mb
    return (2 * ma * mb + c1) * (2 * cov + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2))


def angles_degrees(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    cosine = (a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def image_metrics(a: np.ndarray, b: np.ndarray, pixels: np.ndarray) -> dict[str, float]:
    """Over the pixels of a mask (H, W); SSIM is the mean of the whole image's map over them."""
    x, y = a[pixels], b[pixels]
    mse = mean_squared_error(x, y)
    return {
        "psnr": peak_signal_noise_ratio(x, y, data_range=1),
        "ssim": ssim_map(a, b)[pixels].mean(),
        "sam": angles_degrees(x, y).mean(),
        "mae": np.abs(x - y).mean(),
        "rmse": mse**0.5,
    }


def images(tensors: dict) -> None:
    draw = Draw("metrics/images")
    height, width, bands = 24, 21, 6
    x = torch.linspace(0, 6, width)[None, None, :, None] + torch.linspace(0, 4, height)[None, :, None, None]
    clear = 0.4 + 0.25 * torch.sin(x + torch.arange(3.0)[:, None, None, None]) + draw.normal(3, height, width, bands, scale=0.05)
    noise = torch.tensor([0.02, 0.1, 0.3])[:, None, None, None]  # the last one leaves [0, 1] often
    restored = clear + noise * draw.normal(3, height, width, bands)
    cloudy = draw.mask(3, height, width, share=0.4)
    clear, restored = exact(clear), exact(restored)
    tensors |= {"images/prediction": restored.float(), "images/target": clear.float(), "images/cloudy": cloudy.to(torch.uint8)}

    a, b = restored.clamp(0, 1).numpy(), clear.clamp(0, 1).numpy()
    if not ((a > 0).any(-1) & (b > 0).any(-1)).all():
        raise ValueError("a pixel is 0 in every band and has no angle")
    regions = {"all": np.ones_like(cloudy.numpy()), "clear": ~cloudy.numpy(), "cloudy": cloudy.numpy()}
    for region, masks in regions.items():
        rows = [image_metrics(a[i], b[i], masks[i]) for i in range(3)]
        for metric in rows[0]:
            tensors[f"images/{region}/{metric}"] = torch.tensor([float(r[metric]) for r in rows])

    tensors["images/ssim_map"] = torch.from_numpy(ssim_map(a[1], b[1]))  # of image 1
    # scikit-image pads by reflection and leaves a border of 5 out of its mean: there, padding has no say.
    second = [structural_similarity(a[i], b[i], gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1, channel_axis=-1) for i in range(3)]
    ours = [ssim_map(a[i], b[i])[5:-5, 5:-5].mean() for i in range(3)]
    np.testing.assert_allclose(ours, second, rtol=1e-12)
    tensors["images/ssim_interior_skimage"] = torch.tensor(second)


def ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """top / bottom, NaN where the class gives nothing to divide by."""
    return np.divide(top, bottom, out=np.full(len(top), np.nan), where=bottom > 0)


def confusion_metrics(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """From counts (label, prediction). NaN marks a class without a value; `_zero` means count it as 0, `_present` leave it out."""
    hit, labelled, predicted, total = np.diag(matrix), matrix.sum(1), matrix.sum(0), matrix.sum()
    iou = ratio(hit, labelled + predicted - hit)
    accuracy = ratio(hit, labelled)
    f1 = ratio(2 * hit, labelled + predicted)
    agreement, chance = hit.sum() / total, (labelled * predicted).sum() / total**2
    return {
        "iou": iou,
        "miou_zero": np.nan_to_num(iou).mean(),
        "miou_present": np.nanmean(iou),
        "overall_accuracy": agreement,
        "class_accuracy": accuracy,
        "mean_accuracy_zero": np.nan_to_num(accuracy).mean(),
        "mean_accuracy_present": np.nanmean(accuracy),
        "f1": f1,
        "f1_macro_zero": np.nan_to_num(f1).mean(),
        "f1_macro_present": np.nanmean(f1),
        "kappa": (agreement - chance) / (1 - chance),
    }


def segmentation(tensors: dict) -> None:
    draw = Draw("metrics/segmentation")
    # Class 5 occurs nowhere; class 6 is predicted but never labelled: its IoU is 0, and it has no accuracy.
    labels = draw.labels(3, 24, 21, classes=5, ignored=0.15)
    wrong = draw.mask(3, 24, 21, share=0.35)
    guesses = draw.integers(3, 24, 21, below=6)
    guesses = torch.where(guesses == 5, 6, guesses)
    predictions = torch.where(wrong | (labels == IGNORED), guesses, labels)
    cloudy = draw.mask(3, 24, 21, share=0.4)
    tensors |= {"segmentation/labels": labels, "segmentation/predictions": predictions, "segmentation/cloudy": cloudy.to(torch.uint8)}

    y, p, c = labels.numpy(), predictions.numpy(), cloudy.numpy()
    for region, mask in {"all": np.ones_like(c), "clear": ~c, "cloudy": c}.items():
        counted = mask & (y != IGNORED)
        matrix = np.zeros((CLASSES, CLASSES), dtype=np.int64)
        np.add.at(matrix, (y[counted], p[counted]), 1)
        tensors[f"segmentation/{region}/confusion"] = torch.from_numpy(matrix)
        for key, value in confusion_metrics(matrix.astype(np.float64)).items():
            tensors[f"segmentation/{region}/{key}"] = torch.from_numpy(np.asarray(value, dtype=np.float64))


def correlation(tensors: dict) -> None:
    draw = Draw("metrics/spearman")
    thickness = (draw.uniform(200) * 20).round() / 20  # ties
    reliance = thickness**3 + draw.normal(200, scale=0.1)
    tensors |= {"spearman/x": thickness, "spearman/y": reliance}
    tensors["spearman/value"] = torch.tensor(float(spearmanr(thickness.numpy(), reliance.numpy()).statistic))


def build() -> None:
    tensors: dict[str, torch.Tensor] = {}
    images(tensors)
    segmentation(tensors)
    correlation(tensors)
    golden.write("metrics", tensors, {"metrics": json.dumps({"classes": CLASSES, "ignore_index": IGNORED})})

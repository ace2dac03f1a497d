"""interchange.safetensors: every dtype and an awkward header, written by the safetensors package itself.

The same contents, written by clearsky, are checked by check_interchange.py.
"""

from __future__ import annotations

import torch
from torch import Tensor

METADATA = {
    "format": "clearsky",
    "title": 'quotes " backslash \\ slash / tab \t newline \n',
    "place": "Zürich, 北京, 🛰",
    "empty": "",
}


def contents() -> dict[str, Tensor]:
    """i counts the elements, 0 .. 23, of a (2, 3, 4) tensor. Every value is exact in its type."""
    i = torch.arange(24).view(2, 3, 4)
    quarter = (i - 12).double() / 4  # -3 .. 2.75
    special = [0.0, -0.0, float("inf"), float("-inf"), float("nan"), 2.0**-149, 2.0**-126, (2 - 2.0**-23) * 2.0**127]
    return {
        "t_f64": quarter + 2.0**-40,
        "t_f32": (quarter + 2.0**-20).float(),
        "t_f16": quarter.half(),
        "t_bf16": quarter.bfloat16(),
        "t_i64": (i - 12) * (2**33 + 1),
        "t_i32": ((i - 12) * (2**20 + 1)).int(),
        "t_u8": (i * 11).to(torch.uint8),  # 0 .. 253
        "t_bool": i % 3 == 0,
        "t_scalar": torch.tensor(0.5),  # F64, shape ()
        "t_empty": torch.zeros(0, 3).float(),  # F32, no elements
        "t_special": torch.tensor(special).float(),  # zeros of both signs, infinities, NaN, subnormal, smallest normal, largest
    }


def build() -> None:
    from safetensors.torch import save_file

    import golden

    path = golden.DATA / "interchange.safetensors"
    save_file(contents(), path, METADATA)
    print(f"{path.name}: {len(contents())} tensors, {path.stat().st_size / 1e6:.3f} MB")

"""The views of `augmentation`, made of whole batches on the device that trains, from the very same draws.

Chance is drawn by `Augmenter.draw`, row by row in the worker processes; what is left, reading the warped pixels and
turning their colour, is done here in floating point. The views agree with those of `Augmenter.apply` but for rounding,
for any number of workers. JPEG artefacts cannot be made on a GPU, so a recipe that asks for them is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional

from msht.errors import InvalidInput
from msht.images.augmentation import JITTER, Augmentation, Draw
from msht.images.jitter import LUMA

Batch = Mapping[str, torch.Tensor]

KERNEL = 11
"""Room for the one-dimensional kernel of a blur; sigma is at most 1.2 px."""
SMALLEST_SCALE = 0.45
"""Below it a view of the stored field would skip pixels, which a linear read on the device does not average."""


def require_batchable(settings: Augmentation) -> None:
    """Refuse what cannot be done on the device.

    Raises:
        InvalidInput: naming the setting.
    """
    if settings.compression:
        raise InvalidInput(
            f"augmentation.compression ({settings.compression}) cannot be done on the training device.",
            "Set it to 0, or training.augment_on to worker.",
        )
    if settings.scale[0] < SMALLEST_SCALE:
        raise InvalidInput(
            f"augmentation.scale starts at {settings.scale[0]}; on the training device it starts at {SMALLEST_SCALE}.",
            "Raise it, or set training.augment_on to worker.",
        )


def packed_draw(draw: Draw) -> dict[str, torch.Tensor]:
    """What was drawn for one view, as tensors that can be stacked to a batch."""
    drawn: dict[str, Any] = dict(draw.colour)
    jitter = drawn.get(JITTER, {})
    factors = [jitter.get("brightness", 1.0), jitter.get("contrast", 1.0), jitter.get("saturation", 1.0)]
    kernel = torch.zeros(KERNEL)
    given = torch.as_tensor(drawn["blur"]["kernel"], dtype=torch.float32).flatten() if "blur" in drawn else None
    if given is None:
        kernel[KERNEL // 2] = 1.0
    else:
        start = (KERNEL - len(given)) // 2
        kernel[start : start + len(given)] = given
    shift = drawn["channel_shift"]["noise_map"] if "channel_shift" in drawn else [0.0, 0.0, 0.0]
    return {
        "matrix": torch.as_tensor(draw.matrix, dtype=torch.float64),
        "jitter": torch.tensor([*factors, jitter.get("hue", 0.0)], dtype=torch.float32),
        "order": torch.tensor(list(jitter.get("order", [0, 1, 2, 3])), dtype=torch.int64),
        "shift": torch.as_tensor(shift, dtype=torch.float32).flatten(),
        "gamma": torch.tensor(drawn.get("gamma", {}).get("gamma", 1.0), dtype=torch.float32),
        "kernel": kernel,
        "grey": torch.tensor("grey" in drawn),
    }


def padded(fields: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Fields, uint8 (H, W, 3) each, as one tensor (B, H, W, 3), with the sizes they had, (B, 2)."""
    height, width = (max(field.shape[axis] for field in fields) for axis in (0, 1))
    same = [functional.pad(f, (0, 0, 0, width - f.shape[1], 0, height - f.shape[0])) for f in fields]
    return {"pixels": torch.stack(same), "sizes": torch.tensor([field.shape[:2] for field in fields])}


def batch_views(batch: Batch, size: int) -> torch.Tensor:
    """Make the views of a batch.

    Args:
        batch: of `padded` and `packed_draw`, on any device.
        size: S.

    Returns:
        float32 in [0, 255], shape (B, 3, S, S).
    """
    views = _warped(batch["pixels"], batch["sizes"], batch["matrix"], size)
    for place in range(4):
        views = _jittered(views, batch["jitter"], batch["order"][:, place])
    views = (views + batch["shift"][:, :, None, None]).clamp(0, 255)
    views = (views / 255).pow(batch["gamma"].view(-1, 1, 1, 1)).mul(255)
    views = _blurred(views, batch["kernel"])
    return torch.where(batch["grey"].view(-1, 1, 1, 1), _grey(views).expand_as(views), views)


def _warped(pixels: torch.Tensor, sizes: torch.Tensor, matrix: torch.Tensor, size: int) -> torch.Tensor:
    """Read every view through its own map; borders are reflected about the pixel at the edge."""
    index = torch.arange(size, dtype=torch.float64, device=pixels.device)
    y, x = torch.meshgrid(index, index, indexing="ij")
    places = torch.stack([x, y, torch.ones_like(x)])
    found = torch.einsum("bij,jhw->bihw", matrix, places)  # double: a float counts pixels to a thousandth only
    last = (sizes.flip(1) - 1).to(found).view(-1, 2, 1, 1)
    inside = last - ((found.abs() % (2 * last).clamp_min(1)) - last).abs()
    whole = torch.tensor([pixels.shape[2] - 1, pixels.shape[1] - 1], device=pixels.device).clamp_min(1)
    grid = (inside * 2 / whole.to(inside).view(1, 2, 1, 1) - 1).permute(0, 2, 3, 1).float()
    fields = pixels.permute(0, 3, 1, 2).float()
    return functional.grid_sample(fields, grid, mode="bilinear", padding_mode="border", align_corners=True)


def _grey(views: torch.Tensor) -> torch.Tensor:
    weights = torch.tensor(LUMA, device=views.device).view(1, 3, 1, 1)
    return (views * weights).sum(dim=1, keepdim=True)


def _jittered(views: torch.Tensor, jitter: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    """Do to each view the one step, of four, that is its turn."""
    brightness, contrast, saturation, hue = (jitter[:, i].view(-1, 1, 1, 1) for i in range(4))
    turn = step.view(-1, 1, 1, 1)
    grey = _grey(views)
    mean = grey.mean(dim=(2, 3), keepdim=True)
    factor = torch.where(turn == 0, brightness, torch.where(turn == 1, contrast, saturation))
    about = torch.where(turn == 0, torch.zeros_like(grey), torch.where(turn == 1, mean.expand_as(grey), grey))
    affine = (views * factor + about * (1 - factor)).clamp(0, 255)
    return torch.where(turn == 3, _turned(views, hue), affine)


def _turned(views: torch.Tensor, hue: torch.Tensor) -> torch.Tensor:
    """Turn the hue by a share of the circle; there and back between RGB and HSV.

    Source: Smith (1978), Color gamut transform pairs, SIGGRAPH 12:12.
    """
    red, green, blue = views.unbind(dim=1)
    value, least = views.amax(dim=1), views.amin(dim=1)
    chroma = value - least
    safe = chroma.clamp_min(1e-6)
    sector = torch.where(
        value == red,
        (green - blue) / safe % 6,
        torch.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    turned = (sector + 6 * hue.squeeze(1)) % 6
    channels = []
    for start in (5, 3, 1):
        place = (start + turned) % 6
        channels.append(value - chroma * torch.minimum(place, 4 - place).clamp(0, 1))
    return torch.stack(channels, dim=1)


def _blurred(views: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """Convolve each view with its own kernel, (B, KERNEL), down and across; borders are reflected."""
    count, channels, height, width = views.shape
    half = KERNEL // 2
    weights = kernel.repeat_interleave(channels, dim=0)
    flat = functional.pad(views, (half, half, half, half), mode="reflect").reshape(
        1, count * channels, -1, width + 2 * half
    )
    down = functional.conv2d(flat, weights[:, None, :, None], groups=count * channels)
    across = functional.conv2d(down, weights[:, None, None, :], groups=count * channels)
    return across.reshape(count, channels, height, width)

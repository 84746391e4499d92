"""The Focus block: what a stage of the backbone hands to the decoder, and the attention modules before it.

A stage's feature map passes an attention module, is pooled to the token grid along two paths, gaze (maximum:
the most striking cell) and glance (average: the surroundings), and each path becomes a sequence of tokens.

Source: Zhang et al. (2021), arXiv 2112.13513.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from msht.errors import InvalidInput
from msht.network.naming import nearest

ATTENTION_MODULES = ("simam", "se", "cbam", "none")
"""Names of the attention modules, the paper's choice first."""

PARAMETER_FREE = ("simam", "none")
"""Those that learn nothing, and so are the same for every feature map."""


class SimAM(nn.Module):
    """Attention without parameters: a position counts more, the more it stands out from its own map.

    With mean m and unbiased variance s of a map, x becomes x * sigmoid((x - m)^2 / (4 (s + lambda)) + 1/2).

    Args:
        regularisation: lambda of the source.

    Source: Yang et al. (2021), SimAM, ICML, PMLR 139:11863.
    """

    def __init__(self, regularisation: float = 1e-4) -> None:
        super().__init__()
        self.regularisation = regularisation

    def forward(self, x: Tensor) -> Tensor:
        """Weigh feature maps (B, C, H, W); same shape and type back.

        The statistics are taken in float32: sums over a large map lose too much in bfloat16.
        """
        wide = x.float()
        mean = wide.mean(dim=(2, 3), keepdim=True)
        distance = (wide - mean).square()
        positions = max(x.shape[2] * x.shape[3] - 1, 1)
        variance = distance.sum(dim=(2, 3), keepdim=True) / positions
        sharpness = 0.25 / (variance + self.regularisation)
        energy = torch.addcmul(sharpness.new_full((), 0.5), distance, sharpness)
        return x * energy.sigmoid_().to(x.dtype)


class SqueezeExcitation(nn.Module):
    """Channel attention from the average of each map, through a bottleneck of two layers without bias.

    Args:
        channels: channels C of the feature map.
        reduction: the bottleneck has C / reduction units.

    Source: Hu et al. (2018), arXiv 1709.01507.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.reduce = nn.Linear(channels, hidden, bias=False)
        self.expand = nn.Linear(hidden, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Weigh feature maps (B, C, H, W) by channel; same shape back."""
        weight = self.expand(functional.relu(self.reduce(x.mean(dim=(2, 3))))).sigmoid()
        return x * weight[:, :, None, None]


class CBAM(nn.Module):
    """Channel attention from average and maximum, then spatial attention from a 7x7 convolution over both.

    Args:
        channels: channels C of the feature map.
        reduction: the shared bottleneck has C / reduction units.

    Source: Woo et al. (2018), arXiv 1807.06521.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.reduce = nn.Linear(channels, hidden)
        self.expand = nn.Linear(hidden, channels)
        self.spatial = nn.Conv2d(2, 1, kernel_size=7, padding=3, bias=False)
        self.spatial_norm = nn.BatchNorm2d(1, momentum=0.01)

    def _bottleneck(self, pooled: Tensor) -> Tensor:
        return self.expand(functional.relu(self.reduce(pooled)))

    def forward(self, x: Tensor) -> Tensor:
        """Weigh feature maps (B, C, H, W) by channel, then by position; same shape back."""
        channel = self._bottleneck(x.mean(dim=(2, 3))) + self._bottleneck(x.amax(dim=(2, 3)))
        x = x * channel.sigmoid()[:, :, None, None]
        summary = torch.cat((x.amax(dim=1, keepdim=True), x.mean(dim=1, keepdim=True)), dim=1)
        return x * self.spatial_norm(self.spatial(summary)).sigmoid()


def attention_module(name: str, channels: int) -> nn.Module:
    """Make the attention module `name` for feature maps of `channels` channels.

    Raises:
        InvalidInput: if the name is not one of `ATTENTION_MODULES`.
    """
    match name:
        case "simam":
            return SimAM()
        case "se":
            return SqueezeExcitation(channels)
        case "cbam":
            return CBAM(channels)
        case "none":
            return nn.Identity()
    raise InvalidInput(
        f"The attention module '{name}' is not one of {', '.join(ATTENTION_MODULES)}.",
        nearest(name, ATTENTION_MODULES),
    )


def to_tokens(x: Tensor) -> Tensor:
    """Reorder feature maps (B, C, H, W) to tokens (B, H W, C), row by row; free in channels_last."""
    return x.flatten(2).transpose(1, 2)


def to_map(tokens: Tensor, rows: int, columns: int) -> Tensor:
    """Reorder image tokens (B, rows * columns, C) to a map (B, C, rows, columns)."""
    return tokens.transpose(1, 2).unflatten(2, (rows, columns))


class FocusBlock(nn.Module):
    """Turn a stage's feature map into the queries (gaze) and keys (glance) of a decoder.

    Args:
        channels: channels of the stage.
        dim: width C of the tokens.
        window: edge of the pooling window, equal to its stride.
        attention: name of the attention module.
    """

    def __init__(self, channels: int, dim: int, window: int, attention: str) -> None:
        super().__init__()
        self.window = window
        self.attention = attention_module(attention, channels)
        self.gaze_proj = nn.Linear(channels, dim)
        self.glance_proj = nn.Linear(channels, dim)
        self.norm_q = nn.LayerNorm(dim, eps=1e-6)
        self.norm_k = nn.LayerNorm(dim, eps=1e-6)

    def paths(self, attended: Tensor) -> tuple[Tensor, Tensor]:
        """Pool a map that has passed the attention module; queries and keys, each (B, N, C).

        Pooling comes before the projection, which then touches window^2 times fewer positions; a 1x1
        convolution of pooled positions is a linear layer over tokens.
        """
        gaze = glance = attended
        if self.window > 1:
            gaze = functional.max_pool2d(attended, self.window)
            glance = functional.avg_pool2d(attended, self.window)
        q = self.norm_q(self.gaze_proj(to_tokens(gaze)))
        k = self.norm_k(self.glance_proj(to_tokens(glance)))
        return q, k

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Give queries and keys, each (B, N, C), from a stage's map (B, channels, H, W)."""
        return self.paths(self.attention(x))


class PatchEmbedding(nn.Module):
    """Turn the last stage's feature map into the tokens that the decoders refine.

    Args:
        channels: channels of the last stage.
        dim: width C of the tokens.
        attention: name of the attention module.
    """

    def __init__(self, channels: int, dim: int, attention: str) -> None:
        super().__init__()
        self.attention = attention_module(attention, channels)
        self.proj = nn.Linear(channels, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Give tokens (B, N, C) from a map (B, channels, H, W)."""
        return self.proj(to_tokens(self.attention(x)))

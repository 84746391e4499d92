"""MSHT written the obvious way, as the yardstick.

Explicit softmax attention, an attention module in each Focus block, projections as 1x1 convolutions of contiguous
maps, and class token and positions put to all nine sequences one by one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from msht.network.hybrid import MSHT


def simam(x: Tensor) -> Tensor:
    """SimAM as its source writes it."""
    positions = x.shape[2] * x.shape[3] - 1
    distance = (x - x.mean(dim=[2, 3], keepdim=True)).pow(2)
    energy = distance / (4 * (distance.sum(dim=[2, 3], keepdim=True) / positions + 1e-4)) + 0.5
    return x * torch.sigmoid(energy)


class Obvious(nn.Module):
    """Runs the parameters of an MSHT (SimAM, class token, positions) the obvious way."""

    def __init__(self, model: MSHT) -> None:
        super().__init__()
        self.model = model

    def project(self, x: Tensor, linear: nn.Linear) -> Tensor:
        """A 1x1 convolution, then tokens."""
        return functional.conv2d(x, linear.weight[:, :, None, None], linear.bias).flatten(2).transpose(1, 2)

    def sequence(self, tokens: Tensor) -> Tensor:
        """Class token before, positions added."""
        token = self.model.cls_token.expand(tokens.shape[0], -1, -1)
        return torch.cat((token, tokens), dim=1) + self.model.pos_embed

    def attend(self, q: Tensor, k: Tensor, v: Tensor, heads: int, proj: nn.Linear) -> Tensor:
        """Attention with the weights written out."""
        batch, count, width = q.shape
        q, k, v = (part.reshape(batch, count, heads, width // heads).permute(0, 2, 1, 3) for part in (q, k, v))
        weights = (q @ k.transpose(-2, -1) * (width // heads) ** -0.5).softmax(dim=-1)
        return proj((weights @ v).transpose(1, 2).reshape(batch, count, width))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, num_classes) of images (B, 3, H, W)."""
        model = self.model
        maps = model.backbone(x)
        tokens = self.sequence(self.project(simam(maps[-1]), model.patch_embed.proj))
        for stage, focus, block in zip(maps, model.focus, model.decoders, strict=True):
            seen = simam(stage)
            gaze = functional.max_pool2d(seen, focus.window) if focus.window > 1 else seen
            glance = functional.avg_pool2d(seen, focus.window) if focus.window > 1 else seen
            q = self.sequence(focus.norm_q(self.project(gaze, focus.gaze_proj)))
            k = self.sequence(focus.norm_k(self.project(glance, focus.glance_proj)))
            own = block.mhsa.qkv(block.norm0(tokens)).chunk(3, dim=2)
            tokens = tokens + self.attend(*own, block.mhsa.num_heads, block.mhsa.proj)
            tokens = tokens + block.ffn1(block.norm1(tokens))
            guide, values = block.mhga, block.norm2(tokens)
            parts = guide.q(q), guide.k(k), guide.v(values)
            tokens = tokens + self.attend(*parts, guide.num_heads, guide.proj)
            tokens = tokens + block.ffn2(block.norm3(tokens))
        return model.head(model.norm(tokens)[:, 0])


def obvious_msht(model: MSHT) -> nn.Module:
    """The obvious twin of a network, on a copy of its parameters."""
    import copy

    return Obvious(copy.deepcopy(model))

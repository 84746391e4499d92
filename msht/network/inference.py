"""Preparing a network for fast prediction, without changing what it answers."""

from __future__ import annotations

import copy
import itertools

import torch
from timm.models._features import FeatureListNet
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

_ORDERED = (BasicBlock, Bottleneck, ResNet, FeatureListNet, nn.Sequential)
"""Modules that run a convolution and the batch norm registered after it one after the other."""


class TokenLinear(nn.Module):
    """A linear layer over tokens, run as a 1x1 convolution.

    Tokens (B, N, C) are a channels-last map of N x 1 positions as they lie in memory, so nothing is copied. In
    single precision oneDNN's convolution is up to twice as fast as the BLAS product behind a linear layer, on
    processors that the BLAS was not written for.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, N, C) to (B, N, out); other shapes as a linear layer does."""
        if x.ndim != 3:
            return functional.linear(x, self.weight, self.bias)
        columns = x.transpose(1, 2).unsqueeze(3)
        return functional.conv2d(columns, self.weight[:, :, None, None], self.bias).squeeze(3).transpose(1, 2)


def prepare_for_inference(model: nn.Module, *, dtype: torch.dtype | None = None, shared: bool = False) -> nn.Module:
    """Make a copy for prediction: batch norms folded into convolutions, channels last, evaluation mode.

    Layers keep their paths, so the copy is explained as the original is, but it cannot be trained further: a
    folded batch norm is an identity.

    Args:
        model: any network; the batch norms of ResNets are folded, and MSHT's linear layers run as convolutions
            on a CPU in single precision; others only change their memory format.
        dtype: type of parameters and activations, such as `torch.bfloat16`; unchanged by default. Images have
            to be given in the same type.
        shared: let the copy read the original's numbers where it needs no others, which are most of an MSHT's; then
            whoever changes the original's changes the copy's.
    """
    same = [each for each in model.parameters() if each.ndim != 4] if shared and dtype is None else []
    memory: dict[int, object] = {id(each): nn.Parameter(each.detach(), requires_grad=False) for each in same}
    prepared = copy.deepcopy(model, memory).eval().requires_grad_(False)
    for module in list(prepared.modules()):
        if isinstance(module, _ORDERED):
            _fold_children(module)
    first = next(prepared.parameters(), None)
    if first is not None and (dtype or first.dtype) == torch.float32 and first.device.type == "cpu":
        _convolve_tokens(prepared)
    return prepared.to(memory_format=torch.channels_last, dtype=dtype)  # type: ignore[call-overload]


def _fold_children(module: nn.Module) -> None:
    for (first_name, first), (second_name, second) in itertools.pairwise(list(module.named_children())):
        if type(first) is nn.Conv2d and type(second) is nn.BatchNorm2d:
            setattr(module, first_name, fuse_conv_bn_eval(first, second))
            setattr(module, second_name, nn.Identity())


def _convolve_tokens(model: nn.Module) -> None:
    for room in ("patch_embed", "focus", "decoders"):
        for module in list(getattr(model, room, nn.Identity()).modules()):
            for name, child in list(module.named_children()):
                if type(child) is nn.Linear:
                    setattr(module, name, TokenLinear(child))

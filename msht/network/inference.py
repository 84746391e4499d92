"""Preparing a network for fast prediction, without changing what it answers."""

from __future__ import annotations

import copy

import torch
from timm.models._features import FeatureListNet
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

_ORDERED = (BasicBlock, Bottleneck, ResNet, FeatureListNet, nn.Sequential)
"""Modules that run a convolution and the batch norm registered after it one after the other."""


def prepare_for_inference(model: nn.Module, *, dtype: torch.dtype | None = None) -> nn.Module:
    """Make a copy for prediction: batch norms folded into convolutions, channels last, evaluation mode.

    The copy has no layer fewer under another name, so that it can be explained by the same paths, but it cannot
    be trained further: a folded batch norm is an identity.

    Args:
        model: any network; ResNets are folded, others only change their memory format.
        dtype: type of parameters and activations, such as `torch.bfloat16`; unchanged by default. Images have
            to be given in the same type.
    """
    prepared = copy.deepcopy(model).eval()
    for module in prepared.modules():
        if isinstance(module, _ORDERED):
            _fold_children(module)
    prepared.requires_grad_(False)
    return prepared.to(memory_format=torch.channels_last, dtype=dtype)  # type: ignore[call-overload]


def _fold_children(module: nn.Module) -> None:
    children = list(module.named_children())
    for (first_name, first), (second_name, second) in zip(children, children[1:], strict=False):
        if type(first) is nn.Conv2d and type(second) is nn.BatchNorm2d:
            setattr(module, first_name, fuse_conv_bn_eval(first, second))
            setattr(module, second_name, nn.Identity())

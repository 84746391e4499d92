"""The convolutional backbone: the published ResNet-50, or any timm network that gives a pyramid of features.

The published ResNet-50 departs from torchvision's in two places: the stride of a bottleneck is on its first
1x1 convolution, and a ReLU follows its third batch norm, before the addition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import timm
import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.resnet import Bottleneck, ResNet
from torch import Tensor, nn

from msht.errors import InvalidInput, MissingResource
from msht.network.naming import nearest

PUBLISHED_BACKBONE = "resnet50_published"
"""timm name of the ResNet-50 inside the published MSHT."""


class PublishedBottleneck(Bottleneck):
    """The published bottleneck: stride on the first convolution, ReLU before the addition.

    The published code adds in place, which autograd refuses; adding out of place computes the same function.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conv1.stride, self.conv2.stride = self.conv2.stride, self.conv1.stride

    def zero_init_last(self) -> None:
        """Leave the last batch norm alone: behind a ReLU, a branch of zeros would never get a gradient."""

    def forward(self, x: Tensor) -> Tensor:
        """Give (B, 4 * planes, H / stride, W / stride) from (B, C, H, W)."""
        branch = self.act1(self.bn1(self.conv1(x)))
        branch = self.act2(self.bn2(self.conv2(branch)))
        branch = self.act3(self.bn3(self.conv3(branch)))
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.act3(branch + shortcut)


default_cfgs = generate_default_cfgs(
    {
        PUBLISHED_BACKBONE: {
            "url": "",
            "num_classes": 1000,
            "input_size": (3, 224, 224),
            "pool_size": (7, 7),
            "crop_pct": 1.0,
            "interpolation": "bilinear",
            "mean": (0.0, 0.0, 0.0),
            "std": (1.0, 1.0, 1.0),
            "first_conv": "conv1",
            "classifier": "fc",
            "license": "apache-2.0",
        },
    }
)


@register_model
def resnet50_published(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """ResNet-50 as inside the published MSHT."""
    settings: dict[str, Any] = {"block": PublishedBottleneck, "layers": (3, 4, 6, 3), "zero_init_last": False}
    return build_model_with_cfg(ResNet, PUBLISHED_BACKBONE, pretrained, **{**settings, **kwargs})


@dataclass(frozen=True)
class Stage:
    """One level of the feature pyramid."""

    channels: int
    """Channels of its feature map."""
    reduction: int
    """Pixels of the image per position, along each edge."""
    module: str
    """Dotted path, inside the backbone, of the module that gives the map."""


def create_backbone(
    name: str,
    *,
    stages: Sequence[int],
    in_chans: int = 3,
    pretrained: bool = False,
    **settings: Any,
) -> tuple[nn.Module, list[Stage]]:
    """Make a backbone that gives the feature maps of the wanted stages, coarsest last.

    Args:
        name: timm name of a convolutional network.
        stages: levels wanted, ascending; stage i has one position per 2^(i + 1) pixels along each edge.
        in_chans: channels of the image.
        pretrained: whether to fetch ImageNet weights from the hub.
        settings: further arguments for timm's builder (`channels`, `stem_width`, `drop_path_rate`, …).

    Returns:
        The network, from images (B, in_chans, H, W) to a list of maps, and what each map is.

    Raises:
        InvalidInput: if timm has no such network, or its features make no pyramid with the wanted stages.
        MissingResource: if the weights cannot be fetched.
    """
    if not timm.is_model(name):
        raise InvalidInput(f"timm has no network '{name}' to use as a backbone.", nearest(name, timm.list_models()))
    wanted = [2 ** (stage + 1) for stage in stages]
    indices = _pyramid_indices(name, wanted)
    try:
        network = timm.create_model(
            name,
            pretrained=pretrained,
            features_only=True,
            out_indices=indices,
            in_chans=in_chans,
            **settings,
        )
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise
        raise MissingResource(
            f"The ImageNet weights of the backbone '{name}' cannot be fetched ({type(error).__name__}).",
            "Start from random weights with backbone_pretrained=False.",
        ) from error
    found: Any = network.feature_info
    levels = [Stage(int(i["num_chs"]), int(i["reduction"]), str(i["module"])) for i in found.get_dicts()]
    return network, levels


def _pyramid_indices(name: str, wanted: Sequence[int]) -> tuple[int, ...]:
    """Which of a network's feature maps have the wanted reductions; the last one where several share one."""
    try:
        with torch.device("meta"):
            probe = timm.create_model(name, pretrained=False)
        offered_by_probe: Any = probe.feature_info
        reductions = [int(info["reduction"]) for info in offered_by_probe]
    except (AttributeError, TypeError, KeyError):
        reductions = []
    if any(step not in reductions for step in wanted) or not _gives_maps(probe):
        offered = ", ".join(str(step) for step in reductions) or "none"
        raise InvalidInput(
            f"The backbone '{name}' gives no feature maps at the reductions {', '.join(map(str, wanted))} "
            f"(it offers: {offered}).",
            "Choose a convolutional network such as resnet18 or convnext_tiny, or other stages.",
        )
    last = {step: index for index, step in enumerate(reductions)}
    return tuple(last[step] for step in wanted)


def _gives_maps(network: nn.Module) -> bool:
    """Whether a network's features come as (B, C, H, W) maps."""
    return getattr(network, "output_fmt", "NCHW") == "NCHW"

"""MSHT's entry points in timm: `timm.create_model("msht_resnet50")` and `timm.create_model("msht_small")`."""

from __future__ import annotations

from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model

from msht.network.hybrid import MSHT
from msht.network.published import adapt_state_dict

__all__ = ["MSHT", "msht_resnet50", "msht_small"]

_DEFAULT = {
    "url": "",
    "num_classes": 1000,
    "input_size": (3, 224, 224),
    "fixed_input_size": True,
    "crop_pct": 1.0,
    "interpolation": "bicubic",
    "mean": (0.0, 0.0, 0.0),
    "std": (1.0, 1.0, 1.0),
    "first_conv": "backbone.conv1",
    "classifier": "head",
    "license": "apache-2.0",
    "paper_ids": "arXiv:2112.13513",
    "paper_name": "Multi-stage Hybrid Transformer",
}

default_cfgs = generate_default_cfgs(
    {
        "msht_resnet50": _DEFAULT,
        "msht_small": {
            **_DEFAULT,
            "input_size": (3, 128, 128),
            "first_conv": "backbone.conv1.0",
            "num_classes": 2,
        },
    }
)


def _create_msht(variant: str, pretrained: bool, **settings: Any) -> MSHT:
    return build_model_with_cfg(
        MSHT,
        variant,
        pretrained,
        pretrained_filter_fn=adapt_state_dict,
        feature_cfg={"out_indices": (0, 1, 2, 3), "feature_cls": "getter"},
        **settings,
    )


@register_model
def msht_resnet50(pretrained: bool = False, **kwargs: Any) -> MSHT:
    """The MSHT of the paper (Hybrid2): ResNet-50, four decoders of width 768, SimAM."""
    return _create_msht("msht_resnet50", pretrained, **kwargs)


@register_model
def msht_small(pretrained: bool = False, **kwargs: Any) -> MSHT:
    """A small MSHT for CPUs, trained from random weights: narrow ResNet-10, decoders of width 128."""
    settings: dict[str, Any] = {
        "backbone": "resnet10t",
        "backbone_args": {"channels": (32, 64, 128, 256), "stem_width": 16},
        "embed_dim": 128,
        "num_heads": 4,
        "mlp_ratio": 2.0,
        "class_token": False,
        "global_pool": "avg",
        "zero_init_residual": True,
    }
    return _create_msht("msht_small", pretrained, **{**settings, **kwargs})

"""MSHT, the Multi-stage Hybrid Transformer, and its entry points in timm.

A convolutional backbone gives a pyramid of feature maps. The coarsest becomes a sequence of tokens; every stage,
from fine to coarse, guides one decoder block through its Focus block. The variants of the paper are settings of
this one class.

Source: Zhang et al. (2021), arXiv 2112.13513.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from timm.layers import resample_abs_pos_embed, trunc_normal_
from timm.models import build_model_with_cfg, checkpoint, generate_default_cfgs, register_model
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from msht.errors import InvalidInput
from msht.network.backbone import PUBLISHED_BACKBONE, create_backbone
from msht.network.decoder import DecoderBlock, PlainBlock
from msht.network.focus import FocusBlock, PatchEmbedding
from msht.network.naming import nearest
from msht.network.published import adapt_state_dict

POOLS = ("token", "avg", "max", "")
"""Ways to make one vector of the tokens: the first one, their mean, their maximum, or not at all."""


class MSHT(nn.Module):
    """Multi-stage Hybrid Transformer: images (B, in_chans, H, W) to logits (B, num_classes).

    Args:
        img_size: edge of the images in pixels, or (height, width); a multiple of the coarsest stage's stride.
        in_chans: channels of the images.
        num_classes: width of the head; 0 for none.
        global_pool: "token" (class token, or the first token where there is none), "avg", "max" or "".
        backbone: `resnet50_published`, or the timm name of any convolutional network.
        backbone_pretrained: whether to fetch the backbone's ImageNet weights from the hub.
        backbone_args: further settings of the backbone for timm's builder.
        stages: pyramid levels that are used, ascending; stage i has one position per 2^(i + 1) pixels.
        focus: whether Focus blocks guide decoders; without, plain blocks refine the coarsest stage alone.
        depth: number of plain blocks where there is no focus (default 8).
        embed_dim: width C of the tokens.
        num_heads: attention heads.
        mlp_ratio: hidden width of an FFN as a multiple of `embed_dim`.
        qkv_bias: whether query, key and value projections have a bias.
        attention: attention module before pooling and embedding: "simam", "se", "cbam" or "none".
        class_token: whether a learned token stands before the image's tokens.
        position_embedding: whether learned positions are added to every sequence.
        drop_rate: dropout before the head.
        pos_drop_rate: dropout of the embedded tokens.
        proj_drop_rate: dropout after projections.
        attn_drop_rate: dropout of attention weights.
        drop_path_rate: chance of leaving a residual branch out, rising to this value at the last block.
        zero_init_residual: start every residual branch of the blocks at zero.
        dynamic_img_size: take images of other sizes too, resampling the positions for each.

    Raises:
        InvalidInput: if a setting is unknown, or the settings do not fit together.
    """

    def __init__(
        self,
        *,
        img_size: int | Sequence[int] = 224,
        in_chans: int = 3,
        num_classes: int = 1000,
        global_pool: str = "token",
        backbone: str = PUBLISHED_BACKBONE,
        backbone_pretrained: bool = False,
        backbone_args: dict[str, Any] | None = None,
        stages: Sequence[int] = (1, 2, 3, 4),
        focus: bool = True,
        depth: int | None = None,
        embed_dim: int = 768,
        num_heads: int = 8,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        attention: str = "simam",
        class_token: bool = True,
        position_embedding: bool = True,
        drop_rate: float = 0.0,
        pos_drop_rate: float = 0.0,
        proj_drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        zero_init_residual: bool = False,
        dynamic_img_size: bool = False,
    ) -> None:
        super().__init__()
        _check_settings(embed_dim, num_heads, stages, global_pool)
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.global_pool = global_pool
        self.num_features = self.head_hidden_size = self.embed_dim = embed_dim
        self.num_prefix_tokens = 1 if class_token else 0
        self.dynamic_img_size = dynamic_img_size
        self.grad_checkpointing = False

        self.backbone, levels = create_backbone(
            backbone,
            stages=stages,
            in_chans=in_chans,
            pretrained=backbone_pretrained,
            **(backbone_args or {}),
        )
        self.stride = levels[-1].reduction
        self.img_size = _checked_size(img_size, self.stride)
        self.grid_size = (self.img_size[0] // self.stride, self.img_size[1] // self.stride)
        tokens = self.grid_size[0] * self.grid_size[1] + self.num_prefix_tokens

        self.patch_embed = PatchEmbedding(levels[-1].channels, embed_dim, attention)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim)) if class_token else None
        self.pos_embed = nn.Parameter(torch.zeros(1, tokens, embed_dim)) if position_embedding else None
        self.pos_drop = nn.Dropout(pos_drop_rate)
        self.focus = nn.ModuleList(
            FocusBlock(level.channels, embed_dim, self.stride // level.reduction, attention)
            for level in (levels if focus else ())
        )
        blocks = len(levels) if focus else (depth or 8)
        block = DecoderBlock if focus else PlainBlock
        self.decoders = nn.ModuleList(
            block(
                embed_dim,
                num_heads,
                mlp_ratio=mlp_ratio,
                qkv_bias=qkv_bias,
                proj_drop=proj_drop_rate,
                attn_drop=attn_drop_rate,
                drop_path=drop_path_rate * index / max(blocks - 1, 1),
            )
            for index in range(blocks)
        )
        self.norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self.head_drop = nn.Dropout(drop_rate)
        self.head: nn.Module = nn.Linear(embed_dim, num_classes) if num_classes > 0 else nn.Identity()

        self.feature_info = [
            {"num_chs": level.channels, "reduction": level.reduction, "module": f"backbone.{level.module}"}
            for level in levels
        ] + [
            {"num_chs": embed_dim, "reduction": self.stride, "module": f"decoders.{index}"} for index in range(blocks)
        ]
        self._stage_modules = [f"backbone.{self._module_in_backbone(level.module)}" for level in levels]
        self.init_weights(zero_init_residual=zero_init_residual)

    def _module_in_backbone(self, path: str) -> str:
        """Dotted path of a stage inside the feature network, which flattens some names."""
        known = {name for name, _ in self.backbone.named_modules()}
        return next((name for name in (path, path.replace(".", "_")) if name in known), path)

    def init_weights(self, *, zero_init_residual: bool = False) -> None:
        """Draw what the backbone does not bring: truncated normals of 0.02 for tokens and linear layers."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear) and not name.startswith("backbone."):
                trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for parameter in (self.cls_token, self.pos_embed):
            if parameter is not None:
                trunc_normal_(parameter, std=0.02)
        if zero_init_residual:
            for block in self.decoders:
                for layer in block.residual_outputs():
                    nn.init.zeros_(layer.weight)

    @torch.jit.ignore
    def no_weight_decay(self) -> set[str]:
        """Parameters that an optimiser should not shrink."""
        return {"cls_token", "pos_embed"}

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns that sort parameters by depth, for layer-wise learning rates: stem, stages, blocks, head."""
        fine = r"^backbone\.(?:layer|stages?|blocks|features)[._]?(\d+)"
        return {
            "stem": r"^cls_token|^pos_embed|^backbone\.(?!layer|stages?|blocks|features)",
            "blocks": [
                (fine + (r"" if coarse else r"(?:\.(\d+))?"), None),
                (r"^patch_embed|^focus", (9998,)),
                (r"^decoders\.(\d+)", (9999,)) if coarse else (r"^decoders\.(\d+)\.()", (9999,)),
                (r"^norm", (99999,)),
            ],
        }

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade time for memory in training: recompute activations of stages and blocks when going back."""
        self.grad_checkpointing = enable
        if hasattr(self.backbone, "set_grad_checkpointing"):
            self.backbone.set_grad_checkpointing(enable)

    @torch.jit.ignore
    def get_classifier(self) -> nn.Module:
        """The linear head."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the head, freshly drawn, and the pooling where one is given."""
        if global_pool is not None:
            _check_pool(global_pool)
            self.global_pool = global_pool
        self.num_classes = num_classes
        reference = self.norm.weight
        self.head = nn.Identity()
        if num_classes > 0:
            head = nn.Linear(self.embed_dim, num_classes, device=reference.device, dtype=reference.dtype)
            trunc_normal_(head.weight, std=0.02)
            nn.init.zeros_(head.bias)
            self.head = head

    @torch.jit.ignore
    def set_input_size(self, img_size: int | Sequence[int]) -> None:
        """Change the size of the images, resampling the positions to the new token grid.

        Raises:
            InvalidInput: if it is not a multiple of the coarsest stage's stride.
        """
        self.img_size = _checked_size(img_size, self.stride)
        grid = (self.img_size[0] // self.stride, self.img_size[1] // self.stride)
        if self.pos_embed is not None and grid != self.grid_size:
            with torch.no_grad():
                self.pos_embed = nn.Parameter(self._positions(grid).clone())
        self.grid_size = grid

    @property
    def explanation_layers(self) -> dict[str, str]:
        """Public names of the layers that can be explained, with their dotted paths."""
        layers = {f"encoder_{index}": path for index, path in enumerate(self._stage_modules, start=1)}
        layers |= {f"decoder_{index + 1}": f"decoders.{index}.norm1" for index in range(len(self.decoders))}
        if self.global_pool == "avg":
            layers["norm"] = "norm"
        return layers

    @property
    def default_explanation_layer(self) -> str:
        """The layer to explain by unless another is named.

        With a class token it is the paper's: the LayerNorm after the last decoder's MHSA. The layers behind it
        reach the class token only through attention, so their patch tokens get little gradient or none. With mean
        pooling every token of the last LayerNorm feeds the logits directly.
        """
        return "norm" if self.global_pool == "avg" else f"decoder_{len(self.decoders)}"

    def _positions(self, grid: tuple[int, int]) -> Tensor:
        """Positions (1, N, C) for a token grid."""
        assert self.pos_embed is not None
        if grid == self.grid_size:
            return self.pos_embed
        return resample_abs_pos_embed(
            self.pos_embed,
            new_size=list(grid),
            old_size=list(self.grid_size),
            num_prefix_tokens=self.num_prefix_tokens,
        )

    def _check_image_size(self, x: Tensor) -> None:
        height, width = x.shape[-2:]
        if self.dynamic_img_size:
            _checked_size((height, width), self.stride)
        elif (height, width) != self.img_size:
            raise InvalidInput(
                f"The images are {height} x {width} pixels, but this network takes "
                f"{self.img_size[0]} x {self.img_size[1]}.",
                "Resize the images, or call set_input_size on the network.",
            )

    def _sequence(self, tokens: Tensor, positions: Tensor | None) -> Tensor:
        """Put the class token before image tokens (B, N, C) and add the positions, with one copy at most."""
        if self.cls_token is None:
            return tokens if positions is None else tokens + positions
        prefix = self.cls_token
        if positions is not None:
            prefix = prefix + positions[:, :1]
            tokens = tokens + positions[:, 1:]
        return torch.cat((prefix.expand(tokens.shape[0], -1, -1).to(tokens.dtype), tokens), dim=1)

    def _refine(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Tokens (B, N, C) after every block, from the stages' maps."""
        grid = (features[-1].shape[-2], features[-1].shape[-1])
        positions = None if self.pos_embed is None else self._positions(grid)
        x = self.pos_drop(self._sequence(self.patch_embed(features[-1]), positions))
        outputs = []
        for index, block in enumerate(self.decoders):
            guides = ()
            if self.focus:
                guides = tuple(self._sequence(path, positions) for path in self.focus[index](features[index]))
            if self.grad_checkpointing and not torch.jit.is_scripting():
                x = checkpoint(block, x, *guides)
            else:
                x = block(x, *guides)
            outputs.append(x)
        return outputs

    def forward_features(self, x: Tensor) -> Tensor:
        """Normalised tokens (B, N, C) of images (B, in_chans, H, W); the class token, if any, comes first."""
        self._check_image_size(x)
        return self.norm(self._refine(self.backbone(x))[-1])

    def pool(self, x: Tensor) -> Tensor:
        """One vector (B, C) from normalised tokens (B, N, C)."""
        if self.global_pool == "token":
            return x[:, 0]
        if self.global_pool == "avg":
            return x[:, self.num_prefix_tokens :].mean(dim=1)
        if self.global_pool == "max":
            return x[:, self.num_prefix_tokens :].amax(dim=1)
        return x

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits (B, num_classes) from normalised tokens; with `pre_logits`, the pooled features (B, C)."""
        x = self.head_drop(self.pool(x))
        return x if pre_logits else self.head(x)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, num_classes) of images (B, in_chans, H, W)."""
        return self.forward_head(self.forward_features(x))


def _checked_size(img_size: int | Sequence[int], stride: int) -> tuple[int, int]:
    """Height and width of images, after checking that they divide into tokens."""
    height, width = (img_size, img_size) if isinstance(img_size, int) else (int(img_size[0]), int(img_size[1]))
    if height < stride or width < stride or height % stride or width % stride:
        raise InvalidInput(
            f"An image of {height} x {width} pixels does not divide into tokens of {stride} x {stride}.",
            f"Choose edges that are multiples of {stride}.",
        )
    return height, width


def _check_pool(global_pool: str) -> None:
    if global_pool not in POOLS:
        raise InvalidInput(
            f"The pooling '{global_pool}' is not one of {', '.join(repr(pool) for pool in POOLS)}.",
            nearest(global_pool, POOLS),
        )


def _check_settings(embed_dim: int, num_heads: int, stages: Sequence[int], global_pool: str) -> None:
    _check_pool(global_pool)
    if embed_dim % num_heads:
        raise InvalidInput(
            f"An embedding of {embed_dim} does not divide into {num_heads} heads.",
            "Choose embed_dim as a multiple of num_heads.",
        )
    if not stages or list(stages) != sorted(set(stages)) or stages[0] < 1:
        raise InvalidInput(
            f"The stages {list(stages)} are not ascending numbers from 1.", "Give for example [1, 2, 3, 4]."
        )


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
        "msht_small": {**_DEFAULT, "input_size": (3, 128, 128), "first_conv": "backbone.conv1.0", "num_classes": 2},
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

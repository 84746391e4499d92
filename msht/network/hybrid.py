"""MSHT, the Multi-stage Hybrid Transformer.

A convolutional backbone gives a pyramid of feature maps. The coarsest becomes a sequence of tokens; every
stage, from fine to coarse, guides one decoder block through its Focus block. The variants of the paper are
settings of this one class.

Source: Zhang et al. (2021), arXiv 2112.13513.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.layers.weight_init import trunc_normal_
from timm.models import checkpoint
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from msht.errors import InvalidInput
from msht.network.backbone import PUBLISHED_BACKBONE, create_backbone
from msht.network.checks import check_pool, check_settings, checked_size
from msht.network.decoder import DecoderBlock, PlainBlock
from msht.network.focus import PARAMETER_FREE, FocusBlock, PatchEmbedding, attention_module, to_map


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
        check_settings(embed_dim, num_heads, stages, global_pool)
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
        self.img_size = checked_size(img_size, self.stride)
        self.grid_size = (self.img_size[0] // self.stride, self.img_size[1] // self.stride)
        tokens = self.grid_size[0] * self.grid_size[1] + self.num_prefix_tokens

        # A module without parameters is the same everywhere: each map passes it once, the last serves two.
        shared = attention in PARAMETER_FREE
        self.attend = attention_module(attention if shared else "none", 0)
        own = "none" if shared else attention
        self.patch_embed = PatchEmbedding(levels[-1].channels, embed_dim, own)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim)) if class_token else None
        self.pos_embed = nn.Parameter(torch.zeros(1, tokens, embed_dim)) if position_embedding else None
        self.pos_drop = nn.Dropout(pos_drop_rate)
        self.focus = nn.ModuleList(
            FocusBlock(level.channels, embed_dim, self.stride // level.reduction, own)
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
        self.norm: nn.Module = nn.LayerNorm(embed_dim, eps=1e-6)
        self.head_drop = nn.Dropout(drop_rate)
        self.head: nn.Module = nn.Linear(embed_dim, num_classes) if num_classes > 0 else nn.Identity()

        self.feature_info = [
            {"num_chs": level.channels, "reduction": level.reduction, "module": f"backbone.{level.module}"}
            for level in levels
        ] + [{"num_chs": embed_dim, "reduction": self.stride, "module": f"decoders.{index}"} for index in range(blocks)]
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
                for layer in block.residual_outputs():  # type: ignore[operator]
                    nn.init.zeros_(layer.weight)

    def no_weight_decay(self) -> set[str]:
        """Parameters that an optimiser should not shrink."""
        return {"cls_token", "pos_embed"}

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns that sort parameters by depth, for layer-wise learning rates."""
        stage = r"^backbone\.(?:layers?|stages?|blocks|features)[._]?(\d+)"
        return {
            "stem": r"^cls_token|^pos_embed|^backbone\.(?!(?:layers?|stages?|blocks|features)[._]?\d)",
            "stages": [(stage, None)] if coarse else [(stage + r"\.(\d+)\.", None), (stage, None)],
            "embedding": r"^patch_embed",
            "decoders": [(r"^focus\.(\d+)", None), (r"^decoders\.(\d+)", None)],
        }

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade time for memory in training: recompute activations of stages and blocks when going back."""
        self.grad_checkpointing = enable
        switch = getattr(self.backbone, "set_grad_checkpointing", None)
        if callable(switch):
            switch(enable)

    def get_classifier(self) -> nn.Module:
        """The linear head."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the head, freshly drawn, and the pooling where one is given."""
        if global_pool is not None:
            check_pool(global_pool)
            self.global_pool = global_pool
        self.num_classes = num_classes
        reference = self.patch_embed.proj.weight
        self.head = nn.Identity()
        if num_classes > 0:
            head = nn.Linear(self.embed_dim, num_classes, device=reference.device, dtype=reference.dtype)
            trunc_normal_(head.weight, std=0.02)
            nn.init.zeros_(head.bias)
            self.head = head

    def set_input_size(self, img_size: int | Sequence[int]) -> None:
        """Change the size of the images, resampling the positions to the new token grid.

        Raises:
            InvalidInput: if it is not a multiple of the coarsest stage's stride.
        """
        self.img_size = checked_size(img_size, self.stride)
        grid = (self.img_size[0] // self.stride, self.img_size[1] // self.stride)
        if self.pos_embed is not None and grid != self.grid_size:
            with torch.no_grad():
                self.pos_embed = nn.Parameter(self._positions(grid).clone())
        self.grid_size = grid

    @property
    def explanation_layers(self) -> dict[str, str]:
        """Public names of the layers that can be explained, with their dotted paths."""
        layers = {f"encoder_{index}": path for index, path in enumerate(self._stage_modules, start=1)}
        before = "norm1" if len(self.focus) else "norm0"
        layers |= {f"decoder_{index + 1}": f"decoders.{index}.{before}" for index in range(len(self.decoders))}
        if self.global_pool == "avg":
            layers["norm"] = "norm"
        return layers

    @property
    def default_explanation_layer(self) -> str:
        """The layer to explain by unless another is named.

        With a class token it is the paper's: the LayerNorm after the last decoder's MHSA (in a plain block,
        before it). Behind the last attention, patch tokens no longer reach the class token and get no gradient.
        With mean pooling every token of the last LayerNorm feeds the logits directly.
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
            checked_size((height, width), self.stride)
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
        prefix: Tensor = self.cls_token
        if positions is not None:
            prefix = prefix + positions[:, :1]
            tokens = tokens + positions[:, 1:]
        return torch.cat((prefix.expand(tokens.shape[0], -1, -1).to(tokens.dtype), tokens), dim=1)

    def _refine(self, features: Sequence[Tensor], last: int | None = None) -> list[Tensor]:
        """Tokens (B, N, C) after every block, up to block `last`, from the stages' maps."""
        grid = (features[-1].shape[-2], features[-1].shape[-1])
        positions = None if self.pos_embed is None else self._positions(grid)
        maps = [self.attend(feature) for feature in (features if len(self.focus) else features[-1:])]
        x = self.pos_drop(self._sequence(self.patch_embed(maps[-1]), positions))
        outputs = []
        for index, block in enumerate(self.decoders[:last]):
            paths = self.focus[index](maps[index]) if len(self.focus) else ()
            guides = [self._sequence(path, positions) for path in paths]
            x = checkpoint(block, x, *guides) if self.grad_checkpointing else block(x, *guides)
            outputs.append(x)
        return outputs

    def forward_features(self, x: Tensor) -> Tensor:
        """Normalised tokens (B, N, C) of images (B, in_chans, H, W); the class token, if any, comes first."""
        self._check_image_size(x)
        return self.norm(self._refine(self.backbone(x))[-1])

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Feature maps on the way: the backbone's stages, then what each block makes of the tokens.

        Args:
            x: images (B, in_chans, H, W).
            indices: which of `feature_info` to return; the last so many for a number; all for None.
            norm: whether the last LayerNorm is applied to the blocks' tokens.
            stop_early: whether blocks behind the last wanted one may be left out.
            output_fmt: "NCHW", the only one here, as the stages differ in size.
            intermediates_only: leave the normalised tokens out of the answer.

        Returns:
            The maps, and before them, unless left out, what `forward_features` gives.
        """
        if output_fmt != "NCHW":
            raise InvalidInput(f"The output format '{output_fmt}' is not supported.", "Ask for 'NCHW'.")
        self._check_image_size(x)
        stages = list(self.backbone(x))
        wanted, deepest = self._wanted(indices)
        blocks = max(deepest + 1 - len(stages), 0) if stop_early else len(self.decoders)
        tokens = self._refine(stages, last=blocks) if blocks else []
        rows, columns = stages[-1].shape[-2:]
        maps = stages + [
            to_map((self.norm(block) if norm else block)[:, self.num_prefix_tokens :], rows, columns)
            for block in tokens
        ]
        found = [maps[index] for index in wanted]
        return found if intermediates_only else (self.norm(tokens[-1]) if tokens else stages[-1], found)

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop blocks, norm and head that the wanted intermediates do not need; gives the wanted indices."""
        wanted, deepest = self._wanted(indices)
        kept = max(deepest + 1 - len(self._stage_modules), 0)
        self.decoders = self.decoders[:kept]
        if prune_norm:
            self.norm = nn.Identity()
        if prune_head:
            self.reset_classifier(0, "")
        return wanted

    def _wanted(self, indices: int | Sequence[int] | None) -> tuple[list[int], int]:
        """Indices into `feature_info`, counted from its start, and the largest of them."""
        listed = indices if indices is None or isinstance(indices, int) else list(indices)
        wanted, deepest = feature_take_indices(len(self.feature_info), listed)
        return list(wanted), deepest

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

"""The blocks that refine tokens: MSHT's decoder, and the plain transformer block of the direct stack."""

from __future__ import annotations

from timm.layers.drop import DropPath
from timm.layers.mlp import Mlp
from torch import Tensor, nn

from msht.network.attention import MultiHeadGuidedAttention, MultiHeadSelfAttention


class DecoderBlock(nn.Module):
    """MHSA, FFN, MHGA guided by a Focus block, FFN: each after a LayerNorm, each added to its input.

    Args:
        dim: width C of the tokens.
        num_heads: attention heads.
        mlp_ratio: hidden width of an FFN as a multiple of `dim`.
        qkv_bias: whether query, key and value projections have a bias.
        proj_drop: dropout after projections while training.
        attn_drop: dropout of attention weights while training.
        drop_path: chance of leaving a residual branch out while training.

    Source: Zhang et al. (2021), arXiv 2112.13513.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        proj_drop: float = 0.0,
        attn_drop: float = 0.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        hidden = int(dim * mlp_ratio)
        drops = {"attn_drop": attn_drop, "proj_drop": proj_drop}
        self.norm0 = nn.LayerNorm(dim, eps=1e-6)
        self.mhsa = MultiHeadSelfAttention(dim, num_heads, qkv_bias=qkv_bias, **drops)
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.ffn1 = Mlp(dim, hidden, drop=proj_drop)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mhga = MultiHeadGuidedAttention(dim, num_heads, qkv_bias=qkv_bias, **drops)
        self.norm3 = nn.LayerNorm(dim, eps=1e-6)
        self.ffn2 = Mlp(dim, hidden, drop=proj_drop)
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def forward(self, x: Tensor, q: Tensor, k: Tensor) -> Tensor:
        """Refine tokens `x` under the guidance of `q` and `k`; all are (B, N, C)."""
        x = x + self.drop_path(self.mhsa(self.norm0(x)))
        x = x + self.drop_path(self.ffn1(self.norm1(x)))
        x = x + self.drop_path(self.mhga(q, k, self.norm2(x)))
        return x + self.drop_path(self.ffn2(self.norm3(x)))

    def residual_outputs(self) -> list[nn.Module]:
        """The last layer of each residual branch, which initialisation may set to zero."""
        return [self.mhsa.proj, self.ffn1.fc2, self.mhga.proj, self.ffn2.fc2]


class PlainBlock(nn.Module):
    """The vision transformer's block, without guidance: MHSA and FFN, pre-norm and residual.

    Args:
        dim: width C of the tokens.
        num_heads: attention heads.
        mlp_ratio: hidden width of the FFN as a multiple of `dim`.
        qkv_bias: whether query, key and value projections have a bias.
        proj_drop: dropout after projections while training.
        attn_drop: dropout of attention weights while training.
        drop_path: chance of leaving a residual branch out while training.

    Source: Dosovitskiy et al. (2021), arXiv 2010.11929.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        proj_drop: float = 0.0,
        attn_drop: float = 0.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm0 = nn.LayerNorm(dim, eps=1e-6)
        self.mhsa = MultiHeadSelfAttention(dim, num_heads, qkv_bias=qkv_bias, attn_drop=attn_drop, proj_drop=proj_drop)
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.ffn1 = Mlp(dim, int(dim * mlp_ratio), drop=proj_drop)
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Refine tokens (B, N, C); same shape back."""
        x = x + self.drop_path(self.mhsa(self.norm0(x)))
        return x + self.drop_path(self.ffn1(self.norm1(x)))

    def residual_outputs(self) -> list[nn.Module]:
        """The last layer of each residual branch, which initialisation may set to zero."""
        return [self.mhsa.proj, self.ffn1.fc2]

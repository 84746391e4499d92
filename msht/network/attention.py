"""Multi-head attention: of a sequence with itself (MHSA), and guided by the Focus blocks (MHGA).

Both use PyTorch's fused `scaled_dot_product_attention`; `attention_map` computes the same weights explicitly,
for explanation, where the fused kernel gives none back.

Source: Vaswani et al. (2017), arXiv 1706.03762; MHGA: Zhang et al. (2021), arXiv 2112.13513.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class _Attention(nn.Module):
    """What both kinds share: heads, scale, dropout and the projection of the result.

    Args:
        dim: width C of the tokens; a multiple of `num_heads`.
        num_heads: heads H.
        attn_drop: dropout of the attention weights while training.
        proj_drop: dropout of the result while training.
    """

    def __init__(self, dim: int, num_heads: int, *, attn_drop: float, proj_drop: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.scale = self.head_dim**-0.5
        self.attn_drop = attn_drop
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)

    def _heads(self, tokens: Tensor) -> Tensor:
        """Split tokens (B, N, C) into heads (B, H, N, C / H), without a copy."""
        return tokens.unflatten(2, (self.num_heads, self.head_dim)).transpose(1, 2)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend with heads (B, H, N, C / H); the projected result is (B, N, C)."""
        dropout = self.attn_drop if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=self.scale)
        return self.proj_drop(self.proj(mixed.transpose(1, 2).flatten(2)))

    def _weights(self, q: Tensor, k: Tensor) -> Tensor:
        """Attention weights (B, H, N, N) of heads `q` and `k`; each row sums to one."""
        return torch.softmax((q * self.scale) @ k.transpose(-2, -1), dim=-1)


class MultiHeadSelfAttention(_Attention):
    """MHSA: every token attends to every token of its own sequence.

    Args:
        dim: width C of the tokens; a multiple of `num_heads`.
        num_heads: heads H.
        qkv_bias: whether query, key and value projections have a bias.
        attn_drop: dropout of the attention weights while training.
        proj_drop: dropout of the result while training.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        qkv_bias: bool = True,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
    ) -> None:
        super().__init__(dim, num_heads, attn_drop=attn_drop, proj_drop=proj_drop)
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = self.qkv(x).chunk(3, dim=2)
        return self._heads(q), self._heads(k), self._heads(v)

    def forward(self, x: Tensor) -> Tensor:
        """Mix tokens (B, N, C) among themselves; same shape back."""
        return self._attend(*self._split(x))

    def attention_map(self, x: Tensor) -> Tensor:
        """Attention weights (B, H, N, N) for tokens (B, N, C), computed explicitly."""
        q, k, _ = self._split(x)
        return self._weights(q, k)


class MultiHeadGuidedAttention(_Attention):
    """MHGA: queries and keys come from a Focus block, values from the tokens.

    Args:
        dim: width C of the tokens; a multiple of `num_heads`.
        num_heads: heads H.
        qkv_bias: whether query, key and value projections have a bias.
        attn_drop: dropout of the attention weights while training.
        proj_drop: dropout of the result while training.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        qkv_bias: bool = True,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
    ) -> None:
        super().__init__(dim, num_heads, attn_drop=attn_drop, proj_drop=proj_drop)
        self.q = nn.Linear(dim, dim, bias=qkv_bias)
        self.k = nn.Linear(dim, dim, bias=qkv_bias)
        self.v = nn.Linear(dim, dim, bias=qkv_bias)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Mix `v` by the likeness of `q` to `k`; all three and the result are (B, N, C)."""
        return self._attend(self._heads(self.q(q)), self._heads(self.k(k)), self._heads(self.v(v)))

    def attention_map(self, q: Tensor, k: Tensor) -> Tensor:
        """Attention weights (B, H, N, N) for guiding sequences (B, N, C), computed explicitly."""
        return self._weights(self._heads(self.q(q)), self._heads(self.k(k)))

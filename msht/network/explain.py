"""Which layers of a network can be explained, and how their output folds into a map."""

from __future__ import annotations

from torch import nn


def explanation_layers(model: nn.Module) -> dict[str, str]:
    """Public names of the layers that can be explained, with their dotted paths.

    For MSHT, `decoder_i` is the LayerNorm after MHSA of decoder i and `encoder_i` the last block of backbone stage
    i. Other networks name their last feature map.
    """
    named = getattr(model, "explanation_layers", None)
    if isinstance(named, dict):
        return dict(named)
    return {"last": str(model.feature_info[-1]["module"])}  # type: ignore[index,union-attr]

"""Which layers of a network can be explained."""

from __future__ import annotations

from typing import Any

from torch import nn

from msht.network.counterparts import counterpart


def explanation_layers(model: nn.Module) -> dict[str, str]:
    """Public names of the layers that can be explained, with their dotted paths; the best one comes last.

    For MSHT, `decoder_i` is the LayerNorm after MHSA of decoder i, `encoder_i` the last block of backbone
    stage i, and `norm`, where tokens are averaged, the last LayerNorm. A counterpart has the `last` layer of
    its row in the table; any other timm network the last that its `feature_info` names.
    """
    named = getattr(model, "explanation_layers", None)
    if isinstance(named, dict):
        return dict(named)
    config: Any = getattr(model, "pretrained_cfg", None) or {}
    row = counterpart(str(config.get("architecture") or ""))
    if row is not None:
        return {"last": row.layer}
    known: Any = getattr(model, "feature_info", None)
    if known:
        last = str(known[-1]["module"])
        # After a transformer's last block only the class token is read: the patches have no gradient there.
        by_token = getattr(model, "num_prefix_tokens", 0) and hasattr(model.get_submodule(last), "norm1")
        return {"last": f"{last}.norm1" if by_token else last}
    return {}

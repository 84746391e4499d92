"""The names that the published code gives to its parameters, and how they map to ours, both ways.

The map is by rule, in both directions, for every variant: the decoder form (`dec1.…`, `Fo1.…`) and the direct
stack (`blocks.0.…`). Projections are 1x1 convolutions there and linear layers here, so two dimensions of one
come and go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor, nn

_ATTENTION_MODULE = {
    "attention.reduce": ("fc.0", "ChannelGate.mlp.1"),
    "attention.expand": ("fc.2", "ChannelGate.mlp.3"),
    "attention.spatial": ("", "SpatialGate.spatial.conv"),
    "attention.spatial_norm": ("", "SpatialGate.spatial.bn"),
}
_DECODER = {
    "mhsa": "attn",
    "ffn1": "FFN1",
    "ffn2": "FFN2",
    "mhga.q": "Cross_attn.qT",
    "mhga.k": "Cross_attn.kT",
    "mhga.v": "Cross_attn.vT",
    "mhga": "Cross_attn",
}
_PLAIN = {"norm0": "norm1", "norm1": "norm2", "mhsa": "attn", "ffn1": "mlp"}
_CONVOLUTIONS = re.compile(r"^(patch_embed\.proj|Fo\d+\.(gaze|glance)_proj)\.weight$")


def published_name(name: str, *, focus: bool, cbam: bool) -> str:
    """The published name of one of our parameters or buffers.

    Args:
        name: its name in `MSHT.state_dict()`.
        focus: whether the network has Focus blocks; without, it is the direct stack.
        cbam: whether its attention module is CBAM (SE otherwise; the other modules have no parameters).
    """
    if name in ("cls_token", "pos_embed"):
        return f"{name}_0" if focus else name
    if name.startswith("backbone."):
        return name if focus else f"patch_embed.{name}"
    if match := re.match(r"^(patch_embed|focus\.\d+)\.(attention\.\w+)\.(.+)$", name):
        room, module, leaf = match.groups()
        return f"{_room(room)}.Attention_module.{_ATTENTION_MODULE[module][cbam]}.{leaf}"
    if match := re.match(r"^(focus\.\d+)\.(.+)$", name):
        return f"{_room(match[1])}.{match[2]}"
    if match := re.match(r"^decoders\.(\d+)\.(.+)$", name):
        block, rest = int(match[1]), match[2]
        table = _DECODER if focus else _PLAIN
        ours = next((known for known in table if rest.startswith(f"{known}.")), "")
        rest = table[ours] + rest[len(ours) :] if ours else rest
        return f"dec{block + 1}.{rest}" if focus else f"blocks.{block}.{rest}"
    return name


def _room(name: str) -> str:
    return f"Fo{int(name.split('.')[1]) + 1}" if name.startswith("focus.") else name


def name_map(model: nn.Module) -> dict[str, str]:
    """Our name to published name, for everything in the state dict of an MSHT."""
    names = list(model.state_dict())
    focus = any(name.startswith("focus.") for name in names)
    cbam = any(".attention.spatial." in name for name in names)
    return {name: published_name(name, focus=focus, cbam=cbam) for name in names}


def from_published(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """State dict under our names, from one under the published names, with what `model` knows of it."""
    own = model.state_dict()
    found = {}
    for ours, theirs in name_map(model).items():
        if theirs in state:
            value = state[theirs]
            if value.ndim == own[ours].ndim + 2 and value.shape[-2:] == (1, 1):
                value = value.flatten(1)
            found[ours] = value
    return found


def to_published(model: nn.Module) -> dict[str, Tensor]:
    """State dict of an MSHT under the published names and shapes, on the CPU."""
    names = name_map(model)
    exported = {}
    for ours, value in model.state_dict().items():
        theirs = names[ours]
        value = value.detach().cpu()
        exported[theirs] = (value[..., None, None] if _CONVOLUTIONS.match(theirs) else value).clone()
    if getattr(model, "cls_token", None) is None and "norm.weight" in exported:
        exported["cls_token_0"] = exported["norm.weight"].new_zeros(1, 1, exported["norm.weight"].shape[0])
    return exported


def without_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Drop the `module.` that DataParallel puts before every name."""
    return {name.removeprefix("module."): value for name, value in state.items()}


def is_published(state: Mapping[str, Any]) -> bool:
    """Whether a state dict carries the published names of either form."""
    names = {name.removeprefix("module.") for name in state}
    return "dec1.norm0.weight" in names or "patch_embed.backbone.conv1.weight" in names


def adapt_state_dict(state: Mapping[str, Any], model: nn.Module) -> dict[str, Tensor]:
    """Make a state dict fit `model`, as timm asks of a loader: names, wrapping, size of the positions."""
    state = without_prefix(state.get("state_dict", state))
    if is_published(state):
        state = from_published(state, model)
    return resample_positions(state, model)


def resample_positions(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Resample the positions of a state dict to the token grid of `model`, where they differ."""
    wanted = getattr(model, "pos_embed", None)
    given = state.get("pos_embed")
    if wanted is None or given is None or given.shape == wanted.shape:
        return state
    prefix = int(model.num_prefix_tokens)  # type: ignore[arg-type]
    resampled = resample_abs_pos_embed(given, new_size=list(model.grid_size), num_prefix_tokens=prefix)  # type: ignore[arg-type]
    return {**state, "pos_embed": resampled}

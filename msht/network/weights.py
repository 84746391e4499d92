"""Reading checkpoints of the published code, and writing networks back in its names.

Only tensors are read: a file that would run code when unpickled is refused unread. The variant is read off
names and shapes; what they cannot tell, the caller says.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from msht.errors import InvalidInput
from msht.files import atomic_path
from msht.network.model import MSHT
from msht.network.published import (
    from_published,
    is_published,
    name_map,
    resample_positions,
    to_published,
    without_prefix,
)

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
_COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class LoadReport:
    """What became of a published checkpoint."""

    settings: dict[str, Any]
    """Arguments with which `timm.create_model("msht_resnet50", **settings)` makes the same network."""
    loaded: tuple[str, ...]
    """Published names that were loaded."""
    resampled: tuple[str, ...] = ()
    """Published names whose values were resampled to another image size."""
    left_out: tuple[str, ...] = ()
    """Published names in the file that the network does not use."""
    drawn: tuple[str, ...] = ()
    """Our names of what the file does not bring, drawn afresh."""
    assumed: tuple[str, ...] = field(default=())
    """What names and shapes cannot tell, in words."""

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} tensors loaded"]
        for names, what in (
            (self.resampled, "resampled"),
            (self.left_out, "left out"),
            (self.drawn, "drawn afresh"),
        ):
            if names:
                parts.append(f"{what}: {', '.join(names)}")
        return "; ".join([*parts, *self.assumed]) + "."


def load_published(
    path: Path,
    *,
    attention: str | None = None,
    img_size: int | None = None,
    num_classes: int | None = None,
) -> MSHT:
    """Make a network, in evaluation mode, from a checkpoint saved by the published code.

    Args:
        path: state dict (`.pth`) or safetensors, with or without the `module.` prefix of DataParallel.
        attention: attention module; needed where the checkpoint was trained with none, since SimAM, which is
            assumed, has no parameters either.
        img_size: edge of the images in pixels; positions are resampled where it differs.
        num_classes: classes wanted; where they differ from the checkpoint's, the head is drawn afresh.

    Raises:
        InvalidInput: if the file is no safe checkpoint of MSHT, or contradicts the arguments.
    """
    return read_published(path, attention=attention, img_size=img_size, num_classes=num_classes)[0]


def read_published(
    path: Path,
    *,
    attention: str | None = None,
    img_size: int | None = None,
    num_classes: int | None = None,
) -> tuple[MSHT, LoadReport]:
    """Do what `load_published` does, and report what was loaded, resampled and left out."""
    path = Path(path)
    state = read_state_dict(path)
    if not is_published(state):
        first = ", ".join(list(state)[:3])
        raise InvalidInput(
            f"{path} is not a checkpoint of the published MSHT (its first tensors: {first}).",
            "Give a state dict saved by the published code; other weights load through timm.",
        )
    settings, assumed = _variant(path, state, attention, img_size)
    classes = state["head.weight"].shape[0] if "head.weight" in state else 0
    settings["num_classes"] = classes if num_classes is None else num_classes
    model = timm.create_model("msht_resnet50", **settings)
    assert isinstance(model, MSHT)
    report = _fill(path, model, state, settings, assumed)
    return model.eval(), report


def save_published(model: MSHT, path: Path) -> None:
    """Write a network in the published names: safetensors by that suffix, a PyTorch state dict otherwise."""
    state = to_published(model)
    with atomic_path(Path(path)) as temporary:
        if temporary.suffix == ".safetensors":
            save_file(state, temporary)
        else:
            torch.save(state, temporary)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint, without the wrapping and the `module.` prefix that training adds.

    Raises:
        InvalidInput: if the file is missing, damaged, holds no tensors, or would run code when read.
    """
    if not path.is_file():
        raise InvalidInput(f"There is no checkpoint {path}.", "Check the path.")
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InvalidInput(
            f"{path} holds more than tensors, and reading it could run code from the file; it was refused.",
            "Save the network's state_dict() with the code that made it, and give that file.",
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, SafetensorError) as error:
        raise InvalidInput(
            f"{path} cannot be read as a checkpoint ({type(error).__name__}).", "Copy or download it again."
        ) from error
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping):
        content = {}
    state = without_prefix({str(name): value for name, value in content.items() if isinstance(value, Tensor)})
    if not state:
        raise InvalidInput(f"{path} holds no tensors by name.", "Give a state dict.")
    return state


def _variant(
    path: Path, state: Mapping[str, Tensor], attention: str | None, img_size: int | None
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Settings of the variant that a published state dict belongs to, and what had to be assumed."""
    focus = "dec1.norm0.weight" in state
    assumed = []
    found = "none"
    if any(".Attention_module.fc." in name for name in state):
        found = "se"
    elif any(".Attention_module.ChannelGate." in name for name in state):
        found = "cbam"
    elif focus:
        found = attention or "simam"
        if attention is None:
            assumed.append("SimAM assumed, as neither it nor the absence of a module shows in the names")
    if attention not in (None, found) or (found in ("se", "cbam") and not focus):
        raise InvalidInput(
            f"{path} was trained with the attention module '{found}', not '{attention}'.",
            f"Leave the attention module out, or give '{found}'.",
        )
    width = int(state["norm.weight"].shape[0]) if "norm.weight" in state else 768
    hidden = state.get("dec1.FFN1.fc1.weight" if focus else "blocks.0.mlp.fc1.weight")
    settings: dict[str, Any] = {"attention": found, "focus": focus, "embed_dim": width}
    settings["mlp_ratio"] = 4.0 if hidden is None else hidden.shape[0] / width
    if focus:
        settings["stages"] = tuple(range(1, 1 + len({name.split(".")[0] for name in state if name.startswith("dec")})))
    else:
        depth = len({name.split(".")[1] for name in state if name.startswith("blocks.")})
        settings |= {"stages": (4,), "depth": depth, "num_heads": 12}
    positions = state.get("pos_embed_0" if focus else "pos_embed")
    settings["position_embedding"] = positions is not None
    edge = 384
    if positions is None:
        assumed += [] if img_size else ["an edge of 384 px assumed, as there are no positions"]
    else:
        tokens = int(positions.shape[1])
        settings["class_token"] = math.isqrt(tokens) ** 2 != tokens
        edge = math.isqrt(tokens) * 2 ** (settings["stages"][-1] + 1)
    settings["img_size"] = edge if img_size is None else img_size
    return settings, tuple(assumed)


def _fill(
    path: Path, model: MSHT, state: dict[str, Tensor], settings: dict[str, Any], assumed: tuple[str, ...]
) -> LoadReport:
    """Put a published state dict into `model`, and say what was done."""
    names = name_map(model)
    own = model.state_dict()
    given = from_published(state, model)
    fitted = resample_positions(given, model)
    resampled = [name for name in fitted if fitted[name] is not given[name]]
    drawn = [name for name in own if name not in fitted and not name.endswith(_COUNTER)]
    for name in ("head.weight", "head.bias"):
        if name in own and name in fitted and fitted[name].shape != own[name].shape:
            del fitted[name]
            drawn.append(name)
    wrong = [name for name, value in fitted.items() if value.shape != own[name].shape]
    missing = [name for name in drawn if not name.startswith("head.")]
    if wrong or missing:
        name = (wrong or missing)[0]
        problem = f"has the shape {tuple(fitted[name].shape)}" if wrong else "is missing"
        raise InvalidInput(
            f"{path} fits no published MSHT: {names[name]} {problem} (expected {tuple(own[name].shape)}).",
            "Give a complete checkpoint of the published code.",
        )
    model.load_state_dict(fitted, strict=False)
    loaded = {names[name] for name in fitted}
    return LoadReport(
        settings=settings,
        loaded=tuple(sorted(loaded)),
        resampled=tuple(names[name] for name in resampled),
        left_out=tuple(sorted(name for name in state if name not in loaded and "num_batches" not in name)),
        drawn=tuple(drawn),
        assumed=assumed,
    )

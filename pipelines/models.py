"""List the networks that can be trained: MSHT and its counterparts."""

from __future__ import annotations

from dataclasses import dataclass

from msht.network.counterparts import COUNTERPARTS, OWN, Counterpart


@dataclass(frozen=True)
class ModelRow:
    """A network, as the list shows it."""

    label: str
    """Name in tables."""
    name: str
    """Name in a recipe, which is timm's."""
    size: int
    """Edge in pixels that it is at home at."""
    parameters: int
    """Learned numbers, with a head of two classes."""
    gmacs: float
    """Multiply-accumulates for one image of that size, in units of 1e9."""
    megabytes: float
    """Size of its weights in single precision, in units of 1e6 bytes."""
    source: str
    """The paper it comes from."""
    in_paper: bool
    """Whether MSHT was published against it."""


def list_models() -> list[ModelRow]:
    """Every network of the table, ours first, then the paper's eleven, then further families."""
    return [_row(entry) for entry in (*OWN, *COUNTERPARTS)]


def _row(entry: Counterpart) -> ModelRow:
    return ModelRow(
        label=entry.label,
        name=entry.name,
        size=entry.size,
        parameters=entry.parameters,
        gmacs=entry.gmacs,
        megabytes=round(entry.parameters * 4 / 1e6, 1),
        source=entry.source,
        in_paper=entry.in_paper,
    )

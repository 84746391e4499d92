"""What the validation report says of the model's settings, in a reader's words and not in Python's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from msht.cohort.splits import Split
from msht.images.preprocessing import Preprocessing
from msht.training.recipe import Recipe, flatten
from pipelines.bundle import architecture_in_words
from pipelines.run_folder import RunFolder
from reports.parts import Fact
from reports.wording import moment

SETTINGS = frozenset(("optimiser", "schedule", "training", "augmentation", "seed"))
"""Parts of a recipe that are printed whole; the others have sections of their own."""


def in_print(value: Any) -> str:
    """A setting as a page prints it: no quotes, brackets or words of a programming language."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{_named(str(key))}: {in_print(one)}" for key, one in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(in_print, value))
    return str(value).replace("-", "\u2212") if isinstance(value, int | float) else str(value)


def time_in_print(text: str) -> str:
    """A stored time as a page prints it: "21 Nov 2026, 14:05 (UTC+01:00)"."""
    time = datetime.fromisoformat(text)
    return moment(time if time.tzinfo else time.astimezone())


def preprocessing_facts(settings: Preprocessing) -> tuple[Fact, ...]:
    """What is done to a field before the network sees it."""
    across, down = settings.crops
    colour = settings.colour
    steps = ["even light"] * colour.even_light + ["white balance"] * colour.white
    steps += [f"{colour.stain.capitalize()} normalisation"] if colour.stain != "none" else []
    part = "the largest centred square" if settings.crop is None else f"a centred square of {settings.crop} px"
    if settings.crops != (1, 1):
        edge = "as large as they can be" if settings.crop is None else f"of {settings.crop} px"
        part = f"{across} × {down} squares {edge}, spread evenly from edge to edge; their logits are averaged"
    scaled = "to 0 to 1"
    if settings.mean is not None and settings.std is not None:
        scaled += f", then less {in_print(settings.mean)} and divided by {in_print(settings.std)} (red, green, blue)"
    scale = settings.microns_per_pixel
    return (
        Fact(name="Colour", value=", ".join(steps) or "as photographed"),
        Fact(name="Part of the field", value=part),
        Fact(name="Input", value=f"{settings.size} × {settings.size} px"),
        Fact(name="Values", value=scaled),
        Fact(name="Scale", value="not stated" if scale is None else f"{scale:g} µm per px"),
    )


def architecture_facts(run: RunFolder, recipe: Recipe, split: Split) -> tuple[Fact, ...]:
    """The network, its size, and what it started from."""
    from msht.bundle import load_network

    network = load_network(run.fold(1))
    parameters = sum(p.numel() for p in network.parameters())
    return (
        Fact(name="Network", value=architecture_in_words(recipe, split.folds)),
        Fact(name="Parameters", value=f"{parameters:,} in each network"),
        Fact(name="Initial weights", value="random" if recipe.network.pretrained is False else "pretrained"),
        *(Fact(name=_named(name), value=in_print(value)) for name, value in recipe.network.options.items()),
    )


def training_settings(recipe: Recipe, state: Mapping[str, Any], training: Mapping[str, Any]) -> tuple[Fact, ...]:
    """How the networks were trained: recipe, time, machine, and every setting."""
    chosen = {
        name: value for name, value in flatten(recipe.model_dump(mode="json")).items() if name.split(".")[0] in SETTINGS
    }
    environment = state["environment"]
    hardware = environment["gpu"] if environment["gpu"] != "none" else f"{environment['processors']} processor cores"
    return (
        Fact(name="Recipe", value=recipe.name),
        Fact(name="Time", value=f"{training['seconds'] / 60:.1f} min for all folds"),
        Fact(name="Hardware", value=hardware),
        *(Fact(name=_named(name.replace(".", ": ")), value=in_print(value)) for name, value in chosen.items()),
    )


def _named(key: str) -> str:
    return key.replace("_", " ")

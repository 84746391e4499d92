"""The recipe: one validated object that holds every choice that shapes a model."""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from msht.cohort.manifest import CLASSES
from msht.errors import InvalidInput
from msht.images.augmentation import Augmentation
from msht.images.preprocessing import Preprocessing
from msht.training.settings import Freezing, Network, Optimiser, Schedule, Section, Training


class OperatingRule(Section):
    """How a threshold is chosen on out-of-fold data."""

    rule: Literal["sensitivity", "youden", "cost"] = "sensitivity"
    """`sensitivity` keeps `target_sensitivity` with a guarantee; `youden` and `cost` have none."""
    cost_ratio: float = Field(10.0, gt=0)
    """For `cost`: how many false alarms a miss is worth."""
    prevalence: float | None = Field(None, gt=0, lt=1)
    """For `cost`: share of positive cases where the threshold will be used; none: that of the data."""


class Decision(Section):
    """What turns scores into calls."""

    target_sensitivity: float = Field(0.95, gt=0, lt=1)
    """Of the operating point, on out-of-fold cases."""
    conformal_error: float = Field(0.1, gt=0, lt=1)
    """Share of cases whose conformal set may miss the truth."""
    quality_quantile: float = Field(0.005, gt=0, lt=0.5)
    """Share of development images beyond each quality limit."""
    novelty_quantile: float = Field(0.99, gt=0.5, lt=1)
    """Share of held-out development images within the out-of-distribution limit."""
    minimum_fields: int = Field(1, ge=1, le=1000)
    """Evaluable fields without which a case is not evaluable."""
    calibrator: Literal["auto", "temperature", "platt", "beta", "isotonic", "venn_abers"] = "auto"
    """From logit to probability; `auto` chooses by nested, grouped cross-validation on out-of-fold images."""
    case_rule: Literal["auto", "mean-logit", "top-k-mean", "maximum", "noisy-or"] = "auto"
    """From the fields to their case; `auto` chooses on out-of-fold cases."""
    case_rule_fields: int = Field(3, ge=1, le=1000)
    """How many of the highest fields `top-k-mean` takes."""
    operating_point: OperatingRule = OperatingRule()
    """How the threshold is chosen."""
    conformal: Literal["auto", "marginal", "mondrian"] = "auto"
    """Error of the sets over all cases, or within each class; `auto`: within each class, if it has cases enough."""
    deferral_error: float | None = Field(None, gt=0, lt=0.5)
    """Refer the least sure cases until no more than this share of the rest is wrong, out of fold; none: do not."""


class Recipe(Section):
    """Every choice that shapes a model; a run saves it as resolved."""

    name: str
    """What the recipe is called in reports and in MLflow."""
    notes: str = ""
    """For the reader."""
    seed: int = Field(517, ge=0, le=2**31)
    """Every draw starts from it; fold k from seed + 1000 k."""
    classes: tuple[str, ...] = CLASSES
    """Names of the classes, the positive one last."""
    network: Network = Network()
    freezing: Freezing = Freezing()
    preprocessing: Preprocessing
    augmentation: Augmentation = Augmentation()
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Schedule()
    training: Training = Training()
    decision: Decision = Decision()

    @field_validator("classes")
    @classmethod
    def _binary(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if value != CLASSES:
            raise ValueError(f"must be {list(CLASSES)}: binary recipes only, the positive class last")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        if self.schedule.warmup_epochs >= self.training.epochs:
            raise ValueError(
                f"schedule.warmup_epochs ({self.schedule.warmup_epochs}) leaves nothing of "
                f"training.epochs ({self.training.epochs})"
            )
        if self.freezing.epochs is not None and self.freezing.epochs >= self.training.epochs:
            raise ValueError(
                f"freezing.epochs ({self.freezing.epochs}) never ends within training.epochs "
                f"({self.training.epochs}); leave it out to freeze for good"
            )
        if self.optimiser.sam is not None:
            for setting, found in (
                ("training.accumulate", self.training.accumulate > 1),
                ("training.halve_batch", self.training.halve_batch),
                ("training.precision 16-mixed", self.training.precision == "16-mixed"),
            ):
                if found:
                    raise ValueError(f"optimiser.sam takes two passes over a whole batch and cannot go with {setting}")
        return self


def recipe_from(data: dict[str, Any], *, source: str) -> Recipe:
    """Validate plain data as a recipe.

    Raises:
        InvalidInput: naming the key, what was expected, what was found, and the nearest name that exists.
    """
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        errors = error.errors()
        first = errors[0]
        location = _known_part(first["loc"])
        where = ".".join(location) or "the recipe"
        if first["type"] == "extra_forbidden":
            where = ".".join(map(str, first["loc"]))
            raise InvalidInput(f"{source}: there is no setting '{where}'.", _nearest(first["loc"])) from error
        # A setting that may be of several kinds has a complaint for each.
        same = [e["msg"].removeprefix("Value error, ") for e in errors if _known_part(e["loc"]) == location]
        problem = "; or ".join(dict.fromkeys(same))
        found = f", found {first['input']!r}" if not isinstance(first["input"], dict) else ""
        mend = "Mend the value in the recipe or with --set."
        if first["type"] == "literal_error":
            offered = re.findall(r"'([^']*)'", str(first["ctx"]["expected"]))
            close = difflib.get_close_matches(str(first["input"]).lower(), offered, n=1, cutoff=0.5)
            mend = f"Did you mean '{close[0]}'?" if close else mend
        raise InvalidInput(f"{source}: {where}: {problem}{found}.", mend) from error


def _known_part(location: Sequence[Any]) -> list[str]:
    """The part of an error's place that names settings; behind it are kinds and places in a list."""
    model: Any = Recipe
    names: list[str] = []
    for part in location:
        if not hasattr(model, "model_fields") or part not in model.model_fields:
            if isinstance(part, int) and names:
                names[-1] += f"[{part}]"
            break
        names.append(str(part))
        model = model.model_fields[part].annotation
    return names


def _nearest(location: Sequence[Any]) -> str:
    model: Any = Recipe
    for part in location[:-1]:
        model = model.model_fields[str(part)].annotation
    names = list(model.model_fields) if hasattr(model, "model_fields") else []
    close = difflib.get_close_matches(str(location[-1]), names, n=1, cutoff=0.5)
    prefix = ".".join(map(str, location[:-1]))
    if close:
        return f"Did you mean '{prefix + '.' if prefix else ''}{close[0]}'?"
    return f"The settings there are {', '.join(names)}."


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a YAML recipe and lay overrides over it.

    Args:
        path: the file.
        overrides: `section.key=value` each, the value as YAML.

    Raises:
        InvalidInput: if it cannot be read, or is not a valid recipe.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InvalidInput(f"There is no recipe {path}.", "`msht doctor` lists the shipped ones.") from error
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise InvalidInput(f"{path} is not readable YAML ({str(error).splitlines()[0]}).", "Mend it.") from error
    if not isinstance(data, dict):
        raise InvalidInput(f"{path} holds no settings.", "A recipe is a mapping of names to values.")
    for override in overrides:
        _lay_over(data, override)
    return recipe_from(data, source=path.name)


def _lay_over(data: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    if not equals or not name:
        raise InvalidInput(f"--set {override} is not of the form name=value.", "E.g. --set optimiser.lr=3e-4.")
    *sections, key = name.split(".")
    if not all((*sections, key)):
        raise InvalidInput(f"--set {override}: '{name}' is no name.", "E.g. --set optimiser.lr=3e-4.")
    place = data
    for section in sections:
        place = place.setdefault(section, {})
        if not isinstance(place, dict):
            raise InvalidInput(f"--set {override}: '{section}' holds a value, not settings.", "Check the name.")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidInput(f"--set {override}: the value is not readable YAML.", "Put text in quotes.") from error
    if isinstance(value, str):  # YAML 1.1 reads 3e-5 as text
        with contextlib.suppress(ValueError):
            value = float(value)
    place[key] = value


def recipe_as_yaml(recipe: Recipe) -> str:
    """The recipe as resolved, in YAML, with every default spelled out."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def flatten(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as dotted names, for a tracking server."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            flat.update(flatten(value, f"{name}."))
        else:
            flat[name] = value
    return flat

"""What a comparison is of: the models with their settings, the split and the recipe, written down at the start."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from msht.errors import InvalidInput
from msht.files import read_json, sha256_of_text, write_json, write_text
from msht.training.recipe import read_recipe
from pipelines.recipes import recipe_path

PLAN = "compare.json"


def new_plan(
    out: Path,
    split_file: Path | None,
    models: Sequence[str],
    recipe: str | Path | None,
    overrides: Sequence[str],
    models_file: Path | None,
    reference: str | None,
) -> dict[str, Any]:
    """Write down what is to be compared, after checking that every network can be made.

    Raises:
        InvalidInput: if something cannot be used as it is; nothing is written then.
    """
    from msht.cohort.splits import read_split, write_split

    if split_file is None or recipe is None:
        raise InvalidInput("A new comparison needs --split and --recipe.", "Give both, or --resume --out FOLDER.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InvalidInput(
            f"{out} exists and is not empty.", f"Choose another, or `msht compare --resume --out {out}`."
        )
    plan = _plan(models, overrides, models_file, reference)
    path = recipe_path(recipe)
    for name, settings in plan["models"].items():
        _check_network(name, read_recipe(path, settings))
    split = read_split(split_file, check_images=False)
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "recipe.yaml", path.read_text(encoding="utf-8"))
    write_split(split, out / "split.csv")
    plan.update(split_digest=split.digest, recipe_digest=sha256_of_text(path.read_text(encoding="utf-8")))
    write_json(out / PLAN, plan)
    return plan


def resumed_plan(
    out: Path,
    split_file: Path | None,
    models: Sequence[str],
    recipe: str | Path | None,
    overrides: Sequence[str],
    models_file: Path | None,
    reference: str | None,
) -> dict[str, Any]:
    """The plan of a comparison that stopped; what is given again must be what it was started with.

    Raises:
        InvalidInput: if there is none, or it was another.
    """
    if not (out / PLAN).is_file():
        raise InvalidInput(
            f"{out} holds no comparison to go on with (it has no {PLAN}).", "Start one without --resume."
        )
    plan: dict[str, Any] = read_json(out / PLAN, what="plan of a comparison")
    what = None
    if models or models_file is not None or overrides:
        given = _plan(models, overrides, models_file, reference)
        what = "models or settings" if given["models"] != plan["models"] else None
    if split_file is not None and split_file.is_file():
        digest = read_json(split_file.with_suffix(".json"), what="description of the split").get("digest")
        what = "split" if digest != plan["split_digest"] else what
    if recipe is not None:
        digest = sha256_of_text(recipe_path(recipe).read_text(encoding="utf-8"))
        what = "recipe" if digest != plan["recipe_digest"] else what
    if what is not None:
        raise InvalidInput(f"The {what} differ from those that {out} was started with.", "Give --resume --out alone.")
    if reference is not None:
        if reference not in plan["models"]:
            raise InvalidInput(
                f"--reference '{reference}' is none of {', '.join(plan['models'])}.", "Name one of them."
            )
        plan["reference"] = reference
    return plan


def _plan(
    models: Sequence[str], overrides: Sequence[str], models_file: Path | None, reference: str | None
) -> dict[str, Any]:
    """Every model with its overrides: those of all, its network, then its own."""
    wanted: dict[str, list[str]] = {name: [f"network.name={name}"] for name in models}
    if len(wanted) < len(models):
        raise InvalidInput("A model is named twice in --models.", "Name each once; give variants in --models-file.")
    for name, entry in _read_models(models_file).items() if models_file is not None else ():
        wanted[name] = [f"network.name={entry.get('network', name)}", *entry.get("set", [])]
    for name in wanted:
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,99}", name):
            raise InvalidInput(f"'{name}' cannot name a model's folder.", "Use letters, digits, dots and dashes.")
    if len(wanted) < 2:
        raise InvalidInput(f"{len(wanted)} model is given.", "Name two or more with --models, split by commas.")
    chosen = reference or next(iter(wanted))
    if chosen not in wanted:
        raise InvalidInput(f"--reference '{chosen}' is none of {', '.join(wanted)}.", "Name one of them.")
    return {
        "kind": "compare",
        "models": {name: [*overrides, *settings] for name, settings in wanted.items()},
        "reference": chosen,
    }


def _read_models(path: Path) -> dict[str, dict[str, Any]]:
    mend = "Write `name: {network: resnet50, set: [optimiser.lr=3e-4]}`, a line a model."
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidInput(f"{path} is not readable YAML ({str(error).splitlines()[0]}).", mend) from error
    entries = {str(k): ({} if v is None else v) for k, v in data.items()} if isinstance(data, dict) else None
    if not entries:
        raise InvalidInput(f"{path} names no models.", mend)
    for name, entry in entries.items():
        good = isinstance(entry, dict) and set(entry) <= {"network", "set"}
        if not good or not isinstance(entry.get("set", []), list) or not isinstance(entry.get("network", name), str):
            raise InvalidInput(f"{path}: '{name}' is not described by `network` and `set`.", mend)
        entry["set"] = [str(setting) for setting in entry.get("set", [])]
    return entries


def _check_network(name: str, recipe: Any) -> None:
    """Refuse a network that cannot be made, before hours are spent on the others."""
    import torch

    from msht.network.factory import create_network

    with torch.device("meta"):
        create_network(
            recipe.network.name,
            num_classes=len(recipe.classes),
            img_size=recipe.preprocessing.size,
            **recipe.network.options,
        )

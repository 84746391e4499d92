import re
from pathlib import Path

import pytest

from msht.errors import InvalidInput
from msht.training.recipe import Recipe, read_recipe
from pipelines.recipes import recipe_names, recipe_path

PUBLISHED = {
    # Multi-Stage-Hybrid-Transformer, commit 81fe06d, as collected in the project's facts.
    "seed": 517,
    "network.name": "msht_resnet50",
    "network.options": {},
    "preprocessing.crop": 700,
    "preprocessing.size": 384,
    "preprocessing.mean": None,
    "preprocessing.std": None,
    "augmentation.rotation": (0.0, 180.0),
    "augmentation.scale": (1.0, 1.0),
    "augmentation.shift": 0.0,
    "augmentation.flip_horizontal": 0.5,
    "augmentation.flip_vertical": 0.0,
    "augmentation.brightness": 0.15,
    "augmentation.contrast": 0.3,
    "augmentation.saturation": 0.3,
    "augmentation.hue": 0.06,
    "augmentation.channel_shift": 0.0,
    "augmentation.gamma": 0.0,
    "augmentation.grey": 0.0,
    "augmentation.blur": 0.0,
    "augmentation.compression": 0.0,
    "optimiser.name": "adam",
    "optimiser.lr": 1e-5,
    "optimiser.weight_decay": 0.01,
    "optimiser.decay_biases": True,
    "optimiser.gradient_clip": None,
    "schedule.warmup_epochs": 0,
    "schedule.floor": 0.25,
    "schedule.step": "epoch",
    "training.epochs": 50,
    "training.batch_size": 8,
    "training.precision": "32-true",
    "training.label_smoothing": 0.0,
    "training.average_weights": None,
    "training.selection": "validation-fold",
    # What the published protocol does not have stays off, also when a setting is new.
    "freezing.parts": (),
    "optimiser.find_lr": False,
    "optimiser.layer_decay": None,
    "optimiser.sam": None,
    "preprocessing.crops": (1, 1),
    "training.accumulate": 1,
    "training.class_prior": "natural",
    "training.cutmix": 0.0,
    "training.mixup": 0.0,
    "training.patience": None,
}


def value_at(recipe: Recipe, name: str) -> object:
    found: object = recipe
    for part in name.split("."):
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_is_valid_and_is_called_as_its_file(name: str) -> None:
    recipe = read_recipe(recipe_path(name))
    assert recipe.name == name
    assert recipe.notes


def test_the_recipes_that_the_documents_promise_are_shipped() -> None:
    assert {"demo", "modern", "paper", "small-cpu"} <= set(recipe_names())


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_paper_recipe_has_the_published_value(name: str) -> None:
    assert value_at(read_recipe(recipe_path("paper")), name) == PUBLISHED[name]


@pytest.mark.parametrize(("name", "selection"), [("demo", "last"), ("small-cpu", "last"), ("modern", "last")])
def test_the_fold_that_is_reported_chooses_nothing_in_our_own_recipes(name: str, selection: str) -> None:
    assert read_recipe(recipe_path(name)).training.selection == selection


def test_every_figure_in_the_modern_recipe_is_one_that_was_measured(root: Path) -> None:
    measured = (root / "benchmarks" / "results" / "recipes.md").read_text()
    text = recipe_path("modern").read_text()
    quoted = re.findall(r"[+-]0\.\d{3} \([+-]0\.\d{3} to [+-]0\.\d{3}\)", text)
    assert len(quoted) == 18
    assert not [figure for figure in quoted if figure not in measured]


def test_every_choice_of_the_modern_recipe_says_why() -> None:
    lines = recipe_path("modern").read_text().split("\nnetwork:\n")[1].splitlines()
    settings = [line for line in lines if line.startswith("  ")]
    assert [line for line in settings if "#" not in line] == ["  name: msht_resnet50", "  std: [0.229, 0.224, 0.225]"]


def test_the_modern_recipe_leaves_out_what_was_measured_to_hurt(root: Path) -> None:
    recipe = read_recipe(recipe_path("modern"))
    rows = [line.split(" | ") for line in (root / "benchmarks/results/recipes.md").read_text().splitlines()]
    worse = {row[2] for row in rows if len(row) > 5 and re.search(r"\(-0\.\d+ to -0\.\d+\)", row[4])}
    assert {"bf16", "moving average 0.98", "layer decay 0.8", "strong colour", "best epoch by inner split"} <= worse
    assert recipe.training.precision == "32-true"
    assert recipe.training.average_weights is None
    assert recipe.schedule.warmup_epochs == 0
    assert recipe.optimiser.layer_decay is None
    assert recipe.augmentation.name == "standard"
    assert recipe.training.selection == "last"
    assert recipe.optimiser.name == "adamw"
    assert "Adam with L2 0.01" in worse


def test_a_recipe_is_found_by_name_with_or_without_ending_and_by_path(tmp_path: Path) -> None:
    shipped = recipe_path("paper")
    assert recipe_path("paper.yaml") == shipped
    mine = tmp_path / "paper.yaml"
    mine.write_text(shipped.read_text())
    assert recipe_path(mine) == mine
    assert recipe_path(str(mine)) == mine


@pytest.mark.parametrize(
    ("name", "mend"), [("papre", "Did you mean 'paper'?"), ("xyz", "Shipped are demo, modern, paper, small-cpu")]
)
def test_a_recipe_that_is_not_shipped_is_refused_with_those_that_are(name: str, mend: str) -> None:
    with pytest.raises(InvalidInput, match=f"There is no recipe '{name}'") as caught:
        recipe_path(name)
    assert mend in caught.value.mend

from pathlib import Path

from msht.training.recipe import Recipe, flatten
from msht.training.reference import recipe_reference


def test_the_page_on_training_lists_every_setting_as_it_is(root: Path) -> None:
    page = (root / "docs" / "training.md").read_text(encoding="utf-8")
    assert recipe_reference() in page, "run `python -m msht.training.reference` and put its output into the page"


def test_every_setting_has_a_row_and_a_sentence() -> None:
    rows = {
        line.split("|")[1].strip().strip("`"): line.split(" | ")[-1].rstrip("| ")
        for line in recipe_reference().splitlines()
        if line.startswith("| `")
    }
    settings = set(flatten(Recipe(name="x", preprocessing={"size": 64}).model_dump()))  # type: ignore[arg-type]
    assert settings <= set(rows)
    assert not [name for name, words in rows.items() if len(words) < 5]

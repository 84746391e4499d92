"""`msht cohort card --update` at the keyboard: it says what it kept and replaced, and what is wrong in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from msht.cohort.manifest import build_manifest, write_manifest

Called = Callable[[str], tuple[int, str, str]]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a manifest of eight patients, which is also where one stands."""
    monkeypatch.chdir(tmp_path)
    rows = [
        {"image": f"{n}.png", "label": ("negative", "positive")[n % 2], "patient_id": f"P{n}", "stain": "Diff-Quik"}
        for n in range(8)
    ]
    for row in rows:
        (tmp_path / row["image"]).write_bytes(row["image"].encode())
    write_manifest(build_manifest(pd.DataFrame(rows, dtype="string"), tmp_path, source="t"), tmp_path / "m.csv")
    return tmp_path


def test_an_update_says_what_was_kept_and_what_was_replaced(here: Path, called: Called) -> None:
    called("card|m.csv|--out|card.md")
    card = here / "card.md"
    text = card.read_text().replace("\nstain: Diff-Quik", "\nstain: Diff-Quik, two dips")
    card.write_text(text.replace("redistribution: unknown", "redistribution: no").replace("patients: 8", "patients: 7"))
    code, out, _ = called("card|m.csv|--out|card.md|--update")
    assert code == 0
    assert "Kept: stain is 'Diff-Quik, two dips', the manifest says 'Diff-Quik'." in out
    assert "Replaced: patients was 7, is 8." in out
    assert "stain: Diff-Quik, two dips\n" in card.read_text()


@pytest.mark.parametrize("command", ["split|m.csv|--out|x.csv|--card|card.md", "card|m.csv|--out|card.md|--update"])
@pytest.mark.parametrize("title", ["!!int abc", "[" * 5000, "{a: " * 3000, '"\\UFFFFFFFF"', "x\ntitle: y"])
def test_a_slip_in_the_card_is_one_sentence(command: str, title: str, here: Path, called: Called) -> None:
    called("card|m.csv|--out|card.md")
    card = here / "card.md"
    card.write_text(slip := card.read_text().replace("title: card", f"title: {title}"))
    code, _, err = called(command)
    assert code == 2
    assert "card.md, line " in err
    assert "Traceback" not in err
    assert card.read_text() == slip
    assert not (here / "x.csv").exists()

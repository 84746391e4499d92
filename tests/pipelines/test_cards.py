"""A cohort's card on disk: counted from manifest, split and audit, and never written over a person's answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from data_cards import UNKNOWN, read_card
from msht.cohort.manifest import build_manifest, read_manifest, write_manifest
from msht.cohort.splits import make_split, write_split
from msht.errors import InvalidInput
from msht.files import sha256_of
from pipelines.audit import AuditResult
from pipelines.cards import write_card


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    rows = [
        {"image": f"{n}.png", "label": ("negative", "positive")[n % 2], "patient_id": f"P{n}", "stain": "Diff-Quik"}
        for n in range(12)
    ]
    for row in rows:
        (tmp_path / row["image"]).write_bytes(row["image"].encode())
    write_manifest(build_manifest(pd.DataFrame(rows, dtype="string"), tmp_path, source="t"), tmp_path / "m.csv")
    return tmp_path / "m.csv"


def test_a_card_counts_its_manifest_and_asks_for_the_rest(manifest: Path) -> None:
    out = manifest.parent / "My Hospital 2024.md"
    written = write_card(manifest, out=out, title="Ours")
    card = read_card(out)
    assert (card.name, card.title, card.patients, card.images_in_all) == ("my-hospital-2024", "Ours", 12, 12)
    assert card.images == {"all": {"negative": 6, "positive": 6}}
    assert (card.stain, card.terms, card.labels.unit) == ("Diff-Quik", UNKNOWN, UNKNOWN)
    assert written.unanswered == out.read_text().count("# ? ") > 5


def test_a_split_and_an_audit_are_counted_in(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = read_manifest(manifest).digest
    audit = AuditResult(folder=manifest.parent, manifest_digest=digest, digest="c" * 64, pairs=())
    monkeypatch.setattr("pipelines.audit.read_audit", lambda folder: audit)
    made = read_manifest(manifest)
    digests = {str(image): sha256_of(made.root / image) for image in made.frame["image"]}
    measured = pd.DataFrame({"image": list(digests), "sha256": list(digests.values())})
    measured.to_parquet(manifest.parent / "images.parquet")
    (manifest.parent / "audit.json").write_text("{}")
    split = make_split(made, folds=2)
    write_split(split, manifest.parent / "s.csv")
    card = write_card(
        manifest, out=manifest.parent / "c.md", audit=manifest.parent, split=manifest.parent / "s.csv"
    ).card
    assert card.audit_digest == "c" * 64
    counts = split.frame.groupby(["role", "label"]).size().to_dict()
    assert {(role, label): n for role, kinds in card.images.items() for label, n in kinds.items()} == counts
    (made.root / str(made.frame["image"].iloc[0])).write_bytes(b"another picture")
    with pytest.raises(InvalidInput, match="changed since the audit"):
        write_card(manifest, out=manifest.parent / "d.md", audit=manifest.parent)
    assert not (manifest.parent / "d.md").exists()


def test_an_edited_card_is_not_written_over_without_being_asked(manifest: Path) -> None:
    out = manifest.parent / "c.md"
    write_card(manifest, out=out)
    write_card(manifest, out=out, title="Again")  # nobody has touched it
    edited = out.read_text().replace("terms: unknown", "terms: ours alone")
    out.write_text(edited)
    with pytest.raises(InvalidInput, match=r"c\.md exists and was edited") as caught:
        write_card(manifest, out=out)
    assert "--update" in caught.value.mend
    assert out.read_text() == edited
    assert write_card(manifest, out=out, update=True).card.terms == "ours alone"
    with pytest.raises(InvalidInput, match="was edited"):
        write_card(manifest, out=out)  # the update did not make it a draft again
    assert write_card(manifest, out=out, overwrite=True).card.terms == UNKNOWN


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"out": "c.txt"}, "should be a card but ends in '.txt'"),
        ({"name": "Mine!"}, "--name Mine! is no name"),
        ({"split": "nowhere.csv"}, "nowhere.csv does not exist"),
        ({"audit": "nowhere"}, "nowhere"),
    ],
)
def test_an_impossible_card_is_one_sentence(manifest: Path, settings: dict[str, Any], words: str) -> None:
    paths = {k: manifest.parent / v if k != "name" else v for k, v in {"out": "c.md", **settings}.items()}
    with pytest.raises(InvalidInput, match=words):
        write_card(manifest, **paths)
    assert not (manifest.parent / "c.md").exists()


def test_audit_and_split_of_another_manifest_are_refused(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_split(make_split(read_manifest(manifest), folds=2), manifest.parent / "s.csv")
    frame = pd.read_csv(manifest, dtype="string").iloc[1:]
    frame.to_csv(manifest, index=False)
    audit = AuditResult(folder=manifest.parent, manifest_digest="d" * 64, digest="c" * 64, pairs=())
    monkeypatch.setattr("pipelines.audit.read_audit", lambda folder: audit)
    for settings in ({"split": manifest.parent / "s.csv"}, {"audit": manifest.parent}):
        with pytest.raises(InvalidInput, match="of another manifest"):
            write_card(manifest, out=manifest.parent / "c.md", **settings)

"""Splits on disk: copies and near-duplicates stay on one side, and the description proves it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from msht.cohort.disjointness import NOT_SEARCHED
from msht.cohort.manifest import build_manifest, read_manifest, write_manifest
from msht.cohort.splits import Split, check_split, disjointness, disjointness_in_words, make_split, read_split
from msht.errors import InvalidInput
from msht.files import sha256_of
from pipelines.audit import AuditResult
from pipelines.cohort import split_cohort
from pipelines.progress import Silent

AUDIT_DIGEST = "a" * 64


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Twenty patients of two sites with two images each, all files different."""
    rows = []
    for patient in range(20):
        for field in range(2):
            image = f"p{patient:02d}_{field}.png"
            Image.new("RGB", (2, 2), (patient, field, 0)).save(tmp_path / image)
            label = "positive" if patient % 2 else "negative"
            rows.append({"image": image, "label": label, "patient_id": f"P{patient}", "site": "AB"[patient // 2 % 2]})
    made = build_manifest(pd.DataFrame(rows, dtype="string"), tmp_path, source="t")
    write_manifest(made, tmp_path / "m.csv")
    return tmp_path / "m.csv"


@pytest.fixture
def audited(monkeypatch: pytest.MonkeyPatch, manifest: Path) -> Any:
    """An audit that found these pairs."""

    def found(*pairs: tuple[str, str], digest: str | None = None, to_mend: int = 0) -> Path:
        folder = manifest.parent / "audit"
        folder.mkdir(exist_ok=True)
        images = read_manifest(manifest).frame["image"]
        measured = pd.DataFrame({"image": images, "sha256": [sha256_of(manifest.parent / image) for image in images]})
        measured.to_parquet(folder / "images.parquet")
        (folder / "audit.json").write_text(json.dumps({"by_severity": {"must be mended": to_mend}}))
        result = AuditResult(
            folder=folder,
            manifest_digest=digest or read_manifest(manifest).digest,
            digest=AUDIT_DIGEST,
            pairs=pairs,
        )
        monkeypatch.setattr("pipelines.audit.read_audit", lambda folder: result)
        return folder

    return found


def side_of(split: Split) -> dict[str, str]:
    return dict(
        zip(split.frame["image"], split.frame["role"] + split.frame["fold"].astype("string").fillna(""), strict=True)
    )


def test_near_duplicates_stay_on_one_side_through_any_chain_of_patients(manifest: Path, audited: Any) -> None:
    """Five patients in a row, each with a picture of the next: for every seed all ten images are on one side."""
    chain = [(f"p{n:02d}_1.png", f"p{n + 1:02d}_0.png") for n in range(4)]
    linked = [f"p{n:02d}_{field}.png" for n in range(5) for field in range(2)]
    folder = audited(*chain)
    apart = 0
    for seed in range(3):
        out = manifest.parent / f"s{seed}.csv"
        split, described = split_cohort(manifest, out=out, audit=folder, folds=2, seed=seed)
        assert len({side_of(split)[image] for image in linked}) == 1
        assert set(described["disjointness"].values()) == {0}
        assert described["duplicates"] == {"images": 8, "sets": 4, "sets_in_several_groups": 4}
        assert described["audit_digest"] == AUDIT_DIGEST
        free, _ = split_cohort(manifest, out=manifest.parent / "free.csv", folds=2, seed=seed)
        apart += len({side_of(free)[image] for image in linked}) > 1
    assert apart == 3  # without the audit they would have been torn apart


def test_a_split_with_its_audit_reads_back_as_written_and_says_what_it_proves(manifest: Path, audited: Any) -> None:
    folder = audited(("p00_0.png", "p03_0.png"))
    split, described = split_cohort(manifest, out=manifest.parent / "s.csv", audit=folder, folds=3)
    again = read_split(manifest.parent / "s.csv")
    assert again.frame.equals(split.frame)
    assert {**vars(again), "frame": None} == {**vars(split), "frame": None}
    assert json.loads((manifest.parent / "s.json").read_text())["disjointness"] == described["disjointness"]
    words = disjointness_in_words(again)
    assert AUDIT_DIGEST[:12] in words
    assert "1 set of them kept together" in words


def test_without_an_audit_the_split_says_that_nobody_searched(manifest: Path) -> None:
    split, described = split_cohort(manifest, out=manifest.parent / "s.csv", folds=3)
    assert described["disjointness"]["near_duplicates_in_two_roles"] == NOT_SEARCHED
    assert described["disjointness"]["files_in_two_roles"] == 0
    assert disjointness_in_words(split).endswith("near-duplicates were not searched for.")


def test_an_audit_of_another_manifest_is_refused(manifest: Path, audited: Any) -> None:
    folder = audited(digest="b" * 64)
    with pytest.raises(InvalidInput, match=r"is of another manifest \(bbbbbbbbbbbb\)") as caught:
        split_cohort(manifest, out=manifest.parent / "s.csv", audit=folder)
    assert "msht cohort audit" in caught.value.mend
    assert not (manifest.parent / "s.csv").exists()


def test_an_image_that_was_replaced_after_the_audit_is_refused(manifest: Path, audited: Any) -> None:
    folder = audited()
    shutil.copy(manifest.parent / "p00_0.png", manifest.parent / "p19_1.png")
    with pytest.raises(InvalidInput, match=r"'p19_1\.png' changed since the audit .* \(1 such images\)") as caught:
        split_cohort(manifest, out=manifest.parent / "s.csv", audit=folder)
    assert "audit" in caught.value.mend
    assert not (manifest.parent / "s.csv").exists()


@pytest.mark.parametrize(("to_mend", "words"), [(0, ""), (1, "1 thing that must"), (3, "3 things that must")])
def test_what_the_audit_found_to_be_mended_is_said(manifest: Path, audited: Any, to_mend: int, words: str) -> None:
    said = Heard()
    split_cohort(manifest, out=manifest.parent / "s.csv", audit=audited(to_mend=to_mend), folds=3, progress=said)
    assert any(words in line for line in said.lines) if words else not said.lines


class Heard(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, words: str) -> None:
        self.lines.append(words)


def test_a_chosen_test_role_with_a_near_duplicate_in_development_is_refused_by_name(
    manifest: Path, audited: Any
) -> None:
    folder = audited(("p00_0.png", "p02_0.png"), ("p00_0.png", "p04_0.png"))  # sites A, B and A
    words = r"test image 'p02_0\.png' and development image 'p00_0\.png' are near-duplicates by the audit \(1 such"
    for chosen in ({"test_where": "site=B"}, {"hold_out_site": "B"}):
        with pytest.raises(InvalidInput, match=words) as caught:
            split_cohort(manifest, out=manifest.parent / "s.csv", audit=folder, folds=2, **chosen)
        assert "Take one of each pair out" in caught.value.mend


def test_copies_of_a_file_stay_together_also_without_an_audit(manifest: Path) -> None:
    folder = manifest.parent
    shutil.copy(folder / "p00_0.png", folder / "p05_1.png")
    for seed in range(2):
        split, described = split_cohort(manifest, out=folder / "s.csv", folds=3, seed=seed)
        assert side_of(split)["p00_0.png"] == side_of(split)["p05_1.png"]
        assert described["disjointness"]["files_in_two_folds"] == 0
        assert described["duplicates"] == {"images": 2, "sets": 1, "sets_in_several_groups": 1}
    shutil.copy(folder / "p00_0.png", folder / "p02_1.png")
    with pytest.raises(InvalidInput, match="are the same file"):
        split_cohort(manifest, out=folder / "s.csv", folds=2, hold_out_site="B")


@pytest.mark.parametrize(
    ("column", "count"),
    [
        ("patient_id", "groups_in_two_folds"),
        ("file_sha256", "files_in_two_folds"),
        ("duplicate_set", "near_duplicates_in_two_folds"),
    ],
)
def test_what_crosses_is_counted_and_refused(manifest: Path, audited: Any, column: str, count: str) -> None:
    """Planted: two development rows of two folds get the same patient, file or set."""
    split, _ = split_cohort(manifest, out=manifest.parent / "s.csv", audit=audited(), folds=2)
    frame = split.frame.copy()
    one, two = (frame.index[frame["fold"] == fold][0] for fold in (1, 2))
    frame.loc[[one, two], column] = "same"
    bad = Split(**{**vars(split), "frame": frame})
    assert disjointness(bad)[count] == 1
    with pytest.raises(InvalidInput, match="not disjoint: 1 "):
        check_split(bad)
    assert disjointness_in_words(bad).startswith("Not disjoint: 1 ")


def test_the_order_of_rows_and_pairs_changes_nothing(manifest: Path) -> None:
    made = read_manifest(manifest)
    pairs = [("p00_0.png", "p03_0.png"), ("p03_1.png", "p08_0.png"), ("p10_0.png", "p11_0.png")]
    digests = {image: f"{n:064d}" for n, image in enumerate(made.frame["image"])}
    one = make_split(made, folds=3, same=pairs, audit_digest=AUDIT_DIGEST, file_digests=digests)
    turned = type(made)(made.frame.iloc[::-1].reset_index(drop=True), made.root, made.digest)
    other = [(b, a) for a, b in reversed(pairs)]
    two = make_split(turned, folds=3, same=other, audit_digest=AUDIT_DIGEST, file_digests=digests)
    assert one.digest == two.digest
    assert one.frame.equals(two.frame)


def test_a_split_made_before_these_columns_is_still_read(manifest: Path) -> None:
    split = make_split(read_manifest(manifest), folds=2)
    out = manifest.parent / "old.csv"
    split.frame.to_csv(out, index=False)
    described = {"kind": "split", "folds": 2, "grouped_by": "patient_id", "seed": 517, "digest": split.digest}
    described |= {"test_rule": split.test_rule, "manifest_digest": split.manifest_digest, "card": None}
    out.with_suffix(".json").write_text(json.dumps(described))
    again = read_split(out)
    assert again.audit_digest is None
    assert list(again.frame.columns) == ["image", "label", "patient_id", "site", "role", "fold"]
    assert "compared when the networks were trained" in disjointness_in_words(again)


def test_a_site_held_out_is_the_test_role(manifest: Path) -> None:
    split, _ = split_cohort(manifest, out=manifest.parent / "s.csv", folds=2, hold_out_site="B")
    assert set(split.test["site"]) == {"B"}
    assert set(split.development["site"]) == {"A"}
    assert split.test_rule == "site B held out"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"hold_out_site": "Z"}, "--hold-out-site Z fits no row; its values are A, B"),
        ({"hold_out_site": "B", "test_where": "site=A"}, "both choose the test role"),
        ({"hold_out_site": "B", "test_fraction": 0.3}, "--test-fraction is for a test role that is drawn"),
        ({"test_where": "site=A", "test_fraction": 0.3}, "--test-fraction is for a test role that is drawn"),
        ({"test_where": "image=p00_0.png"}, "puts 1 group on both sides"),
        ({"folds": 10**9}, "1000000000 folds and a test role need at least 1000000001 patients"),
        ({"folds": 9, "hold_out_site": "B"}, "9 folds need at least 9 patients with negative images outside"),
        ({"seed": 2**40}, "--seed"),
        ({"test_fraction": 7.0}, "--test-fraction is 7.0"),
        ({"card": "nowhere.md"}, "nowhere.md"),
        ({"audit": Path("nowhere")}, "nowhere"),
        ({"out": Path("s.xlsx")}, "should be a table"),
    ],
)
def test_an_impossible_split_is_one_sentence_and_writes_nothing(
    manifest: Path, settings: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(manifest.parent)
    before = sorted(manifest.parent.iterdir())
    with pytest.raises(InvalidInput, match=words) as caught:
        split_cohort(manifest, **{"out": manifest.parent / "s.csv", **settings})
    assert caught.value.mend
    assert sorted(manifest.parent.iterdir()) == before


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"out": Path("s.xlsx")}, "should be a table"),
        ({"test_where": "cohort=Validation"}, "names the column 'cohort'"),
        ({"test_where": "site=Z"}, "fits no row"),
        ({"hold_out_site": "Z"}, "fits no row"),
        ({"test_where": "site=B", "hold_out_site": "B"}, "both choose the test role"),
    ],
)
def test_what_can_be_known_beforehand_is_said_before_any_image_is_read(
    manifest: Path, settings: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pipelines.cohort_checks as module

    def never(*_: Any) -> None:
        raise AssertionError("an image was read")

    monkeypatch.setattr(module, "sha256_of", never)
    with pytest.raises(InvalidInput, match=words):
        split_cohort(manifest, **{"out": manifest.parent / "s.csv", **settings})


def test_a_site_of_patients_who_were_seen_elsewhere_too_is_refused(manifest: Path) -> None:
    frame = pd.read_csv(manifest, dtype="string")
    frame.loc[0, "site"] = "B"
    frame.to_csv(manifest, index=False)
    with pytest.raises(InvalidInput, match="--hold-out-site B puts 1 group on both sides"):
        split_cohort(manifest, out=manifest.parent / "s.csv", folds=2, hold_out_site="B")


def test_a_card_given_at_the_split_is_found_from_anywhere(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.cards import card_of, write_card

    write_card(manifest, out=manifest.parent / "card.md")
    monkeypatch.chdir(manifest.parent)
    split_cohort(manifest, out=Path("s.csv"), folds=2, card="card.md")
    monkeypatch.chdir("/")
    assert card_of(read_split(manifest.parent / "s.csv")).name == "card"


def rewritten(manifest: Path, **columns: list[str]) -> Path:
    """The manifest with other columns."""
    made = read_manifest(manifest)
    frame = made.frame.assign(**{name: pd.array(values, dtype="string") for name, values in columns.items()})
    write_manifest(build_manifest(frame, manifest.parent, source="t"), manifest)
    return manifest


def test_ids_that_look_alike_and_rows_without_a_role_are_said_before_a_split(manifest: Path, said: Any) -> None:
    ids = [f"P{n // 2}" for n in range(40)]
    ids[2:4] = ["P0.0", "P0.0"]
    cohort = [pd.NA if n < 2 else "Validation" if n < 12 else "Discovery" for n in range(40)]
    split_cohort(
        rewritten(manifest, patient_id=ids, cohort=cohort),
        out=manifest.parent / "s.csv",
        folds=2,
        test_where="cohort=Validation",
        progress=said,
    )
    assert "'P0' and 'P0.0' (patient_id) count as different" in said.words[0]
    assert said.words[1] == "Warning: 2 rows say nothing in 'cohort' and are development."


def test_a_split_says_what_its_test_role_and_its_groups_cannot_tell(manifest: Path) -> None:
    split, _ = split_cohort(manifest, out=manifest.parent / "s.csv", folds=2)
    assert any("few patients with images of a class (negative: 2, positive: 2)" in words for words in split.warnings)
    bare = read_manifest(manifest)
    frame = bare.frame.rename(columns={"patient_id": "case_id"})
    by_case = make_split(build_manifest(frame, manifest.parent, source="t"), folds=2)
    assert by_case.warning == "Split by case: no patient is known, so cases of one patient may lie on both sides."
    assert split.warning is None


def test_neither_import_nor_split_writes_over_a_table_that_msht_did_not_write(manifest: Path) -> None:
    foreign = manifest.parent / "results.csv"
    foreign.write_text("patient,outcome\n1,dead\n")
    before = foreign.read_bytes()
    with pytest.raises(InvalidInput, match=r"no results\.json beside it says that msht wrote it"):
        split_cohort(manifest, out=foreign, folds=2)
    with pytest.raises(InvalidInput, match=r"no results\.json beside it says that msht wrote it"):
        write_manifest(read_manifest(manifest), foreign)
    assert foreign.read_bytes() == before
    split_cohort(manifest, out=manifest.parent / "s.csv", folds=2)
    split_cohort(manifest, out=manifest.parent / "s.csv", folds=2, seed=1)  # its own it replaces


def test_a_kill_between_table_and_description_leaves_nothing_that_stops_the_next_call(
    manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = manifest.parent / "s.csv"

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    for step in ("write_table", "write_json"):
        with monkeypatch.context() as patch:
            patch.setattr(f"msht.cohort.described.{step}", killed)
            with pytest.raises(KeyboardInterrupt):
                split_cohort(manifest, out=out, folds=2)
        split_cohort(manifest, out=out, folds=2)
        assert read_split(out).folds == 2


def test_an_image_that_the_audit_could_not_see_is_refused(manifest: Path, audited: Any) -> None:
    folder = audited()
    measured = pd.read_parquet(folder / "images.parquet")
    measured.loc[3, "sha256"] = None  # as of a file that was missing then
    measured.to_parquet(folder / "images.parquet")
    with pytest.raises(InvalidInput, match=r"can be read now, but the audit in .* has not seen it \(1 such images\)"):
        split_cohort(manifest, out=manifest.parent / "s.csv", audit=folder, folds=2)
    assert not (manifest.parent / "s.csv").exists()


def test_a_role_that_the_manifest_has_can_be_taken_over_and_is_never_lost_in_silence(manifest: Path, said: Any) -> None:
    role = ["test" if n < 12 else "train" for n in range(40)]
    made, _ = split_cohort(
        rewritten(manifest, role=role), out=manifest.parent / "s.csv", folds=2, test_where="role=test", progress=said
    )
    assert len(made.test) == 12
    assert "the manifest's own 'role' is replaced by the split's" in said.words[0]


def test_a_card_of_another_cohort_is_doubted(manifest: Path, said: Any) -> None:
    split_cohort(manifest, out=manifest.parent / "s.csv", folds=2, card="leukaemia-smears", progress=said)
    assert "counts 2,900 images, this cohort has 40" in said.words[0]

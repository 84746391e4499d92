import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from msht.cohort.disjointness import NOT_SEARCHED
from msht.cohort.manifest import Manifest, build_manifest, digest_of
from msht.cohort.splits import (
    Split,
    cases_of,
    check_split,
    describe_split,
    disjointness,
    groups_of,
    make_split,
    read_split,
    refuse_changed,
    write_split,
)
from msht.errors import InvalidInput

MakeImages = Callable[[pd.DataFrame], Path]


def manifest_of(frame: pd.DataFrame, root: Path = Path("images")) -> Manifest:
    frame = frame.astype("string")
    return Manifest(frame=frame, root=root, digest=digest_of(frame))


def cohort_of(patients: list[tuple[list[str], str]]) -> pd.DataFrame:
    """A row per image from the labels and the site of each patient."""
    rows = [
        {"image": f"p{number:02d}/{place}.png", "label": label, "patient_id": f"P{number}", "site": site}
        for number, (labels, site) in enumerate(patients)
        for place, label in enumerate(labels)
    ]
    return pd.DataFrame(rows, dtype="string")


def even_cohort(patients: int = 20, fields: int = 3) -> pd.DataFrame:
    classes = ("negative", "positive")
    return cohort_of([([classes[n % 2]] * fields, "AB"[n // 2 % 2]) for n in range(patients)])


labels = st.sampled_from(["negative", "positive"])
patients_with_fields = st.lists(
    st.tuples(st.lists(labels, min_size=1, max_size=6), st.sampled_from(["A", "B"])), min_size=12, max_size=40
)


@pytest.mark.filterwarnings("ignore:The least populated class")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(patients_with_fields, st.integers(2, 5), st.integers(0, 2**16), st.randoms(use_true_random=False))
def test_groups_never_cross_folds_or_roles_whatever_the_order_of_the_rows(
    patients: list[tuple[list[str], str]], folds: int, seed: int, shuffler: random.Random
) -> None:
    frame = cohort_of(patients)
    try:
        split = make_split(manifest_of(frame), folds=folds, seed=seed)
    except InvalidInput:  # a random cohort may lack patients or images of a class
        assume(False)
    table = split.frame
    assert sorted(table["image"]) == sorted(frame["image"])
    assert (table.groupby("patient_id")["role"].nunique() == 1).all()
    assert (table[table["role"] == "development"].groupby("patient_id")["fold"].nunique() == 1).all()
    assert set(table["role"]) == {"development", "test"}
    assert table.loc[table["role"] == "test", "fold"].isna().all()
    assert set(table.loc[table["role"] == "development", "fold"]) == set(range(1, folds + 1))
    for _, part in table.fillna({"fold": 0}).groupby("fold"):
        assert set(part["label"]) == {"negative", "positive"}
    order = list(frame.index)
    shuffler.shuffle(order)
    shuffled = make_split(manifest_of(frame.loc[order][list(reversed(frame.columns))]), folds=folds, seed=seed)
    assert shuffled.digest == split.digest
    assert shuffled.manifest_digest == split.manifest_digest


def test_a_split_is_the_same_again_and_another_by_another_seed() -> None:
    cohort = manifest_of(even_cohort())
    assert make_split(cohort, seed=1).frame.equals(make_split(cohort, seed=1).frame)
    digests = {make_split(cohort, seed=seed).digest for seed in range(5)}
    assert len(digests) > 1


def test_an_even_cohort_is_stratified() -> None:
    split = make_split(manifest_of(even_cohort(patients=40)), folds=4, test_fraction=0.2)
    assert len(split.test) == 24
    assert (split.test["label"] == "positive").mean() == 0.5
    for _, part in split.development.groupby("fold"):
        assert len(part) == 24
        assert (part["label"] == "positive").mean() == 0.5


def test_patients_are_the_groups_even_where_cases_are_known() -> None:
    frame = even_cohort()
    frame["case_id"] = frame["image"]
    split = make_split(manifest_of(frame))
    assert split.grouped_by == "patient_id"
    assert disjointness(split) == {
        "groups_in_two_roles": 0,
        "groups_in_two_folds": 0,
        "images_listed_twice": 0,
        "files_in_two_roles": NOT_SEARCHED,
        "files_in_two_folds": NOT_SEARCHED,
        "near_duplicates_in_two_roles": NOT_SEARCHED,
        "near_duplicates_in_two_folds": NOT_SEARCHED,
    }
    assert list(cases_of(split.frame)) == list(split.frame["image"])


@pytest.mark.parametrize(
    ("columns", "expected"),
    [(["slide_id", "patient_id"], "patient_id"), (["slide_id"], "slide_id"), ([], "image")],
)
def test_a_row_without_a_case_belongs_to_its_patient_else_its_slide_else_itself(
    columns: list[str], expected: str
) -> None:
    frame = pd.DataFrame({"image": ["a", "b"], **{column: [f"{column}1", f"{column}2"] for column in columns}})
    assert list(cases_of(frame)) == list(frame[expected])


def test_a_cohort_without_ids_is_refused_unless_split_by_image() -> None:
    frame = even_cohort().drop(columns="patient_id")
    with pytest.raises(InvalidInput, match="no patient_id, case_id or slide_id") as caught:
        make_split(manifest_of(frame))
    assert "--split-by-image" in caught.value.mend
    split = make_split(manifest_of(frame), by_image=True)
    assert split.grouped_by is None
    assert split.warning is not None
    assert split.warning.startswith("Split by image")
    assert describe_split(split)["warning"] == split.warning


def test_by_image_never_overrides_known_patients() -> None:
    split = make_split(manifest_of(even_cohort()), by_image=True)
    assert split.grouped_by == "patient_id"
    assert split.warning is None


def test_fewer_patients_than_folds_are_refused_with_both_numbers() -> None:
    with pytest.raises(InvalidInput, match="1 in 5 is drawn from at least 5 patients; there are 4"):
        make_split(manifest_of(even_cohort(patients=4)))
    with pytest.raises(InvalidInput, match="1 in 10 is drawn from at least 10 patients; there are 9") as caught:
        make_split(manifest_of(even_cohort(patients=9)), test_fraction=0.1)
    assert "--test-fraction" in caught.value.mend
    words = "5 folds and a test role need at least 6 patients with negative images; there are 4"
    with pytest.raises(InvalidInput, match=words) as caught:
        make_split(manifest_of(even_cohort(patients=8)))
    assert "--folds 3" in caught.value.mend


@pytest.mark.parametrize(("patients", "folds"), [(12, 9), (12, 6), (12, 5), (10, 5)])
def test_what_the_message_asks_for_is_enough(patients: int, folds: int) -> None:
    cohort = manifest_of(even_cohort(patients))
    with pytest.raises(InvalidInput) as caught:
        make_split(cohort, folds=folds, test_fraction=0.25)
    asked = re.search(r"--folds (\d)", caught.value.mend)
    assert asked is not None
    assert make_split(cohort, folds=int(asked[1]), test_fraction=0.25).folds == int(asked[1])


@pytest.mark.parametrize(
    ("fraction", "share", "rule"),
    [
        (0.2, 0.2, "1 in 5"),
        (0.3, 0.3, "3 in 10"),
        (0.4, 0.4, "2 in 5"),
        (0.33, 1 / 3, "1 in 3"),
        (0.35, 0.35, "7 in 20"),
    ],
)
def test_the_share_that_was_asked_for_is_drawn_and_said(fraction: float, share: float, rule: str) -> None:
    split = make_split(manifest_of(even_cohort(patients=80)), folds=3, test_fraction=fraction)
    assert len(split.test) / len(split.frame) == pytest.approx(share, abs=0.03)
    assert split.test_rule.endswith(rule)


@pytest.mark.parametrize(("patients", "folds"), [(24, 10), (28, 22), (40, 17)])
def test_the_number_of_folds_that_is_advised_leads_to_a_split(patients: int, folds: int) -> None:
    cohort = manifest_of(even_cohort(patients=patients))
    tried = [folds]
    while (advice := refusal(cohort, tried[-1])) is not None:
        asked = re.search(r"--folds (\d+)", advice)
        assert asked is not None, advice
        assert int(asked[1]) < tried[-1]
        tried.append(int(asked[1]))
    assert 1 < len(tried) <= 4


def refusal(cohort: Manifest, folds: int) -> str | None:
    """What a refused split advises; None where it can be made."""
    try:
        make_split(cohort, folds=folds)
    except InvalidInput as error:
        return error.mend
    return None


def test_a_file_that_is_no_longer_the_one_that_was_split_is_refused() -> None:
    cohort = manifest_of(even_cohort())
    digests = {image: f"{number:064x}" for number, image in enumerate(cohort.frame["image"])}
    split = make_split(cohort, folds=2, file_digests=digests)
    refuse_changed(split.frame, digests)
    image = split.frame["image"].iloc[3]
    with pytest.raises(InvalidInput, match=rf"'{image}' is another file than when the cohort was split \(1 such"):
        refuse_changed(split.frame, {**digests, image: "0" * 63 + "f"})
    refuse_changed(make_split(cohort, folds=2).frame, digests)  # made without digests: nothing to hold against


def test_too_few_images_of_a_class_are_refused_where_images_are_split() -> None:
    frame = even_cohort(patients=4).drop(columns="patient_id")
    frame["label"] = ["positive"] * 3 + ["negative"] * 9
    with pytest.raises(InvalidInput, match="5 folds and a test role need at least 6 positive images; there are 3"):
        make_split(manifest_of(frame), by_image=True)


@pytest.mark.parametrize("label", ["negative", "positive"])
def test_one_class_is_refused(label: str) -> None:
    frame = even_cohort().assign(label=label)
    with pytest.raises(InvalidInput, match="has no "):
        make_split(manifest_of(frame))


def test_a_class_held_by_one_patient_is_refused() -> None:
    frame = cohort_of([(["negative"] * 3, "A")] * 10 + [(["positive"] * 6, "A")])
    with pytest.raises(InvalidInput, match="at least 3 patients with positive images; there is 1"):
        make_split(manifest_of(frame), folds=2)


def test_a_role_without_a_class_is_named_with_how_many_patients_have_it() -> None:
    frame = cohort_of([*[(["positive"], "A")] * 4, *[(["negative"], "A")] * 4, *[(["negative"], "B")] * 4])
    with pytest.raises(InvalidInput, match="The test role has no positive image; 4 patients in all") as caught:
        make_split(manifest_of(frame), folds=2, hold_out_site="B")
    assert "add patients with positive images" in caught.value.mend


@pytest.mark.parametrize("folds", [1, 0, -3])
def test_fewer_than_two_folds_are_refused(folds: int) -> None:
    with pytest.raises(InvalidInput, match=f"--folds is {folds}"):
        make_split(manifest_of(even_cohort()), folds=folds)


@pytest.mark.parametrize("fraction", [0.0, -0.1, 0.6, float("nan")])
def test_an_impossible_test_fraction_is_refused(fraction: float) -> None:
    with pytest.raises(InvalidInput, match="--test-fraction is"):
        make_split(manifest_of(even_cohort()), test_fraction=fraction)


def test_the_rows_of_a_chosen_value_are_the_test_role() -> None:
    split = make_split(manifest_of(even_cohort()), folds=2, test_where=("site", "B"))
    assert list(split.frame["role"] == "test") == list(split.frame["site"] == "B")
    assert split.test_rule == "rows with site = B"


def test_a_chosen_test_role_keeps_rows_without_that_value_in_development() -> None:
    frame = even_cohort()
    frame.loc[frame["site"] == "A", "site"] = pd.NA
    split = make_split(manifest_of(frame), folds=2, test_where=("site", "B"))
    assert split.development["site"].isna().all()


def test_a_chosen_value_that_splits_a_patient_is_refused() -> None:
    frame = even_cohort()
    frame.loc[0, "site"] = "B"
    with pytest.raises(InvalidInput, match="puts 1 group on both sides, 'P0' first"):
        make_split(manifest_of(frame), folds=2, test_where=("site", "B"))


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (("hospital", "B"), "names the column 'hospital', which the manifest lacks; it has image, label"),
        (("site", "C"), "fits no row; its values are A, B"),
        (("site", "b"), "fits no row"),
    ],
)
def test_a_chosen_value_that_is_not_there_is_refused_with_those_that_are(where: tuple[str, str], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        make_split(manifest_of(even_cohort()), test_where=where)


def test_a_chosen_value_that_every_row_has_is_refused() -> None:
    with pytest.raises(InvalidInput, match="fits every row"):
        make_split(manifest_of(even_cohort().assign(site="A")), test_where=("site", "A"))


def test_a_group_in_two_folds_is_found() -> None:
    good = make_split(manifest_of(even_cohort()))
    frame = good.frame.copy()
    row = frame.index[frame["fold"] == 1][0]
    frame.loc[row, "fold"] = 2
    bad = Split(**{**vars(good), "frame": frame})
    assert disjointness(bad)["groups_in_two_folds"] == 1
    with pytest.raises(InvalidInput, match="1 groups lie in two folds"):
        check_split(bad)


def test_a_group_in_two_roles_is_found() -> None:
    good = make_split(manifest_of(even_cohort()))
    frame = good.frame.copy()
    row = frame.index[frame["role"] == "test"][0]
    frame.loc[row, ["role", "fold"]] = ["development", 1]
    with pytest.raises(InvalidInput, match="1 groups lie in both roles"):
        check_split(Split(**{**vars(good), "frame": frame}))


def written(empty_images: MakeImages, suffix: str = ".csv", **columns: object) -> tuple[Split, Path]:
    frame = even_cohort().assign(**columns)
    root = empty_images(frame)
    split = make_split(build_manifest(frame, root, source="t"), folds=3)
    write_split(split, root / f"split{suffix}")
    return split, root / f"split{suffix}"


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_split_reads_back_as_written(empty_images: MakeImages, suffix: str) -> None:
    split, path = written(empty_images, suffix, note=pd.array(["a, b"] * 59 + [pd.NA], dtype="string"))
    again = read_split(path)
    assert again.frame.equals(split.frame)
    assert {**vars(again), "frame": None} == {**vars(split), "frame": None}
    assert again.manifest_digest == digest_of(split.frame.drop(columns=["role", "fold"]))


def test_the_description_counts_every_row_once(empty_images: MakeImages) -> None:
    split, path = written(empty_images)
    described = json.loads(path.with_suffix(".json").read_text())
    assert described["counts"]["development"]["images"] + described["counts"]["test"]["images"] == len(split.frame)
    by_fold = described["counts_by_fold"].values()
    assert sum(part["images"] for part in by_fold) == described["counts"]["development"]["images"]
    assert sum(part["patients"] for part in by_fold) == described["counts"]["development"]["patients"]
    assert set(described["disjointness"].values()) == {0, NOT_SEARCHED}


@pytest.mark.parametrize(
    ("column", "value"), [("label", None), ("patient_id", "P99"), ("fold", None), ("role", None), ("site", "Z")]
)
def test_a_changed_cell_is_noticed(empty_images: MakeImages, column: str, value: str | None) -> None:
    _, path = written(empty_images)
    frame = pd.read_csv(path, dtype="string")
    row = int(frame.index[frame["role"] == "development"][0])
    other = {
        "label": {"negative": "positive", "positive": "negative"},
        "fold": {"1": "2", "2": "3", "3": "1"},
        "role": {"development": "test"},
    }
    frame.loc[row, column] = value or other[column][str(frame.loc[row, column])]
    frame.to_csv(path, index=False)
    with pytest.raises(InvalidInput, match="it was changed after it was made"):
        read_split(path)


def test_a_removed_row_is_noticed_and_a_moved_one_is_none(empty_images: MakeImages) -> None:
    split, path = written(empty_images)
    frame = pd.read_csv(path, dtype="string")
    frame.iloc[::-1].to_csv(path, index=False)
    assert read_split(path).digest == split.digest
    frame.iloc[1:].to_csv(path, index=False)
    with pytest.raises(InvalidInput, match="it was changed after it was made"):
        read_split(path)


@pytest.mark.parametrize("fold", ["one", "1.5"])
def test_a_fold_that_is_no_number_is_one_sentence(empty_images: MakeImages, fold: str) -> None:
    _, path = written(empty_images)
    frame = pd.read_csv(path, dtype="string")
    frame.loc[0, "fold"] = fold
    frame.to_csv(path, index=False)
    with pytest.raises(InvalidInput, match=r"split\.csv, row 2: fold '.*' is not a whole number"):
        read_split(path)


def test_a_manifest_is_no_split(empty_images: MakeImages) -> None:
    _, path = written(empty_images)
    pd.read_csv(path, dtype="string").drop(columns="role").to_csv(path, index=False)
    with pytest.raises(InvalidInput, match="is not a split"):
        read_split(path)


@pytest.mark.parametrize("content", ["[]", "{}", '{"kind": "split"}', '{"kind": "manifest"}'])
def test_a_description_of_another_kind_is_refused(empty_images: MakeImages, content: str) -> None:
    _, path = written(empty_images)
    path.with_suffix(".json").write_text(content)
    with pytest.raises(InvalidInput, match="split"):
        read_split(path)


def test_a_split_without_its_description_is_refused(empty_images: MakeImages) -> None:
    _, path = written(empty_images)
    path.with_suffix(".json").unlink()
    with pytest.raises(InvalidInput, match="it should be the description of the split"):
        read_split(path)


def test_groups_are_text_and_the_image_where_nothing_else_is_known() -> None:
    frame = pd.DataFrame({"image": ["a", "b"], "patient_id": [1, 2]})
    assert list(groups_of(frame, "patient_id")) == ["1", "2"]
    assert list(groups_of(frame, None)) == ["a", "b"]

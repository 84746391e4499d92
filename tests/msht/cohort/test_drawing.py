"""Merging, drawing and balance of plain columns."""

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msht.cohort.drawing import LARGEST_SHARE_GAP, balance_of, duplicate_sets, merge_groups
from msht.errors import InvalidInput

pairs_of = st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=25)


@settings(max_examples=20, deadline=None)
@given(pairs_of, st.lists(st.integers(0, 6), min_size=20, max_size=20), st.randoms(use_true_random=False))
def test_merged_groups_are_the_connected_components_that_networkx_finds(
    pairs: list[tuple[int, int]], patients: list[int], shuffler: object
) -> None:
    images = pd.Series([f"i{n:02d}" for n in range(20)])
    groups = pd.Series([f"P{n}" for n in patients])
    same = [(images[a], images[b]) for a, b in pairs]
    merged = merge_groups(groups, images, same)
    graph = nx.Graph([(groups[a], groups[b]) for a, b in pairs])
    graph.add_nodes_from(groups)
    for component in nx.connected_components(graph):
        assert set(merged[groups.isin(component)]) == {min(component)}
    order = list(range(20))
    shuffler.shuffle(order)  # type: ignore[attr-defined]
    again = merge_groups(groups.iloc[order], images.iloc[order], [(b, a) for a, b in reversed(same)])
    assert again.sort_index().equals(merged)


@settings(max_examples=20, deadline=None)
@given(pairs_of)
def test_sets_of_copies_are_the_components_with_several_images(pairs: list[tuple[int, int]]) -> None:
    images = pd.Series([f"i{n:02d}" for n in range(20)])
    sets = duplicate_sets(images, [(images[a], images[b]) for a, b in pairs])
    graph = nx.Graph([(images[a], images[b]) for a, b in pairs])
    expected = sorted((sorted(c) for c in nx.connected_components(graph) if len(c) > 1), key=min)
    assert [sorted(images[sets == str(n)]) for n in range(1, len(expected) + 1)] == expected
    assert sets.isna().sum() == 20 - sum(map(len, expected))


def test_a_pair_of_an_image_that_is_not_there_is_refused() -> None:
    images = pd.Series(["a", "b"])
    for function in (lambda same: merge_groups(images, images, same), lambda same: duplicate_sets(images, same)):
        with pytest.raises(InvalidInput, match="names the image 'z', which the manifest lacks"):
            function([("a", "z")])


def test_groups_without_pairs_stay_as_they_are() -> None:
    groups = pd.Series(["x", "y", "x"])
    assert merge_groups(groups, pd.Series(["a", "b", "c"]), []).equals(groups)


def test_balance_is_that_of_the_worst_fold() -> None:
    labels = pd.Series(["positive"] * 5 + ["negative"] * 5 + ["positive"] * 2 + ["negative"] * 8)
    balance = balance_of(labels, pd.Series([1] * 10 + [2] * 10))
    assert balance.share_gap == pytest.approx(0.5 - 7 / 20)
    assert balance.size_gap == 0
    assert balance.share_gap > LARGEST_SHARE_GAP
    assert len(balance.warnings) == 1
    assert "Fold 1" in balance.warnings[0] or "Fold 2" in balance.warnings[0]


def test_a_fold_that_is_too_large_is_warned_of() -> None:
    labels = pd.Series(["positive", "negative"] * 15)
    balance = balance_of(labels, pd.Series([1] * 20 + [2] * 10))
    assert balance.size_gap == pytest.approx(1 / 3)
    assert balance.warnings[0].startswith("Fold 1 has 20 images") or balance.warnings[0].startswith("Fold 2 has 10")
    assert "20 images in fold 1" in balance.words or "10 images in fold 2" in balance.words


def test_even_folds_need_no_warning() -> None:
    balance = balance_of(pd.Series(["a", "b", "c"] * 4), pd.Series(np.repeat([1, 2, 3, 4], 3)))
    assert (balance.share_gap, balance.size_gap, balance.warnings) == (0, 0, ())

import pandas as pd
import pytest

from msht.errors import InvalidInput
from msht.training.selection import inner_split


def rows(groups: int = 20, each: int = 3) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "image": [f"{g}-{i}.png" for g in range(groups) for i in range(each)],
            "label": ["positive" if g % 4 == 0 else "negative" for g in range(groups) for _ in range(each)],
            "group": [f"p{g}" for g in range(groups) for _ in range(each)],
        }
    )


def test_groups_never_cross_every_row_is_on_one_side_and_classes_keep_their_share() -> None:
    frame = rows()
    learn, select = inner_split(frame, frame["group"].tolist(), share=0.2, seed=1)
    assert not set(learn["group"]) & set(select["group"])
    assert sorted([*learn["image"], *select["image"]]) == sorted(frame["image"])
    assert len(select) == pytest.approx(0.2 * len(frame), abs=3)
    assert (select["label"] == "positive").mean() == pytest.approx(0.25, abs=0.1)


def test_the_draw_follows_the_seed() -> None:
    frame = rows()
    draws = [inner_split(frame, frame["group"].tolist(), share=0.2, seed=s)[1]["group"].unique() for s in (1, 1, 2, 3)]
    assert list(draws[0]) == list(draws[1])
    assert any(list(draws[0]) != list(other) for other in draws[2:])


def test_too_few_groups_or_classes_are_refused() -> None:
    frame = rows(groups=4)
    with pytest.raises(InvalidInput, match="4 groups cannot give an inner split of one in 5"):
        inner_split(frame, frame["group"].tolist(), share=0.2, seed=1)
    frame = rows(groups=6).assign(label=["positive"] * 3 + ["negative"] * 15)
    with pytest.raises(InvalidInput, match="one class only"):
        inner_split(frame, frame["group"].tolist(), share=0.2, seed=1)

"""The list of networks."""

from __future__ import annotations

from pipelines.models import list_models


def test_list_starts_with_ours_and_holds_the_papers_eleven() -> None:
    rows = list_models()
    assert [row.name for row in rows[:2]] == ["msht_resnet50", "msht_small"]
    assert sum(row.in_paper for row in rows) == 11
    for row in rows:
        assert row.megabytes == round(row.parameters * 4 / 1e6, 1)

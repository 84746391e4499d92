import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from msht.cohort.dataset import FieldStore
from msht.cohort.manifest import Manifest
from msht.errors import InvalidInput, MissingResource
from msht.training.checkpoints import EPOCH_FILE, STEP_FILE, WholeFiles, checkpoint_to_resume, read_checkpoint
from msht.training.recipe import Recipe, recipe_from
from msht.training.trainer import FoldResult, train_fold


@pytest.fixture(scope="module")
def fields(cohort: Callable[..., Manifest]) -> Manifest:
    return cohort(patients=14, fields=2)


EVERYTHING: dict[str, Any] = {
    # All that has a state of its own: batch norm, dropout, mixup, averages, sharpness, warm-up, frozen parts, best.
    "network": {"name": "test_resnet", "options": {"drop_rate": 0.3}},
    "freezing": {"parts": ["layer1"], "epochs": 1},
    "augmentation": {"name": "standard"},
    "optimiser": {"name": "adamw", "lr": 5e-3, "sam": 0.05, "gradient_clip": 1.0, "layer_decay": 0.9},
    "schedule": {"warmup_epochs": 1},
    "training": {
        "epochs": 4,
        "batch_size": 4,
        "mixup": 0.4,
        "cutmix": 0.5,
        "average_weights": 0.8,
        "class_prior": "balanced",
        "selection": "inner-split",
        "selection_share": 0.3,
        "patience": 3,
        "checkpoint_batches": 1,
    },
}
ACCUMULATED: dict[str, Any] = {
    "network": {"name": "test_resnet", "options": {"drop_rate": 0.3}},
    "optimiser": {"name": "adam", "lr": 5e-3, "decay_biases": True},
    "schedule": {"step": "epoch", "floor": 0.25},
    "training": {"epochs": 3, "batch_size": 8, "accumulate": 2, "checkpoint_batches": 1, "selection": "last"},
}


def recipe(settings: dict[str, Any]) -> Recipe:
    return recipe_from({"name": "t", "preprocessing": {"size": 32}, **settings}, source="t")


class PowerCut(BaseException):
    """Nothing catches it."""


def train(fields: Manifest, chosen: Recipe, **settings: Any) -> FoldResult:
    frame = fields.frame
    return train_fold(
        recipe=chosen,
        store=FieldStore(fields.root, chosen.preprocessing, 2**30),
        training=frame.iloc[:20].reset_index(drop=True),
        held_out=frame.iloc[20:].reset_index(drop=True),
        fold=1,
        accelerator="cpu",
        **settings,
    )


def cut_after(steps: int) -> Callable[[int], None]:
    done = 0

    def count(by: int) -> None:
        nonlocal done
        done += by
        if done >= steps:
            raise PowerCut

    return count


@pytest.mark.parametrize("settings", [EVERYTHING, ACCUMULATED], ids=["everything", "accumulated"])
def test_a_fold_cut_at_any_step_ends_bit_for_bit_as_if_it_had_not_been(
    fields: Manifest, tmp_path: Path, settings: dict[str, Any]
) -> None:
    chosen = recipe(settings)
    whole = train(fields, chosen)
    # Before the first checkpoint, within an epoch, at the last step of one, just behind it, and near the end.
    for steps in (1, 2, 3, 4, 6, 8):
        with pytest.raises(PowerCut):
            train(fields, chosen, checkpoints=tmp_path, on_batch=cut_after(steps))
    last = train(fields, chosen, checkpoints=tmp_path)
    assert last.history.equals(whole.history)
    assert last.kept_epoch == whole.kept_epoch
    assert np.array_equal(last.logits, whole.logits)
    assert np.array_equal(last.features, whole.features)
    for (name, mine), theirs in zip(
        last.network.state_dict().items(), whole.network.state_dict().values(), strict=True
    ):
        assert torch.equal(mine, theirs), name
    assert last.seconds > 0


def test_a_fold_that_was_cut_after_its_last_epoch_is_only_scored(fields: Manifest, tmp_path: Path) -> None:
    chosen = recipe(EVERYTHING)
    whole = train(fields, chosen, checkpoints=tmp_path)
    heard: list[dict[str, float]] = []
    again = train(fields, chosen, checkpoints=tmp_path, on_epoch=heard.append)
    assert not heard
    assert np.array_equal(again.logits, whole.logits)
    assert again.history.equals(whole.history)


def test_a_checkpoint_holds_nothing_that_can_run(fields: Manifest, tmp_path: Path) -> None:
    train(fields, recipe({**ACCUMULATED, "training": {"epochs": 1}}), checkpoints=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [EPOCH_FILE]
    assert read_checkpoint(tmp_path / EPOCH_FILE)["epoch"] == 0  # by torch.load with weights_only


def test_a_damaged_checkpoint_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / EPOCH_FILE).write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(InvalidInput, match="no checkpoint of a fold") as caught:
        checkpoint_to_resume(tmp_path, 1)
    assert "Remove it" in caught.value.mend


def test_a_file_that_cannot_grow_is_one_sentence_and_the_checkpoint_before_stays(tmp_path: Path) -> None:
    path = tmp_path / EPOCH_FILE
    files = WholeFiles()
    files.save_checkpoint({"weights": torch.zeros(1000)}, path)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # what a quota does, by the system itself
    try:
        with pytest.raises(MissingResource, match="File too large") as caught:
            files.save_checkpoint({"weights": torch.ones(100_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "unchanged" in caught.value.mend
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [EPOCH_FILE]


def test_the_furthest_checkpoint_that_fits_is_taken(tmp_path: Path) -> None:
    files = WholeFiles()
    files.save_checkpoint({"global_step": 4, "msht": {"parts": 1}}, tmp_path / EPOCH_FILE)
    files.save_checkpoint({"global_step": 6, "msht": {"parts": 1}}, tmp_path / STEP_FILE)
    assert checkpoint_to_resume(tmp_path, 1)[1]["global_step"] == 6  # type: ignore[index]
    # Within an epoch parts are counted, so after a halving only the whole epochs can be gone on from.
    assert checkpoint_to_resume(tmp_path, 2)[1]["global_step"] == 4  # type: ignore[index]
    assert checkpoint_to_resume(tmp_path / "none", 1) is None


def test_a_loss_that_is_no_number_keeps_the_last_good_checkpoint(
    fields: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from msht.training.module import FieldClassifier

    loss = FieldClassifier.loss

    def breaks(self: FieldClassifier, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return loss(self, logits, labels) * (float("nan") if self.current_epoch == 1 else 1.0)

    monkeypatch.setattr(FieldClassifier, "loss", breaks)
    with pytest.raises(
        InvalidInput, match=r"The loss became nan in epoch 2, batch 1; the last good checkpoint is kept"
    ):
        train(fields, recipe(ACCUMULATED), checkpoints=tmp_path)
    kept = read_checkpoint(tmp_path / EPOCH_FILE)
    assert kept["epoch"] == 0
    assert all(torch.isfinite(value).all() for value in kept["state_dict"].values())

"""Every option of a recipe acts: a fold trained with it differs from one without in the way that it should."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from msht.cohort.dataset import FieldStore
from msht.cohort.manifest import Manifest
from msht.errors import InvalidInput, MissingResource
from msht.training import trainer as trainer_module
from msht.training.module import FieldClassifier
from msht.training.recipe import Recipe, recipe_from
from msht.training.trainer import FoldResult, network_of, train_fold


@pytest.fixture(scope="module")
def fields(cohort: Callable[..., Manifest]) -> Manifest:
    return cohort(patients=14, fields=2)


def recipe(**changes: Any) -> Recipe:
    data: dict[str, Any] = {
        "name": "tiny",
        # Without batch norm, whose figures depend on what goes through together.
        "network": {"name": "test_vit"},
        "preprocessing": {"size": 32, "mean": [0.7, 0.6, 0.7], "std": [0.2, 0.2, 0.2]},
        "optimiser": {"name": "sgd", "lr": 0.1, "weight_decay": 0.0},
        "training": {"epochs": 1, "batch_size": 8, "memory_format": "contiguous"},
    }
    for section, values in changes.items():
        data[section] = {**data.get(section, {}), **values} if isinstance(values, dict) else values
    return recipe_from(data, source="test")


def train(fields: Manifest, chosen: Recipe, **settings: Any) -> FoldResult:
    frame = fields.frame
    arguments: dict[str, Any] = {
        "training": frame.iloc[:20].reset_index(drop=True),
        "held_out": frame.iloc[20:].reset_index(drop=True),
        "fold": 1,
        **settings,
    }
    store = FieldStore(fields.root, chosen.preprocessing, 2**30)
    return train_fold(recipe=chosen, store=store, accelerator="cpu", **arguments)


def weights(result: FoldResult) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in result.network.parameters()])


@pytest.fixture(scope="module")
def plain(fields: Manifest) -> FoldResult:
    return train(fields, recipe())


@pytest.fixture(scope="module")
def start() -> torch.Tensor:
    """The weights that every fold of `recipe()` starts with."""
    torch.manual_seed(517 + 1000)
    return torch.cat([p.detach().flatten() for p in network_of(recipe()).parameters()])


@pytest.mark.parametrize("parts", [2, 3, 8])
def test_accumulating_gives_the_gradients_of_the_whole_batch(fields: Manifest, plain: FoldResult, parts: int) -> None:
    result = train(fields, recipe(training={"accumulate": parts}))
    assert result.accumulate == parts
    assert torch.allclose(weights(result), weights(plain), atol=1e-5)
    assert result.history["train_loss"].tolist() == pytest.approx(plain.history["train_loss"].tolist(), rel=1e-4)


def test_each_part_goes_through_the_network_by_itself(fields: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    forward = FieldClassifier.forward

    def watch(self: FieldClassifier, images: torch.Tensor) -> torch.Tensor:
        if self.training:
            seen.append(len(images))
        return forward(self, images)

    monkeypatch.setattr(FieldClassifier, "forward", watch)
    train(fields, recipe(training={"accumulate": 4}))
    assert seen == [2, 2, 2, 2] * 2 + [1, 1, 1, 1]


def test_clipping_bounds_a_step(fields: Manifest, start: torch.Tensor) -> None:
    # Three steps of timm's SGD (Nesterov, momentum 0.9) with gradients no longer than 1e-3: the momentum is at most
    # 1, 1.9 and 2.71 of them, a step 1 + 0.9 times that, and the rate at most 0.1.
    bound = 0.1 * 1e-3 * sum(1 + 0.9 * momentum for momentum in (1.0, 1.9, 2.71))
    clipped = train(fields, recipe(optimiser={"gradient_clip": 1e-3}))
    assert 0 < float((weights(clipped) - start).norm()) <= bound * 1.01
    assert float((weights(train(fields, recipe())) - start).norm()) > bound


def test_mixed_precision_computes_in_bfloat16_and_keeps_single_precision_weights(
    fields: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds: set[torch.dtype] = set()
    forward = FieldClassifier.forward

    def watch(self: FieldClassifier, images: torch.Tensor) -> torch.Tensor:
        logits = forward(self, images)
        kinds.add(logits.dtype)
        return logits

    monkeypatch.setattr(FieldClassifier, "forward", watch)
    result = train(fields, recipe(training={"precision": "bf16-mixed"}))
    assert kinds == {torch.bfloat16}
    assert {p.dtype for p in result.network.parameters()} == {torch.float32}


def test_compiling_runs_the_compiler_and_learns_the_same(fields: Manifest, plain: FoldResult) -> None:
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    counters.clear()
    # A backend without code generation: inductor needs a compiler and minutes; the capture is the same.
    result = train(fields, recipe(training={"compile": "eager"}))
    assert counters["stats"]["unique_graphs"] > 0
    assert torch.allclose(weights(result), weights(plain), atol=1e-5)
    assert result.network._compiled_call_impl is None


def test_recomputed_activations_learn_the_same(
    fields: Manifest, plain: FoldResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[nn.Module] = []
    real = trainer_module.checkpoint_activations
    monkeypatch.setattr(trainer_module, "checkpoint_activations", lambda n: (asked.append(n), real(n)))
    result = train(fields, recipe(training={"checkpoint_activations": True}))
    assert len(asked) == 1
    assert torch.allclose(weights(result), weights(plain), atol=1e-6)


def test_sharpness_aware_steps_differ_and_count_each_image_once(fields: Manifest, plain: FoldResult) -> None:
    result = train(fields, recipe(optimiser={"sam": 0.5}))
    assert not torch.allclose(weights(result), weights(plain), atol=1e-4)
    assert (result.history["train_accuracy"] * 20 % 1).tolist() == pytest.approx([0.0], abs=1e-4)


def test_sharpness_aware_learning_draws_the_same_dropout_twice_and_leaves_batch_figures_alone(fields: Manifest) -> None:
    # With a radius that single precision rounds to nothing the second pass is the first, so learning is as without:
    # dropout, mixup, batch norm.
    settings: dict[str, Any] = {
        "network": {"name": "test_resnet", "options": {"drop_rate": 0.5}},
        "training": {"mixup": 0.4},
        "optimiser": {"lr": 0.01},
    }
    one = train(fields, recipe(**settings))
    settings["optimiser"] = {"lr": 0.01, "sam": 1e-60}
    two = train(fields, recipe(**settings))
    assert torch.allclose(weights(one), weights(two), atol=1e-5)
    for (name, mine), theirs in zip(one.network.named_buffers(), two.network.buffers(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-5), name


@pytest.mark.parametrize("option", ["mixup", "cutmix"])
def test_images_and_labels_are_mixed_alike(fields: Manifest, option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    loss = FieldClassifier.loss

    def watch(self: FieldClassifier, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        seen.append(labels)
        return loss(self, logits, labels)

    monkeypatch.setattr(FieldClassifier, "loss", watch)
    train(fields, recipe(training={option: 1.0}))
    assert all(labels.shape[1:] == (2,) for labels in seen)
    assert all(torch.allclose(labels.sum(dim=1), torch.ones(len(labels))) for labels in seen)
    assert any(((labels > 0.01) & (labels < 0.99)).any() for labels in seen)


def test_mixing_gives_torchvisions_blend() -> None:
    from torchvision.transforms import v2

    module = FieldClassifier(nn.Identity(), recipe(training={"mixup": 0.4}), 1)
    images, labels = torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 1, 0])
    torch.manual_seed(3)
    mine = module.mix(images, labels)
    torch.manual_seed(3)
    theirs = v2.MixUp(alpha=0.4, num_classes=2)(images, labels)
    assert torch.equal(mine[0], theirs[0])
    assert torch.equal(mine[1], theirs[1])
    both = FieldClassifier(nn.Identity(), recipe(training={"mixup": 0.4, "cutmix": 1.0}), 1)
    assert isinstance(both.mix, v2.RandomChoice)


def test_balanced_classes_change_learning_and_put_the_prior_into_the_head(fields: Manifest) -> None:
    frame = fields.frame
    positive = frame[frame["label"] == "positive"].iloc[:4]
    rows = __import__("pandas").concat([frame[frame["label"] == "negative"].iloc[:12], positive], ignore_index=True)
    settings: dict[str, Any] = {"training": rows, "held_out": frame.iloc[20:].reset_index(drop=True)}
    natural = train(fields, recipe(training={"batch_size": 16}), **settings)
    balanced = train(fields, recipe(training={"batch_size": 16, "class_prior": "balanced"}), **settings)
    head = balanced.network.get_classifier()
    assert not torch.allclose(weights(natural), weights(balanced), atol=1e-3)
    # One step from a bias of zero moves it by far less than the prior's log-odds of -1.1.
    assert float(head.bias[1] - head.bias[0]) == pytest.approx(np.log(4 / 12), abs=0.3)
    watched = balanced.history["validation_loss"].iloc[-1]
    truth = (settings["held_out"]["label"] == "positive").to_numpy()
    probability = 1 / (1 + np.exp(-balanced.logits.astype(float)))
    assert watched == pytest.approx(-np.log(np.where(truth, probability, 1 - probability)).mean(), abs=1e-4)


@pytest.mark.parametrize("epochs", [None, 1])
def test_frozen_parts_keep_their_weights_and_batch_figures_until_they_are_let_go(
    fields: Manifest, epochs: int | None
) -> None:
    chosen = recipe(
        network={"name": "test_resnet"},
        training={"epochs": 2},
        freezing={"parts": ["layer1", "conv1"], **({} if epochs is None else {"epochs": epochs})},
        optimiser={"lr": 0.05, "weight_decay": 0.1, "name": "adamw"},
    )
    torch.manual_seed(517 + 1000)
    begun = network_of(chosen).state_dict()
    ended = train(fields, chosen).network.state_dict()
    same = {name for name in begun if torch.equal(begun[name], ended[name])}
    frozen = {name for name in begun if name.startswith(("layer1.", "conv1."))}
    assert not {name for name in begun if name.startswith("fc.")} & same
    if epochs is None:
        assert frozen <= same
    else:
        assert not {name for name in frozen if name.endswith("weight")} & same


def test_a_part_that_is_not_there_and_freezing_everything_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"no part 'layer9'\. Did you mean 'layer\d'"):
        network_of(recipe(network={"name": "test_resnet"}, freezing={"parts": ["layer9"]}))
    every = ["conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "fc"]
    with pytest.raises(InvalidInput, match="leaves nothing"):
        network_of(recipe(network={"name": "test_resnet"}, freezing={"parts": every}))


def test_a_fold_stops_early_when_the_selection_data_say_so(fields: Manifest) -> None:
    # At a rate of next to nothing no epoch is better than the first.
    chosen = recipe(optimiser={"lr": 1e-12}, training={"epochs": 9, "selection": "validation-fold", "patience": 2})
    result = train(fields, chosen)
    assert len(result.history) == 3
    assert result.kept_epoch == 1


def test_an_inner_split_chooses_the_epoch_and_the_held_out_fold_is_not_looked_at(fields: Manifest) -> None:
    frame = fields.frame
    chosen = recipe(
        network={"name": "test_resnet"},
        optimiser={"lr": 0.05},
        training={"epochs": 3, "selection": "inner-split", "selection_share": 0.3},
    )
    held_out = frame.iloc[20:].reset_index(drop=True)
    one = train(fields, chosen, held_out=held_out)
    flipped = held_out.assign(label=["positive" if v == "negative" else "negative" for v in held_out["label"]])
    two = train(fields, chosen, held_out=flipped)
    assert one.history.equals(two.history), "labels of the held-out fold change nothing"
    assert one.kept_epoch == two.kept_epoch
    assert np.array_equal(one.logits, two.logits)
    assert one.selection_images >= 4
    assert one.selection_images % 2 == 0, "whole patients of two fields"
    best = one.history.sort_values(["validation_accuracy", "train_accuracy", "epoch"], ascending=[False, False, True])
    assert one.kept_epoch == best["epoch"].iloc[0]


def test_the_range_test_sets_a_rate_and_leaves_the_weights_alone(fields: Manifest) -> None:
    found = train(fields, recipe(optimiser={"find_lr": True, "lr": 123.0}))
    assert 1e-7 <= found.lr <= 1.0
    given = train(fields, recipe(optimiser={"lr": found.lr}))
    assert torch.equal(weights(found), weights(given)), "as if that rate had been given"
    assert found.history["learning_rate"].iloc[0] <= found.lr


@contextlib.contextmanager
def memory_for(images: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A device that holds so many images at once."""
    step = FieldClassifier.training_step

    def limited(self: FieldClassifier, batch: Any, index: int) -> torch.Tensor:
        if len(batch[1]) > images:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return step(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(FieldClassifier, "training_step", limited)
        yield


def test_a_batch_that_does_not_fit_is_halved_until_it_does_and_learning_is_the_same(
    fields: Manifest, plain: FoldResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    with memory_for(2, monkeypatch):
        result = train(fields, recipe(training={"halve_batch": True}), on_note=notes.append)
    assert result.accumulate == 4
    assert [note[-8:] for note in notes] == ["2 parts.", "4 parts."]
    assert torch.allclose(weights(result), weights(plain), atol=1e-5)


def test_memory_that_runs_out_is_one_sentence(fields: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    with memory_for(2, monkeypatch), pytest.raises(MissingResource, match="8 images of 32 px") as caught:
        train(fields, recipe())
    assert "training.halve_batch=true" in caught.value.mend
    with memory_for(0, monkeypatch), pytest.raises(MissingResource, match="a single image"):
        train(fields, recipe(training={"halve_batch": True}))


def test_a_fold_goes_on_from_its_checkpoint_with_the_parts_it_came_to_need(
    fields: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = recipe(training={"halve_batch": True, "epochs": 2})

    def stop(row: dict[str, float]) -> None:
        if row["epoch"] == 2:
            raise RuntimeError("power cut")

    with memory_for(4, monkeypatch):
        with pytest.raises(RuntimeError, match="power cut"):
            train(fields, chosen, checkpoints=tmp_path, on_epoch=stop)
        notes: list[str] = []
        result = train(fields, chosen, checkpoints=tmp_path, on_note=notes.append)
    assert result.accumulate == 2
    assert not notes

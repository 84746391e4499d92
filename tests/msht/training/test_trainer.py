import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
from torch import nn

from msht.cohort.dataset import EpochSampler, EvaluationFields, FieldStore, TrainingFields
from msht.cohort.manifest import Manifest
from msht.errors import InvalidInput
from msht.images.augmentation import Augmenter
from msht.images.preprocessing import normalised
from msht.network.factory import create_network
from msht.training.loaders import labels_of
from msht.training.recipe import Recipe, recipe_from
from msht.training.trainer import FoldResult, fold_seed, train_fold


@pytest.fixture(scope="module")
def fields(cohort: Callable[..., Manifest]) -> Manifest:
    return cohort(patients=14, fields=2)


def recipe(**changes: Any) -> Recipe:
    data: dict[str, Any] = {
        "name": "tiny",
        "network": {"name": "test_resnet"},
        "preprocessing": {"size": 32, "mean": [0.7, 0.6, 0.7], "std": [0.2, 0.2, 0.2]},
        "optimiser": {"lr": 3e-3},
        "training": {"epochs": 2, "batch_size": 8},
    }
    for section, values in changes.items():
        data[section] = {**data.get(section, {}), **values} if isinstance(values, dict) else values
    return recipe_from(data, source="test")


def train(fields: Manifest, chosen: Recipe, *, rows: int = 20, **settings: Any) -> FoldResult:
    """Train on the first rows and hold the others out."""
    frame = fields.frame
    arguments: dict[str, Any] = {
        "training": frame.iloc[:rows].reset_index(drop=True),
        "held_out": frame.iloc[20:].reset_index(drop=True),
        "fold": 1,
        **settings,
    }
    store = FieldStore(fields.root, chosen.preprocessing, 2**30)
    return train_fold(recipe=chosen, store=store, accelerator="cpu", **arguments)


def noisy_labels(fields: Manifest) -> pd.DataFrame:
    """The held-out rows with labels that are partly wrong, so that accuracy wanders."""
    held_out = fields.frame.iloc[20:].reset_index(drop=True)
    held_out["label"] = ["negative", "negative", "positive", "negative"] * 2
    return held_out


def test_a_small_msht_learns_a_trivial_task(fields: Manifest) -> None:
    chosen = recipe(network={"name": "msht_small"}, preprocessing={"size": 64}, training={"epochs": 5, "batch_size": 4})
    result = train(fields, chosen)
    truth = labels_of(fields.frame.iloc[20:])
    assert roc_auc_score(truth, result.logits) == 1.0
    assert accuracy_score(truth, result.logits > 0) >= 0.75


def test_training_is_that_of_a_plain_pytorch_loop(fields: Manifest) -> None:
    chosen = recipe(
        augmentation={"name": "paper"},
        optimiser={"name": "adam", "lr": 1e-3, "weight_decay": 0.01, "decay_biases": True},
        schedule={"floor": 0.25, "step": "epoch"},
        training={"epochs": 3, "memory_format": "contiguous"},
    )
    result = train(fields, chosen)

    seed = fold_seed(chosen, 1)
    torch.manual_seed(seed)
    network = create_network("test_resnet", num_classes=2, img_size=32)
    store = FieldStore(fields.root, chosen.preprocessing, 2**30)
    images, labels = list(fields.frame["image"]), labels_of(fields.frame).tolist()
    augmenter = Augmenter(chosen.augmentation, store.source_preprocessing, seed=seed)
    data = TrainingFields(store, images[:20], labels[:20], augmenter)
    sampler = EpochSampler(20, seed)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=3, eta_min=0.25e-3)
    losses, rates = [], []
    for epoch in range(3):
        network.train()
        sampler.set_epoch(epoch)
        order, total = list(sampler), 0.0
        rates.append(optimiser.param_groups[0]["lr"])
        for start in range(0, 20, 8):
            batch = [data[key] for key in order[start : start + 8]]
            truth = torch.tensor([label for _, label in batch])
            loss = nn.functional.cross_entropy(
                network(normalised(torch.stack([image for image, _ in batch]), chosen.preprocessing)), truth
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += float(loss.detach()) * len(batch)
        losses.append(total / 20)
        schedule.step()
    held_out = EvaluationFields(store, images[20:], labels[20:])
    with torch.inference_mode():
        views = torch.stack([held_out[index][0] for index in range(len(held_out))])
        logits = network.eval()(normalised(views, chosen.preprocessing))

    assert result.history["learning_rate"].tolist() == pytest.approx(rates, rel=1e-6)
    assert result.history["train_loss"].tolist() == pytest.approx(losses, rel=1e-4)
    assert result.logits == pytest.approx((logits[:, 1] - logits[:, 0]).numpy(), abs=1e-4)


def test_training_twice_gives_identical_logits_and_another_fold_others(fields: Manifest) -> None:
    chosen = recipe(augmentation={"name": "standard"}, training={"epochs": 1})
    one, two, other = train(fields, chosen), train(fields, chosen), train(fields, chosen, fold=2)
    assert np.array_equal(one.logits, two.logits)
    assert np.array_equal(one.features, two.features)
    assert one.history.equals(two.history)
    assert not np.array_equal(one.logits, other.logits)


def test_workers_do_not_change_what_is_learned(fields: Manifest) -> None:
    augmented = {"augmentation": {"name": "standard"}}
    alone = train(fields, recipe(**augmented))
    helped = train(fields, recipe(**augmented, training={"workers": 2}))
    assert np.array_equal(alone.logits, helped.logits)


def test_the_seeds_of_folds_differ() -> None:
    assert len({fold_seed(recipe(), fold) for fold in range(1, 11)}) == 10


@pytest.mark.parametrize("average_weights", [None, 0.6])
def test_the_best_epoch_by_the_history_is_kept(fields: Manifest, average_weights: float | None) -> None:
    held_out = noisy_labels(fields)
    chosen = recipe(
        optimiser={"lr": 2e-2},
        training={"epochs": 6, "selection": "validation-fold", "average_weights": average_weights},
    )
    result = train(fields, chosen, held_out=held_out)
    history = result.history
    # Published rule: validation accuracy, ties by training accuracy; of equals the first.
    best = history.sort_values(["validation_accuracy", "train_accuracy", "epoch"], ascending=[False, False, True])
    assert len(history[["validation_accuracy", "train_accuracy"]].drop_duplicates()) > 1
    assert result.kept_epoch == best["epoch"].iloc[0]
    assert result.kept_epoch < 6
    check_against_history(result, held_out)


@pytest.mark.parametrize("average_weights", [None, 0.6])
def test_the_last_epoch_is_kept_where_the_recipe_says_so(fields: Manifest, average_weights: float | None) -> None:
    held_out = noisy_labels(fields)
    chosen = recipe(training={"epochs": 3, "selection": "last", "average_weights": average_weights})
    result = train(fields, chosen, held_out=held_out)
    assert result.kept_epoch == 3
    check_against_history(result, held_out)


def check_against_history(result: FoldResult, held_out: pd.DataFrame) -> None:
    """The weights that were kept are those whose figures the history shows."""
    row = result.history[result.history["epoch"] == result.kept_epoch].iloc[0]
    truth, probability = labels_of(held_out), 1 / (1 + np.exp(-result.logits.astype(float)))
    assert row["validation_loss"] == pytest.approx(log_loss(truth, probability), abs=1e-5)
    assert row["validation_accuracy"] == pytest.approx(accuracy_score(truth, probability >= 0.5))
    assert row["validation_auroc"] == pytest.approx(roc_auc_score(truth, probability))


def test_a_fold_gives_a_logit_a_feature_row_and_a_network_in_evaluation_mode(fields: Manifest) -> None:
    result = train(fields, recipe(training={"epochs": 1}))
    assert result.logits.shape == (8,)
    assert result.features.shape[0] == 8
    assert not any(module.training for module in result.network.modules())
    assert result.device == "cpu"
    assert result.seconds > 0
    with torch.inference_mode():  # the features are those below the head
        weight, bias = result.network.get_classifier().weight, result.network.get_classifier().bias
        scores = torch.from_numpy(result.features) @ weight.T + bias
    assert result.logits == pytest.approx((scores[:, 1] - scores[:, 0]).numpy(), abs=1e-5)


def test_who_listens_hears_every_batch_and_every_epoch(fields: Manifest) -> None:
    batches: list[int] = []
    epochs: list[dict[str, float]] = []
    result = train(fields, recipe(), on_batch=batches.append, on_epoch=epochs.append)
    assert batches == [1] * (2 * 3)
    assert [row["epoch"] for row in epochs] == [1, 2]
    assert epochs == result.history.to_dict("records")
    wanted = {"train_loss", "train_accuracy", "learning_rate", "validation_loss", "validation_accuracy"}
    assert wanted | {"epoch", "validation_auroc"} == set(epochs[0])
    assert not result.history.isna().any().any()


@pytest.mark.parametrize(("rows", "batch", "expected"), [(17, 8, 2), (17, 16, 1), (18, 16, 2), (6, 8, 1)])
def test_a_last_batch_of_one_image_is_left_out_and_no_other(
    fields: Manifest, rows: int, batch: int, expected: int
) -> None:
    batches: list[int] = []
    chosen = recipe(training={"epochs": 1, "batch_size": batch})
    train(fields, chosen, rows=rows, on_batch=batches.append)
    assert len(batches) == expected


def test_a_loss_that_is_no_number_stops_with_one_sentence(fields: Manifest) -> None:
    with pytest.raises(InvalidInput, match=r"The loss became (nan|inf) in epoch 1, batch \d") as caught:
        train(fields, recipe(optimiser={"name": "sgd", "lr": 1e30}))
    assert "a lower optimiser.lr" in caught.value.mend


def test_a_network_that_does_not_exist_is_refused(fields: Manifest) -> None:
    with pytest.raises(InvalidInput, match="There is no network 'msht_smal'"):
        train(fields, recipe(network={"name": "msht_smal"}))


def test_ctrl_c_reaches_the_caller_and_leaves_the_process_able_to_hear_it(fields: Manifest) -> None:
    def interrupt(steps: int) -> None:
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(fields, recipe(), on_batch=interrupt)
    assert signal.getsignal(signal.SIGINT) is before

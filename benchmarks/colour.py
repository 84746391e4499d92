"""Does evening out colour help? Every method on real smears: before and after in a picture, and by what is learned.

    python -m benchmarks.colour --picture colour.png     the ROSE fields, before and after (never commit this picture)
    python -m benchmarks.colour --measure                trains the small network once for each method and fold

The images lie in `../shared/data` beside the checkout; without them the benchmark says so and stops. Held-out folds of
the development cohort choose; Validation, later admissions, is only reported. All methods share folds, seed, first
weights, order of images and augmentation, so that differences are paired; their intervals draw patients anew.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from torch import nn
from torch.utils.data import DataLoader

import msht  # noqa: F401  registers the networks
from msht.cohort.dataset import EpochSampler, EvaluationFields, FieldStore, TrainingFields
from msht.images.augmentation import Augmentation, Augmenter
from msht.images.colour import Colour, LabStatistics, StainMatrix, corrected, lab_statistics, stain_matrix
from msht.images.preprocessing import Preprocessing, normalised
from msht.images.reading import read_image
from msht.network.factory import create_network
from msht.network.logits import binary_logit

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"
REPORT = ROOT / "docs" / "results" / "colour.md"
SEED = 517
SIZE = 64
BATCH = 32
REFERENCES = 100
"""Development images whose median gives the targets."""
REPLICATES = 1000


@dataclass(frozen=True)
class Answers:
    """Logits of one method, in the order of the tables."""

    held_out: np.ndarray
    validation: np.ndarray
    seconds: float


def main() -> None:
    """Draw, measure, or both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", type=Path, help="where to write the ROSE fields before and after")
    parser.add_argument(
        "--measure", action="store_true", help="train and write docs/results/colour.md (5 minutes of one core)"
    )
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--folds", type=int, default=1, help="of five, how many are held out in turn")
    parser.add_argument("--training-images", type=int, default=800, help="drawn from each fold's, for time")
    options = parser.parse_args()
    if not (options.picture or options.measure):
        parser.error("give --picture FILE, --measure, or both")
    if not SHARED.is_dir():
        sys.exit(f"The real images are not on this machine ({SHARED}).")
    if options.picture:
        draw(options.picture)
    if options.measure:
        measure(options.epochs, options.folds, options.training_images)


def targets_of(images: list[np.ndarray]) -> tuple[LabStatistics, StainMatrix]:
    """The median cell colours and the median stains of some fields."""
    labs = [found for image in images if (found := lab_statistics(image)) is not None]
    stains = [found for image in images if (found := stain_matrix(image)) is not None]
    first, second = (np.median([getattr(stain, name) for stain in stains], axis=0) for name in ("first", "second"))
    first, second = first / np.linalg.norm(first), second / np.linalg.norm(second)
    lab = LabStatistics(
        mean=tuple(np.median([found.mean for found in labs], axis=0)),
        std=tuple(np.median([found.std for found in labs], axis=0)),
    )
    strong = tuple(np.median([stain.strong for stain in stains], axis=0))
    return lab, StainMatrix(first=tuple(first), second=tuple(second), strong=strong)


def methods_of(lab: LabStatistics, stains: StainMatrix) -> dict[str, Colour]:
    """Every way of evening out colour, by name."""
    return {
        "none": Colour(),
        "white balance": Colour(white=True),
        "flat field": Colour(even_light=True),
        "Reinhard": Colour(stain="reinhard", reinhard_target=lab),
        "Macenko": Colour(stain="macenko", macenko_target=stains),
    }


def draw(path: Path) -> None:
    """Write every ROSE field before and after each method."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    files = sorted(p for p in (SHARED / "rose-fields").rglob("*") if p.suffix in {".png", ".jpg"})
    fields = [read_image(file).pixels for file in files]
    methods = methods_of(*targets_of(fields))
    figure, axes = plt.subplots(len(fields), len(methods), figsize=(2 * len(methods), 2 * len(fields)))
    for row, field in zip(axes, fields, strict=True):
        for axis, (name, colour) in zip(row, methods.items(), strict=True):
            axis.imshow(corrected(field, colour))
            axis.set_xticks([])
            axis.set_yticks([])
            if row is axes[0]:
                axis.set_title(name)
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    spread = pd.Series({name: _spread(fields, colour) for name, colour in methods.items()})
    print(f"{path}: {len(fields)} fields. Spread of the cells' mean colour between fields, in levels of 255:")
    print(spread.round(1).to_string())


def _spread(fields: list[np.ndarray], colour: Colour) -> float:
    from msht.images.colour import cell_mask

    means = [corrected(field, colour)[cell_mask(field)].mean(axis=0) for field in fields]
    return float(np.std(means, axis=0).mean())


def measure(epochs: int, folds: int, training_images: int) -> None:
    """Train with each method and write what came of it."""
    torch.set_num_threads(1)
    root = SHARED / "leukaemia-smears"
    table = pd.read_csv(root / "labels.csv")
    table["y"] = (table["label"] == "positive").astype(int)
    development = table[table["cohort"] == "Discovery"].reset_index(drop=True)
    validation = table[table["cohort"] == "Validation"].reset_index(drop=True)
    splitter = StratifiedGroupKFold(5, shuffle=True, random_state=SEED)
    splits = list(splitter.split(development, development["y"], development["patient_id"]))[:folds]
    draw_rows = np.random.default_rng(SEED)
    splits = [(np.sort(draw_rows.permutation(train)[:training_images]), test) for train, test in splits]
    learned = np.intersect1d(*[train for train, _ in splits[:2]]) if folds > 1 else splits[0][0]
    sample = np.random.default_rng(SEED).permutation(learned)[:REFERENCES]
    # From images that every network trains on: a target, too, is something learned.
    references = [read_image(root / file).pixels for file in development["file"].iloc[sample]]
    answers = {}
    for name, colour in methods_of(*targets_of(references)).items():
        answers[name] = _one_method(root, development, validation, splits, colour, epochs)
        print(f"{name}: {answers[name].seconds:.0f} s", flush=True)
    held_out = development.iloc[np.concatenate([test for _, test in splits])]
    text = _report(held_out, validation, answers, epochs, folds, len(splits[0][0]))
    REPORT.write_text(text, encoding="utf-8")
    print(text)


def _one_method(
    root: Path,
    development: pd.DataFrame,
    validation: pd.DataFrame,
    splits: list[tuple[np.ndarray, np.ndarray]],
    colour: Colour,
    epochs: int,
) -> Answers:
    started = time.process_time()
    preprocessing = Preprocessing(size=SIZE, mean=(0.7, 0.6, 0.7), std=(0.2, 0.2, 0.2), colour=colour)
    augmentation = Augmentation(name="standard")
    store = FieldStore(root, preprocessing, 2**31, augmentation=augmentation)
    held_out, later = [], []
    for number, (train, test) in enumerate(splits, start=1):
        network = _trained(store, development.iloc[train], augmentation, SEED + 1000 * number, epochs)
        held_out.append(_logits(network, store, development.iloc[test]))
        later.append(_logits(network, store, validation))
    return Answers(np.concatenate(held_out), np.mean(later, axis=0), time.process_time() - started)


def _trained(store: FieldStore, rows: pd.DataFrame, augmentation: Augmentation, seed: int, epochs: int) -> nn.Module:
    torch.manual_seed(seed)
    network = create_network("msht_small", num_classes=2, img_size=SIZE).to(memory_format=torch.channels_last)
    augmenter = Augmenter(augmentation, store.source_preprocessing, seed)
    data = TrainingFields(store, list(rows["file"]), rows["y"].tolist(), augmenter)
    sampler = EpochSampler(len(data), seed)
    loader = DataLoader(data, batch_size=BATCH, sampler=sampler, drop_last=True)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-3, total_steps=epochs * len(loader), pct_start=0.15)
    network.train()
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        for images, labels in loader:
            batch = normalised(images, store.preprocessing).to(memory_format=torch.channels_last)
            loss = nn.functional.cross_entropy(network(batch), labels)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
    return network.eval()


@torch.inference_mode()
def _logits(network: nn.Module, store: FieldStore, rows: pd.DataFrame) -> np.ndarray:
    loader = DataLoader(EvaluationFields(store, list(rows["file"]), rows["y"].tolist()), batch_size=64)
    return np.concatenate(
        [binary_logit(network(normalised(images, store.preprocessing))).numpy() for images, _ in loader]
    )


def _report(
    held_out: pd.DataFrame, validation: pd.DataFrame, answers: dict[str, Answers], epochs: int, folds: int, train: int
) -> str:
    sides = {
        "development": (held_out, {name: answer.held_out for name, answer in answers.items()}),
        "Validation": (validation, {name: answer.validation for name, answer in answers.items()}),
    }
    rows = []
    for name in answers:
        cells = [name]
        for frame, logits in sides.values():
            auroc, accuracy = _figures(frame["y"].to_numpy(), logits[name])
            cells += [f"{auroc:.3f}", f"{accuracy:.3f}"]
            cells.append("" if name == "none" else _difference(frame, logits[name], logits["none"]))
        cells.append(f"{answers[name].seconds:.0f}")
        rows.append("| " + " | ".join(cells) + " |")
    counts = {side: (len(frame), frame["patient_id"].nunique()) for side, (frame, _) in sides.items()}
    return "\n".join(
        [
            "# Does evening out colour help? Leukaemia smears",
            "",
            "`python -m benchmarks.colour --measure`, which writes this page. Do not edit it.",
            "",
            f"`msht_small` from random weights at {SIZE} px, {epochs} epochs, batch {BATCH}, AdamW 1e-3, standard "
            f"augmentation, seed {SEED}. {folds} of five patient-grouped folds of Discovery held out in turn "
            f"({train} training images each, drawn; held out together: {counts['development'][0]} images of "
            f"{counts['development'][1]} patients); Validation ({counts['Validation'][0]} images of "
            f"{counts['Validation'][1]} patients, later admissions) is scored by the mean logit of the {folds} "
            f"networks and chooses nothing. The targets of Reinhard and Macenko are medians over {REFERENCES} training "
            "images. All methods share folds, seed, first weights, order and augmentation. The difference is that of "
            f"the AUROC to `none`, with its 95 % interval over {REPLICATES} draws of patients; it knows nothing of "
            "other seeds. Balanced accuracy is at a logit of 0.",
            "",
            "| method | held-out AUROC | balanced accuracy | difference | Validation AUROC | balanced accuracy "
            "| difference | seconds |",
            "|---|---:|---:|---:|---:|---:|---:|---:|",
            *rows,
            "",
        ]
    )


def _figures(labels: np.ndarray, logits: np.ndarray) -> tuple[float, float]:
    return float(roc_auc_score(labels, logits)), float(balanced_accuracy_score(labels, logits > 0))


def _difference(frame: pd.DataFrame, ours: np.ndarray, plain: np.ndarray) -> str:
    labels = frame["y"].to_numpy()
    places = list(frame.reset_index(drop=True).groupby("patient_id").indices.values())
    generator = np.random.default_rng(SEED)
    found = []
    for _ in range(REPLICATES):
        drawn = np.concatenate([places[i] for i in generator.integers(len(places), size=len(places))])
        if 0 < labels[drawn].mean() < 1:
            found.append(roc_auc_score(labels[drawn], ours[drawn]) - roc_auc_score(labels[drawn], plain[drawn]))
    low, high = np.quantile(found, [0.025, 0.975])
    return f"{roc_auc_score(labels, ours) - roc_auc_score(labels, plain):+.3f} ({low:+.3f} to {high:+.3f})"


if __name__ == "__main__":
    main()

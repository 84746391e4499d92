"""Which choices of a recipe help, one at a time, on real cells and on phantoms of another site.

Run with `python -m benchmarks.recipes`. Every variant differs from the base in one setting and is trained on the same
folds from the same seeds; what is written are paired differences from the base. Each fit that is done is kept in
`benchmarks/results/recipes.csv`, so a stopped benchmark goes on; `--minutes` bounds it. The leukaemia smears lie
beside the checkout where there are any; without them only the phantom is used.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import balanced_accuracy_score, log_loss, roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold

from msht.cohort.dataset import FieldStore
from msht.files import write_text
from msht.training.loaders import labels_of
from msht.training.recipe import Recipe, recipe_from
from msht.training.trainer import train_fold

RESULTS = Path(__file__).resolve().parent / "results"
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "leukaemia-smears"
SEEDS = (517, 518)
BASE: dict[str, dict[str, object]] = {
    "network": {"name": "msht_small"},
    "preprocessing": {"size": 64, "mean": [0.7, 0.6, 0.7], "std": [0.2, 0.2, 0.2]},
    "augmentation": {"name": "standard"},
    "optimiser": {"name": "adamw", "lr": 1e-3, "weight_decay": 0.05, "gradient_clip": 1.0},
    "schedule": {"warmup_epochs": 0, "floor": 0.01},
    "training": {"batch_size": 32, "selection": "last"},
}
VARIANTS: dict[str, dict[str, dict[str, object]]] = {
    "base": {},
    "Adam with L2 0.01": {"optimiser": {"name": "adam", "weight_decay": 0.01}},
    "warm-up 1 epoch": {"schedule": {"warmup_epochs": 1}},
    "bf16": {"training": {"precision": "bf16-mixed"}},
    "moving average 0.98": {"training": {"average_weights": 0.98}},
    "layer decay 0.8": {"optimiser": {"layer_decay": 0.8}},
    "strong colour": {"augmentation": {"name": "strong-colour"}},
    "label smoothing 0.1": {"training": {"label_smoothing": 0.1}},
    "mixup 0.2": {"training": {"mixup": 0.2}},
    "SAM 0.05": {"optimiser": {"sam": 0.05}},
    "balanced classes": {"training": {"class_prior": "balanced"}},
    "best epoch by inner split": {"training": {"selection": "inner-split"}},
    "best epoch by the fold held out": {"training": {"selection": "validation-fold"}},
}
MEASURES = ("auroc", "log_loss", "balanced_accuracy")


def main() -> None:
    """Measure, keep and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=15.0, help="stop after this; what is done is kept")
    parser.add_argument("--images", type=int, default=800, help="of the smears, whole patients")
    parser.add_argument("--epochs", type=int, default=6, help="of every fit; a choice may need time to pay")
    parser.add_argument("--variants", help="names of some of the variants, split by semicolons; the base is always one")
    options = parser.parse_args()
    ends = time.monotonic() + 60 * options.minutes
    done = read_done()
    names = ["base", *options.variants.split(";")] if options.variants else list(VARIANTS)
    chosen = {name: VARIANTS[name] for name in names}
    with tempfile.TemporaryDirectory() as scratch:
        for task, root, frame, sides in tasks(Path(scratch), options.images):
            for seed in SEEDS:
                for name, changes in chosen.items():
                    if time.monotonic() > ends:
                        write(done)
                        return
                    key = {"task": task, "variant": name, "seed": seed, "images": len(frame), "epochs": options.epochs}
                    if any(all(row[k] == v for k, v in key.items()) for row in done):
                        continue
                    done.append({**key, **fit(recipe(changes, seed, options.epochs), root, frame, sides)})
                    pd.DataFrame(done).to_csv(RESULTS / "recipes.csv", index=False)
                    print(done[-1], flush=True)
    write(done)


def recipe(changes: dict[str, dict[str, object]], seed: int, epochs: int) -> Recipe:
    """The base with some settings changed."""
    sections = {name: {**values, **changes.get(name, {})} for name, values in BASE.items()}
    sections["training"]["epochs"] = epochs
    return recipe_from({"name": "ablation", "seed": seed, **sections}, source="benchmark")


def tasks(scratch: Path, images: int) -> list[tuple[str, Path, pd.DataFrame, np.ndarray]]:
    """Name, folder, rows and which rows are held out, of each task."""
    from pipelines.phantom import draw_phantom

    found = []
    cohort = scratch / "phantom"
    draw_phantom(cohort, patients=30, fields_per_patient=6, sites=3, width=256, height=192, seed=517)
    phantom = pd.read_csv(cohort / "manifest.csv", dtype=str)
    found.append(
        ("phantom, another site", cohort, phantom, (phantom["site"] == sorted(phantom["site"].unique())[-1]).to_numpy())
    )
    if (SHARED / "labels.csv").is_file():
        smears = pd.read_csv(SHARED / "labels.csv", dtype=str).rename(columns={"file": "image"})
        smears = smears[smears["cohort"] == "Discovery"].reset_index(drop=True)
        order = np.random.default_rng(517).permutation(smears["patient_id"].unique())
        sizes = smears["patient_id"].value_counts().reindex(order).cumsum()
        smears = smears[smears["patient_id"].isin(sizes.index[sizes <= images])].reset_index(drop=True)
        splitter = StratifiedGroupKFold(4, shuffle=True, random_state=517)
        for number, (_, test) in enumerate(splitter.split(smears, smears["label"], smears["patient_id"]), start=1):
            if number <= 2:
                sides = np.isin(np.arange(len(smears)), test)
                found.append((f"leukaemia smears, fold {number}", SHARED, smears, sides))
    return found


def fit(chosen: Recipe, root: Path, frame: pd.DataFrame, held_out: np.ndarray) -> dict[str, float]:
    """Train on the other rows and measure on the rows held out."""
    rest, test = (frame[side].reset_index(drop=True) for side in (~held_out, held_out))
    result = train_fold(
        recipe=chosen,
        store=FieldStore(root, chosen.preprocessing, 2**30),
        training=rest,
        held_out=test,
        fold=1,
        groups=rest["patient_id"].tolist(),
        accelerator="cpu",
    )
    truth, probability = labels_of(test), 1 / (1 + np.exp(-result.logits.astype(float)))
    return {
        "auroc": roc_auc_score(truth, probability),
        "log_loss": log_loss(truth, probability, labels=[0, 1]),
        "balanced_accuracy": balanced_accuracy_score(truth, probability >= 0.5),
        "seconds": round(result.seconds, 1),
    }


def read_done() -> list[dict[str, object]]:
    """What was measured before."""
    path = RESULTS / "recipes.csv"
    return pd.read_csv(path).to_dict("records") if path.is_file() else []  # type: ignore[return-value]


def write(done: list[dict[str, object]]) -> None:
    """Write paired differences from the base."""
    table = pd.DataFrame(done)
    lines = [
        "# One choice at a time",
        "",
        "`python -m benchmarks.recipes`: `msht_small` at 64 px from random weights; held-out rows. "
        "Differences from the base with the same rows and seed, mean (lowest to highest). Small cohorts and few "
        "seeds: a difference whose range crosses zero shows nothing.",
        "",
        "| task | epochs | variant | fits | AUROC | log loss | balanced accuracy | time |",
        "|---|---:|---|---:|---:|---:|---:|---:|",
    ]
    table["kind"] = table["task"].str.split(",").str[0]
    for (kind, epochs), rows in table.groupby(["kind", "epochs"], sort=False):
        base = rows[rows["variant"] == "base"].set_index(["task", "seed"])
        for name in VARIANTS:
            mine = rows[rows["variant"] == name].set_index(["task", "seed"])
            both = base.index.intersection(mine.index)
            if both.empty:
                continue
            cells = []
            for measure in MEASURES:
                if name == "base":
                    cells.append(f"{base.loc[both, measure].mean():.3f}")
                else:
                    gain = mine.loc[both, measure] - base.loc[both, measure]
                    cells.append(f"{gain.mean():+.3f} ({gain.min():+.3f} to {gain.max():+.3f})")
            pace = mine.loc[both, "seconds"].sum() / base.loc[both, "seconds"].sum()
            lines.append(f"| {kind} | {epochs} | {name} | {len(both)} | " + " | ".join(cells) + f" | {pace:.1f} x |")
    write_text(RESULTS / "recipes.md", "\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()

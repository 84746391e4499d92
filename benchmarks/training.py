"""How fast a training runs, what it waits for, and how long the paper's protocol would take on this machine.

Run with `python -m benchmarks.training` (CPU: about three minutes on two cores) or
`python -m benchmarks.training --device cuda` (the whole grid): writes `training-<device>.csv` and `.md` under
`benchmarks/results`. The images are phantom fields of the size that the paper reports, so that decoding and
augmentation cost what they cost there. Every row uses the library's own reading, augmentation, network and optimiser;
after warm-up steps, the time in which the device had nothing to do but wait for the next batch is told apart.

The projection is a model in three parts, each measured: training images and held-out images by their rates, what an
epoch costs besides (from real one-epoch and two-epoch trainings by `train_fold`), and reading all images once.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import itertools
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn
from torch.utils.data import DataLoader

from benchmarks.network import cpu_name
from msht.cohort.cache import FieldCache
from msht.cohort.dataset import EvaluationFields, FieldStore
from msht.cohort.device_fields import DeviceFields
from msht.images.preprocessing import normalised
from msht.network.logits import binary_logit
from msht.training.loaders import labels_of, training_loader
from msht.training.optimisers import make_optimiser
from msht.training.processes import find_processes
from msht.training.recipe import Recipe, read_recipe
from msht.training.trainer import MEMORY_FORMATS, network_of, train_fold
from pipelines.phantom import draw_phantom
from pipelines.recipes import recipe_path

RESULTS = Path(__file__).parent / "results"
DEVELOPMENT, FOLDS, EPOCHS = 3393, 5, 50
"""The paper's protocol."""
HELD_OUT_BATCH = 64
PRECISIONS = {"32-true": None, "bf16-mixed": torch.bfloat16}
CACHES = ("memory", "disk", "none")
CACHE_BYTES = 8 * 2**30


@dataclass
class Row:
    """One setting."""

    recipe: str
    network: str
    size: int
    batch: int
    precision: str
    compiled: bool
    cache: str
    """Where prepared fields are kept: memory, disk, or nowhere (decoded at every use)."""
    augment_on: str
    """Where views are made: by the workers, or on the device."""
    workers: int
    images_per_second: float
    waiting_share: float
    """Of the time of a step, in which the device waits for the next batch."""
    held_out_images_per_second: float
    reading_images_per_second: float
    """Decoding, measuring quality and preparing a field for the first time."""
    projected_hours: float = float("nan")
    """Of the paper's protocol."""


def main() -> None:
    """Measure what this machine has, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--images", type=int, help="fields to draw; default 24 on a CPU, 256 on a GPU")
    parser.add_argument("--steps", type=int, help="timed steps of a setting; default 3 on a CPU, 30 on a GPU")
    parser.add_argument("--workers", type=int, help="processes that read; default 0 on a CPU, 12 on a GPU")
    parser.add_argument("--compile", action="store_true", help="compile on a CPU too (minutes)")
    parser.add_argument("--no-overhead", action="store_true", help="leave out the real trainings by train_fold")
    options = parser.parse_args()
    on_gpu = options.device == "cuda"
    if on_gpu and not torch.cuda.is_available():
        parser.error("--device cuda: this machine has no CUDA device")
    images = options.images or (256 if on_gpu else 24)
    steps = options.steps or (30 if on_gpu else 3)
    workers = options.workers if options.workers is not None else (12 if on_gpu else 0)
    torch.manual_seed(517)
    with tempfile.TemporaryDirectory(prefix="msht-benchmark-") as scratch:
        cohort = Path(scratch) / "cohort"
        draw_phantom(cohort, patients=max(images // 4, 4), fields_per_patient=4, width=1390, height=1038, seed=517)
        frame = pd.read_csv(cohort / "manifest.csv").head(images)
        rows = []
        for setting in grid(on_gpu, workers, compile_too=options.compile or on_gpu):
            try:
                rows.append(measure(setting, cohort, frame, steps, options.device))
            except torch.cuda.OutOfMemoryError:
                torch.cuda.empty_cache()
                continue
            print(rows[-1])
        overhead = (0.0, 0.0)
        if not options.no_overhead:
            overhead = measure_overhead(rows, cohort, frame, options.device, workers)
    for row in rows:
        row.projected_hours = round(projected_seconds(row, *overhead) / 3600, 2)
    write(rows, overhead, options, images, steps)


@dataclass(frozen=True)
class Setting:
    """What to measure."""

    recipe: Recipe
    compiled: bool
    cache: str


def grid(on_gpu: bool, workers: int, *, compile_too: bool) -> list[Setting]:
    """The settings: on a GPU the paper's network over everything; on a CPU the small one, and the paper's once."""
    compiled = (False, True) if compile_too else (False,)
    if on_gpu:
        chosen = itertools.product(("paper",), (8, 32, 128), PRECISIONS, compiled, CACHES, ("worker", "device"))
    else:
        chosen = itertools.chain(
            itertools.product(("small-cpu",), (8, 32), PRECISIONS, (False,), ("memory",), ("worker",)),
            itertools.product(("small-cpu",), (32,), ("32-true",), compiled, CACHES[1:], ("worker",)),
            [("paper", 8, "32-true", False, "memory", "worker")],
        )
    return [
        Setting(
            read_recipe(
                recipe_path(name),
                [
                    f"training.batch_size={batch}",
                    f"training.precision={precision}",
                    f"training.augment_on={place}",
                    f"training.workers={workers}",
                ],
            ),
            compile_,
            cache,
        )
        for name, batch, precision, compile_, cache, place in chosen
    ]


def measure(setting: Setting, cohort: Path, frame: pd.DataFrame, steps: int, device: str) -> Row:
    """Time training steps of one setting, and apart from them the waiting, the held-out pass and the reading."""
    recipe = setting.recipe
    with tempfile.TemporaryDirectory(prefix="msht-cache-") as scratch:
        store = store_of(setting, cohort, Path(scratch) / "cache")
        started = time.perf_counter()
        store.load(list(frame["image"]))
        reading = len(frame) / (time.perf_counter() - started)
        network = network_of(recipe).to(device, memory_format=MEMORY_FORMATS[recipe.training.memory_format])
        rate, waiting = training_rate(network, setting, store, frame, steps, device)
        held_out = held_out_rate(network, recipe, store, frame, device)
    return Row(
        recipe=recipe.name,
        network=recipe.network.name,
        size=recipe.preprocessing.size,
        batch=recipe.training.batch_size,
        precision=recipe.training.precision,
        compiled=setting.compiled,
        cache=setting.cache,
        augment_on=recipe.training.augment_on,
        workers=recipe.training.workers,
        images_per_second=round(rate, 2),
        waiting_share=round(waiting, 3),
        held_out_images_per_second=round(held_out, 2),
        reading_images_per_second=round(reading, 2),
    )


def store_of(setting: Setting, cohort: Path, folder: Path) -> FieldStore:
    """A store that keeps prepared fields where the setting says."""
    recipe = setting.recipe
    cache = FieldCache(folder, CACHE_BYTES) if setting.cache == "disk" else None
    limit = CACHE_BYTES if setting.cache == "memory" else 0
    return FieldStore(cohort, recipe.preprocessing, limit, augmentation=recipe.augmentation, cache=cache)


def training_rate(
    network: nn.Module,
    setting: Setting,
    store: FieldStore,
    frame: pd.DataFrame,
    steps: int,
    device: str,
) -> tuple[float, float]:
    """Images a second over the timed steps, and the share of that time spent waiting for batches."""
    recipe = setting.recipe
    optimiser = make_optimiser(network, recipe.optimiser, recipe.optimiser.lr)
    called = torch.compile(network) if setting.compiled else network
    batches = endless(recipe, store, frame, device)
    half = PRECISIONS[recipe.training.precision]
    network.train()
    waited = total = 0.0
    for number in range(steps + 2):  # two to warm up
        started = time.perf_counter()
        batch, labels, finish = next(batches)
        ready = time.perf_counter()
        images = finish(moved(batch, device, MEMORY_FORMATS[recipe.training.memory_format]))
        with torch.autocast(device, dtype=half) if half else contextlib.nullcontext():
            loss = nn.functional.cross_entropy(called(images), labels.to(device))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        if device == "cuda":
            torch.cuda.synchronize()
        if number >= 2:
            waited += ready - started
            total += time.perf_counter() - started
    return recipe.training.batch_size * steps / total, waited / total


def endless(
    recipe: Recipe, store: FieldStore, frame: pd.DataFrame, device: str
) -> Iterator[tuple[Any, torch.Tensor, Callable[[Any], torch.Tensor]]]:
    """Batches of the library's own loader, epoch after epoch, each with what makes its images on the device."""
    rows = pd.concat([frame] * -(-recipe.training.batch_size // len(frame)), ignore_index=True)
    loader, batches = training_loader(
        recipe, store, rows, seed=517, parts=1, processes=find_processes(), device=torch.device(device)
    )
    data = loader.dataset
    finish = data.views if isinstance(data, DeviceFields) else lambda images: normalised(images, recipe.preprocessing)
    for epoch in itertools.count():
        batches.sampler.set_epoch(epoch)
        for images, labels in loader:
            if len(labels) == recipe.training.batch_size:
                yield images, labels, finish


def moved(batch: Any, device: str, memory_format: torch.memory_format) -> Any:
    """A batch on the device: pictures, or what pictures are made of there."""
    if isinstance(batch, dict):
        return {name: value.to(device, non_blocking=True) for name, value in batch.items()}
    return batch.to(device, memory_format=memory_format, non_blocking=True)


@torch.inference_mode()
def held_out_rate(network: nn.Module, recipe: Recipe, store: FieldStore, frame: pd.DataFrame, device: str) -> float:
    """Images a second of an evaluation pass."""
    network.eval()
    fields = EvaluationFields(store, list(frame["image"]), labels_of(frame).tolist())
    half = PRECISIONS[recipe.training.precision]
    best = 0.0
    for _ in range(3 if device == "cuda" else 2):
        started, done = time.perf_counter(), 0
        for images, _ in DataLoader(fields, batch_size=min(HELD_OUT_BATCH, 8 * recipe.training.batch_size)):
            with torch.autocast(device, dtype=half) if half else contextlib.nullcontext():
                binary_logit(network(normalised(images.to(device), recipe.preprocessing))).float().cpu()
            done += len(images)
            if device == "cpu" and time.perf_counter() - started > 20:
                break
        best = max(best, done / (time.perf_counter() - started))
    return best


def measure_overhead(
    rows: list[Row], cohort: Path, frame: pd.DataFrame, device: str, workers: int
) -> tuple[float, float]:
    """What a run and an epoch cost beside the images, in seconds, from real trainings of one and of two epochs.

    The small recipe is used, whose images cost little beside what is to be measured.
    """
    seconds = []
    half = len(frame) // 2
    for epochs in (1, 2):
        recipe = read_recipe(
            recipe_path("small-cpu"),
            [f"training.epochs={epochs}", "schedule.warmup_epochs=0", f"training.workers={workers}"],
        )
        store = FieldStore(cohort, recipe.preprocessing, CACHE_BYTES, augmentation=recipe.augmentation)
        store.load(list(frame["image"]))
        started = time.perf_counter()
        train_fold(
            recipe=recipe,
            store=store,
            training=frame.head(half).reset_index(drop=True),
            held_out=frame.tail(len(frame) - half).reset_index(drop=True),
            fold=1,
            accelerator="gpu" if device == "cuda" else "cpu",
        )
        seconds.append(time.perf_counter() - started)
    small = next((row for row in rows if row.recipe == "small-cpu" and row.batch == 32), None)
    images = half / small.images_per_second + half / small.held_out_images_per_second if small else 0.0
    epoch = max(seconds[1] - seconds[0] - images, 0.0)
    return max(seconds[0] - epoch - images, 0.0), epoch


def projected_seconds(row: Row, run_overhead: float, epoch_overhead: float) -> float:
    """Time of five folds of fifty epochs over 3393 images, of which a fifth is held out in each fold."""
    held_out = DEVELOPMENT / FOLDS
    epoch = (DEVELOPMENT - held_out) / row.images_per_second + held_out / row.held_out_images_per_second
    fold = run_overhead + EPOCHS * (epoch + epoch_overhead) + held_out / row.held_out_images_per_second
    return FOLDS * fold + DEVELOPMENT / row.reading_images_per_second


def write(rows: list[Row], overhead: tuple[float, float], options: argparse.Namespace, images: int, steps: int) -> None:
    """Write the CSV and the Markdown table."""
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"training-{options.device}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(asdict(rows[0])), lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    machine = torch.cuda.get_device_name() if options.device == "cuda" else cpu_name()
    lines = [
        "# Training: images a second, waiting, and the paper's protocol",
        "",
        f"{machine}. Python {platform.python_version()}, torch {torch.__version__}.",
        f"{images} phantom fields of 1390 x 1038 px, {steps} timed steps a setting after two to warm up; one "
        "measurement each, so a busy machine shows.",
        "",
        "| network | px | batch | precision | compiled | cache | augments on | workers | images/s | waits for data "
        "| held-out images/s | first reading, images/s | paper's protocol, h |",
        "|---|---:|---:|---|---|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        lines.append(
            f"| {row.network} | {row.size} | {row.batch} | {row.precision} | {'yes' if row.compiled else 'no'} "
            f"| {row.cache} | {row.augment_on} | {row.workers} | {row.images_per_second} | {row.waiting_share:.1%} "
            f"| {row.held_out_images_per_second} | {row.reading_images_per_second} | {row.projected_hours} |"
        )
    run, epoch = overhead
    said = "left out" if options.no_overhead else f"{run:.1f} s a fold and {epoch:.1f} s an epoch"
    lines += [
        "",
        f"Projection: {FOLDS} folds x {EPOCHS} epochs over {DEVELOPMENT} development images (four fifths trained on, "
        "one fifth scored each epoch), each at the row's own rates, plus one reading of all images, plus "
        f"{said} beside the images (from one-epoch and two-epoch trainings by `train_fold`). With 0 workers, reading "
        "and computing take turns in one process, so waiting is the whole cost of reading. The published protocol is "
        "the row `msht_resnet50`, 384 px, batch 8, 32-true; it took 126 to 128 minutes a fold on a Tesla P100 (10.6 h "
        "for five).",
    ]
    (RESULTS / f"training-{options.device}.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()

"""How fast fields are scored, end to end, against the plain way; and whether any call changes.

Run with `python -m benchmarks.scoring`: writes `benchmarks/results/scoring.md`. JPEG fields of 1390 x 1038 px
(phantoms), from the file to the mean of five calibrated probabilities. The plain way is what a careful first program
does: Pillow and torchvision, one field at a time, five networks in single precision one after another, as they were
trained, without gradients, on every core. Ours is the scorer of `msht score` by backend, which also measures the
quality of every field. The sides take turns in one process, each going over all fields once a round; of each side the
best round counts, by the clock, since on a shared machine every disturbance only ever adds time; the processor's time
of the round that took least of it is given beside it.

Weights are random, which costs the same; the logits are calibrated on other phantoms, so that calls are mixed.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from torchvision import transforms

import msht  # noqa: F401  registers the networks
from benchmarks.input import write_fields
from benchmarks.network import cpu_name
from msht.bundle import Bundle, read_bundle, write_bundle
from msht.calibration.novelty import FeatureReference
from msht.calibration.stored import StoredCalibrator
from msht.decision import Decision, Point
from msht.ensemble import Ensemble, FoldModel
from msht.errors import InvalidInput
from msht.images.preprocessing import Preprocessing, view_of
from msht.images.quality import QualityGate
from msht.images.reading import read_image
from msht.network.costs import measure_cost
from msht.runtimes.description import Precision
from msht.runtimes.protocol import BackendName
from msht.runtimes.store import find_export, open_runtime
from msht.runtimes.verification import TOLERANCE
from pipelines.export import Target, export_with
from pipelines.export_images import Pictures
from pipelines.inputs import ScoreInput
from pipelines.score_fields import FieldScorer, ScoreSettings

RESULT = Path(__file__).parent / "results" / "scoring.md"
SEED = 517
FOLDS = 5
BAR = 5.0
SMALL = Preprocessing(size=128, mean=(0.7, 0.6, 0.7), std=(0.2, 0.2, 0.2))
PAPER = Preprocessing(crop=700, size=384)
CONTENDERS = {"msht_small": SMALL, "msht_resnet50": PAPER}
WAYS: dict[str, tuple[BackendName, Precision]] = {
    "torch": ("torch", "float32"),
    "onnx": ("onnx", "float32"),
    "openvino": ("openvino", "float32"),
    "openvino, bf16": ("openvino", "bfloat16"),
    "openvino, int8": ("openvino", "int8"),
}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fields", type=int, nargs=2, default=(64, 8), help="timed fields, of the small and the large")
    parser.add_argument("--development", type=int, default=40, help="fields for calibration and verification")
    parser.add_argument("--rounds", type=int, nargs=2, default=(8, 4))
    parser.add_argument("--ways", nargs="*", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--networks", nargs="*", default=list(CONTENDERS), choices=list(CONTENDERS))
    parser.add_argument(
        "--bundle", type=Path, help="a bundle of five networks, with the exports that it holds, instead"
    )
    parser.add_argument("--size", type=int, help="edge of the networks' input in px, instead of theirs")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    lines = heading()
    with tempfile.TemporaryDirectory(prefix="msht-") as scratch:
        root = Path(scratch)
        count = options.development + max(options.fields)
        names = write_fields(root / "images", count)
        files = [root / "images" / name for name in names]
        development = files[: options.development]
        if options.bundle is not None:
            bundle, timed = read_bundle(options.bundle), files[options.development :][: options.fields[0]]
            lines += race(bundle.description.name, bundle, [], timed, options.rounds[0], options.ways)
        for name in options.networks if options.bundle is None else []:
            place = list(CONTENDERS).index(name)
            timed = files[options.development :][: options.fields[place]]
            preprocessing = CONTENDERS[name]
            if options.size is not None:
                preprocessing = preprocessing.model_copy(update={"size": options.size})
            bundle = make_bundle(name, root / name, preprocessing, development)
            lines += race(name, bundle, development, timed, options.rounds[place], options.ways)
    options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def heading() -> list[str]:
    """What the page is about, and where it was measured."""
    packages = ("torch", "torchvision", "timm", "onnxruntime", "openvino", "nncf", "pillow", "opencv-python")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return [
        "# Scoring, end to end",
        "",
        f"`python -m benchmarks.scoring`, which writes this page. {cpu_name()}, {torch.get_num_threads()} threads, "
        f"Python {platform.python_version()}, {versions}.",
        "",
        "JPEG fields of 1390 x 1038 px (phantoms) from the file to the mean of five calibrated probabilities. The "
        "plain way: Pillow and torchvision, one field at a time, five networks one after another in single precision "
        "as they were trained. Ours: the scorer of `msht score`, which also measures the quality of every field. In "
        "turns, best round by the clock; beside it the least processor time of a round; `against plain` is against the "
        "better of the two plain rows. Changes are against the "
        "networks in eager PyTorch on the same pixels; the last column counts fields whose call differs from the "
        "plain way's, whose resampling is another.",
    ]


def race(
    name: str, bundle: Bundle, development: list[Path], timed: list[Path], rounds: int, ways: list[str]
) -> list[str]:
    """One bundle by every way; what it does not hold is exported."""
    preprocessing = bundle.description.preprocessing
    prepared = FieldScorer(bundle, ScoreSettings(backend="torch", device="cpu"))
    reference = Ensemble(prepared.ensemble.folds, preprocessing)
    views = np.stack([view_of(read_image(file).pixels, preprocessing) for file in timed])
    expected = np.concatenate([reference.score(view[None]).probability for view in views])
    items = [ScoreInput(file.name, file, "case") for file in timed]
    sides: dict[str, Callable[[], np.ndarray]] = {
        "plain": plain_way(reference, preprocessing, timed),
        "plain, one thread": plain_way(reference, preprocessing, timed, threads=1),
    }
    refused = []
    for way in ways:
        backend, precision = WAYS[way]
        print(f"{name}: {way}", flush=True)
        if backend == "torch":
            sides[way] = scored_by(prepared, items)
            continue
        held = {(export.backend, export.precision) for export in bundle.description.exports}
        if precision != "bfloat16" and (backend, precision) not in held:  # bf16: float32's files, another setting
            try:
                bundle = exported(bundle, backend, precision, development)
            except InvalidInput as error:
                refused.append(f"- {way}: {error.problem}")
                continue
        scorer = FieldScorer(bundle, ScoreSettings(backend=backend, device="cpu"))
        if precision == "bfloat16":
            scorer.ensemble = in_bfloat16(bundle)
        sides[way] = scored_by(scorer, items)
    found, clock, work = take_turns(sides, len(timed), rounds)
    threshold = bundle.description.decision.field_point.threshold
    config = json.loads((bundle.path / "fold-1" / "config.json").read_text(encoding="utf-8"))
    flops = 2 * measure_cost(config["architecture"], preprocessing.size, num_classes=2).gmacs
    lines = [
        "",
        f"## {name} at {preprocessing.size} px, five networks",
        "",
        f"{flops:.2f} GFLOP a network and field; {len(timed)} fields, {rounds} rounds.",
        "",
        "| | fields/s | against plain | GFLOP/s | processor s a field | against plain | largest change | "
        "calls changed | and against plain |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    plain = max((side for side in sides if side.startswith("plain")), key=lambda side: clock[side])
    least = min(work[side] for side in sides if side.startswith("plain"))
    kept = []
    for side in sides:
        change = np.abs(found[side] - expected).max()
        flips = int(((found[side] >= threshold) != (expected >= threshold)).sum())
        plain_flips = int(((found[side] >= threshold) != (found["plain"] >= threshold)).sum())
        shown = ("", "") if side.startswith("plain") else (f"{change:.1e}", str(flips))
        if not side.startswith("plain") and flips == 0 and change <= TOLERANCE[WAYS[side][1]]:
            kept.append(side)
        lines.append(
            f"| {side} | {clock[side]:.3g} | {clock[side] / clock[plain]:.1f}x | "
            f"{clock[side] * FOLDS * flops:.0f} | {work[side]:.3g} | "
            f"{least / work[side]:.1f}x | {shown[0]} | {shown[1]} | {plain_flips} |"
        )
    positive = int((expected >= threshold).sum())
    best = max(kept, key=lambda side: clock[side])
    ratio = clock[best] / clock[plain]
    lines += [
        "",
        f"{positive} of {len(timed)} fields are called positive. Fastest with calls unchanged: {best}, {ratio:.1f}x",
    ]
    lines[-1] += f" ({'meets' if ratio >= BAR else 'misses'} the {BAR:.0f}x asked for)."
    return [*lines, *(["", "Refused by `msht export`, so not timed:", "", *refused] if refused else [])]


def make_bundle(name: str, folder: Path, preprocessing: Preprocessing, development: list[Path]) -> Bundle:
    """Five networks of random weights, each calibrated on phantoms."""
    views = np.stack([view_of(read_image(file).pixels, preprocessing) for file in development])
    labels = np.array([int(file.stem) % 2 for file in development])
    folds = []
    for number in range(1, FOLDS + 1):
        torch.manual_seed(SEED + number)
        network = timm.create_model(name, num_classes=2, img_size=preprocessing.size).eval()
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):  # away from their defaults, as after training
                module.running_mean.normal_(std=0.1)
                module.running_var.uniform_(0.5, 1.5)
        width = network.num_features
        groups = np.arange(len(views)).astype(str)
        unknown = FeatureReference.fit(np.random.default_rng(number).random((len(views), width)), groups)
        alone = Ensemble([FoldModel(number, network, 1.0, unknown)], preprocessing)
        pooled, logits = [], []
        for view in views:
            answers = alone.runtime.answers(view[None])[0]
            pooled.append(answers.pooled[0])
            logits.append(float(answers.logits[0]))
        known = FeatureReference.fit(np.stack(pooled), groups)
        folds.append(FoldModel(number, network, 1.0, known, calibrated(np.array(logits), labels)))
    point = Point(threshold=0.5, rule="benchmark", data="none", guarantee="none")
    decision = Decision(
        case_slope=1.0,
        case_intercept=0.0,
        case_point=point,
        field_point=point,
        conformal_quantile=0.9,
        conformal_error=0.1,
        conformal_cases=1,
        minimum_fields=1,
        quality=QualityGate(),
    )
    fields = {
        "name": name,
        "created": "2026-01-01T00:00:00+00:00",
        "software": "benchmark",
        "architecture": name,
        "classes": ("negative", "positive"),
        "preprocessing": preprocessing,
        "decision": decision,
        "cohort": {},
        "performance": [],
        "training": {},
        "limits": ("Random weights.",),
    }
    epochs = dict.fromkeys(range(1, FOLDS + 1), 0)
    return write_bundle(folder, folds=folds, kept_epochs=epochs, fields=fields, recipe_yaml="", data_card="")


def calibrated(logits: np.ndarray, labels: np.ndarray) -> StoredCalibrator:
    """A logistic curve over standardised logits, so that random weights give mixed answers too."""
    centre, scale = float(logits.mean()), float(logits.std())
    fitted = LogisticRegression().fit(((logits - centre) / scale)[:, None], labels)
    slope = float(fitted.coef_[0, 0]) / scale
    return StoredCalibrator(
        kind="platt", numbers={"slope": slope, "intercept": float(fitted.intercept_[0]) - slope * centre}
    )


def exported(bundle: Bundle, to: Target, precision: Precision, development: list[Path]) -> Bundle:
    """Export as `msht export` does, verified on a part of the development fields of each network."""
    held_out = np.arange(len(development)) % FOLDS + 1
    calibrate = {
        number: [file for file, held in zip(development, held_out, strict=True) if held != number]
        for number in range(1, FOLDS + 1)
    }
    cases = np.array([file.stem for file in development])
    return export_with(bundle, to, precision, Pictures(development, held_out, cases, calibrate, "phantoms"))


def in_bfloat16(bundle: Bundle) -> Ensemble:
    """The ensemble that `msht export --bf16` would verify."""
    export = find_export(bundle, "openvino").model_copy(update={"precision": "bfloat16"})
    paths = [bundle.path / export.files_of(fold.number)[0] for fold in bundle.description.folds]
    size = bundle.description.preprocessing.size
    return Ensemble(
        bundle.ensemble(backend="openvino").folds,
        bundle.description.preprocessing,
        runtime=open_runtime(export, paths, size, None),
    )


def plain_way(
    reference: Ensemble, preprocessing: Preprocessing, files: list[Path], *, threads: int | None = None
) -> Callable[[], np.ndarray]:
    """Pillow and torchvision, one field at a time, five networks one after another.

    With one thread too: where other work waits for the cores, two threads wait for each other in every layer.
    """
    size = preprocessing.size
    steps = [transforms.CenterCrop(preprocessing.crop or 1038), transforms.Resize(size), transforms.ToTensor()]
    if preprocessing.mean is not None:
        steps.append(transforms.Normalize(preprocessing.mean, preprocessing.std))
    transform = transforms.Compose(steps)
    folds = reference.folds

    @torch.inference_mode()
    def score() -> np.ndarray:
        before = torch.get_num_threads()
        torch.set_num_threads(threads or before)
        probabilities = []
        for file in files:
            image = transform(Image.open(file).convert("RGB"))[None]
            logits = [fold.network(image)[0] for fold in folds]
            each = [fold.log_odds(np.array(float(z[1] - z[0]))) for fold, z in zip(folds, logits, strict=True)]
            probabilities.append(float(np.mean(expit(each))))
        torch.set_num_threads(before)
        return np.array(probabilities)

    return score


def scored_by(scorer: FieldScorer, items: list[ScoreInput]) -> Callable[[], np.ndarray]:
    """The scorer of `msht score`."""

    def score() -> np.ndarray:
        by_name = {row["image"]: row["probability"] for row in scorer.score(items)}
        return np.array([by_name[item.name] for item in items])

    return score


def take_turns(
    sides: dict[str, Callable[[], np.ndarray]], fields: int, rounds: int
) -> tuple[dict[str, np.ndarray], dict[str, float], dict[str, float]]:
    """Answers, fields per second of the best round, and least processor seconds a field, by side."""
    found = {name: side() for name, side in sides.items()}  # and warm up
    clock = dict.fromkeys(sides, 0.0)
    work = dict.fromkeys(sides, float("inf"))
    for _ in range(rounds):
        for name, side in sides.items():
            started, used = time.perf_counter(), time.process_time()
            side()
            clock[name] = max(clock[name], fields / (time.perf_counter() - started))
            work[name] = min(work[name], (time.process_time() - used) / fields)
    return found, clock, work


if __name__ == "__main__":
    main()

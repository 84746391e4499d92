"""How fast images reach the network, against the published torchvision transforms; and whether a GPU is kept busy.

Run with `python -m benchmarks.input`: writes `benchmarks/results/input.md`. Phantom fields of 1390 x 1038 px as JPEGs,
one core. The sides take turns in one process, each going once over all fields; the time is the processor's, and of
each view the best of several rounds counts, since on a shared machine every disturbance only ever adds time. The
published side is the paper's training transform with Pillow's decoder; torch's generator is set before each of its
views, so that it makes the same ones in every round, as ours does.

A side ends with what its loader hands over: the published one with floats of (3, 384, 384), ours with bytes of that
shape, which the device that trains scales; "in floats" is the same with the scaling done on the core. With "views on
the device" (`training.augment_on: device`) a core decodes, cuts, reduces and draws, and the device makes the views of a
batch; what it then does is not in the figure. Where there is no CUDA device, the training throughput is left out, with
a sentence.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from msht.cohort.cache import FieldCache
from msht.cohort.dataset import EpochSampler, FieldStore, TrainingFields
from msht.cohort.device_fields import DeviceFields
from msht.cohort.field import reach_of, source_of
from msht.images.augmentation import Augmentation, Augmenter
from msht.images.preprocessing import Preprocessing, normalised
from msht.images.reading import read_image

RESULT = Path(__file__).parent / "results" / "input.md"
PAPER = Preprocessing(crop=700, size=384)
SETTINGS = Augmentation(name="paper")
SEED = 517
EPOCHS = 4
"""Views of each field that are timed."""
TARGETS = {"uncached": 4.0, "uncached, views on the device": 4.0, "cached": 15.0}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fields", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory(prefix="msht-") as scratch:
        root = Path(scratch)
        files = write_fields(root / "images", options.fields)
        best = take_turns(contenders(root, files), len(files), options.rounds)
        text = "\n".join([*table(best), "", *agreement(root / "images", files), "", *busy(root, files), ""])
    options.out.write_text(text, encoding="utf-8")
    print(text)


def write_fields(folder: Path, count: int) -> list[str]:
    """Draw phantom fields at the size of the paper, as JPEGs of quality 90."""
    from msht.cohort.phantom_field import field_seed, patient_appearance, render_field

    folder.mkdir()
    names = []
    for number in range(count):
        name = f"{number}.jpg"
        appearance = patient_appearance(SEED, number, site=number % 2)
        seed = field_seed(SEED, number, 0)
        field = render_field(appearance, positive=number % 2 == 1, width=1390, height=1038, seed=seed)
        Image.fromarray(field.image).save(folder / name, quality=90)
        names.append(name)
    return names


def published() -> Callable[[Path], torch.Tensor]:
    """The transform of the published training (rotation first, on the whole field)."""
    steps = transforms.Compose(
        [
            transforms.RandomRotation((0, 180)),
            transforms.CenterCrop(700),
            transforms.Resize(384),
            transforms.RandomHorizontalFlip(),
            transforms.ColorJitter(0.15, 0.3, 0.3, 0.06),
            transforms.ToTensor(),
        ]
    )
    return lambda path: steps(Image.open(path).convert("RGB"))


def contenders(root: Path, files: list[str]) -> dict[str, Callable[[int, int], torch.Tensor]]:
    """Each way from row and epoch to a tensor."""
    folder = root / "images"
    transform = published()
    augmenter = Augmenter(SETTINGS, PAPER, SEED)
    memory = FieldStore(folder, PAPER, 2**33, augmentation=SETTINGS)
    disk = FieldStore(folder, PAPER, 0, augmentation=SETTINGS, cache=FieldCache(root / "cache", 2**34))
    none = FieldStore(folder, PAPER, 0, augmentation=SETTINGS)
    for store in (memory, disk, none):
        store.load(files)
    from_file = TrainingFields(none, files, [0] * len(files), augmenter)
    in_memory = TrainingFields(memory, files, [0] * len(files), augmenter)
    on_disk = TrainingFields(disk, files, [0] * len(files), augmenter)
    for_device = DeviceFields(none, files, [0] * len(files), augmenter, torch.device("cpu"), resident=False)
    return {
        "published": lambda row, epoch: transform(folder / files[row]),
        "uncached": lambda row, epoch: from_file[epoch, row][0],
        "uncached, in floats": lambda row, epoch: normalised(from_file[epoch, row][0], PAPER),
        "uncached, views on the device": lambda row, epoch: for_device.collate([for_device[epoch, row]])[0]["pixels"],
        "cached": lambda row, epoch: in_memory[epoch, row][0],
        "cached, in floats": lambda row, epoch: normalised(in_memory[epoch, row][0], PAPER),
        "cached on disk": lambda row, epoch: on_disk[epoch, row][0],
    }


def take_turns(sides: dict[str, Callable[[int, int], torch.Tensor]], rows: int, rounds: int) -> dict[str, float]:
    """Images per second and core of each side, from the best of `rounds` times of every view.

    The sides alternate, each going once over all fields as an epoch does; the same views of every side are asked for
    in each round, so that no side gains by an easy draw.
    """
    best = {name: np.full((EPOCHS, rows), np.inf) for name in sides}
    for _ in range(rounds):
        for epoch in range(EPOCHS):
            for name, side in sides.items():
                for row in range(rows):
                    torch.manual_seed(SEED + epoch * rows + row)  # the published transform draws from this generator
                    started = time.process_time()
                    view = side(row, epoch)
                    best[name][epoch, row] = min(best[name][epoch, row], time.process_time() - started)
                    assert view.shape == (3, 384, 384) or "device" in name
    return {name: float(1 / times.mean()) for name, times in best.items()}


def table(best: dict[str, float]) -> list[str]:
    """The figures, with what was asked for."""
    rows = [
        "# Images per second and core",
        "",
        "`python -m benchmarks.input`, which writes this page. Fields of 1390 x 1038 px (JPEG), the paper's training "
        f"transform to 384 px. Python {platform.python_version()}, torch {torch.__version__}, "
        f"OpenCV {cv2.__version__}, Pillow {Image.__version__}, {platform.machine()}.",
        "",
        "| | images/s and core | against published | asked for |",
        "|---|---:|---:|---:|",
    ]
    for name, rate in best.items():
        wanted = TARGETS.get(name)
        asked = "" if wanted is None else f"{wanted:.0f}x"
        rows.append(f"| {name} | {rate:.0f} | {rate / best['published']:.1f}x | {asked} |")
    return rows


def agreement(folder: Path, files: list[str]) -> list[str]:
    """How far our pixels are from those of the published order of exact steps, colour left out."""
    from torchvision.transforms import functional

    augmenter = Augmenter(Augmentation(rotation=(0, 180)), PAPER, SEED)
    found = []
    for row, file in enumerate(files[:6]):
        pixels = read_image(folder / file).pixels
        source = source_of(pixels, PAPER, reach_of(augmenter.settings))
        draw = augmenter.draw(source.squares, epoch=0, index=row)
        angle = np.degrees(np.arctan2(draw.matrix[1, 0], draw.matrix[0, 0]))
        turned = functional.rotate(Image.fromarray(pixels), float(angle), functional.InterpolationMode.BILINEAR)
        expected = functional.resize(functional.center_crop(turned, [700]), [384])
        difference = augmenter.apply(source.pixels, draw).astype(float) - np.asarray(expected)
        found.append(float(np.sqrt((difference**2).mean())))
    return [
        f"Pixels: against rotation (bilinear), crop and resize one after another, the root mean square difference of a "
        f"view is {np.mean(found):.1f} of 255 levels ({min(found):.1f} to {max(found):.1f}), over {len(found)} fields; "
        "colour jitter is compared with torchvision's in tests/msht/images/test_jitter.py."
    ]


class Synthetic(Dataset):
    """Tensors of noise that cost nothing."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.image = torch.randint(0, 256, (3, PAPER.size, PAPER.size), dtype=torch.uint8)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, key: object) -> tuple[torch.Tensor, int]:
        return self.image, 0


def busy(root: Path, files: list[str]) -> list[str]:
    """Training throughput with the loader against that on synthetic tensors; a sentence where there is no GPU."""
    if not torch.cuda.is_available():
        return ["Training throughput against synthetic tensors: not measured, this machine has no CUDA device."]
    import timm

    import msht  # noqa: F401  registers the networks

    device, batch, steps = torch.device("cuda"), 64, 40
    network = timm.create_model("msht_resnet50", num_classes=2, img_size=PAPER.size).to(device).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-5)
    images = [files[i % len(files)] for i in range(batch * steps)]
    store = FieldStore(root / "images", PAPER, 2**34, augmentation=SETTINGS)
    store.load(sorted(set(images)))
    augmenter, labels = Augmenter(SETTINGS, PAPER, SEED), [0] * len(images)
    fields = DeviceFields(store, images, labels, augmenter, device, resident=False)
    sides: dict[str, Dataset] = {
        "synthetic": Synthetic(len(images)),
        "workers": TrainingFields(store, images, labels, augmenter),
        "device": fields,
    }
    rates = {}
    for name, data in sides.items():
        sampler = EpochSampler(len(images), SEED)
        collate = fields.collate if data is fields else None
        loader = DataLoader(
            data, batch, sampler=sampler, num_workers=14, collate_fn=collate, pin_memory=True, drop_last=True
        )
        done, started = 0, 0.0
        for pixels, targets in loader:
            if done == 8:  # the first batches warm up
                torch.cuda.synchronize()
                started = time.perf_counter()
            if isinstance(pixels, dict):
                pixels = fields.views({k: v.to(device, non_blocking=True) for k, v in pixels.items()})
            else:
                pixels = normalised(pixels.to(device, non_blocking=True), PAPER)
            with torch.autocast("cuda", torch.bfloat16):
                loss = torch.nn.functional.cross_entropy(network(pixels), targets.to(device))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            done += 1
        torch.cuda.synchronize()
        rates[name] = (done - 8) * batch / (time.perf_counter() - started)
    lines = [f"Training msht_resnet50, batch {batch}, bf16, {torch.cuda.get_device_name()}, 14 worker processes:", ""]
    return lines + [
        f"- {name}: {r:.0f} images/s ({r / rates['synthetic']:.0%} of synthetic)" for name, r in rates.items()
    ]


if __name__ == "__main__":
    main()

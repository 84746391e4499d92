"""How fast MSHT is, against the same network written the obvious way and against timm's networks.

Run with `python -m benchmarks.network` (or `make bench`): writes `network-<device>.csv` and `.md` under
`benchmarks/results`. Contenders take turns, round after round, and the best round counts, since on a shared
machine every disturbance only ever adds time. On a CPU: single precision, bfloat16, and, with `--compile`,
compiled networks. On a GPU, where there is one: eager and compiled, fp32, TF32 and bf16, over batch sizes, with
the share of the card's bf16 peak.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import os
import platform
import resource
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

import msht  # noqa: F401  registers the networks
from benchmarks.obvious import obvious_msht
from msht.network.costs import measure_cost
from msht.network.inference import prepare_for_inference

RESULTS = Path(__file__).parent / "results"
SIZE = 384
GPU_PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "4090": 165e12}
"""Dense bf16 peaks of cards in FLOP/s, from their data sheets."""


@dataclass
class Row:
    """One measurement."""

    contender: str
    """Which network, written how."""
    pass_: str
    """`forward` or `training step`."""
    precision: str
    batch: int
    images_per_second: float
    speedup: float
    """Against the obvious way, of the same pass and batch."""
    peak_memory_mb: float
    """On a GPU: of this measurement. On a CPU: of the process so far, so a bound."""
    share_of_peak: float | None = None
    """Of the card's bf16 peak, counting 2 FLOP a multiply-accumulate and 3 passes a training step."""


def main() -> None:
    """Measure what this machine has, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=4, help="batch on the CPU")
    parser.add_argument("--training-batch", type=int, default=2, help="batch of a training step on the CPU")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="compile on the CPU too (minutes)")
    parser.add_argument("--no-training", action="store_true")
    options = parser.parse_args()
    torch.manual_seed(517)
    if torch.cuda.is_available():
        write(gpu_rows(options.rounds), "cuda", torch.cuda.get_device_name(), agreement="")
        return
    rows, agreement = cpu_rows(options)
    write(rows, "cpu", cpu_name(), agreement)


def networks(size: int = SIZE) -> tuple[nn.Module, nn.Module]:
    """MSHT and its obvious twin, with the same weights; batch statistics away from their defaults."""
    model = timm.create_model("msht_resnet50", num_classes=2, img_size=size)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model, obvious_msht(model)


def cpu_rows(options: argparse.Namespace) -> tuple[list[Row], str]:
    """Forward pass and training step on the CPU."""
    batch = options.batch
    model, obvious = networks()
    resnet = timm.create_model("resnet50", num_classes=2)
    hybrid = timm.create_model("vit_base_r50_s16_384", num_classes=2)
    images = torch.rand(batch, 3, SIZE, SIZE)
    last = images.contiguous(memory_format=torch.channels_last)
    half = last.bfloat16()
    prepared = prepare_for_inference(model)
    prepared_half = prepare_for_inference(model, dtype=torch.bfloat16)
    calls: dict[tuple[str, str], Callable[[], Tensor]] = {
        ("MSHT, the obvious way", "fp32"): lambda: obvious(images),
        ("MSHT", "fp32"): lambda: model(last),
        ("MSHT, prepared", "fp32"): lambda: prepared(last),
        ("MSHT, prepared", "bf16"): lambda: prepared_half(half),
        ("timm resnet50", "fp32"): lambda: resnet(images),
        ("timm vit_base_r50_s16_384", "fp32"): lambda: hybrid(images),
    }
    if options.compile:
        torch._inductor.config.freezing = True
        for dtype, net, x in (("fp32", prepared, last), ("bf16", prepared_half, half)):
            compiled = torch.compile(net, fullgraph=True)
            calls["MSHT, prepared, compiled", dtype] = lambda compiled=compiled, x=x: compiled(x)
    for network in (model, obvious, resnet, hybrid):
        network.eval()
    with torch.no_grad():
        reference = calls["MSHT, the obvious way", "fp32"]()
        agreement = "\n".join(
            f"- {name}, {precision}: logits differ by at most {float((found - reference).abs().max()):.1e}, "
            f"probabilities by {float((found.softmax(1) - reference.softmax(1)).abs().max()):.1e}"
            for (name, precision), call in calls.items()
            if name.startswith("MSHT,") or name == "MSHT"
            for found in [call().float()]
        )
        rows = as_rows("forward", batch, race(calls, options.rounds))
    if not options.no_training:
        rows += cpu_training_rows(model, obvious, resnet, hybrid, images[: options.training_batch], options.rounds)
    return rows, agreement


def cpu_training_rows(
    model: nn.Module, obvious: nn.Module, resnet: nn.Module, hybrid: nn.Module, images: Tensor, rounds: int
) -> list[Row]:
    """Forward, backward and a fused AdamW step."""
    batch = len(images)
    last = images.contiguous(memory_format=torch.channels_last)
    contenders = {
        ("MSHT, the obvious way", "fp32"): step(obvious, images),
        ("MSHT, channels last, fused", "fp32"): step(to_last(model), last, fused=True),
        ("MSHT, channels last, fused", "bf16 autocast"): step(model, last, fused=True, half=True),
        ("timm resnet50", "fp32"): step(resnet, images),
        ("timm vit_base_r50_s16_384", "fp32"): step(hybrid, images),
    }
    return as_rows("training step", batch, race(contenders, max(rounds // 2, 2)))


def to_last(model: nn.Module) -> nn.Module:
    """Give the network channels-last weights."""
    return model.to(memory_format=torch.channels_last)


def step(model: nn.Module, images: Tensor, *, fused: bool = False, half: bool = False) -> Callable[[], Tensor]:
    """A function that trains one step and gives the loss."""
    labels = torch.arange(len(images), device=images.device) % 2
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=fused)
    kind = images.device.type

    def run() -> Tensor:
        model.train()
        with torch.autocast(kind, dtype=torch.bfloat16) if half else contextlib.nullcontext():
            loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        return loss.detach()

    return run


def race(calls: dict[tuple[str, str], Callable[[], Tensor]], rounds: int) -> dict[tuple[str, str], tuple[float, float]]:
    """Best seconds and peak memory (MB) of each call; all take turns, after one round to warm up."""
    best = dict.fromkeys(calls, float("inf"))
    memory = dict.fromkeys(calls, 0.0)
    for number in range(rounds + 1):
        for key, call in calls.items():
            if torch.cuda.is_available():
                torch.cuda.reset_peak_memory_stats()
                torch.cuda.synchronize()
            start = time.perf_counter()
            call()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds = time.perf_counter() - start
            if number:
                best[key] = min(best[key], seconds)
            memory[key] = peak_memory()
    return {key: (best[key], memory[key]) for key in calls}


def peak_memory() -> float:
    """Peak memory in MB: of the card since it was reset, or of the process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def as_rows(pass_: str, batch: int, times: dict[tuple[str, str], tuple[float, float]]) -> list[Row]:
    """Rows of one race; the obvious way, which comes first, is what the others are held against."""
    obvious = next(iter(times.values()))[0]
    return [
        Row(
            name,
            pass_,
            precision,
            batch,
            round(batch / seconds, 2),
            round(obvious / seconds, 2),
            round(memory),
        )
        for (name, precision), (seconds, memory) in times.items()
    ]


def gpu_rows(rounds: int) -> list[Row]:
    """Eager and compiled, fp32, TF32 and bf16, batches of 8 to 256; what does not fit is left out."""
    peak = next((value for key, value in GPU_PEAKS.items() if key in torch.cuda.get_device_name()), None)
    macs = measure_cost("msht_resnet50", SIZE).gmacs * 1e9
    rows: list[Row] = []
    for batch in (8, 16, 32, 64, 128, 256):
        model, obvious = (network.cuda() for network in networks())
        images = torch.rand(batch, 3, SIZE, SIZE, device="cuda")
        last = images.contiguous(memory_format=torch.channels_last)
        to_last(model)
        compiled = torch.compile(model, fullgraph=True)
        for precision in ("fp32", "TF32", "bf16"):
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "TF32"
            half = precision == "bf16"
            calls = {
                ("MSHT, the obvious way", precision): step(obvious, images, half=half),
                ("MSHT", precision): step(model, last, fused=True, half=half),
                ("MSHT, compiled", precision): step(compiled, last, fused=True, half=half),
            }
            try:
                found = as_rows("training step", batch, race(calls, rounds))
            except torch.cuda.OutOfMemoryError:
                torch.cuda.empty_cache()
                continue
            for row in found:
                row.share_of_peak = peak and round(row.images_per_second * macs * 2 * 3 / peak, 3)
            rows += found
    return rows


def cpu_name() -> str:
    """Model and cores of the processor, and what it can do with bfloat16."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    name = next((line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name")), "")
    units = [unit for unit in ("avx512f", "avx512_bf16", "amx_bf16") if f" {unit}" in text]
    load = os.getloadavg()[0]
    return (
        f"{name or platform.processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, "
        f"{' '.join(units) or 'no AVX-512'}, load {load:.1f} at the end"
    )


def write(rows: list[Row], device: str, machine: str, agreement: str) -> None:
    """Write the CSV and the Markdown table."""
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"network-{device}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [name.rstrip("_") for name in asdict(rows[0])])
        writer.writeheader()
        writer.writerows({key.rstrip("_"): value for key, value in asdict(row).items()} for row in rows)
    lines = [
        f"# MSHT at {SIZE} px, random weights",
        "",
        f"{machine}. Python {platform.python_version()}, torch {torch.__version__}, timm {timm.__version__}.",
        "Contenders in turn, best round; speed-up against the obvious way in the same race.",
        "",
        "| contender | pass | precision | batch | images/s | speed-up | peak MB | of bf16 peak |",
        "|---|---|---|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        share = "" if row.share_of_peak is None else f"{row.share_of_peak:.1%}"
        lines.append(
            f"| {row.contender} | {row.pass_} | {row.precision} | {row.batch} | {row.images_per_second} "
            f"| {row.speedup} | {row.peak_memory_mb:.0f} | {share} |"
        )
    if agreement:
        lines += ["", "Agreement with the obvious way:", "", agreement]
    (RESULTS / f"network-{device}.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()

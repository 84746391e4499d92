"""What a machine has and lacks for msht, and how to get it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from msht.errors import InvalidInput, MissingResource

LEAST_DISK_GIB = 2.0


@dataclass(frozen=True)
class Finding:
    """One check."""

    name: str
    good: bool
    found: str
    mend: str = ""


def examine(tracking_uri: str | None = None) -> list[Finding]:
    """Look at versions, devices, threads, the MLflow store, fonts, recipes and disk.

    Args:
        tracking_uri: of MLflow; None: `mlflow.db` in this folder, which is looked at but not made.
    """
    checks: list[tuple[str, Callable[[], Finding]]] = [
        ("packages", _packages),
        ("opencv", _opencv),
        ("devices", _devices),
        ("threads", _threads),
        ("MLflow store", lambda: _store(tracking_uri)),
        ("PDF", _pdf),
        ("extras", _extras),
        ("Chinese reports", _chinese),
        ("recipes", _recipes),
        ("data cards", _cards),
        ("disk", _disk),
    ]
    findings = []
    for name, check in checks:
        try:
            findings.append(check())
        except (InvalidInput, ImportError, OSError, RuntimeError) as error:
            findings.append(Finding(name, False, str(error).splitlines()[0], "Install msht again from its own files."))
    return findings


def _packages() -> Finding:
    from pipelines.run_folder import environment

    facts = environment()
    found = ", ".join(f"{k} {facts[k]}" for k in ("msht", "python", "torch", "timm", "lightning", "mlflow"))
    return Finding("packages", True, found)


EXTRAS = {"onnx": "onnxruntime", "openvino": "openvino", "ray": "ray", "wsi": "openslide-python"}
"""What is not installed unless it is asked for, by the package that it cannot do without."""


def _extras() -> Finding:
    from importlib.metadata import PackageNotFoundError, version

    there, absent = [], []
    for extra, package in EXTRAS.items():
        try:
            there.append(f"{extra} ({package} {version(package)})")
        except PackageNotFoundError:
            absent.append(extra)
    words = ", ".join(there) or "none"
    return Finding(
        "extras", True, f"{words}; pip install 'msht[{','.join(absent)}]' adds the rest" if absent else words
    )


def _chinese() -> Finding:
    from reports.fonts import chinese_font

    try:
        return Finding("Chinese reports", True, f"set in {chinese_font().family}")
    except MissingResource as error:  # nobody needs it who reports in English
        return Finding("Chinese reports", True, f"no font for them. {error.mend}")


def _opencv() -> Finding:
    from importlib.metadata import version

    plain, headless = version("opencv-python"), version("opencv-python-headless")
    mend = "They overwrite each other: install the same version of both."
    return Finding("opencv", plain == headless, f"opencv-python {plain}, headless {headless}", mend)


def _devices() -> Finding:
    import torch

    if not torch.cuda.is_available():
        return Finding("devices", True, "processor only; no CUDA device (small-cpu is the recipe for that)")
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return Finding("devices", True, ", ".join(names))


def _threads() -> Finding:
    import os

    import torch

    cores = os.cpu_count() or 1
    used = torch.get_num_threads()
    mend = f"OMP_NUM_THREADS asks for {used} threads on {cores} cores; unset it or make it {cores} at most."
    return Finding("threads", used <= cores, f"{used} of {cores} cores", mend)


def _store(tracking_uri: str | None) -> Finding:
    from pipelines import tracking

    uri = tracking_uri or tracking.default_tracking_uri()
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        folder = Path(uri.removeprefix("sqlite:///")).parent
        good = folder.is_dir()
        return Finding("MLflow store", good, f"{uri} (made at the first training)", f"Make the folder {folder}.")
    client = tracking.open_client(tracking_uri)
    runs = sum(len(client.search_runs([e.experiment_id], max_results=1000)) for e in client.search_experiments())
    return Finding("MLflow store", True, f"{uri}, {runs} runs")


def _pdf() -> Finding:
    import typst

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "try.typ"
        source.write_text("= A heading\nWords.", encoding="utf-8")
        size = len(typst.compile(str(source)))
    families = sorted(typst.Fonts(include_system_fonts=False).families())
    return Finding("PDF", size > 1000, f"Typst sets pages; its own fonts: {', '.join(families)}", "Reinstall typst.")


def _recipes() -> Finding:
    from msht.training.recipe import read_recipe
    from pipelines.recipes import recipe_names, recipe_path

    names = recipe_names()
    for name in names:
        read_recipe(recipe_path(name))
    return Finding("recipes", bool(names), ", ".join(names), "Install msht again.")


def _cards() -> Finding:
    from data_cards.library import list_cards

    names = list_cards()
    return Finding("data cards", bool(names), ", ".join(names), "Install msht again.")


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    mend = f"A cross-validation wants at least {LEAST_DISK_GIB:.0f} GiB here."
    return Finding("disk", free >= LEAST_DISK_GIB, f"{free:.1f} GiB free here", mend)

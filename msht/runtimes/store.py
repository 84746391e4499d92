"""Exports in a bundle: put there whole or not at all, and opened."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from msht.errors import InvalidInput
from msht.files import cannot_write, inside, quoted, read_json, sha256_of, write_json, write_text
from msht.runtimes.description import ExportDescription
from msht.runtimes.onnx import OnnxRuntime
from msht.runtimes.openvino import OpenVinoRuntime
from msht.runtimes.protocol import BackendName, Runtime

if TYPE_CHECKING:
    from msht.bundle import Bundle
    from msht.bundle_description import FoldDescription


class ElsewhereNetwork(nn.Module):
    """Stands for a network that a runtime other than PyTorch holds."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Never answers.

        Raises:
            RuntimeError: always; maps and attention need the network in PyTorch.
        """
        raise RuntimeError("This network runs in another backend; load the bundle with backend='torch' to look inside.")


def find_export(bundle: Bundle, backend: BackendName) -> ExportDescription:
    """The export for a backend.

    Raises:
        InvalidInput: if there is none, naming the command that makes one.
    """
    for export in bundle.description.exports:
        if export.backend == backend:
            return export
    raise InvalidInput(
        f"{bundle.path} holds no {backend} export.",
        f"Make one with `msht export {quoted(bundle.path)} --to {backend} --run RUN`, or use --backend torch.",
    )


def open_export(
    bundle: Bundle, backend: BackendName, folds: Sequence[FoldDescription], device: torch.device, threads: int | None
) -> Runtime:
    """Open an export of a bundle, for these folds.

    Raises:
        InvalidInput: if there is no such export, or the device is no processor.
        MissingResource: if what runs it is not installed.
    """
    export = find_export(bundle, backend)
    if device.type != "cpu":
        raise InvalidInput(
            f"The {backend} export runs on the processor, not on {device}.",
            "Use --device cpu, or --backend torch.",
        )
    paths = [inside(bundle.path, export.files_of(fold.number)[0]) for fold in folds]
    return open_runtime(export, paths, bundle.description.preprocessing.size, threads)


def open_runtime(export: ExportDescription, paths: Sequence[Path], size: int, threads: int | None) -> Runtime:
    """Open the graphs of an export, one for each network.

    Args:
        export: whose backend and precision count.
        paths: one for each network.
        size: edge of the squares, in px.
        threads: how many; None: as many as PyTorch would use, which is every physical core unless OMP_NUM_THREADS
            says otherwise.
    """
    threads = threads or torch.get_num_threads()
    if export.backend == "onnx":
        return OnnxRuntime(paths, size, threads)
    return OpenVinoRuntime(paths, size, threads, export.precision)


def add_export(bundle: Bundle, export: ExportDescription, files: Path) -> Bundle:
    """Put an export into a bundle, in place of one for the same backend.

    The bundle is made anew beside the old one, which it replaces in one step at the end: whoever reads the bundle
    meanwhile, or after a crash, finds the old or the new one.

    Args:
        bundle: as it is now.
        export: what the bundle will say.
        files: folder with what `export.files_of` names, by file name.

    Returns:
        The bundle with its new digest; its `model_digest` is unchanged.

    Raises:
        MissingResource: if the disk is full or cannot be written; the bundle is as it was then.
    """
    from msht.bundle import read_bundle
    from msht.bundle_description import DESCRIPTION, SEAL

    path = bundle.path.resolve()
    data = read_json(path / DESCRIPTION, what="bundle description")
    own = {name for fold in bundle.description.folds for name in export.files_of(fold.number)}
    replaced = {
        name
        for old in bundle.description.exports
        if old.backend == export.backend
        for fold in bundle.description.folds
        for name in old.files_of(fold.number)
    }
    try:
        scratch = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        scratch.chmod(0o755)
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        kept = {name: digest for name, digest in data["files"].items() if name not in replaced}
        for name in kept:
            (scratch / name).parent.mkdir(parents=True, exist_ok=True)
            _link_or_copy(path / name, scratch / name)
        for name in sorted(own):
            (scratch / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(files / Path(name).name, scratch / name)
            kept[name] = sha256_of(scratch / name)
        others = [old for old in data.get("exports", []) if old["backend"] != export.backend]
        write_json(scratch / DESCRIPTION, {**data, "files": kept, "exports": [*others, export.model_dump(mode="json")]})
        write_text(scratch / SEAL, sha256_of(scratch / DESCRIPTION) + "\n")
        read_bundle(scratch)  # what would not be read must not replace what can be
        exchange(scratch, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return read_bundle(path)


def exchange(first: Path, second: Path) -> None:
    """Let two folders trade their names: in one step where the system can, else in three with a way back."""
    swap = _exchange_of_linux()
    if swap is not None and swap(os.fsencode(first), os.fsencode(second)) == 0:
        return
    aside = first.with_name(f"{first.name}.old")
    second.rename(aside)
    try:
        first.rename(second)
    except OSError:
        aside.rename(second)
        raise
    aside.rename(first)


def _exchange_of_linux() -> Callable[[bytes, bytes], int] | None:
    """Linux's renameat2 with RENAME_EXCHANGE, which Python does not offer; None where the system has none."""
    if not sys.platform.startswith("linux"):
        return None
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    if renameat2 is None:
        return None
    here, trade = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of linux/fcntl.h and linux/fs.h
    return lambda first, second: int(renameat2(here, first, here, second, trade))


def _link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name, since the first goes with the old folder; copy it where that cannot be."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)

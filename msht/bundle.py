"""The bundle: a folder that can be copied to another machine and scored with.

    bundle.json          what it is: classes, preprocessing, decision, figures, digests of all other files
    bundle.sha256        digest of bundle.json
    fold-1/              config.json and model.safetensors, as timm's `local-dir:` reads them
    exports/             the same networks for other backends, where `msht export` made them (msht/runtimes/store.py)
    reference.safetensors  features of development images, for the out-of-distribution score
    recipe.yaml, data_card.md

Nothing in it is a pickle, and nothing is read that its digest does not vouch for.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from msht.bundle_description import (
    CLUTTER,
    DESCRIPTION,
    EXPORTS,
    FORMAT,
    NETWORK_FILES,
    REFERENCE,
    SEAL,
)
from msht.bundle_description import Description as Description
from msht.bundle_description import FoldDescription as FoldDescription
from msht.errors import BrokenBundle, InvalidInput
from msht.files import (
    as_any_new_file,
    as_json,
    cannot_write,
    inside,
    read_json,
    sha256_of,
    sha256_of_text,
    write_json,
    write_text,
)

if TYPE_CHECKING:  # reading a description must not cost the seconds that torch takes to import
    import numpy as np
    import torch
    from torch import nn

    from msht.ensemble import Ensemble, FoldModel
    from msht.runtimes.protocol import BackendName


@dataclass(frozen=True)
class Bundle:
    """A bundle that was read and whose digests hold."""

    path: Path
    description: Description
    digest: str
    model_digest: str
    """The digest that the bundle had before anything was exported into it: an export adds a form of the same
    networks, held against them, and changes nothing that this digest stands for. Equal to `digest` without exports.
    Scores of two bundles with one `model_digest` are by the same model; by the same backend too, they go together."""

    @property
    def short_digest(self) -> str:
        """The first twelve digits of the digest: enough to tell bundles apart by eye."""
        return self.digest[:12]

    def ensemble(
        self,
        device: torch.device | str = "cpu",
        *,
        backend: BackendName | Literal["auto"] = "torch",
        folds: Sequence[int] | None = None,
        threads: int | None = None,
    ) -> Ensemble:
        """Load the networks.

        Args:
            device: where they run.
            backend: `torch`, or an export that the bundle holds; `auto` is what `choose_backend` says.
            folds: numbers of the folds that answer; all by default.
            threads: that the backend may use; None leaves its own choice.

        Raises:
            InvalidInput: if there is no such fold, or the bundle holds no such export.
        """
        from safetensors.numpy import load_file
        from torch import device as as_device

        from msht.calibration.novelty import FeatureReference
        from msht.ensemble import Ensemble, FoldModel
        from msht.runtimes.choice import choose_backend
        from msht.runtimes.store import ElsewhereNetwork, open_export
        from msht.runtimes.torch import TorchRuntime

        where = as_device(device)
        if backend == "auto":
            backend = choose_backend(self, where).name
        chosen = self.chosen_folds(folds)
        runtime = None if backend == "torch" else open_export(self, backend, chosen, where, threads)
        references = load_file(self.path / REFERENCE)
        loaded = []
        for fold in chosen:
            prefix = f"fold-{fold.number}."
            arrays = {k.removeprefix(prefix): v for k, v in references.items() if k.startswith(prefix)}
            network = load_network(inside(self.path, fold.folder)).to(where) if runtime is None else ElsewhereNetwork()
            loaded.append(
                FoldModel(
                    number=fold.number,
                    network=network,
                    temperature=fold.temperature,
                    reference=FeatureReference.from_arrays(arrays),
                    calibrator=fold.calibrator,
                )
            )
        preprocessing = self.description.preprocessing
        if runtime is None:
            networks = [fold.network for fold in loaded]
            runtime = TorchRuntime(networks, preprocessing, where, prepared=True, threads=threads)
        return Ensemble(loaded, preprocessing, where, runtime=runtime)

    def chosen_folds(self, numbers: Sequence[int] | None = None) -> tuple[FoldDescription, ...]:
        """The folds of these numbers, in the bundle's order; all of them for None.

        Raises:
            InvalidInput: for a number that no fold has, one that comes twice, or none at all.
        """
        if numbers is None:
            return self.description.folds
        there = [fold.number for fold in self.description.folds]
        wrong = [number for number in numbers if number not in there]
        if wrong or not numbers or len(set(numbers)) != len(numbers):
            what = f"no fold {wrong[0]}" if wrong else "one network for each number"
            raise InvalidInput(
                f"The folds {', '.join(map(str, numbers)) or '(none)'} were asked for, but the bundle has {what}.",
                f"Choose among {', '.join(map(str, there))}, each once.",
            )
        return tuple(fold for fold in self.description.folds if fold.number in numbers)


def save_network(network: nn.Module, folder: Path) -> str:
    """Write a network as timm's `local-dir:` reads it: config.json and model.safetensors.

    Returns:
        SHA-256 of the weights.
    """
    from safetensors import SafetensorError
    from timm.models import save_for_hf

    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_for_hf(network, str(folder), safe_serialization=True)
        as_any_new_file(folder / "model.safetensors")
    except OSError as error:
        raise cannot_write(folder, error) from error
    except SafetensorError as error:  # what a full disk is called there
        raise cannot_write(folder, OSError(str(error))) from error
    return sha256_of(folder / "model.safetensors")


def save_arrays(arrays: Mapping[str, np.ndarray], path: Path) -> None:
    """Write arrays as safetensors.

    Raises:
        OSError: if the disk is full or cannot be written, as for any other file.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    try:
        save_file(dict(arrays), path)
        as_any_new_file(path)  # safetensors makes its files for their owner alone
    except SafetensorError as error:
        raise OSError(str(error)) from error


def load_network(folder: Path) -> nn.Module:
    """Read a network that `save_network` wrote, in evaluation mode; only safetensors are read.

    Raises:
        BrokenBundle: if the folder does not hold such a network.
    """
    import timm
    from safetensors import SafetensorError

    for name in NETWORK_FILES:
        if not (folder / name).is_file():
            raise BrokenBundle(f"{folder} has no {name}.", "Copy the folder again from where it was made.")
    try:
        network = timm.create_model(f"local-dir:{folder.resolve()}", pretrained=True)
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, OSError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise BrokenBundle(
            f"{folder} does not hold a network that this program can build ({reason}).",
            "It may come from a newer version; update msht, or make the bundle again.",
        ) from error
    return network.eval()


def write_bundle(
    path: Path,
    *,
    folds: Sequence[FoldModel],
    kept_epochs: Mapping[int, int],
    fields: Mapping[str, Any],
    recipe_yaml: str,
    data_card: str,
) -> Bundle:
    """Write a bundle, whole or not at all.

    Args:
        path: a folder that does not exist yet.
        folds: the networks and what goes with them.
        kept_epochs: by number of the fold.
        fields: the other fields of `Description`, by name.
        recipe_yaml: the recipe as resolved.
        data_card: Markdown about the cohort.

    Raises:
        InvalidInput: if there is something at `path` already.
        MissingResource: if it cannot be written.
    """
    if path.exists():
        raise InvalidInput(f"{path} exists already.", "Choose another name, or remove it first.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        scratch.chmod(0o755)
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        described = []
        references: dict[str, np.ndarray] = {}
        for fold in folds:
            folder = f"fold-{fold.number}"
            digest = save_network(fold.network, scratch / folder)
            references.update({f"{folder}.{k}": v for k, v in fold.reference.to_arrays().items()})
            described.append(
                FoldDescription(
                    number=fold.number,
                    folder=folder,
                    temperature=fold.temperature,
                    calibrator=fold.calibrator,
                    kept_epoch=kept_epochs[fold.number],
                    weights_sha256=digest,
                )
            )
        save_arrays(references, scratch / REFERENCE)
        write_text(scratch / "recipe.yaml", recipe_yaml)
        write_text(scratch / "data_card.md", data_card)
        files = {
            file.relative_to(scratch).as_posix(): sha256_of(file)
            for file in sorted(scratch.rglob("*"))
            if file.is_file()
        }
        description = Description(folds=tuple(described), files=files, **fields)
        write_json(scratch / DESCRIPTION, json.loads(description.model_dump_json(exclude={"exports"})))
        write_text(scratch / SEAL, sha256_of(scratch / DESCRIPTION) + "\n")
        scratch.rename(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return read_bundle(path)


def read_bundle(path: Path) -> Bundle:
    """Read a bundle after checking the digest of every file in it.

    Raises:
        BrokenBundle: naming the file that is missing, changed, or too much, or the format that is unknown.
    """
    if not path.is_dir():
        raise BrokenBundle(f"There is no bundle at {path}.", "Make one with `msht bundle RUN --out FOLDER`.")
    for name in (DESCRIPTION, SEAL):
        if not (path / name).is_file():
            raise BrokenBundle(f"{path} is not a bundle: it has no {name}.", "Give a folder made by `msht bundle`.")
    again = "Copy the bundle again from where it was made."
    digest = sha256_of(path / DESCRIPTION)
    if (path / SEAL).read_bytes() != f"{digest}\n".encode():
        raise BrokenBundle(f"{path / DESCRIPTION} does not have the digest in {SEAL}: one of them changed.", again)
    try:
        data = read_json(path / DESCRIPTION, what="bundle description")
    except InvalidInput as error:
        raise BrokenBundle(error.problem, error.mend) from error
    if not isinstance(data, dict):
        raise BrokenBundle(f"{path / DESCRIPTION} describes no bundle.", again)
    if data.get("format") != FORMAT:
        raise BrokenBundle(
            f"{path} has format {data.get('format')}; this version reads {FORMAT}.",
            "Update msht, or make it again.",
        )
    try:
        description = Description.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BrokenBundle(f"{path / DESCRIPTION}: {where}: {first['msg']}.", "Make the bundle again.") from error
    _check_files(path, description, again)
    return Bundle(path=path, description=description, digest=digest, model_digest=model_digest_of(data))


def model_digest_of(data: Mapping[str, Any]) -> str:
    """Digest of a bundle's description as it would be without exports; `data` is the JSON as read."""
    files = {name: digest for name, digest in data["files"].items() if not name.startswith(f"{EXPORTS}/")}
    bare = {key: files if key == "files" else value for key, value in data.items() if key != "exports"}
    return sha256_of_text(as_json(bare))


def _check_files(path: Path, description: Description, again: str) -> None:
    for name, wanted in description.files.items():
        try:
            file = inside(path, name)
        except InvalidInput as error:
            raise BrokenBundle(f"{path / DESCRIPTION}: {error.problem}", again) from error
        if not file.is_file():
            raise BrokenBundle(f"{path} lacks {name}.", again)
        if sha256_of(file) != wanted:
            raise BrokenBundle(f"{file} changed since the bundle was made (its digest differs).", again)
    needed = [REFERENCE, *(f"{fold.folder}/{name}" for fold in description.folds for name in NETWORK_FILES)]
    needed += [
        name for export in description.exports for fold in description.folds for name in export.files_of(fold.number)
    ]
    for name in needed:
        if name not in description.files:
            raise BrokenBundle(f"{path / DESCRIPTION} has no digest of {name}.", "Make the bundle again.")
    for fold in description.folds:
        if description.files.get(f"{fold.folder}/model.safetensors") != fold.weights_sha256:
            raise BrokenBundle(f"{path / DESCRIPTION} names other weights for {fold.folder} than it lists.", again)
    known = {*description.files, DESCRIPTION, SEAL}
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path).as_posix()
        if not file.is_dir() and name not in known and not file.name.startswith(".") and file.name not in CLUTTER:
            raise BrokenBundle(f"{file} does not belong to the bundle: no digest vouches for it.", "Remove it.")

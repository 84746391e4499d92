"""The model registry of MLflow: a bundle goes in whole, and is champion only after what lies there was verified."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from msht import __version__
from msht.bundle import read_bundle
from msht.errors import BrokenBundle, InvalidInput, MissingResource
from msht.files import inside
from pipelines import tracking
from pipelines.bundle import verify_bundle
from pipelines.run_folder import RunFolder
from pipelines.tracking_reports import run_of_bundle
from pipelines.tracking_spool import http_patience, is_of_the_store
from pipelines.words import now

CHAMPION = "champion"
DIGEST = "msht.bundle_digest"
SCRIPT = Path(__file__).with_name("serving_model.py")


@dataclass(frozen=True)
class Registered:
    """A version in the registry."""

    name: str
    version: str
    digest: str
    """Of the bundle."""
    run: str
    """MLflow's id of the run that it belongs to."""
    before: str | None = None
    """The version that was champion before."""


def register_bundle(
    bundle_path: Path, name: str, *, run: Path | None = None, tracking_uri: str | None = None
) -> Registered:
    """Log a bundle as an MLflow model, without a pickle, and register it.

    Args:
        bundle_path: a bundle; every digest is checked first.
        name: in the registry.
        run: the run's folder; None: the run in MLflow that the bundle was made from.
        tracking_uri: of MLflow.

    Raises:
        InvalidInput: if the bundle is broken, or MLflow knows no run of it.
        MissingResource: if MLflow does not take it.
    """
    bundle = read_bundle(bundle_path)
    _check_name(name)
    state = RunFolder(run).state() if run is not None else {}
    uri = tracking_uri or state.get("tracking_uri") or tracking.default_tracking_uri()
    client = tracking.open_client(uri)
    if run is not None:
        run_id = tracking.mlflow_run_of(run)
        tracking.require_run(client, run_id)
    else:
        run_id = run_of_bundle(client, bundle.model_digest)
    import mlflow

    from pipelines.serving import example, signature

    with _talking_to(uri), mlflow.start_run(run_id=run_id):
        info = mlflow.pyfunc.log_model(
            name="bundle",
            python_model=str(SCRIPT),
            artifacts={"bundle": str(bundle_path.resolve())},
            signature=signature(),
            input_example=example(),
            pip_requirements=[f"msht=={__version__}"],
            registered_model_name=name,
            metadata={DIGEST: bundle.digest},
        )
    version = str(info.registered_model_version)
    facts = {DIGEST: bundle.digest, "msht.run": run_id, "msht.networks": str(len(bundle.description.folds))}
    for key, value in facts.items():
        client.set_model_version_tag(name, version, key, value)
    client.update_model_version(name, version, description=_described(bundle.description))
    return Registered(name=name, version=version, digest=bundle.digest, run=run_id)


def promote(name: str, which: str, *, alias: str = CHAMPION, tracking_uri: str | None = None) -> Registered:
    """Make a version the champion, after the copy in the registry was fetched and verified.

    Args:
        name: in the registry.
        which: a version's number, the folder of a run, or MLflow's id of one.
        alias: what the version is to be called.
        tracking_uri: of MLflow.

    Raises:
        InvalidInput: if there is no such version.
        BrokenBundle: if what lies in the registry is not the bundle that was registered; the alias stays.
    """
    from mlflow.artifacts import download_artifacts

    _check_name(name)
    folder = Path(which)
    uri = tracking_uri
    if uri is None and (folder / "run.json").is_file():
        uri = RunFolder(folder).state().get("tracking_uri")
    uri = uri or tracking.default_tracking_uri()
    database = Path(uri.removeprefix("sqlite:///"))
    if uri.startswith("sqlite:///") and not database.exists():  # opening it would make an empty one
        raise InvalidInput(
            f"There is no MLflow store at {database}, so no version of '{name}'.", "Give --tracking-uri."
        )
    client = tracking.open_client(uri)
    found = _version(client, name, which)
    wanted = found.tags.get(DIGEST)
    with tempfile.TemporaryDirectory(prefix="msht-") as scratch, _talking_to(uri):
        local = Path(download_artifacts(artifact_uri=f"models:/{name}/{found.version}", dst_path=scratch))
        bundle = verify_bundle(_bundle_in(local))
    if bundle.digest != wanted:
        raise BrokenBundle(
            f"Version {found.version} of '{name}' holds the bundle {bundle.digest[:12]}, but was registered as "
            f"{(wanted or 'none')[:12]}.",
            "Register the bundle again.",
        )
    before = next((str(v) for a, v in client.get_registered_model(name).aliases.items() if a == alias), None)
    client.set_registered_model_alias(name, alias, found.version)
    client.set_model_version_tag(name, found.version, f"msht.{alias}_since", now())
    return Registered(name, str(found.version), bundle.digest, str(found.run_id), before)


@contextmanager
def _talking_to(uri: str) -> Iterator[None]:
    """MLflow's own functions with a store, patient enough for the weights; its errors said in a sentence."""
    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        with http_patience("600", "3"):
            yield
    except Exception as error:
        if isinstance(error, InvalidInput) or not is_of_the_store(error):
            raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise MissingResource(f"MLflow at {uri} failed: {reason}.", "Mend that, and run the same command again.") from (
            error
        )
    finally:
        mlflow.set_tracking_uri(before)


def _check_name(name: str) -> None:
    import re

    if not re.fullmatch(r"[A-Za-z0-9][\w .-]{0,99}", name):
        raise InvalidInput(f"'{name}' is no name for the registry.", "Use letters, digits, dots and dashes.")


def _version(client: Any, name: str, which: str) -> Any:
    versions = sorted(client.search_model_versions(f"name = '{name}'"), key=lambda v: int(v.version))
    if not versions:
        raise InvalidInput(
            f"The registry has no model '{name}'.", f"Register one with `msht register BUNDLE --name {name}`."
        )
    if which.isdigit():
        fitting = [version for version in versions if str(version.version) == str(int(which))]
    else:
        run = tracking.mlflow_run_of(Path(which)) if (Path(which) / "run.json").is_file() else which
        fitting = [version for version in versions if version.run_id == run]
    if not fitting:
        there = ", ".join(str(version.version) for version in versions)
        raise InvalidInput(f"'{name}' has no version of '{which}'.", f"Its versions are {there}.")
    return fitting[-1]


def _bundle_in(model: Path) -> Path:
    """Where a downloaded model keeps its bundle, which never lies outside it."""
    try:
        described = yaml.safe_load((model / "MLmodel").read_text(encoding="utf-8"))
        relative = described["flavors"]["python_function"]["artifacts"]["bundle"]["path"]
        return inside(model, str(relative))
    except (OSError, KeyError, TypeError, yaml.YAMLError) as error:
        raise BrokenBundle("The registered model holds no bundle.", "Register one with `msht register`.") from error


def _described(description: Any) -> str:
    rows = [row for row in description.performance if row["role"] == "test"]
    lines = [f"{description.name}: {description.architecture}. {description.software}, {description.created}.", ""]
    for row in rows:
        area = row["estimates"]["auroc"]
        if area["value"] is not None:
            bounds = "" if area["low"] is None else f" ({area['low']:.3f} to {area['high']:.3f})"
            lines.append(
                f"- Test, by {row['level']}: AUROC {area['value']:.3f}{bounds}, {row['n_rows']} rows of "
                f"{row['n_groups']} {row['unit']}"
            )
    return "\n".join([*lines, "", *(f"- {limit}" for limit in description.limits)])

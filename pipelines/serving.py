"""A bundle as an MLflow model: image bytes in; calibrated probability, call and flags out."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.pyfunc.model import PythonModel
from mlflow.types.schema import ColSpec, DataType, Schema

from msht.bundle import Bundle, read_bundle
from msht.ensemble import Ensemble
from msht.errors import InvalidInput, UnreadableImage
from msht.images.halving import Halves
from msht.images.preprocessing import view_of
from msht.images.quality import measure_quality
from msht.images.reading import decode_image
from msht.runtimes.protocol import BackendName
from pipelines.ensemble import choose_device
from pipelines.serving_requests import COLUMN as INPUT
from pipelines.serving_requests import ending_of

BATCH = 32
Backend = BackendName | Literal["auto"]
ARTEFACT = "bundle"
OUTPUTS = {
    "probability": DataType.double,
    "call": DataType.string,
    "threshold": DataType.double,
    "evaluable": DataType.boolean,
    "not_evaluable_because": DataType.string,
    "out_of_distribution": DataType.boolean,
    "novelty": DataType.double,
    "spread": DataType.double,
    "logit": DataType.double,
    "sha256": DataType.string,
    "bundle": DataType.string,
}
"""Columns of an answer. `call` is positive, negative or not evaluable; `sha256` is of the bytes that were sent."""


class OutOfTime(Exception):
    """A request whose time was up before all its images were answered."""


class Deadline:
    """When a request must be answered, by `time.monotonic`; what runs for it looks here between images."""

    def __init__(self, seconds: float) -> None:
        self.at = time.monotonic() + seconds
        self.passed = False

    def check(self) -> None:
        """Stop the work of a request whose time is up.

        Raises:
            OutOfTime: if it is.
        """
        if time.monotonic() > self.at:
            self.passed = True
            raise OutOfTime


deadline: ContextVar[Deadline | None] = ContextVar("deadline", default=None)
"""Of the request that is being answered; none where MLflow serves a registered model by itself."""


class BundleModel(PythonModel):
    """Answers with a bundle, whose every file is checked against its digest when it is loaded.

    Args:
        device: `auto`, `cpu` or `cuda`; None: what MSHT_DEVICE says, else `auto`.
        backend: `torch`, an export that the bundle holds, or `auto`.
        threads: that the networks may use for a batch; None leaves the backend's own choice.
    """

    def __init__(self, device: str | None = None, backend: Backend = "torch", threads: int | None = None) -> None:
        self.device = device
        self.backend: Backend = backend
        self.threads = threads

    def load_context(self, context: Any) -> None:
        """Read and check the bundle, and load its networks."""
        self.load(read_bundle(Path(context.artifacts[ARTEFACT])))

    def load(self, bundle: Bundle) -> None:
        """Load the networks of a bundle.

        Raises:
            InvalidInput: if there is no such device or backend.
        """
        import os

        device = choose_device(self.device or os.environ.get("MSHT_DEVICE", "auto"))
        self.bundle: Bundle = bundle
        self.ensemble: Ensemble = bundle.ensemble(device, backend=self.backend, threads=self.threads)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """A row per image; one that cannot be read is not evaluable, and the others are answered.

        Args:
            context: of MLflow.
            model_input: column `image`: the bytes of an image file, or their base64 text.
            params: none are known.
        """
        if INPUT not in model_input:
            raise InvalidInput(
                f"The input has the columns {', '.join(map(str, model_input.columns))}.", f"Send one named '{INPUT}'."
            )
        rows: list[dict[str, Any]] = []
        for start in range(0, len(model_input), BATCH):
            rows += self.answer([bytes_of(value) for value in model_input[INPUT].iloc[start : start + BATCH]])
        return pd.DataFrame(rows, columns=list(OUTPUTS), dtype=object)

    def answer(self, files: Sequence[bytes], *, strict: bool = False) -> list[dict[str, Any]]:
        """A row of `OUTPUTS` for the bytes of each image file.

        Args:
            files: a batch.
            strict: refuse all when one of them cannot be read.

        Raises:
            UnreadableImage: for an image that cannot be read, if `strict`.
            OutOfTime: if the time of the request is up.
        """
        decision, until = self.bundle.description.decision, deadline.get()
        rows, good = [], []
        for data in files:
            row: dict[str, Any] = dict.fromkeys(OUTPUTS)  # no figure is None, which JSON has, and not NaN
            row.update(
                call="not evaluable",
                evaluable=False,
                out_of_distribution=False,
                threshold=decision.field_point.threshold,
                bundle=self.bundle.digest,
                sha256="",
            )
            rows.append(row)
            if until is not None:
                until.check()
            try:
                decoded = decode_image(data, named(data))
            except UnreadableImage as error:
                problem = error.problem.replace(str(named(data)), "The image")
                if strict:
                    raise UnreadableImage(problem, error.mend) from error
                row["not_evaluable_because"] = problem
                continue
            halves = Halves(decoded.pixels)
            reasons = decision.quality.judge(measure_quality(halves))
            row.update(sha256=decoded.record.sha256, evaluable=not reasons, not_evaluable_because="; ".join(reasons))
            good.append((row, view_of(halves, self.bundle.description.preprocessing)))
        if good:
            if until is not None:
                until.check()
            scores = self.ensemble.score(np.stack([view for _, view in good]))
            for number, (row, _) in enumerate(good):
                probability = float(scores.probability[number])
                side = "positive" if probability >= decision.field_point.threshold else "negative"
                row.update(
                    probability=probability,
                    call=side if row["evaluable"] else "not evaluable",
                    out_of_distribution=bool(scores.novelty[number] > 1),
                    novelty=float(scores.novelty[number]),
                    spread=float(scores.spread[number]),
                    logit=float(scores.logit[number]),
                )
        return rows


def named(data: bytes) -> Path:
    """A file name for bytes that came without one, with the ending that their first bytes call for."""
    return Path("the image").with_suffix(ending_of(data) or ".jpg")


def bytes_of(value: Any) -> bytes:
    """The bytes of an image file, given as they are or as base64; what is neither becomes no bytes at all.

    MLflow decodes base64 itself in the forms `dataframe_split` and `dataframe_records`; in `inputs` and `instances`
    it hands over the letters as bytes. No image file consists of letters of base64 alone.
    """
    if isinstance(value, str):
        return _decoded(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return _decoded(bytes(value)) or bytes(value)
    return b""


def _decoded(text: str | bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def signature() -> ModelSignature:
    """What goes in and what comes out; over HTTP the bytes are sent as base64."""
    return ModelSignature(
        inputs=Schema([ColSpec(DataType.binary, INPUT)]),
        outputs=Schema([ColSpec(kind, name, required=False) for name, kind in OUTPUTS.items()]),
    )


def example() -> pd.DataFrame:
    """A drawn picture as input; no patient's."""
    import cv2

    rows, columns = np.mgrid[0:96, 0:128]
    picture = np.stack([200 + rows // 4, 150 + columns // 4, 190 + (rows + columns) // 8], axis=-1).astype(np.uint8)
    for x, y, radius in ((30, 40, 12), (70, 30, 9), (95, 65, 14)):
        cv2.circle(picture, (x, y), radius, (110, 60, 130), -1)
    _, encoded = cv2.imencode(".png", picture)
    return pd.DataFrame({INPUT: [encoded.tobytes()]})

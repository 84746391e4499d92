"""A bundle as an MLflow model: image bytes in; calibrated probability, call and flags out."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.pyfunc.model import PythonModel
from mlflow.types.schema import ColSpec, DataType, Schema

from msht.bundle import Bundle, read_bundle
from msht.ensemble import Ensemble
from msht.errors import InvalidInput, UnreadableImage
from msht.images.preprocessing import view_of
from msht.images.quality import measure_quality
from msht.images.reading import decode_image
from pipelines.ensemble import choose_device

BATCH = 32
INPUT = "image"
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


class BundleModel(PythonModel):
    """Answers with a bundle, whose every file is checked against its digest when it is loaded.

    The device is `auto`, or what MSHT_DEVICE says.
    """

    def load_context(self, context: Any) -> None:
        """Read and check the bundle, and load its networks."""
        import os

        self.bundle: Bundle = read_bundle(Path(context.artifacts[ARTEFACT]))
        self.ensemble: Ensemble = self.bundle.ensemble(choose_device(os.environ.get("MSHT_DEVICE", "auto")))

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
            rows += self._answer([bytes_of(value) for value in model_input[INPUT].iloc[start : start + BATCH]])
        return pd.DataFrame(rows, columns=list(OUTPUTS), dtype=object)

    def _answer(self, files: list[bytes]) -> list[dict[str, Any]]:
        decision = self.bundle.description.decision
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
            try:
                decoded = decode_image(data, named(data))
            except UnreadableImage as error:
                row["not_evaluable_because"] = error.problem
                continue
            reasons = decision.quality.judge(measure_quality(decoded.pixels))
            row.update(sha256=decoded.record.sha256, evaluable=not reasons, not_evaluable_because="; ".join(reasons))
            good.append((row, view_of(decoded.pixels, self.bundle.description.preprocessing)))
        if good:
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
    starts = {b"\x89PNG": ".png", b"II": ".tif", b"MM": ".tif", b"BM": ".bmp", b"RIFF": ".webp", b"GIF8": ".gif"}
    suffix = next((ending for start, ending in starts.items() if data.startswith(start)), ".jpg")
    return Path("the image").with_suffix(suffix)


def bytes_of(value: Any) -> bytes:
    """The bytes of an image file, given as they are or as base64; what is neither becomes no bytes at all."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            return b""
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

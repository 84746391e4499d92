"""The networks as ONNX graphs, run by ONNX Runtime on the processor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from msht.errors import BrokenBundle
from msht.runtimes.graph import LOGIT, POOLED, SQUARES, cannot_export, pieces
from msht.runtimes.protocol import Answers, BackendName
from msht.runtimes.quiet import import_nncf, missing, without_chatter

SUFFIX = ".onnx"


def export_onnx(program: torch.export.ExportedProgram, path: Path) -> None:
    """Write a traced network as an ONNX graph.

    Raises:
        MissingResource: if a package is missing.
        InvalidInput: if the exporter refuses the network.
    """
    for name in ("onnx", "onnxscript"):
        try:
            __import__(name)
        except ImportError as error:
            raise missing(name, "onnx") from error
    names: dict[str, Any] = {"input_names": [SQUARES], "output_names": [POOLED, LOGIT]}
    try:
        with without_chatter():
            torch.onnx.export(program, (), path, dynamo=True, external_data=False, verbose=False, **names)
    except OSError:
        raise
    except Exception as error:
        raise cannot_export("this network for ONNX", error) from error


def quantise_onnx(path: Path, squares: Sequence[np.ndarray], *, transformer: bool) -> None:
    """Turn a float32 graph into int8, with steps fitted on these squares, each uint8 of shape (1, S, S, 3)."""
    import onnx

    nncf = import_nncf()
    kind = nncf.ModelType.TRANSFORMER if transformer else None
    model = onnx.load(path)
    name = model.graph.input[0].name
    with without_chatter():
        data = nncf.Dataset(list(squares), lambda square: {name: square})
        made = nncf.quantize(model, data, model_type=kind, subset_size=len(squares))
    onnx.save(made, path)


class OnnxRuntime:
    """Runs ONNX graphs one after another, each on all threads.

    Args:
        paths: one for each network.
        size: edge of the squares, in px.
        threads: how many.

    Raises:
        MissingResource: if ONNX Runtime is not installed.
        BrokenBundle: if a file holds no graph that it can run.
    """

    backend: BackendName = "onnx"

    def __init__(self, paths: Sequence[Path], size: int, threads: int) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise missing("onnxruntime", "onnx") from error
        onnxruntime.disable_telemetry_events()  # its builds for Windows would send them
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._size = size
        self._sessions = []
        for path in paths:
            try:
                session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            except Exception as error:
                reason = str(error).splitlines()[0][:200]
                raise BrokenBundle(
                    f"ONNX Runtime cannot read {path} ({reason}).", "Export the bundle again."
                ) from error
            self._sessions.append(session)

    def answers(self, squares: np.ndarray) -> list[Answers]:
        """What each network says of squares, RGB uint8 of shape (N, S, S, 3)."""
        step = pieces(len(squares), self._size)
        parts = [squares[start : start + step] for start in range(0, len(squares), step)]
        found = []
        for session in self._sessions:
            name = session.get_inputs()[0].name
            given = [session.run(None, {name: part}) for part in parts]
            found.append(Answers(np.concatenate([g[0] for g in given]), np.concatenate([g[1] for g in given])))
        return found

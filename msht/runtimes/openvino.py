"""The networks as OpenVINO models, run on the processor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch

from msht.errors import BrokenBundle
from msht.runtimes.description import Precision
from msht.runtimes.graph import cannot_export, pieces
from msht.runtimes.protocol import Answers, BackendName
from msht.runtimes.quiet import import_nncf, import_openvino, without_chatter

SUFFIX = ".xml"
WEIGHTS = ".bin"


def export_openvino(program: torch.export.ExportedProgram, path: Path, *, size: int) -> None:
    """Write a traced network as OpenVINO's two files, `path` and the weights beside it.

    Raises:
        MissingResource: if OpenVINO is not installed.
        InvalidInput: if its converter refuses the network.
    """
    openvino = import_openvino()
    try:
        with without_chatter():
            model = openvino.convert_model(program)
            model.reshape({0: openvino.PartialShape([-1, size, size, 3])})
    except Exception as error:
        raise cannot_export("this network for OpenVINO", error) from error
    openvino.save_model(model, path, compress_to_fp16=False)


def quantise_openvino(path: Path, squares: Sequence[np.ndarray], *, transformer: bool) -> None:
    """Turn a float32 model into int8, with steps fitted on these squares, each uint8 of shape (1, S, S, 3)."""
    openvino, nncf = import_openvino(), import_nncf()
    kind = nncf.ModelType.TRANSFORMER if transformer else None
    model = openvino.Core().read_model(path)
    with without_chatter():
        made = nncf.quantize(model, nncf.Dataset(list(squares)), model_type=kind, subset_size=len(squares))
    del model  # the weights are a map of the file that is about to be replaced
    beside = path.with_name(f"int8-{path.name}")
    openvino.save_model(made, beside, compress_to_fp16=False)
    del made
    beside.replace(path)
    beside.with_suffix(WEIGHTS).replace(path.with_suffix(WEIGHTS))


class OpenVinoRuntime:
    """Runs OpenVINO models with requests in flight for every network at once, so that no core waits for another.

    Args:
        paths: one for each network.
        size: edge of the squares, in px.
        threads: how many.
        precision: of the arithmetic; `bfloat16` where the processor has it, float32 where it has not.

    Raises:
        MissingResource: if OpenVINO is not installed.
        BrokenBundle: if a file holds no model that it can run.
    """

    backend: BackendName = "openvino"

    def __init__(self, paths: Sequence[Path], size: int, threads: int, precision: Precision) -> None:
        openvino = import_openvino()
        core = openvino.Core()
        settings = {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32",
        }
        self._size = size
        self._one_at_a_time = Lock()  # a queue belongs to one caller until its requests are through
        self._queues = []
        for path in paths:
            try:
                compiled = core.compile_model(path, "CPU", settings)
            except RuntimeError as error:
                reason = str(error).strip().splitlines()[-1][:200]
                raise BrokenBundle(f"OpenVINO cannot read {path} ({reason}).", "Export the bundle again.") from error
            queue = openvino.AsyncInferQueue(compiled)
            queue.set_callback(_keep)
            self._queues.append(queue)

    def answers(self, squares: np.ndarray) -> list[Answers]:
        """What each network says of squares, RGB uint8 of shape (N, S, S, 3)."""
        step = pieces(len(squares), self._size, ways=len(self._queues[0]))
        parts = [squares[start : start + step] for start in range(0, len(squares), step)]
        found: list[list[Any]] = [[None] * len(parts) for _ in self._queues]
        with self._one_at_a_time:
            for place, part in enumerate(parts):
                for queue, kept in zip(self._queues, found, strict=True):
                    queue.start_async([part], userdata=(kept, place))
            for queue in self._queues:
                queue.wait_all()
        return [Answers(*(np.concatenate(column) for column in zip(*kept, strict=True))) for kept in found]


def _keep(request: Any, place: tuple[list[Any], int]) -> None:
    """Copy a finished request's outputs to where they belong."""
    kept, number = place
    kept[number] = tuple(request.get_output_tensor(output).data.copy() for output in (0, 1))

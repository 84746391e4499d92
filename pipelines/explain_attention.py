"""What a bundle's network attends to: MHSA and MHGA by decoder and head, rollout, distances, positions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from msht.errors import InvalidInput
from msht.files import atomic_path
from msht.images.preprocessing import Box, to_tensor
from msht.images.reading import read_image
from pipelines.explain_crops import view_of_box
from pipelines.inputs import ScoreInput, file_name_for
from pipelines.progress import Progress, Silent, stage

AT_ONCE = 8


def write_attention(
    ensemble: Any,
    inputs: Sequence[ScoreInput],
    boxes: Sequence[Box],
    out: Path,
    *,
    fold: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Write attention as arrays (`IMAGE.npz`, `network.npz`) and as pictures (`IMAGE.png`, `network.png`).

    `IMAGE.npz` holds, by `decoder-I-mhsa` and `decoder-I-mhga`, maps of shape (H, h, w), and `rollout`, shape (h, w):
    what the class token attends to, or, where the network has none, how much each patch is attended to on average.
    `network.npz` holds the mean attention distance in px of the view by head, shape (H,), under the same names, and
    `positions`, shape (h, w, h, w), the likeness of the position embeddings.

    Args:
        ensemble: of the bundle.
        inputs: the images.
        boxes: the square of each that the network is shown.
        out: folder to write.
        fold: whose network; None: the first. Heads of different networks have nothing in common, so no mean is taken.
        progress: who listens.

    Raises:
        InvalidInput: if there is no such fold, or the network has no attention of its own to tell.
    """
    from msht.explanation.attention import attention_distance, attention_map, attention_weights, position_similarity
    from msht.explanation.attention import rollout as follow
    from reports.attention_figures import attention_of_image, attention_of_network

    numbers = [model.number for model in ensemble.folds]
    if fold is not None and fold not in numbers:
        raise InvalidInput(f"--fold is {fold}.", f"The bundle has folds {', '.join(map(str, numbers))}.")
    network = ensemble.folds[numbers.index(fold) if fold is not None else 0].network
    preprocessing, prefix = ensemble.preprocessing, int(getattr(network, "num_prefix_tokens", 0))
    distances: dict[str, list[np.ndarray]] = {}
    grid = (1, 1)
    with stage(progress or Silent(), "Reading attention", len(inputs)) as steps:
        for start in range(0, len(inputs), AT_ONCE):
            part = inputs[start : start + AT_ONCE]
            squares = zip(part, boxes[start : start + AT_ONCE], strict=True)
            views = [view_of_box(read_image(given.path).pixels, box, preprocessing) for given, box in squares]
            weights = attention_weights(network, to_tensor(np.stack(views), preprocessing).to(ensemble.device))
            named = {_name(path): value for path, value in weights.items()}
            grid = _grid(next(iter(named.values())).shape[-1] - prefix, network)
            flow = follow([value for name, value in named.items() if name.endswith("mhsa")])
            pitch = preprocessing.size / grid[1]
            for name, value in named.items():
                distances.setdefault(name, []).append(attention_distance(value, grid, prefix, pitch=pitch))
            for index, given in enumerate(part):
                maps = {name: attention_map(value[index : index + 1], grid, prefix)[0] for name, value in named.items()}
                row = flow[index, 0, prefix:] if prefix else flow[index].mean(axis=0)
                maps["rollout"] = np.ascontiguousarray(row.reshape(grid))
                path = out / file_name_for(given.name)
                _save(path.with_name(f"{path.name}.npz"), maps)
                with atomic_path(path.with_name(f"{path.name}.png")) as temporary:
                    temporary.write_bytes(
                        attention_of_image(views[index], maps, name=given.name, by_class=bool(prefix))
                    )
            steps.advance(len(part))
    arrays = {name: np.mean(values, axis=0) for name, values in distances.items()}
    positions = getattr(network, "pos_embed", None)
    if positions is not None:
        arrays["positions"] = position_similarity(positions, grid, prefix)
    _save(out / "network.npz", arrays)
    with atomic_path(out / "network.png") as temporary:
        temporary.write_bytes(attention_of_network(arrays, size=preprocessing.size))


def _name(path: str) -> str:
    """`decoders.0.mhsa` as `decoder-1-mhsa`."""
    _, number, kind = path.split(".")
    return f"decoder-{int(number) + 1}-{kind}"


def _grid(tokens: int, network: Any) -> tuple[int, int]:
    """Rows and columns of the patches; views are square, whatever size the network was made for."""
    made = tuple(getattr(network, "grid_size", ()))
    if len(made) == 2 and made[0] * made[1] == tokens:
        return int(made[0]), int(made[1])
    edge = round(tokens**0.5)
    return edge, tokens // edge


def _save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        named: dict[str, Any] = {name.replace("-", "_"): value for name, value in arrays.items()}
        np.savez_compressed(stream, **named)

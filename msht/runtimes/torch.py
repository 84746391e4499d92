"""The networks in PyTorch: as they were trained, or prepared for prediction."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

import numpy as np
import torch
from torch import nn

from msht.images.preprocessing import Preprocessing, to_tensor
from msht.network.inference import prepare_for_inference
from msht.network.logits import binary_logit, pooled_and_logits
from msht.runtimes.graph import pieces
from msht.runtimes.protocol import Answers, BackendName


class TorchRuntime:
    """Runs networks one after another on bytes that were scaled once.

    Args:
        networks: in evaluation mode, on `device`.
        preprocessing: gives the range that they expect.
        device: where they run.
        prepared: run copies with folded batch norms, which answer as the networks do up to rounding, and faster;
            made when the first square comes, so that who only looks at the networks does not pay for them.
        threads: of PyTorch in this process; None leaves its own choice, which is every physical core.
    """

    backend: BackendName = "torch"

    def __init__(
        self,
        networks: Sequence[nn.Module],
        preprocessing: Preprocessing,
        device: torch.device,
        *,
        prepared: bool = False,
        threads: int | None = None,
    ) -> None:
        self._networks = list(networks)
        self._preprocessing = preprocessing
        self._device = device
        self._waiting = prepared
        self._preparing = Lock()
        if threads is not None and threads != torch.get_num_threads():
            torch.set_num_threads(threads)

    @torch.inference_mode()
    def answers(self, squares: np.ndarray) -> list[Answers]:
        """What each network says of squares, RGB uint8 of shape (N, S, S, 3)."""
        with self._preparing:
            if self._waiting:
                self._networks = [prepare_for_inference(network, shared=True) for network in self._networks]
                self._waiting = False
        step = pieces(len(squares), self._preprocessing.size) if self._device.type == "cpu" else len(squares)
        found: list[list[tuple[torch.Tensor, torch.Tensor]]] = [[] for _ in self._networks]
        for start in range(0, len(squares), step):
            images = to_tensor(squares[start : start + step], self._preprocessing, device=self._device)
            for network, kept in zip(self._networks, found, strict=True):
                pooled, logits = pooled_and_logits(network, images)
                kept.append((pooled.float(), binary_logit(logits).float()))
        return [Answers(*(torch.cat(column).cpu().numpy() for column in zip(*kept, strict=True))) for kept in found]

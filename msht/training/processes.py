"""The processes that train one fold together, started by torchrun or SLURM."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from msht.errors import InvalidInput


@dataclass(frozen=True)
class Processes:
    """How many processes train together, and which this one is."""

    rank: int = 0
    count: int = 1
    nodes: int = 1

    @property
    def per_node(self) -> int:
        """Processes on each machine."""
        return self.count // self.nodes


def find_processes(environment: Mapping[str, str] | None = None) -> Processes:
    """What torchrun or `srun` says about this process; alone where neither started it.

    Raises:
        InvalidInput: if the machines run different numbers of processes.
    """
    variables = os.environ if environment is None else environment
    if "TORCHELASTIC_RUN_ID" in variables:
        count = int(variables["WORLD_SIZE"])
        found = Processes(int(variables["RANK"]), count, max(1, count // int(variables["LOCAL_WORLD_SIZE"])))
    elif int(variables.get("SLURM_NTASKS", "1")) > 1 and variables.get("SLURM_JOB_NAME") not in {"bash", "interactive"}:
        found = Processes(
            int(variables["SLURM_PROCID"]), int(variables["SLURM_NTASKS"]), int(variables.get("SLURM_NNODES", "1"))
        )
    else:
        return Processes()
    if found.count % found.nodes:
        raise InvalidInput(
            f"{found.count} processes on {found.nodes} machines are not the same number on each.",
            "Start equally many on every machine.",
        )
    return found


def check_norms(network: nn.Module, processes: Processes, *, on_gpu: bool) -> nn.Module:
    """Make batch norms see the whole batch of all processes, where there are several.

    Raises:
        InvalidInput: on CPUs, between which PyTorch has no synchronised batch norm.
    """
    if processes.count == 1 or not any(isinstance(m, _BatchNorm) for m in network.modules()):
        return network
    if not on_gpu:
        raise InvalidInput(
            f"{processes.count} processes on CPUs cannot train a network with batch norm together: each would "
            "normalise by its own images.",
            "Use one process with more threads, GPUs, or a network without batch norm.",
        )
    from timm.layers.norm_act import convert_sync_batchnorm

    return convert_sync_batchnorm(network)


def gather_rows(rows: np.ndarray, arrays: tuple[np.ndarray, ...], total: int) -> tuple[np.ndarray, ...]:
    """Bring together what each process computed for its rows, in the order of the rows, on every process.

    Args:
        rows: numbers (n,) of this process's rows.
        arrays: of shape (n, ...) each.
        total: rows in all; each must come exactly once.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        found: list[Any] = [(rows, arrays)]
    else:
        found = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(found, (rows, arrays))
    order = np.concatenate([numbers for numbers, _ in found])
    if not np.array_equal(np.sort(order), np.arange(total)):
        raise RuntimeError(f"{total} rows were evaluated as {len(order)}, not each once.")
    back = np.argsort(order)
    return tuple(np.concatenate([parts[i] for _, parts in found])[back] for i in range(len(arrays)))

import json
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from torch import nn

from msht.cohort.manifest import Manifest
from msht.errors import InvalidInput
from msht.training.processes import Processes, check_norms, find_processes, gather_rows

SCRIPT = """
import json, sys
from pathlib import Path
import numpy as np, pandas as pd
from msht.cohort.dataset import FieldStore
from msht.training.recipe import recipe_from
from msht.training.processes import find_processes
from msht.training.trainer import train_fold

root, out = Path(sys.argv[1]), Path(sys.argv[2])
frame = pd.read_csv(root / "rows.csv", dtype=str)
chosen = recipe_from(json.loads((root / "recipe.json").read_text()), source="test")
store = FieldStore(root, chosen.preprocessing, 2**30)
result = train_fold(
    recipe=chosen, store=store, training=frame.iloc[:22], held_out=frame.iloc[22:].reset_index(drop=True),
    fold=1, accelerator="cpu", checkpoints=out / "checkpoints",
)
rank = find_processes().rank
np.savez(out / f"{rank}.npz", logits=result.logits, features=result.features,
         weights=np.concatenate([p.detach().numpy().ravel() for p in result.network.parameters()]))
result.history.to_csv(out / f"{rank}.csv", index=False)
"""


@pytest.mark.slow
def test_two_processes_train_and_evaluate_as_one(
    cohort: Callable[..., Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = cohort(patients=15, fields=2)
    root = manifest.root
    frame = manifest.frame[["image", "label", "patient_id"]].iloc[:29]  # 7 held out, which two cannot share evenly
    frame.to_csv(root / "rows.csv", index=False)
    recipe = {
        "name": "two",
        "network": {"name": "test_vit"},
        "preprocessing": {"size": 32},
        "augmentation": {"name": "standard"},
        "optimiser": {"name": "sgd", "lr": 0.05, "gradient_clip": 1.0},
        "training": {"epochs": 2, "batch_size": 8, "memory_format": "contiguous", "average_weights": 0.5},
    }
    (root / "recipe.json").write_text(json.dumps(recipe))
    (tmp_path / "script.py").write_text(SCRIPT)
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    monkeypatch.setattr(sys, "argv", ["script.py", str(root), str(one)])
    runpy.run_path(str(tmp_path / "script.py"))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [*torchrun, str(tmp_path / "script.py"), str(root), str(two)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    alone, first, second = (np.load(p) for p in (one / "0.npz", two / "0.npz", two / "1.npz"))
    for name in ("logits", "features", "weights"):
        assert np.array_equal(first[name], second[name]), "both processes end with the same"
        assert np.allclose(first[name], alone[name], rtol=1e-3, atol=1e-4), name
    assert first["logits"].shape == (7,)
    histories = [pd.read_csv(p) for p in (one / "0.csv", two / "0.csv")]
    pd.testing.assert_frame_equal(*histories, rtol=1e-3, atol=1e-4)


def test_torchrun_and_slurm_say_which_process_this_is() -> None:
    torchrun = {"TORCHELASTIC_RUN_ID": "x", "RANK": "3", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}
    assert find_processes(torchrun) == Processes(rank=3, count=4, nodes=2)
    assert find_processes(torchrun).per_node == 2
    slurm = {"SLURM_NTASKS": "8", "SLURM_PROCID": "5", "SLURM_NNODES": "2", "SLURM_JOB_NAME": "train"}
    assert find_processes(slurm) == Processes(rank=5, count=8, nodes=2)
    assert find_processes({}) == Processes()
    assert find_processes({"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}) == Processes()
    with pytest.raises(InvalidInput, match="not the same number on each"):
        find_processes({**slurm, "SLURM_NTASKS": "7"})


def test_batch_norm_is_synchronised_between_gpus_and_refused_between_cpus() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    assert check_norms(network, Processes(), on_gpu=False) is network
    with pytest.raises(InvalidInput, match="batch norm together"):
        check_norms(network, Processes(0, 2), on_gpu=False)
    assert any(isinstance(m, nn.SyncBatchNorm) for m in check_norms(network, Processes(0, 2), on_gpu=True).modules())
    plain = nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(1, 4))
    assert check_norms(plain, Processes(0, 2), on_gpu=False) is plain


def test_a_row_that_is_missing_or_doubled_is_never_passed_over() -> None:
    values = np.arange(3.0)
    assert gather_rows(np.array([2, 0, 1]), (values,), 3)[0].tolist() == [1.0, 2.0, 0.0]
    for rows in ([0, 1, 1], [0, 1, 3]):
        with pytest.raises(RuntimeError, match="not each once"):
            gather_rows(np.array(rows), (values,), 3)

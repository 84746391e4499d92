"""`python -m pipelines.fold_worker`: train one fold in a process of its own, as another process asks.

The task comes as one line of JSON on standard input, which stays open: when it closes, whoever asked is gone, and
so is the reason to go on. What a person can mend is written to the fold's folder and the exit code is 2.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from msht.errors import InvalidInput, MissingResource
from msht.files import write_json, write_text
from pipelines.folds import FoldTask, run_fold
from pipelines.run_folder import RunFolder

MENDABLE, RESOURCE, UNEXPECTED = 2, 3, 1
ERROR_FILE = "error.json"
TRACEBACK_FILE = "traceback.txt"


def work(task: dict[str, Any]) -> int:
    """Train the fold of a task; gives 0, or the kind of failure, with its words in the fold's folder."""
    folder = RunFolder(Path(task["run"])).partial(task["number"])
    try:
        run_fold(FoldTask(**task))
    except InvalidInput as error:
        _note(folder, error.problem, error.mend)
        return RESOURCE if isinstance(error, MissingResource) else MENDABLE
    except Exception as error:
        try:
            write_text(folder / TRACEBACK_FILE, traceback.format_exc())
        except InvalidInput:
            traceback.print_exc()
        _note(folder, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no words'}.", "")
        return UNEXPECTED
    return 0


def _note(folder: Path, problem: str, mend: str) -> None:
    try:
        write_json(folder / ERROR_FILE, {"problem": problem, "mend": mend})
    except InvalidInput:  # a full disk cannot take the words about it
        print(f"{problem} {mend}", file=sys.stderr)  # noqa: T201


def main() -> None:
    """Read the task, watch for the end of who asked, and work."""
    task = json.loads(sys.stdin.readline())

    def watch() -> None:
        sys.stdin.read()
        os._exit(UNEXPECTED)

    threading.Thread(target=watch, daemon=True).start()
    code = work(task)
    sys.stdout.flush()
    os._exit(code)  # the thread that watches still holds standard input


if __name__ == "__main__":
    main()

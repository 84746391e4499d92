"""`msht serve` as a program: its address, many real clients, and how it ends."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pandas as pd
import pytest

from msht.errors import InvalidInput, MissingResource
from pipelines.serve import is_local, serve_bundle
from pipelines.serving_requests import size_in_words, size_of


@contextlib.contextmanager
def serving(bundle: Path, log: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The program, with the address that it said."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "cli.main", "serve", str(bundle), "--port", "0", "--device", "cpu", *options]
    root = Path(__file__).resolve().parents[2]
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=root,
            env=environment,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            address = re.search(r"http://[\d.]+:\d+", said)
            assert address, said + log.read_text()
            yield process, address.group()
        finally:
            process.kill()


@pytest.mark.slow
def test_real_clients_at_once_get_what_the_command_line_scored_and_a_stop_loses_no_answer(
    world: Any, tmp_path: Path
) -> None:
    rows = pd.read_parquet(world.scores / "images.parquet").to_dict("records")
    log = tmp_path / "log"
    with serving(world.bundle, log, "--max-bytes", "1M") as (process, url):

        def ask(row: dict[str, Any]) -> dict[str, Any]:
            data = Path(row["path"]).read_bytes()
            answer = httpx2.post(
                f"{url}/invocations", content=data, headers={"Content-Type": "image/jpeg"}, timeout=120
            )
            return answer.json()["predictions"][0]

        with ThreadPoolExecutor(32) as pool:
            for answer, row in zip(pool.map(ask, rows), rows, strict=True):
                assert answer["sha256"] == row["sha256"]
                assert answer["call"] == row["call"]
                for name in ("probability", "spread", "logit"):
                    assert answer[name] == pytest.approx(row[name], abs=1e-6)

        def chunks() -> Iterator[bytes]:
            for _ in range(64):
                yield bytes(2**17)

        refused = httpx2.post(
            f"{url}/invocations", content=chunks(), headers={"Content-Type": "image/jpeg"}, timeout=60
        )
        assert (refused.status_code, set(refused.json())) == (413, {"error", "mend"})

        images = [base64.b64encode(Path(row["path"]).read_bytes()).decode() for row in rows]
        stopped, late = threading.Event(), []

        def stream() -> Iterator[bytes]:
            yield b'{"inputs": ['
            assert stopped.wait(60)
            yield ",".join(f'"{image}"' for image in images).encode() + b"]}"

        def ask_late() -> None:
            headers = {"Content-Type": "application/json"}
            late.append(httpx2.post(f"{url}/invocations", content=stream(), headers=headers, timeout=120))

        asking = threading.Thread(target=ask_late)
        asking.start()
        while httpx2.get(f"{url}/health", timeout=60).json()["under_way"] == 0:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(httpx2.TransportError):  # until nobody new is let in
            while True:
                httpx2.get(f"{url}/health", timeout=60)
        stopped.set()
        asking.join()
        assert [row["sha256"] for row in late[0].json()["predictions"]] == [row["sha256"] for row in rows]
        assert process.wait(60) == 0
        assert process.stdout is not None
        assert "Stopped" in process.stdout.read()
    written = log.read_text()
    assert "POST /invocations 200, 1 image" in written
    assert "Traceback" not in written
    assert "P001" not in written
    assert images[0][:40] not in written


def test_a_port_in_use_and_an_address_of_another_machine_are_one_sentence(world: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(MissingResource, match=r"Port \d+ of 127.0.0.1 is in use"):
            serve_bundle(world.bundle, port=taken.getsockname()[1])
    with pytest.raises(InvalidInput, match="no address of this machine"):
        serve_bundle(world.bundle, host="203.0.113.7", port=0)
    with pytest.raises(InvalidInput, match="no address of this machine"):
        serve_bundle(world.bundle, host="not a host", port=0)
    with pytest.raises(InvalidInput, match="--port is 70000"):
        serve_bundle(world.bundle, port=70_000)


def test_what_cannot_be_served_is_said_before_anything_listens(world: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"bundle\.json"):
        serve_bundle(tmp_path, port=0)
    with pytest.raises(InvalidInput, match="--backend 'tensorrt'"):
        serve_bundle(world.bundle, port=0, backend="tensorrt")


@pytest.mark.parametrize(
    ("address", "local"), [("127.0.0.1", True), ("::1", True), ("0.0.0.0", False), ("192.168.0.7", False)]
)
def test_only_the_loopback_is_local(address: str, local: bool) -> None:
    assert is_local(address) is local


@pytest.mark.parametrize(
    ("text", "size", "words"),
    [("50M", 50 * 2**20, "50 MB"), ("1k", 1024, "1 kB"), ("1.5G", 0, ""), ("2GiB", 2**31, "2 GB")],
)
def test_sizes_are_read_and_written_as_people_write_them(text: str, size: int, words: str) -> None:
    if not size:
        with pytest.raises(InvalidInput, match="--max-bytes"):
            size_of(text)
        return
    assert size_of(text) == size
    assert size_in_words(size) == words

"""Decoding in a process of its own, which can be killed: the only way to stop a decoder that does not come back.

Run as `python -m msht.images.apart NAME MAX_PIXELS`, with the file's bytes as input; the answer is a line of JSON and
the pixels. See `reading.decode_image`, which sends here what it cannot bound beforehand.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np

from msht.errors import UnreadableImage
from msht.images.reading import DecodedImage, ReadingRecord, decode_here, too_slow


def decode_apart(data: bytes, path: Path, *, max_pixels: int, time_limit: float) -> DecodedImage:
    """Decode as `decode_image` does, in a process that is killed after `time_limit` seconds.

    Raises:
        UnreadableImage: as `decode_image`, or if the process took too long or died.
    """
    # The same modules as here, whatever the working directory holds.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-m", "msht.images.apart", path.name, str(max_pixels)]
    try:
        done = subprocess.run(
            command, input=data, capture_output=True, timeout=time_limit, env=environment, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise too_slow(path, time_limit) from error
    if done.returncode != 0:
        raise UnreadableImage(
            f"{path} made its decoder fail (exit status {done.returncode}).",
            "Copy the file again from where it was made; if it fails there too, leave it out.",
        )
    line, _, body = done.stdout.partition(b"\n")
    answer = json.loads(line)
    if "problem" in answer:
        raise UnreadableImage(answer["problem"].replace(path.name, str(path), 1), answer["mend"])
    record = ReadingRecord(**{**answer, "conversions": tuple(answer["conversions"])})
    pixels = np.frombuffer(bytearray(body), dtype=np.uint8).reshape(record.height, record.width, 3)
    return DecodedImage(pixels, record)


def main() -> None:
    """Decode what comes in, and answer."""
    name, max_pixels = sys.argv[1], int(sys.argv[2])
    out = sys.stdout.buffer
    try:
        image = decode_here(sys.stdin.buffer.read(), Path(name), max_pixels=max_pixels)
    except UnreadableImage as error:
        out.write(json.dumps({"problem": error.problem, "mend": error.mend}).encode())
        return
    out.write(json.dumps(asdict(image.record)).encode() + b"\n")
    out.write(image.pixels.tobytes())


if __name__ == "__main__":
    main()

import errno
import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from msht.errors import InvalidInput, MissingResource
from msht.files import atomic_path, inside, read_json, sha256_of, sha256_of_text, write_json, write_text


def full_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_file_is_there_whole_after_the_block(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "er" / "table.csv"
    with atomic_path(target) as temporary:
        temporary.write_text("a,b\n")
        assert not target.exists()
        assert temporary.suffix == ".csv"
        assert temporary.parent == target.parent
    assert target.read_text() == "a,b\n"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt()], ids=["error", "ctrl-C"])
def test_a_block_that_fails_leaves_what_was_there_before(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "table.csv"
    target.write_text("old")

    def write_half() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half of the n")
            raise error

    with pytest.raises(type(error)):
        write_half()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_is_one_sentence_and_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "note.txt"
    write_text(target, "old")
    monkeypatch.setattr(Path, "write_text", full_disk)
    with pytest.raises(MissingResource, match=r"note\.txt cannot be written: No space left on device") as caught:
        write_text(target, "new")
    assert "Free some space" in caught.value.mend
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_rename_that_fails_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(MissingResource):
        write_text(tmp_path / "note.txt", "new")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MissingResource, match="cannot be written"):
        write_text(tmp_path / "file" / "note.txt", "new")


def test_a_written_file_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "note.txt", "x")
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    assert (tmp_path / "note.txt").stat().st_mode & 0o777 == 0o640


def test_a_writer_that_puts_a_file_of_its_own_in_place_changes_no_permissions(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with atomic_path(tmp_path / "data.bin") as temporary:
            (tmp_path / "private").touch(mode=0o600)
            (tmp_path / "private").replace(temporary)
    finally:
        os.umask(before)
    assert (tmp_path / "data.bin").stat().st_mode & 0o777 == 0o644


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(json_values)
def test_json_reads_back_as_written(tmp_path: Path, data: object) -> None:
    write_json(tmp_path / "data.json", data)
    assert read_json(tmp_path / "data.json", what="data") == data


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_json_without_a_number_for_it_refuses_nan_and_writes_nothing(tmp_path: Path, number: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "data.json", {"x": number})
    assert list(tmp_path.iterdir()) == []


def test_json_keeps_letters_readable(tmp_path: Path) -> None:
    write_json(tmp_path / "data.json", {"name": "Größe"})
    assert "Größe" in (tmp_path / "data.json").read_text(encoding="utf-8")


def test_json_that_is_not_there_is_named_with_what_it_should_be(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"run\.json does not exist; it should be the state of a run"):
        read_json(tmp_path / "run.json", what="state of a run")


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe{}"], ids=["cut", "empty", "not UTF-8"])
def test_json_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(InvalidInput, match="not readable JSON"):
        read_json(tmp_path / "run.json", what="state of a run")


def test_json_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="not readable"):
        read_json(tmp_path, what="state of a run")


def test_digests_are_those_of_sha256sum(tmp_path: Path) -> None:
    path = tmp_path / "data.bin"
    path.write_bytes(os.urandom(100_000))
    expected = subprocess.run(["sha256sum", str(path)], capture_output=True, text=True, check=True).stdout.split()[0]
    assert sha256_of(path) == expected


def test_the_digest_of_a_text_is_that_of_its_utf8_bytes() -> None:
    # FIPS 180-2, appendix B.1.
    assert sha256_of_text("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of_text("é") == hashlib.sha256(b"\xc3\xa9").hexdigest()


@pytest.mark.parametrize("relative", ["a.png", "deep/a.png", "deep/../a.png", "./a.png", "..a.png", "...", "a b.png"])
def test_a_path_below_the_folder_is_resolved(tmp_path: Path, relative: str) -> None:
    assert inside(tmp_path, relative) == (tmp_path / os.path.normpath(relative)).resolve()


@pytest.mark.parametrize("relative", ["..", "../a.png", "deep/../../a.png", "/etc/passwd", "./../a.png"])
def test_a_path_that_climbs_out_is_refused(tmp_path: Path, relative: str) -> None:
    with pytest.raises(InvalidInput, match="leaves the folder"):
        inside(tmp_path / "images", relative)


def test_an_absolute_path_is_refused_even_below_the_folder(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="leaves the folder"):
        inside(tmp_path, str(tmp_path / "a.png"))


def test_a_sibling_whose_name_begins_alike_is_outside(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="leaves the folder"):
        inside(tmp_path / "images", "../images-secret/a.png")


def test_a_symbolic_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (tmp_path / "secret.png").touch()
    (images / "link.png").symlink_to(tmp_path / "secret.png")
    (images / "up").symlink_to(tmp_path)
    for relative in ("link.png", "up/secret.png"):
        with pytest.raises(InvalidInput, match="leaves the folder"):
            inside(images, relative)


def test_a_symbolic_link_within_the_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
    assert inside(tmp_path, "b.png") == (tmp_path / "a.png").resolve()


def test_a_folder_that_is_itself_a_link_is_no_way_out(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert inside(tmp_path / "link", "a.png") == (tmp_path / "real" / "a.png").resolve()


@pytest.mark.parametrize("relative", ["a\0b.png", "x" * 300], ids=["NUL", "too long"])
def test_a_path_that_no_file_can_have_is_refused(tmp_path: Path, relative: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be a file"):
        inside(tmp_path, relative)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.sampled_from(["..", ".", "a", "b", "", "a.png"]), min_size=1, max_size=6).map("/".join))
def test_whatever_is_given_back_lies_below_the_folder(tmp_path: Path, relative: str) -> None:
    root = tmp_path / "root"
    by_name = os.path.normpath(os.path.join("/root", relative.lstrip("/") if relative != "/" else "."))  # noqa: PTH118
    stays = not relative.startswith("/") and (by_name == "/root" or by_name.startswith("/root/"))
    if stays:
        assert inside(root, relative).is_relative_to(root.resolve())
    else:
        with pytest.raises(InvalidInput):
            inside(root, relative)


def test_what_json_writes_is_stable(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": [1, 2]})
    first = (tmp_path / "a.json").read_bytes()
    write_json(tmp_path / "a.json", json.loads(first))
    assert (tmp_path / "a.json").read_bytes() == first


def test_a_device_or_a_pipe_is_never_replaced_by_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(MissingResource, match="no file can take its place"), atomic_path(pipe) as temporary:
        temporary.write_text("text")
    assert pipe.is_fifo()

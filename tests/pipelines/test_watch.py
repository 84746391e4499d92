from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from msht.errors import InvalidInput
from pipelines.score import score_images
from pipelines.watch import Answer, watch_folder

LONG = 30.0
"""Seconds until a test gives up; on an idle machine an answer takes less than one."""


class Watched:
    """A folder that is being watched in a thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.answers: list[Answer] = []
        self.result: Any = None

    def wait(self, until: Callable[[], bool], seconds: float = LONG) -> bool:
        """Wait until something holds."""
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            if until():
                return True
            time.sleep(0.05)
        return False

    def said(self, name: str) -> list[Answer]:
        """What was said about a photograph."""
        return [answer for answer in self.answers if answer.scored["image"] == name]


@contextmanager
def watching(world: Any, folder: Path, out: Path, **options: Any) -> Iterator[Watched]:
    """Watch a folder as long as the block lasts."""
    watched, stop = Watched(folder), threading.Event()

    def run() -> None:
        watched.result = watch_folder(world.bundle, folder, out, tell=watched.answers.append, stop=stop, **options)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield watched
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def photographs(world: Any) -> list[Path]:
    """Some fields."""
    return sorted((world.cohort / "images").rglob("*.jpg"))[:6]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that a camera writes to."""
    (tmp_path / "in" / "case").mkdir(parents=True)
    return tmp_path / "in"


def test_photographs_are_answered_as_they_come_and_the_tables_are_those_of_a_scoring(
    world: Any, folder: Path, photographs: list[Path], tmp_path: Path
) -> None:
    shutil.copy(photographs[0], folder / "case" / "0.jpg")
    with watching(world, folder, tmp_path / "out") as watched:
        assert watched.wait(lambda: bool(watched.said("case/0.jpg")))
        table = tmp_path / "out" / "images.csv"
        assert watched.wait(table.is_file), "the tables are there while the watch goes on"
        data = photographs[1].read_bytes()
        (folder / "case" / "1.jpg").write_bytes(data[:2000])  # on its way
        (folder / "case" / "notes.txt").write_text("no photograph")
        time.sleep(1.5)
        assert not watched.said("case/1.jpg"), "a file that is not whole yet is waited for"
        (folder / "case" / "1.jpg").write_bytes(data)
        assert watched.wait(lambda: bool(watched.said("case/1.jpg")))
        assert watched.wait(lambda: len(pd.read_csv(table)) == 2)
    assert [answer.scored["image"] for answer in watched.answers] == ["case/0.jpg", "case/1.jpg"]
    assert watched.result.images == 2
    assert watched.result.rejected == 0
    score_images(world.bundle, [folder], tmp_path / "bulk")
    ours, bulk = (pd.read_parquet(tmp_path / where / "images.parquet") for where in ("out", "bulk"))
    pd.testing.assert_frame_equal(ours, bulk, rtol=1e-4, atol=1e-6)
    said = {answer.scored["image"]: answer.row()["probability"] for answer in watched.answers}
    assert said == dict(zip(ours["image"], ours["probability"], strict=True))
    assert "probability" in watched.answers[0].in_words()


@pytest.mark.slow
def test_a_file_that_stays_broken_is_rejected_and_tried_again_when_it_changes(
    world: Any, folder: Path, photographs: list[Path], tmp_path: Path
) -> None:
    place = folder / "case" / "0.jpg"
    place.write_bytes(photographs[0].read_bytes()[:2000])
    with watching(world, folder, tmp_path / "out", patience=0.0) as watched:
        assert watched.wait(lambda: len(watched.answers) == 1)
        assert watched.answers[0].scored["status"] == "rejected"
        assert "rejected" in watched.answers[0].in_words()
        time.sleep(1.0)
        assert len(watched.answers) == 1, "it is not said again while it stays as it is"
        shutil.copy(photographs[0], place)
        assert watched.wait(lambda: len(watched.answers) == 2)
    assert watched.answers[1].scored["status"] == "scored"
    assert (watched.result.images, watched.result.rejected) == (1, 0)


@pytest.mark.slow
def test_a_watch_goes_on_where_the_one_before_ended(
    world: Any, folder: Path, photographs: list[Path], tmp_path: Path
) -> None:
    shutil.copy(photographs[0], folder / "case" / "0.jpg")
    with watching(world, folder, tmp_path / "out") as first:
        assert first.wait(lambda: len(first.answers) == 1)
    shutil.copy(photographs[1], folder / "case" / "1.jpg")
    (folder / "case" / "0.jpg").unlink()  # as cameras' folders are emptied
    with watching(world, folder, tmp_path / "out") as second:
        assert second.wait(lambda: len(second.answers) == 1)
    assert [answer.scored["image"] for answer in second.answers] == ["case/1.jpg"]
    assert second.result.images == 2, "what was scored and moved away since keeps its row"


def test_ctrl_c_ends_a_watch_with_its_tables(world: Any, folder: Path, photographs: list[Path], tmp_path: Path) -> None:
    shutil.copy(photographs[0], folder / "case" / "0.jpg")

    def press(answer: Answer) -> None:
        raise KeyboardInterrupt

    result = watch_folder(world.bundle, folder, tmp_path / "out", tell=press)
    assert result.images == 1
    assert "1 image scored" in result.in_words()
    assert list(pd.read_csv(tmp_path / "out" / "images.csv")["image"]) == ["case/0.jpg"]


@pytest.mark.slow
def test_the_pdf_of_a_case_is_made_and_made_again(
    world: Any, folder: Path, photographs: list[Path], tmp_path: Path
) -> None:
    shutil.copy(photographs[0], folder / "case" / "0.jpg")
    pdf = tmp_path / "out" / "reports" / "case-case.pdf"
    with watching(world, folder, tmp_path / "out", report=True) as watched:
        assert watched.wait(pdf.is_file)
        before = pdf.read_bytes()
        shutil.copy(photographs[1], folder / "case" / "1.jpg")
        assert watched.wait(lambda: pdf.read_bytes() != before)
    from pypdf import PdfReader

    text = "".join(page.extract_text() for page in PdfReader(pdf).pages)
    assert "0.jpg" in text
    assert "1.jpg" in text


def test_a_photograph_that_no_table_can_name_is_a_rejected_row(
    world: Any, folder: Path, photographs: list[Path], tmp_path: Path
) -> None:
    names = ("P1_a.jpg", "new\nline.jpg", os.fsdecode(b"caf\xe9.jpg"), "stray.jpg")
    for name in names:
        shutil.copy(photographs[0], folder / "case" / name)
    (folder / "link").symlink_to(tmp_path)
    for images, answers in ((1, 4), (2, 3)):
        with watching(world, folder, tmp_path / "out", case_from=r"(P\d)_") as watched:
            assert watched.wait(lambda number=answers: len(watched.answers) >= number)  # type: ignore[misc]
            time.sleep(0.8)
        said = {answer.scored["image"]: answer.scored["status"] for answer in watched.answers}
        assert len(watched.answers) == answers, "each is said once"
        odd = dict.fromkeys((r"case/new\nline.jpg", r"case/caf\xe9.jpg"), "rejected")
        if images == 1:
            assert said == {"case/P1_a.jpg": "scored", "case/stray.jpg": "rejected", **odd}
            (folder / "case" / "stray.jpg").rename(folder / "case" / "P2_b.jpg")
        else:
            assert said == {"case/P2_b.jpg": "scored", **odd}
        rejected = 3 if images == 1 else 2  # what was renamed as it was asked for counts once
        result = watched.result
        assert (result.images, result.rejected, result.images_this_call) == (images, rejected, 1)
        assert "1 link was left out" in result.notes[0]
    assert set(pd.read_csv(tmp_path / "out" / "rejected.csv")["image"]) == set(odd)


def test_a_folder_that_is_not_there_is_refused(world: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="does not exist"):
        watch_folder(world.bundle, tmp_path / "none", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "in").mkdir()
    with pytest.raises(InvalidInput, match="--patience"):
        watch_folder(world.bundle, tmp_path / "in", tmp_path / "out", patience=-1)


def images_of(out: Path) -> list[str]:
    """Names in the table of images; none where it is not written yet."""
    table = out / "images.csv"
    return list(pd.read_csv(table)["image"]) if table.is_file() else []


def test_a_photograph_that_is_renamed_or_put_into_another_case_counts_once(
    world: Any, folder: Path, photographs: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for number in range(2):
        shutil.copy(photographs[number], folder / "case" / f"{number}.jpg")
    with watching(world, folder, out) as watched:
        assert watched.wait(lambda: images_of(out) == ["case/0.jpg", "case/1.jpg"])
        (folder / "case" / "0.jpg").rename(folder / "case" / "a.jpg")
        (folder / "other").mkdir()
        (folder / "case" / "1.jpg").rename(folder / "other" / "1.jpg")
        assert watched.wait(lambda: images_of(out) == ["case/a.jpg", "other/1.jpg"])
        shutil.copy(folder / "case" / "a.jpg", folder / "case" / "b.jpg")
        assert watched.wait(lambda: images_of(out) == ["case/a.jpg", "case/b.jpg", "other/1.jpg"])
        (folder / "case" / "a.jpg").unlink()  # what was copied before it went is found too
        assert watched.wait(lambda: images_of(out) == ["case/b.jpg", "other/1.jpg"])
    (folder / "case" / "b.jpg").rename(folder / "case" / "c.jpg")  # while nobody watches
    with watching(world, folder, out) as watched:
        assert watched.wait(lambda: images_of(out) == ["case/c.jpg", "other/1.jpg"])
    assert watched.result.images == 2


def test_two_frames_that_show_nothing_are_not_taken_for_one_that_moved(
    world: Any, folder: Path, tmp_path: Path
) -> None:
    from PIL import Image

    out, empty = tmp_path / "out", tmp_path / "empty.png"
    Image.new("RGB", (200, 150), (250, 250, 250)).save(empty)
    shutil.copyfile(empty, folder / "case" / "0.png")
    with watching(world, folder, out) as watched:
        assert watched.wait(lambda: images_of(out) == ["case/0.png"])
        (folder / "case" / "0.png").unlink()
        (folder / "other").mkdir()
        shutil.copyfile(empty, folder / "other" / "0.png")  # a camera's next frame, of a later time
        assert watched.wait(lambda: images_of(out) == ["case/0.png", "other/0.png"])


def text_of(pdf: Path) -> str:
    from pypdf import PdfReader

    return " ".join(" ".join(page.extract_text() for page in PdfReader(pdf).pages).split())


@pytest.mark.slow
def test_a_case_whose_photographs_are_taken_away_keeps_a_report_of_all_of_them(
    world: Any, folder: Path, photographs: list[Path], tmp_path: Path
) -> None:
    pdf = tmp_path / "out" / "reports" / "case-case.pdf"
    shutil.copy(photographs[0], folder / "case" / "first.jpg")
    with watching(world, folder, tmp_path / "out", report=True) as watched:
        assert watched.wait(pdf.is_file)
        (folder / "case" / "first.jpg").unlink()  # shown before: its picture is kept
        shutil.copy(photographs[1], folder / "case" / "second.jpg")
        assert watched.wait(lambda: "second.jpg" in text_of(pdf))
        assert "first.jpg" in text_of(pdf)
        assert "no longer where it was scored" not in text_of(pdf)
        (folder / "case" / "second.jpg").rename(folder / "case" / "renamed.jpg")
        assert watched.wait(lambda: "renamed.jpg" in text_of(pdf))
        assert "second.jpg" not in text_of(pdf)
        (folder / "next").mkdir()
        (folder / "case" / "renamed.jpg").rename(folder / "next" / "renamed.jpg")
        assert watched.wait((pdf.parent / "case-next.pdf").is_file)
        assert watched.wait(lambda: "renamed.jpg" not in text_of(pdf))
    assert watched.result.notes == ()


@pytest.mark.slow
def test_a_case_that_has_no_photograph_any_more_leaves_its_report_among_the_outdated(
    world: Any, folder: Path, photographs: list[Path], tmp_path: Path
) -> None:
    reports = tmp_path / "out" / "reports"
    shutil.copy(photographs[0], folder / "case" / "0.jpg")
    with watching(world, folder, tmp_path / "out", report=True) as watched:
        assert watched.wait((reports / "case-case.pdf").is_file)
        (folder / "other").mkdir()
        (folder / "case" / "0.jpg").rename(folder / "other" / "0.jpg")
        assert watched.wait((reports / "case-other.pdf").is_file)
        assert watched.wait((reports / "outdated" / "case-case.pdf").is_file)
    assert not (reports / "case-case.pdf").exists()


@pytest.mark.slow
def test_a_report_that_can_no_longer_be_written_leaves_no_earlier_answer_in_its_place(
    world: Any, folder: Path, photographs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports = tmp_path / "out" / "reports"
    shutil.copy(photographs[0], folder / "case" / "0.jpg")
    with watching(world, folder, tmp_path / "out", report=True) as watched:
        assert watched.wait((reports / "case-case.pdf").is_file)

        def fail(*_: object, **__: object) -> None:
            raise InvalidInput("A text cannot be set.", "Mend it.")

        monkeypatch.setattr("reports.case.write_case_report", fail)
        shutil.copy(photographs[1], folder / "case" / "1.jpg")
        assert watched.wait((reports / "outdated" / "case-case.pdf").is_file)
    assert not (reports / "case-case.pdf").exists()
    assert "A text cannot be set." in watched.result.notes[0]
    assert "outdated" in watched.result.notes[0]


def cases_of(out: Path) -> dict[str, int]:
    """Fields of each case in the tables."""
    table = out / "cases.csv"
    return dict(pd.read_csv(table)[["case", "fields"]].itertuples(index=False)) if table.is_file() else {}


@pytest.mark.slow
def test_a_pdf_is_made_from_tables_that_hold_its_answer_however_long_others_take(
    world: Any, folder: Path, photographs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines import report_case

    prepared, first = report_case.prepare_case_report, threading.Event()

    def slowly(*given: Any, **options: Any) -> Any:
        first.set()
        time.sleep(1.5)
        return prepared(*given, **options)

    monkeypatch.setattr(report_case, "prepare_case_report", slowly)
    for number in range(3):
        (folder / f"c{number}").mkdir()
        shutil.copy(photographs[number], folder / f"c{number}" / "a.jpg")
    reports = tmp_path / "out" / "reports"
    with watching(world, folder, tmp_path / "out", report=True) as watched:
        assert watched.wait(first.is_set)
        (folder / "new").mkdir()
        for number, case in enumerate(("c0", "c1", "c2", "new"), start=2):
            shutil.copy(photographs[number], folder / case / "b.jpg")
        assert watched.wait(lambda: all(watched.said(f"{case}/b.jpg") for case in ("c0", "c1", "c2", "new")))
    for case in ("c0", "c1", "c2", "new"):
        assert "b.jpg" in text_of(reports / f"case-{case}.pdf")
    assert watched.result.unwritten_reports == 0
    assert not (tmp_path / "out" / ".snapshots").exists()


@pytest.mark.slow
def test_pdfs_that_a_killed_watch_left_undone_are_made_by_the_next(
    world: Any, folder: Path, photographs: list[Path], tmp_path: Path
) -> None:
    out, reports = tmp_path / "out", tmp_path / "out" / "reports"
    shutil.copy(photographs[0], folder / "case" / "0.jpg")
    with watching(world, folder, out) as watched:  # without PDFs: as if it had been killed before the first
        assert watched.wait(lambda: cases_of(out) == {"case": 1})
    with watching(world, folder, out, report=True) as watched:
        assert watched.wait((reports / "case-case.pdf").is_file)
        time.sleep(0.5)
        stamp = (reports / "case-case.pdf").stat().st_mtime_ns
    with watching(world, folder, out, report=True):
        time.sleep(2.5)
        assert (reports / "case-case.pdf").stat().st_mtime_ns == stamp, "what is of the present rows stays"
    shutil.copy(photographs[1], folder / "case" / "1.jpg")
    with watching(world, folder, out) as watched:
        assert watched.wait(lambda: cases_of(out) == {"case": 2})
    with watching(world, folder, out, report=True) as watched:
        assert watched.wait((reports / "case-case.pdf").is_file)
    assert "1.jpg" in text_of(reports / "case-case.pdf")
    (folder / "case").rename(folder / "other")
    score_images(world.bundle, [folder], out)
    with watching(world, folder, out, report=True) as watched:
        assert watched.wait((reports / "case-other.pdf").is_file)
        assert watched.wait((reports / "outdated" / "case-case.pdf").is_file)


def test_another_folder_is_not_watched_into_the_same_scores(
    world: Any, folder: Path, photographs: list[Path], tmp_path: Path
) -> None:
    shutil.copy(photographs[0], folder / "case" / "0.jpg")
    with watching(world, folder, tmp_path / "out") as watched:
        assert watched.wait(lambda: len(watched.answers) == 1)
    (tmp_path / "second").mkdir()
    for other in (tmp_path / "second", folder / "case", tmp_path):
        with pytest.raises(InvalidInput, match=r"holds scores of another folder|is the folder of the tables"):
            watch_folder(world.bundle, other, tmp_path / "out", stop=threading.Event())
    with pytest.raises(InvalidInput, match="--case-from"):
        watch_folder(world.bundle, folder, tmp_path / "out", case_from="(c)")
    assert images_of(tmp_path / "out") == ["case/0.jpg"]


@pytest.mark.parametrize("way", ["watch", "score"])
def test_the_folder_of_the_tables_is_not_scored_itself(world: Any, folder: Path, way: str) -> None:
    calls = {
        "watch": lambda: watch_folder(world.bundle, folder / "case", folder),
        "score": lambda: score_images(world.bundle, [folder], folder),
    }
    with pytest.raises(InvalidInput, match="is the folder of the tables, or lies in it"):
        calls[way]()
    assert [path.name for path in folder.iterdir()] == ["case"]


def test_another_photograph_under_the_name_of_one_that_went_does_not_take_its_row(
    world: Any, folder: Path, photographs: list[Path], tmp_path: Path
) -> None:
    out, place = tmp_path / "out", folder / "case" / "0.jpg"
    shutil.copy(photographs[0], place)
    with watching(world, folder, out) as watched:
        assert watched.wait(lambda: images_of(out) == ["case/0.jpg"])
        place.rename(tmp_path / "archived.jpg")
        time.sleep(1.0)  # a look without it
        shutil.copy(photographs[1], place)
        assert watched.wait(lambda: images_of(out) == ["case/0.jpg", "case/0~1.jpg"])
        shutil.copy(photographs[2], place)  # changed where it lies
        assert watched.wait(lambda: len(watched.said("case/0.jpg")) == 3)
    assert images_of(out) == ["case/0.jpg", "case/0~1.jpg"]


def test_a_photograph_of_two_cases_stays_in_both_when_one_is_archived(
    world: Any, folder: Path, photographs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.watch.MOVING", 0.5)
    out = tmp_path / "out"
    (folder / "other").mkdir()
    for case in ("case", "other"):
        shutil.copy(photographs[0], folder / case / "same.jpg")
    with watching(world, folder, out) as watched:
        assert watched.wait(lambda: images_of(out) == ["case/same.jpg", "other/same.jpg"])
        time.sleep(1.0)
        (folder / "other" / "same.jpg").rename(tmp_path / "archived.jpg")
        time.sleep(1.5)
    assert images_of(out) == ["case/same.jpg", "other/same.jpg"]


def test_a_broken_photograph_that_is_renamed_is_rejected_once(world: Any, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (folder / "case" / "a.jpg").write_bytes(b"\xff\xd8 no picture")
    with watching(world, folder, out, patience=0.0) as watched:
        assert watched.wait(lambda: len(watched.answers) == 1)
        (folder / "case" / "a.jpg").rename(folder / "case" / "b.jpg")
        assert watched.wait(lambda: len(watched.answers) == 2)
    assert list(pd.read_csv(out / "rejected.csv")["image"]) == ["case/b.jpg"]


@pytest.mark.slow
def test_a_pdf_that_could_not_be_written_is_tried_again(
    world: Any, folder: Path, photographs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.watch_refresh.AGAIN", 0.5)
    shutil.copy(photographs[0], folder / "case" / "0.jpg")
    (tmp_path / "out").mkdir()
    with watching(world, folder, tmp_path / "out", report=True) as watched:
        assert watched.wait((tmp_path / "out" / "scores.sqlite").is_file)
        (tmp_path / "out" / "reports").write_text("in the way")
        time.sleep(4.0)
        (tmp_path / "out" / "reports").unlink()
        assert watched.wait((tmp_path / "out" / "reports" / "case-case.pdf").is_file)
    assert watched.result.unwritten_reports == 0


def test_of_many_answered_photographs_each_is_still_looked_at(
    world: Any, folder: Path, photographs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.watch.LOOKED_AT_AGAIN", 1)  # as of thousands: they take turns
    for number in range(4):
        shutil.copy(photographs[number], folder / "case" / f"{number}.jpg")
    with watching(world, folder, tmp_path / "out") as watched:
        assert watched.wait(lambda: len(watched.answers) == 4)
        shutil.copy(photographs[4], folder / "case" / "2.jpg")
        assert watched.wait(lambda: len(watched.said("case/2.jpg")) == 2)


def test_a_new_photograph_under_the_name_of_one_that_was_moved_leaves_it_one_row(
    world: Any, folder: Path, photographs: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copy(photographs[0], folder / "case" / "a.jpg")
    with watching(world, folder, out) as watched:
        assert watched.wait(lambda: images_of(out) == ["case/a.jpg"])
        (folder / "other").mkdir()
        (folder / "case" / "a.jpg").rename(folder / "other" / "a.jpg")
        time.sleep(0.35)
        shutil.copy(photographs[1], folder / "case" / "a.jpg")
        assert watched.wait(lambda: len(watched.answers) == 3)
        assert watched.wait(lambda: images_of(out) == ["case/a.jpg", "other/a.jpg"])
        time.sleep(1.0)
    assert images_of(out) == ["case/a.jpg", "other/a.jpg"]


def test_what_a_watch_saw_go_the_next_one_knows(
    world: Any, folder: Path, photographs: list[Path], tmp_path: Path
) -> None:
    out, place = tmp_path / "out", folder / "case" / "a.jpg"
    shutil.copy(photographs[0], place)
    with watching(world, folder, out) as watched:
        assert watched.wait(lambda: images_of(out) == ["case/a.jpg"])
        place.unlink()
        time.sleep(1.0)
    shutil.copy(photographs[1], place)
    with watching(world, folder, out) as watched:
        assert watched.wait(lambda: images_of(out) == ["case/a.jpg", "case/a~1.jpg"])


@pytest.mark.slow
def test_pdfs_of_a_watch_do_not_stay_beside_newer_tables(
    world: Any, folder: Path, photographs: list[Path], tmp_path: Path
) -> None:
    out, reports = tmp_path / "out", tmp_path / "out" / "reports"
    shutil.copy(photographs[0], folder / "case" / "0.jpg")
    with watching(world, folder, out, report=True) as watched:
        assert watched.wait((reports / "case-case.pdf").is_file)
    result = score_images(world.bundle, [folder], out)
    assert (reports / "case-case.pdf").is_file(), "of the same rows it stays"
    shutil.copy(photographs[1], folder / "case" / "1.jpg")
    result = score_images(world.bundle, [folder], out)
    assert "A report of earlier answers is now" in result.notes[-1]
    assert not (reports / "case-case.pdf").exists()
    assert (reports / "outdated" / "case-case.pdf").is_file()
    with watching(world, folder, out, report=True) as watched:
        assert watched.wait((reports / "case-case.pdf").is_file)
    shutil.copy(photographs[2], folder / "case" / "2.jpg")
    with watching(world, folder, out) as watched:
        assert watched.wait(lambda: cases_of(out) == {"case": 3})
    assert not (reports / "case-case.pdf").exists()

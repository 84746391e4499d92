"""The list of what is scored: made anew by each call, one input at a time, slides tile by tile."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from msht.bundle import Bundle
from msht.errors import UnreadableImage
from msht.images.reading import is_image_path
from pipelines.inputs import name_inputs, nothing_found, several_folders
from pipelines.progress import Progress, stage
from pipelines.score_fields import ScoreSettings
from pipelines.score_sources import TABLES, found_in
from pipelines.score_store import Store

SHOWN_EVERY = 500
"""Files between two looks at the progress."""


def list_inputs(
    store: Store,
    sources: Sequence[Path],
    bundle: Bundle,
    settings: ScoreSettings,
    case_from: str | None,
    images: Path | None,
    listed: Iterable[str] | None,
    progress: Progress,
) -> None:
    """List every input in the store, slides tile by tile, one at a time.

    Raises:
        InvalidInput: if there is none, or one cannot be listed; the list is then as it was.
    """
    from msht.images.slide_files import SLIDE_SUFFIXES, is_part_of_slide, is_slide_path
    from pipelines.score_slides import expand_slide

    def wanted(path: Path) -> bool:
        if path.suffix.lower() in SLIDE_SUFFIXES:
            return not path.name.startswith(".")
        return is_image_path(path) and not is_part_of_slide(path)

    several, listed_so_far = several_folders(sources), 0
    with stage(progress, "Finding images", None) as steps, store.listing():
        for source in sources:
            found = found_in(source, wanted, prefixed=several, images=images, listed=listed, leave_out=store.out)
            for item in name_inputs(found, store.taken, case_from, repeated=store.repeated):
                listed_so_far += 1
                if listed_so_far % SHOWN_EVERY == 0:
                    steps.at(listed_so_far)
                if not is_slide_path(item.path):
                    store.add(item)
                    continue
                if case_from is None and source.suffix.lower() not in TABLES:
                    item = replace(item, case=item.name)  # a slide is a case, whatever its folder is
                store.add_slide(item)
                try:
                    tiles = expand_slide(item.path, item.name, item.case, bundle, settings.slides)
                except UnreadableImage as error:
                    store.refuse(item, str(error))
                else:
                    for tile in tiles:
                        store.add(tile)
        if not listed_so_far:
            raise nothing_found(sources)

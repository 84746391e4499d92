"""Near-duplicates: one picture in a cohort twice, re-compressed, resized, cropped a little, flipped or turned.

Three steps, each stricter than the one before. A *fingerprint* holds PDQ's cosine coefficients of the picture and
of five slightly cropped views of it. The *search* compares what a flip or a quarter turn leaves unchanged in them,
then the coefficients themselves under all eight orientations. What is left is compared pixel by pixel
(`msht.cohort.same_picture`), since cells of one stain look alike and their fingerprints, too.

Source: PDQ, Facebook (2019), "The TMK+PDQF video-hashing algorithm and the PDQ image-hashing algorithm".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

FREQUENCIES = 8
"""Lowest frequencies of PDQ's sixteen in each direction that are kept: higher ones do not survive a crop."""

TRIM = 0.06
"""Share of width and height that a cropped view leaves out; a crop by 10 % is then at most 3 to 4 % off a view."""

VIEWS: tuple[tuple[float, float, float, float], ...] = (
    (0.0, 0.0, 1.0, 1.0),
    (TRIM / 2, TRIM / 2, 1 - TRIM / 2, 1 - TRIM / 2),
    (0.0, 0.0, 1 - TRIM, 1 - TRIM),
    (TRIM, 0.0, 1.0, 1 - TRIM),
    (0.0, TRIM, 1 - TRIM, 1.0),
    (TRIM, TRIM, 1.0, 1.0),
)
"""Views of a picture as (left, top, right, bottom) in shares of its sides: whole, centre, four corners."""

ORIENTATIONS = 8
"""Flips and quarter turns: bit 1 flips left and right, bit 2 top and bottom, bit 4 swaps rows and columns first."""

LEAST_SIMILARITY = 0.78
"""Cosine of two fingerprints from which a pair is looked at; see docs/audit.md for how often either side errs."""

NEIGHBOURS = 8
"""Pictures that each view may bring up. What is there more often than this is joined through its neighbours."""

EXHAUSTIVE = 20_000
"""Pictures up to which every one is compared with every other; beyond, only within cells of the index."""

_EDGE = 96
_PROBES = 24
_ROWS_AT_ONCE = 2_048
_LEAST_CONTRAST = 2.0
_INDEX = np.arange(1, FREQUENCIES + 1)
# Pictures have less of the fine than of the coarse; the weight evens that out halfway.
_WEIGHT = ((_INDEX[:, None] ** 2 + _INDEX[None, :] ** 2) ** 0.25).astype(np.float32)
_UPPER = np.triu_indices(FREQUENCIES)
_FLIP = ((-1.0) ** np.arange(FREQUENCIES)).astype(np.float32)
# Signs of the sums over (odd or even row, odd or even column) for no flip, left-right, top-bottom, and both.
_SIGNS = np.array([[1, -1, -1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, 1, 1, 1]], dtype=np.float32)


@dataclass(frozen=True)
class Candidate:
    """Two pictures whose fingerprints agree."""

    first: int
    """Number of a picture."""
    second: int
    """Number of another; larger than `first`."""
    similarity: float
    """Cosine of the fingerprints, at most 1."""
    orientation: int
    """How the second is to be turned to look like the first; see `oriented`."""


def fingerprint(pixels: Pixels) -> Floats:
    """Take the fingerprint of a picture.

    Args:
        pixels: RGB uint8, shape (H, W, 3).

    Returns:
        Weighted cosine coefficients of each view, shape (6, 8, 8), each view of norm 1; zeros where the picture
        is so flat that nothing but noise would be compared.
    """
    import pdqhash

    luminance = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    height, width = luminance.shape
    result = np.zeros((len(VIEWS), FREQUENCIES, FREQUENCIES), dtype=np.float32)
    # Reduced once, with room to spare: the views are cut out of the small picture.
    factor = min(1.0, 2.5 * _EDGE / min(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = cv2.resize(luminance, size, interpolation=cv2.INTER_AREA) if factor < 1 else luminance
    for number, (left, top, right, bottom) in enumerate(VIEWS):
        rows, columns = _span(top, bottom, small.shape[0]), _span(left, right, small.shape[1])
        view = cv2.resize(small[rows, columns], (_EDGE, _EDGE), interpolation=cv2.INTER_AREA)
        if view.std() < _LEAST_CONTRAST:
            return np.zeros_like(result)
        values, _ = pdqhash.compute_float(cv2.cvtColor(view, cv2.COLOR_GRAY2RGB))
        # PDQ lists its sixteen frequencies from the highest to the lowest.
        lowest = np.asarray(values, dtype=np.float32).reshape(16, 16)[::-1, ::-1][:FREQUENCIES, :FREQUENCIES]
        result[number] = lowest * _WEIGHT
    norms = np.linalg.norm(result.reshape(len(VIEWS), -1), axis=1)
    return result / norms[:, None, None] if (norms > 0).all() else np.zeros_like(result)


def _span(start: float, end: float, length: int) -> slice:
    first = min(round(start * length), length - 1)
    return slice(first, max(round(end * length), first + 1))


def oriented(picture: npt.NDArray, orientation: int) -> npt.NDArray:
    """Swap rows and columns, then flip top and bottom, then left and right, as the bits of `orientation` say."""
    if orientation & 4:
        picture = np.swapaxes(picture, 0, 1)
    if orientation & 2:
        picture = picture[::-1]
    if orientation & 1:
        picture = picture[:, ::-1]
    return np.ascontiguousarray(picture)


def oriented_coefficients(coefficients: Floats) -> Floats:
    """Coefficients (..., 8, 8) of a picture as those of its eight orientations, (..., 8, 8, 8)."""
    answers = []
    for orientation in range(ORIENTATIONS):
        turned = np.swapaxes(coefficients, -1, -2) if orientation & 4 else coefficients
        # A cosine of odd frequency changes its sign when the picture is flipped; index 0 is frequency 1.
        if orientation & 2:
            turned = turned * -_FLIP[:, None]
        if orientation & 1:
            turned = turned * -_FLIP[None, :]
        answers.append(turned)
    return np.stack(answers, axis=-3)


def find_candidates(fingerprints: Floats, *, least_similarity: float = LEAST_SIMILARITY) -> list[Candidate]:
    """Find the pairs of pictures whose fingerprints agree in some orientation.

    Args:
        fingerprints: (N, 6, 8, 8), as `fingerprint` gives them; all-zero ones agree with nothing.
        least_similarity: cosine from which two agree.

    Returns:
        Each pair once, in order, with its best similarity.
    """
    present = np.flatnonzero(fingerprints.any(axis=(1, 2, 3)))
    if len(present) < 2:
        return []
    index = _index(_unoriented(fingerprints[present, 0]))
    whole = _by_parity(fingerprints[present, 0])
    best: dict[tuple[int, int], tuple[float, int]] = {}
    neighbours = min(NEIGHBOURS + 1, len(present))
    for start in range(0, len(present), _ROWS_AT_ONCE):
        numbers = np.arange(start, min(start + _ROWS_AT_ONCE, len(present)))
        for view in range(len(VIEWS)):
            views = fingerprints[present[numbers], view]
            _, found = index.search(_unoriented(views), neighbours)
            # An index of cells may find fewer than were asked for: -1 then, and a picture is no copy of itself.
            found = np.where(found < 0, numbers[:, None], found)
            cosines = _cosines(whole, found, views)
            cosines[found == numbers[:, None]] = -1.0
            orientation = cosines.argmax(axis=2)
            for row, rank in np.argwhere(cosines.max(axis=2) >= least_similarity):
                o = int(orientation[row, rank])
                # The view turned by `o` looks like the picture found; the other way round it is the inverse.
                a, b = int(present[found[row, rank]]), int(present[numbers[row]])
                key, value = ((a, b), o) if a < b else ((b, a), _INVERSE[o])
                cosine = float(cosines[row, rank, o])
                if key not in best or cosine > best[key][0]:
                    best[key] = (cosine, value)
    return [Candidate(a, b, s, o) for (a, b), (s, o) in sorted(best.items())]


def connected_groups(count: int, pairs: Iterable[tuple[int, int]]) -> list[tuple[int, ...]]:
    """Join pairs that share a picture into groups of two and more, in order (union-find).

    Args:
        count: pictures in all.
        pairs: numbers of pictures that belong together.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = np.array(list(pairs), dtype=np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(edges), dtype=bool), (edges[:, 0], edges[:, 1])), shape=(count, count))
    _, component = connected_components(graph, directed=False)
    order = np.argsort(component, kind="stable")
    starts = np.flatnonzero(np.diff(component[order], prepend=-1))
    groups = (tuple(int(i) for i in group) for group in np.split(order, starts[1:]))
    return sorted(group for group in groups if len(group) > 1)


def _unoriented(coefficients: Floats) -> Floats:
    """What flips and quarter turns leave unchanged: the energy at each pair of frequencies, (N, 36)."""
    energy = np.sqrt(coefficients**2 + np.swapaxes(coefficients, -1, -2) ** 2)
    return np.ascontiguousarray(energy[..., _UPPER[0], _UPPER[1]], dtype=np.float32)


def _index(vectors: Floats) -> Any:
    # Imported here: a command that compares nothing should not wait for it.
    import faiss

    count, size = vectors.shape
    if count <= EXHAUSTIVE:
        index: Any = faiss.IndexFlatL2(size)
    else:
        cells = 1 << int(np.sqrt(count)).bit_length()
        index = faiss.IndexIVFPQFastScan(faiss.IndexFlatL2(size), size, cells, size // 2, 4)
        index.cp.niter, index.cp.max_points_per_centroid = 8, 64
        index.nprobe = _PROBES
        index.train(vectors)
    index.add(vectors)
    return index


def _by_parity(coefficients: Floats) -> Floats:
    """Coefficients (N, 8, 8) sorted by odd or even row and column, (N, 4, 16): a flip changes whole sets of 16."""
    half = FREQUENCIES // 2
    split = coefficients.reshape(-1, half, 2, half, 2).transpose(0, 2, 4, 1, 3)
    return np.ascontiguousarray(split.reshape(-1, 4, half * half))


def _cosines(whole: Floats, found: Integers, views: Floats) -> Floats:
    """Cosines of pictures with views in each of the eight orientations of the view.

    Args:
        whole: all pictures, (M, 4, 16) as `_by_parity` gives them.
        found: which of them to compare with each view, (N, K).
        views: (N, 8, 8).

    Returns:
        (N, K, 8).
    """
    pictures = whole[found]
    # Four sums of products serve the four flips.
    sums = [
        np.einsum("nkpc,npc->nkp", pictures, _by_parity(turned)) @ _SIGNS
        for turned in (views, np.swapaxes(views, 1, 2))
    ]
    return np.asarray(np.concatenate(sums, axis=2))


def _inverses() -> Sequence[int]:
    probe = np.arange(4).reshape(2, 2)
    turned = [oriented(probe, o) for o in range(ORIENTATIONS)]
    return [next(o for o in range(ORIENTATIONS) if np.array_equal(oriented(picture, o), probe)) for picture in turned]


_INVERSE = _inverses()

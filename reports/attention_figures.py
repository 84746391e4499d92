"""Pictures of what a network attends to."""

from __future__ import annotations

import io
from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from reports.figures import ACCENT, INK, QUIET, sized, style

Array = npt.NDArray[np.floating]
KINDS = {"mhsa": "MHSA", "mhga": "MHGA"}


def attention_of_image(view: npt.NDArray[np.uint8], maps: Mapping[str, Array], *, name: str, by_class: bool) -> bytes:
    """The view, the rollout, and a row of heads for each attention, all on one scale. A PNG.

    Args:
        view: what the network saw, RGB uint8 (S, S, 3).
        maps: (H, h, w) by `decoder-I-KIND`, and `rollout`, (h, w).
        name: of the image.
        by_class: whether the maps are the class token's; else means over all patches.
    """
    rows = [key for key in maps if key != "rollout"]
    heads = maps[rows[0]].shape[0]
    highest = max(float(maps[row].max()) for row in rows)
    with mpl.rc_context(style()):
        figure = sized(20.0 * (heads + 2), 20.0 * max(len(rows), 2) + 16.0)
        grid = figure.subplots(max(len(rows), 2), heads + 2, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        grid[0, 0].imshow(view)
        grid[0, 0].set_title("view", fontsize=7, color=INK)
        grid[1, 0].imshow(maps["rollout"], cmap="viridis", vmin=0)
        grid[1, 0].set_title("rollout of MHSA", fontsize=7, color=INK)
        for place, row in enumerate(rows):
            _, number, kind = row.split("-")
            grid[place, 1].text(
                1.0, 0.5, f"decoder {number}\n{KINDS[kind]}", ha="right", va="center", fontsize=7, color=INK,
                transform=grid[place, 1].transAxes,
            )  # fmt: skip
            for head in range(heads):
                drawn = grid[place, head + 2].imshow(maps[row][head], cmap="viridis", vmin=0, vmax=highest)
                if place == 0:
                    grid[place, head + 2].set_title(f"head {head + 1}", fontsize=7, color=QUIET)
        whose = "what the class token attends to" if by_class else "how much each patch is attended to, on average"
        short = name.rpartition("/")[2].replace("$", r"\$")[:60]
        figure.suptitle(f"{short}: {whose}", x=0.01, ha="left", fontsize=8, color=INK)
        bar = figure.colorbar(drawn, ax=grid, location="bottom", fraction=0.03, aspect=60, pad=0.01)
        bar.set_label("share of attention; the rollout has a scale of its own", fontsize=7)
        return _png(figure)


def attention_of_network(arrays: Mapping[str, Array], *, size: int) -> bytes:
    """Mean attention distance by head and depth, and the likeness of position embeddings. A PNG.

    Args:
        arrays: distances (H,) by `decoder-I-KIND`, and maybe `positions`, (h, w, h, w).
        size: edge of the view in px.
    """
    positions = arrays.get("positions")
    rows = [key for key in arrays if key != "positions"]
    with mpl.rc_context(style()):
        figure = sized(170.0 if positions is not None else 85.0, 78.0)
        halves = figure.subfigures(1, 2 if positions is not None else 1, squeeze=False)
        axes = halves[0, 0].subplots()
        for kind, colour, marker in (("mhsa", ACCENT, "o"), ("mhga", QUIET, "s")):
            pairs = [(int(row.split("-")[1]), row) for row in rows if row.endswith(kind)]
            if pairs:
                heads = np.stack([arrays[row] for _, row in pairs])
                shift = -0.06 if kind == "mhsa" else 0.06
                for head in range(heads.shape[1]):
                    label = KINDS[kind] if head == 0 else None
                    axes.plot([number + shift for number, _ in pairs], heads[:, head], linestyle="", marker=marker,
                              markersize=4, color=colour, alpha=0.8, label=label)  # fmt: skip
        axes.set(xlabel="Decoder", ylabel=f"Mean attention distance, px of {size}", ylim=(0, None))
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
        axes.legend(loc="lower right")
        axes.set_title("One mark for each head", fontsize=8, color=INK, loc="left")
        if positions is not None:
            height, width = positions.shape[:2]
            right = halves[0, 1]
            panels = right.subplots(height, width, squeeze=False)
            for row in range(height):
                for column in range(width):
                    panel = panels[row, column]
                    drawn = panel.imshow(positions[row, column], cmap="viridis", vmin=-1, vmax=1)
                    panel.set(xticks=[], yticks=[])
            right.suptitle("Likeness of each position to all others (cosine)", fontsize=8, color=INK)
            right.colorbar(drawn, ax=panels, location="bottom", fraction=0.04, aspect=40)
        return _png(figure)


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=180, metadata={"Software": None})
    return stream.getvalue()

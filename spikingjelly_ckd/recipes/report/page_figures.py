"""The figures of a study as images that stand inside the page."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from ...errors.installed import needs_packages
from ..untrusted import shown_text
from .found import Study
from .page_tables import numbers_of
from .plots.results import (
    differences,
    plot_accuracy_and_energy,
    plot_forest,
    plot_layer_rates,
    plot_training,
)
from .plots.style import COLORS, GREY, PALE, Width, styled

__all__ = ["Picture", "figures_of_study", "pictures_of_runs"]

MOST_PICTURES = 12
MOST_BYTES = 2 * 2**20
BOARD = "tensorboard"
"""Folder of a run in which TensorBoard's files are."""
PNG = b"\x89PNG\r\n\x1a\n"
PICTURES = {".png": "image/png", ".svg": "image/svg+xml"}
IN_THE_DARK = {"#000000": "#e8ebf0", GREY: "#9aa4b2", PALE: "#353d48"} | {
    COLORS["blue"]: "#4da6e0",
    COLORS["vermillion"]: "#ff8b45",
    COLORS["green"]: "#2fc49a",
}
"""Colour on paper -> colour on a dark page, with as much contrast."""
FONT = "'DejaVu Sans',Verdana,sans-serif"


@dataclass(frozen=True)
class Picture:
    """An image that stands inside the page.

    Attributes:
        place: section of the page.
        title: above it.
        caption: how to read it.
        source: ``data:`` address with all of its bytes.
        narrow: the same of the picture for a phone; empty where there is none.
    """

    place: str
    title: str
    caption: str
    source: str
    narrow: str = ""


def figures_of_study(study: Study) -> list[Picture]:
    """What can be drawn of a study."""
    runs, part = study.runs, {"val": "validation", "test": "test"}[study.part]
    rates = _rates(study)
    found: list[Picture | None] = [
        _drawn(
            "results",
            "Difference to the control",
            "Each arm minus its control, paired by seed. Bars are 95 % intervals that hold all at once; an arm whose "
            "bar crosses zero (hollow grey mark) is not told apart from its control. An arrow is an arm beyond the "
            "axis.",
            (lambda width: plot_forest(runs, width=width)) if differences(runs) else None,
        ),
        _drawn(
            "curves",
            "Accuracy during training",
            f"On the {part} part after each epoch: mean over the seeds, in a band from the lowest to the highest seed.",
            (lambda width: plot_training(runs, part=part, width=width))
            if any(len(run.history) > 1 for run in runs)
            else None,
        ),
        _drawn(
            "energy",
            "Accuracy against energy",
            "Test accuracy beside the energy of one image (45 nm, 32-bit: 4.6 pJ a MAC, 0.9 pJ an AC, without memory), "
            "mean and range over the seeds. Up and to the left is better.",
            (lambda width: plot_accuracy_and_energy(runs, width=width))
            if any(None not in (run.energy_mj, run.test_accuracy) for run in runs)
            else None,
        ),
        _drawn(
            "energy",
            "Firing rate by layer",
            "Share of the neurons and time steps of each spiking layer that spike, mean over the seeds.",
            (lambda width: plot_layer_rates(rates, width=width)) if rates else None,
        ),
    ]
    return [picture for picture in found if picture is not None]


def pictures_of_runs(study: Study) -> list[Picture]:
    """Pictures that the runs left: the last maps that TensorBoard was given, and ``.png`` and ``.svg`` in the folders.

    Files are looked for in the folder of a run and in ``figures/`` there; each may have 2 MiB.
    """
    found: list[Picture] = []
    for run, row in zip(study.runs, study.rows, strict=False):
        board = None if row.path is None else row.path.parent / BOARD
        last = _last_maps(board) if board is not None and board.is_dir() and len(found) < MOST_PICTURES else None
        if last is not None:
            epoch, png = last
            title = f"{shown_text(run.arm, 60)}, seed {run.seed}"
            found.append(Picture("maps", title, f"Where teacher and student look, after epoch {epoch}.", _png(png)))
    for folder in dict.fromkeys(study.folders):
        for path in sorted([*folder.glob("*.*"), *folder.glob("figures/*.*")]):
            kind = PICTURES.get(path.suffix.lower())
            if kind is not None and path.is_file() and path.stat().st_size <= MOST_BYTES:
                text = base64.b64encode(path.read_bytes()).decode("ascii")
                found.append(Picture("maps", path.stem, f"{folder.name}/{path.name}", f"data:{kind};base64,{text}"))
    return found[:MOST_PICTURES]


def _last_maps(board: Path) -> tuple[int, bytes] | None:
    """Epoch and PNG of the last maps in the folder of a TensorBoard; None where there is none that can be read."""
    with needs_packages("the maps of a report"):
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    try:
        events = EventAccumulator(str(board), size_guidance={"images": 1, "scalars": 1}).Reload()
        last = events.Images("maps")[-1]
    except Exception:  # files of others: whatever is in them, the page is made without their maps
        return None
    picture = last.encoded_image_string
    return (last.step, picture) if picture.startswith(PNG) and len(picture) <= MOST_BYTES else None


def _png(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}"


def _drawn(place: str, title: str, caption: str, draw: Callable[[Width], Figure] | None) -> Picture | None:
    if draw is None:
        return None
    return Picture(place, title, caption, _as_svg(draw("page")), narrow=_as_svg(draw("column")))


@styled
def _as_svg(figure: Figure) -> str:
    """A figure that follows the scheme of the page around it."""
    buffer = io.StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # the browser has other fonts
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    dark = "".join(
        f'[style*="{kind}: {paper.lower()}"]{{{kind}:{screen}!important}}'
        for paper, screen in IN_THE_DARK.items()
        for kind in ("fill", "stroke")
    )
    text = f"text{{font-family:{FONT}!important}}"
    style = f"<style>{text}@media(prefers-color-scheme:dark){{text{{fill:{IN_THE_DARK['#000000']}}}{dark}}}</style>"
    svg = buffer.getvalue().replace("</metadata>", f"</metadata>{style}", 1)
    if style not in svg:
        svg = svg.replace("<defs>", f"{style}<defs>", 1)
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode('ascii')}"


def _rates(study: Study) -> dict[str, dict[str, float]]:
    """Name of each arm -> layer -> firing rate, mean over the seeds; of rows, whose records have it."""
    found: dict[str, list[dict[str, float]]] = {}
    for run, row in zip(study.runs, study.rows, strict=False):
        rates = numbers_of((row.energy or {}).get("student", {}).get("rates"))
        if rates:
            found.setdefault(run.arm, []).append(rates)
    return {arm: _mean_of(of_seeds) for arm, of_seeds in found.items()}


def _mean_of(of_seeds: Sequence[dict[str, float]]) -> dict[str, float]:
    layers = dict.fromkeys(layer for rates in of_seeds for layer in rates)
    known = {layer: [rates[layer] for rates in of_seeds if layer in rates] for layer in layers}
    return {layer: sum(values) / len(values) for layer, values in known.items()}

"""One page of what runs left: ``python -m spikingjelly_ckd report RUN...`` writes ``report.html``.

The page is one file that needs no network. Every text of a run is hostile: Jinja2 escapes it, characters that are not
seen or turn the direction of writing are spelt out, long texts are cut, no text becomes an address, pictures are images
in which nothing runs, and the page lets the browser run its own script alone.
"""

from __future__ import annotations

import base64
import hashlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ... import __version__
from ...errors.installed import needs_packages
from ..comparison.table import remarks
from ..files import say, whole_file
from ..parser import Parser
from ..untrusted import shown_text
from . import page_breaks, page_gaps, page_tables, page_text
from .found import Study, find_studies
from .page_figures import figures_of_study, pictures_of_runs

with needs_packages("the report"):
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup, escape

__all__ = ["NAME", "main", "render_page", "write_page"]

PROGRAM = "python -m spikingjelly_ckd report"
NAME = "report.html"
"""Of the page in the folder of a run."""
SUFFIXES = (".html", ".htm")
LONGEST = 600
"""Characters of one text."""
LONGEST_COMMAND = 20_000
MOST_LEFT_OUT = 100
VERDICTS = {"above": "above", "below": "below", "not told apart": "unsure"}
"""What a cell says -> its class."""
STATUSES = {"ok": "ok", "info": "ok", "warn": "bad", "fail": "bad", "error": "bad"}


def render_page(studies: Sequence[Study], left_out: Mapping[str, str] | None = None) -> str:
    """The page.

    Args:
        studies: of :func:`~spikingjelly_ckd.recipes.report.found.find_studies`; one at least.
        left_out: path of each record that could not be shown -> why.

    Returns:
        HTML of one file: figures, style and script are inside.

    Raises:
        ValueError: no study.

    Example:
        >>> from spikingjelly_ckd.recipes.comparison.records import ArmRecord
        >>> runs = [
        ...     ArmRecord(arm=arm, control="plain", seed=seed, test_accuracy=accuracy + seed)
        ...     for arm, accuracy in (("plain", 60.0), ("kd", 64.0)) for seed in (0, 1)]
        >>> page = render_page([Study.of_comparison(Path("digits"), runs)])
        >>> page.splitlines()[0], "64.50" in page
        ('<!DOCTYPE html>', True)
    """
    if not studies:
        raise ValueError("there is no study, so there is nothing to report")
    pages = _environment()
    style, script = (_source(pages, name) for name in ("report.css", "report.js"))
    shown = [_content(study) for study in studies]
    return pages.get_template("report.html").render(
        heading=shown[0]["title"] if len(shown) == 1 else f"{len(shown)} studies",
        studies=shown,
        left_out=list((left_out or {}).items())[:MOST_LEFT_OUT],
        verdicts=VERDICTS,
        statuses=STATUSES,
        version=__version__,
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
    )


def write_page(path: Path, studies: Sequence[Study], left_out: Mapping[str, str] | None = None) -> Path:
    """Write the page, whole or not at all.

    Args:
        path: of the HTML file.
        studies: as for :func:`render_page`.
        left_out: as for :func:`render_page`.

    Returns:
        ``path``.

    Example:
        >>> import tempfile
        >>> from spikingjelly_ckd.recipes.comparison.records import ArmRecord
        >>> runs = [ArmRecord(arm=arm, control="plain", seed=0, test_accuracy=64.0) for arm in ("plain", "kd")]
        >>> write_page(Path(tempfile.mkdtemp(), NAME), [Study.of_comparison(Path("digits"), runs)]).name
        'report.html'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = render_page(studies, left_out)
    with whole_file(path) as file:
        file.write(text.encode())
    return path


def _content(study: Study) -> dict[str, Any]:
    """Everything that the template shows of one study."""
    return {
        "title": page_text.title(study),
        "answer": page_text.sentence(study),
        "smoke": study.is_smoke,
        "facts": page_text.facts(study),
        "results": page_tables.results(study),
        "remarks": remarks(study.runs, str),
        "energies": page_tables.energies(study),
        "preflights": page_text.preflights(study),
        "environments": page_text.environments(study),
        "repeating": page_text.commands(study)[0],
        "making": page_text.commands(study)[1],
        "not_run": page_gaps.not_run(study),
        "pictures": [*figures_of_study(study), *pictures_of_runs(study)],
    }


def _environment() -> Environment:
    pages = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_harmless,
    )
    pages.filters |= {
        "command": lambda text: page_breaks.command(shown_text(text, LONGEST_COMMAND)),
        "data_address": _data_address,
        "name": _name,
        "number": lambda text: page_breaks.number(shown_text(text, LONGEST)),
        "prose": lambda text: page_breaks.prose(shown_text(text, LONGEST)),
        "whole": lambda text: page_breaks.prose(shown_text(text, LONGEST_COMMAND)),
    }
    return pages


def _harmless(value: object) -> object:
    """Every value that the template shows, before it is escaped."""
    return value if isinstance(value, Markup) else shown_text(value, LONGEST)


def _name(text: object, shortest: int = 1) -> Markup:
    return page_breaks.name(shown_text(text, LONGEST), shortest)


def _data_address(text: str) -> Markup:
    """An image that stands in the page; an address of any other kind is an error of this package."""
    if not text.startswith("data:image/"):
        raise ValueError(f"an image must stand in the page, got {text[:40]}")
    return Markup(escape(text))


def _source(pages: Environment, name: str) -> str:
    assert pages.loader is not None
    return pages.loader.get_source(pages, name)[0]


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"


def main(argv: Sequence[str] | None = None) -> int:
    """The command line.

    Args:
        argv: None for ``sys.argv``.

    Returns:
        0, or 1 where there is nothing to report or the page cannot be written.
    """
    parser = Parser(PROGRAM, description="One HTML page of what runs left; it needs no network.")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders of rows and comparisons, or records")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="PAGE",
        help=f"file that the page is written to (default: {NAME} in the folder of a single RUN, otherwise here)",
    )
    arguments = parser.parse_args(argv)
    if arguments.output is not None and arguments.output.suffix.lower() not in SUFFIXES:
        parser.error(f"--output: a page ends in {' or '.join(SUFFIXES)}, got {shown_text(arguments.output)}")
    runs = arguments.runs
    inside = runs[0] if len(runs) == 1 and runs[0].is_dir() else Path()
    path = arguments.output or inside / NAME
    try:
        studies, left_out = find_studies(runs)
        write_page(path, studies, left_out)
    except (OSError, ValueError) as error:
        print(f"report: {shown_text(error, 2000)}", file=sys.stderr)
        return 1
    for study in studies:
        say(f"{page_text.title(study)} {page_text.sentence(study)}")
    for left, why in left_out.items():
        say(f"left out: {shown_text(left)}: {why}")
    say(f"report: {path}")
    return 0

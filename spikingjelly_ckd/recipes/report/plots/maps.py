"""Where teacher and student look: maps over the input, and their difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ....distiller import Distiller
from ....errors.arguments import ArgumentTypeError, ArgumentValueError
from ....errors.installed import needs_packages
from ....errors.shapes import check_shapes
from ....functional.maps import is_constant, match_maps
from ...untrusted import shown_text
from .agreement import Agreement, as_numbers, map_agreement, own_range
from .inputs import show_inputs
from .looking import SeenMaps, see_maps
from .panels import Column, Panel, Scale, coloured, draw_sheet, enlarged
from .style import EVIDENCE, SIGNED, styled

with needs_packages("spikingjelly_ckd.recipes.report.plots"):
    from matplotlib.figure import Figure

__all__ = ["Agreement", "map_agreement", "plot_distiller_maps", "plot_maps", "plot_seen_maps"]

_MAP = Scale(EVIDENCE, 0.0, 1.0, "map, 0 to 1 of its own range")
_DIFFERENCE = Scale(SIGNED, -1.0, 1.0, "student's map − teacher's map")
_LONGEST = 14
_LEGEND = (
    "○ largest value of the teacher's map, × of the student's",
    "r: correlation of both maps; pointing: share of × where the teacher's map has at least half of its range",
)


@styled
def plot_maps(
    images: Tensor,
    teacher: Tensor | None,
    students: Mapping[str, Tensor],
    *,
    labels: Tensor | None = None,
    answers: Mapping[str, Tensor] | None = None,
    classes: Sequence[str] | None = None,
    grid: tuple[int, int] | None = None,
    difference: bool = True,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Figure:
    """Input, teacher's class map, students' spike maps over the input, and their differences: one row an image.

    Every map is shown from 0 to 1 of its own range, with cells as large as the network has them. A circle is where the
    teacher's map is largest, a cross where the student's is. A map that is constant is not drawn, and its panel says
    so.

    Args:
        images: ``[N, C, H, W]`` with 1 or 3 channels; ``[N, 2, H, W]`` with counts of ON and OFF events; or event
            frames ``[T, N, 2, H, W]``, whose counts are summed over time.
        teacher: ``[N, h, w]``, or values of tokens ``[N, L]`` with ``grid``; None where there is none.
        students: heading -> map, as for ``teacher``: such as ``{"before": ..., "after": ...}`` of one student, or
            ``{"plain": ..., "CKD": ...}`` of two.
        labels: true classes, ``[N]``; answers are then marked as right or wrong.
        answers: ``"teacher"`` and headings of students -> what they answered: classes ``[N]``, or logits ``[N, K]``.
        classes: names of the classes; None shows their indices.
        grid: ``(h, w)`` of token maps. The last ``h * w`` values are positions, so a class token in front is left out.
        difference: also show each student's map minus the teacher's.
        mean: of each channel that the images were normalised with; they are then shown as they were.
        std: standard deviation of each channel, likewise. Images outside of [0, 1] without it are shown by their own
            range, and the heading says so.

    Returns:
        The figure, as wide as a page, or wider with more than six columns.

    Raises:
        TypeError: something is no tensor.
        ValueError: axes that do not fit each other, no student, or values that are not finite.

    Example:
        >>> images, teacher, student = torch.rand(2, 3, 16, 16), torch.rand(2, 4, 4), torch.rand(2, 8, 8)
        >>> figure = plot_maps(images, teacher, {"student": student}, labels=torch.tensor([3, 7]))
        >>> [axes.get_xlabel() for axes in figure.axes[1:]]
        ['map, 0 to 1 of its own range', "student's map − teacher's map"]
    """
    if not students:
        raise ArgumentValueError("students", "must hold at least one map, heading -> [N, h, w], got none")
    named = {} if teacher is None else {"teacher": _as_maps("teacher", teacher, grid)}
    if "teacher" in students:
        raise ArgumentValueError("students", "has a heading 'teacher', which is the teacher's own; rename it")
    named |= {name: _as_maps(name, maps, grid) for name, maps in students.items()}
    count = len(next(iter(named.values())))
    if not count:
        raise ArgumentValueError("images", "must hold one at least, got none")
    for name, maps in named.items():
        if len(maps) != count:
            raise ArgumentValueError(name, f"has maps of {len(maps)} images and the others of {count}")
    if labels is not None:
        check_shapes(labels=(labels, "N"), maps=(next(iter(named.values())), "N h w"))
        _check_classes("labels", labels, classes)
    unknown = sorted(set(answers or {}) - {*named, "teacher"})
    if unknown:
        raise ArgumentValueError("answers", f"must be of 'teacher' or of {list(students)}, got {unknown[0]!r}")
    shown, shade, scale, note = show_inputs(images, count, mean, std)
    size = (shown.shape[1], shown.shape[2])
    said = {name: _classes_of(name, value, count, classes) for name, value in (answers or {}).items()}
    truth = None if labels is None else labels.tolist()
    columns = [Column("input", [Panel(pixels) for pixels in shown], (note,) if note else ())]
    peaks = {name: [_peaks(one) for one in maps] for name, maps in named.items()}
    differences = []
    for name, maps in named.items():
        pixels = shade.unsqueeze(-1) * coloured(enlarged(own_range(maps), size), _MAP)
        flat = is_constant(maps).tolist()
        found = None if teacher is None or name == "teacher" else map_agreement(maps, named["teacher"])
        panels = []
        for i in range(count):
            lines, right = _caption(said.get(name), truth, classes, i, found)
            circles = peaks["teacher"][i] if teacher is not None else ()
            if flat[i]:
                panels.append(Panel(None, lines, right, note="constant map:\nno position"))
            else:
                panels.append(Panel(pixels[i], lines, right, circles, () if name == "teacher" else peaks[name][i]))
        columns.append(Column(shown_text(name, _LONGEST), panels, _summary(found)))
        if found is not None and difference:
            ours, theirs = match_maps(maps, named["teacher"])
            gap = own_range(ours) - own_range(theirs)
            colours = coloured(enlarged(gap, size), _DIFFERENCE)
            undefined = found.correlation.isnan().tolist()
            cells = [
                Panel(None, note="not defined") if undefined[i] else Panel(colours[i], circles=panels[i].circles)
                for i in range(count)
            ]
            differences.append(Column(shown_text(name, _LONGEST), cells, ("minus the teacher",)))
    scales = [*([] if scale is None else [scale]), _MAP, *([_DIFFERENCE] if differences else [])]
    rows = [] if truth is None else [f"true {_class_name(label, classes)}" for label in truth]
    legend = ["× largest value of the map"] if teacher is None else list(_LEGEND)
    return draw_sheet(
        [*columns, *differences], scales, rows=rows, legend=legend, aspect=images.shape[-2] / images.shape[-1]
    )


def plot_seen_maps(
    students: Mapping[str, SeenMaps],
    *,
    classes: Sequence[str] | None = None,
    difference: bool = True,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Figure:
    """As :func:`plot_maps`, of what :func:`~.looking.see_maps` saw: of one student at two times, or of two students.

    Args:
        students: heading -> what was seen, of the same images; images, labels and the teacher are those of the last.
        classes: as for :func:`plot_maps`.
        difference: as for :func:`plot_maps`.
        mean: as for :func:`plot_maps`.
        std: as for :func:`plot_maps`.

    Returns:
        The figure.

    Raises:
        ValueError: none, or they are of unlike images.

    Example:
        >>> seen = SeenMaps(torch.rand(2, 3, 8, 8), None, torch.rand(2, 4, 4), torch.rand(2, 10))
        >>> plot_seen_maps({"student": seen}).axes[-1].get_xlabel()
        'map, 0 to 1 of its own range'
    """
    if not students:
        raise ArgumentValueError("students", "must hold what was seen, heading -> SeenMaps, got none")
    last = list(students.values())[-1]
    for name, seen in students.items():
        if seen.images.shape != last.images.shape or not torch.equal(seen.images, last.images):
            raise ArgumentValueError("students", f"must be of the same images; those of {name!r} are others")
    answers = {name: seen.student_logits for name, seen in students.items()}
    if last.teacher_logits is not None:
        answers["teacher"] = last.teacher_logits
    return plot_maps(
        last.images,
        last.teacher,
        {name: seen.student for name, seen in students.items()},
        labels=last.labels,
        answers=answers,
        classes=classes,
        difference=difference,
        mean=mean,
        std=std,
    )


def plot_distiller_maps(
    distillers: Distiller | Mapping[str, Distiller],
    images: Tensor,
    labels: Tensor | None = None,
    *,
    before: SeenMaps | None = None,
    classes: Sequence[str] | None = None,
    difference: bool = True,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Figure:
    """Look at a batch with one distiller, or with several of one teacher, and draw it as :func:`plot_maps` does.

    Args:
        distillers: one, or heading -> distiller.
        images: as for :meth:`~spikingjelly_ckd.Distiller.forward`; every image becomes a row, so pass a few.
        labels: class indices ``[N]``.
        before: what :func:`~.looking.see_maps` saw of the same images before the training, for a column of its own.
        classes: as for :func:`plot_maps`.
        difference: as for :func:`plot_maps`.
        mean: as for :func:`plot_maps`.
        std: as for :func:`plot_maps`.

    Returns:
        The figure. Both networks are left as they were.

    Raises:
        TypeError: as for :func:`plot_maps`.
        ValueError: as for :func:`plot_maps`, or no layer serves.

    Example:
        >>> from spikingjelly_ckd.recipes.models import spiking_resnet8
        >>> plain = Distiller(None, spiking_resnet8(10), {}, time_steps=2)
        >>> plot_distiller_maps({"plain": plain}, torch.rand(2, 3, 16, 16)).axes[-1].get_xlabel()
        'map, 0 to 1 of its own range'
    """
    several = distillers if isinstance(distillers, Mapping) else {"student" if before is None else "after": distillers}
    seen = {name: see_maps(distiller, images, labels) for name, distiller in several.items()}
    first = {} if before is None else {"before": before}
    return plot_seen_maps(first | seen, classes=classes, difference=difference, mean=mean, std=std)


def _as_maps(name: str, values: Tensor, grid: tuple[int, int] | None) -> Tensor:
    check_shapes("pass grid=(h, w) with token maps [N, L]", **{name: (values, "N h w | N L")})
    if not values.isfinite().all():
        raise ArgumentValueError(name, "holds NaN or inf, which has no colour")
    values = as_numbers(values.detach().cpu())
    if values.ndim == 3:
        if values.shape[1:].numel() == 1:
            raise ArgumentValueError(name, "has one position only, so there is nothing to see: record an earlier layer")
        return values
    if grid is None or values.shape[1] < grid[0] * grid[1]:
        text = f"must be (h, w) with at most the {values.shape[1]} tokens of {name}, got {grid}"
        raise ArgumentValueError("grid", text)
    return values[:, values.shape[1] - grid[0] * grid[1] :].reshape(-1, *grid)


def _peaks(values: Tensor) -> tuple[tuple[float, float], ...]:
    """The positions of the largest value of one map ``[h, w]``, as shares of width and height; none of a constant."""
    if is_constant(values.unsqueeze(0)).item():
        return ()
    height, width = values.shape
    return tuple(((x + 0.5) / width, (y + 0.5) / height) for y, x in (values == values.max()).nonzero().tolist())


def _classes_of(name: str, answers: Tensor, count: int, classes: Sequence[str] | None) -> list[int]:
    check_shapes(**{f"answers[{name!r}]": (answers, "N | N K")})
    if len(answers) != count:
        raise ArgumentValueError("answers", f"of {name!r} are {len(answers)} and the images {count}")
    found = answers.argmax(1) if answers.ndim == 2 else answers
    _check_classes(f"answers[{name!r}]", found, classes)
    return found.tolist()


def _check_classes(name: str, indices: Tensor, classes: Sequence[str] | None) -> None:
    """Raise unless these are indices of the classes."""
    if indices.is_floating_point() or indices.is_complex() or indices.dtype == torch.bool:
        raise ArgumentTypeError(name, f"must be class indices, whole numbers, got {indices.dtype}")
    if classes is not None and not 0 <= int(indices.min()) <= int(indices.max()) < len(classes):
        wrong = int(indices.max()) if int(indices.max()) >= len(classes) else int(indices.min())
        raise ArgumentValueError(name, f"must be 0 to {len(classes) - 1} for the {len(classes)} classes, got {wrong}")


def _caption(
    said: list[int] | None,
    truth: list[int] | None,
    classes: Sequence[str] | None,
    row: int,
    found: Agreement | None,
) -> tuple[tuple[str, ...], bool | None]:
    """The lines below a panel, and whether the answer is right."""
    lines = [] if said is None else [f"answer {_class_name(said[row], classes)}"]
    if found is not None:
        value = found.correlation[row].item()
        lines.append("r not defined" if value != value else f"r = {value:.2f}".replace("-", "−"))
    right = None if said is None or truth is None else said[row] == truth[row]
    return tuple(lines), right


def _summary(found: Agreement | None) -> tuple[str, ...]:
    """Means over the images where the agreement is defined."""
    if found is None or found.correlation.isnan().all():
        return () if found is None else ("agreement not defined",)
    mean = f"mean r = {found.correlation.nanmean().item():.2f}".replace("-", "−")
    return (mean, f"pointing {found.pointing.nanmean().item():.2f}")


def _class_name(index: int, classes: Sequence[str] | None) -> str:
    return shown_text(index if classes is None else classes[index], _LONGEST)

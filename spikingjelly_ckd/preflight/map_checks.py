"""The check of the maps that are compared: their size, what they were pooled from, and whether they are constant."""

from __future__ import annotations

from collections.abc import Iterator

from ..distiller import Distiller
from ..functional.maps import is_constant
from ..networks.search import find_stages
from .checks import Look
from .report import Check, Status

__all__ = ["maps"]

LEAST_SIDE = 3
"""A map with fewer rows or columns hardly tells positions apart."""


def maps(distiller: Distiller, look: Look) -> Iterator[Check]:
    """How large the compared maps are, what they were pooled from, and for how many images they are constant."""
    compared = next((name for name, term in look.step.terms.items() if term.maps), "")
    for title, maps in look.maps.items():
        name, _, role = title.rpartition("/")
        other = "teacher" if role == "student" else "student"
        size = (maps.shape[1], maps.shape[2])
        own, others = (_size_of_layer(look, name or compared, one) or size for one in (role, other))
        share, few = float(is_constant(maps).float().mean()), min(size) < LEAST_SIDE
        status: Status = "fail" if share == 1 else "warn" if share > 0.1 or few else "ok"
        pooled = "" if own == size else f", pooled from {_by(own)} to match the {other}'s {_by(others)}"
        says = f", so {size[0] * size[1]} numbers say where the network looks" if few else ""
        coarse = role if min(own) < LEAST_SIDE else other
        advice = f"; pass {role}_layer= another layer"
        if few:
            advice = f"; pass {coarse}_layer= {_finer(distiller, look, coarse)}"
        yield Check(
            f"{title} map",
            status,
            f"{_by(size)}{pooled}{says}, constant for {share:.0%} of the images{'' if status == 'ok' else advice}",
            {"constant": share, "size": _by(size)},
        )


def _size_of_layer(look: Look, name: str, role: str) -> tuple[int, int] | None:
    """Rows and columns of the layer that a loss reads, before anything is pooled; None where it is not known."""
    features = getattr(look.step, role).features.get(name)
    return (features[0].shape[-2], features[0].shape[-1]) if features else None


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _finer(distiller: Distiller, look: Look, role: str) -> str:
    """The deepest layer with a map of at least :data:`LEAST_SIDE` rows and columns, in words."""
    network, observer = getattr(distiller, role), getattr(distiller.observers, role)
    try:
        stages = find_stages(network, observer.inputs(look.batch), role=observer.role, run=observer.run)
        sizes = observer.shapes(network, stages, look.batch)
    except (RuntimeError, TypeError, ValueError):
        return "an earlier layer"
    finer = [layer for layer in stages if min(sizes[layer][-2:]) >= LEAST_SIDE]
    if not finer:
        return "an earlier layer"
    rows, columns = sizes[finer[-1]][-2:]
    return f"an earlier layer, such as {finer[-1].path!r} with {rows}x{columns}"

"""Below the floor: CKD steps with everything on, beside the plain eager fp32 step with SpikingJelly's own neurons."""

from __future__ import annotations

from speed_bench import Bench, Row, compute

__all__ = ["goals"]


def goals(bench: Bench, rounds: int) -> Row:
    """With a live teacher and with its cached output; the reports say what is on, and what each switch moved."""
    arms, reports = {"plain": bench.plain(), "CKD": bench.ckd()}, {}
    for name, cached in (("everything on", False), ("everything on, teacher cache", True)):
        arms[name], found = bench.accelerated(cached=cached)
        reports[name] = found.to_dict()
    return compute(bench, arms, rounds, base="plain") | {"reports": reports}

"""What a preflight found."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

__all__ = ["Check", "PreflightReport", "Status"]

Status = Literal["ok", "warn", "fail", "info"]
"""``"info"`` where there is nothing to judge."""


@dataclass(frozen=True)
class Check:
    """One finding.

    Attributes:
        name: what was looked at.
        status: ``"ok"``, ``"warn"``, ``"fail"``, or ``"info"`` where there is nothing to judge.
        message: in a sentence, with what to do where something is wrong.
        data: the figures behind it.

    Example:
        >>> check = Check("student map", "warn", "4x4, constant for 25% of the images", {"constant": 0.25})
        >>> print(check)
        [warn] student map: 4x4, constant for 25% of the images
        >>> check.data["constant"]
        0.25
    """

    name: str
    status: Status
    message: str
    data: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"[{self.status:>4}] {self.name}: {self.message}"


@dataclass(frozen=True)
class PreflightReport:
    """All findings; ``print`` it, or take it as data.

    Attributes:
        checks: in the order in which they are shown.

    Example:
        >>> report = PreflightReport((Check("images", "ok", "float32"), Check("maps", "fail", "a map is constant")))
        >>> report.ok, report["maps"].message
        (False, 'a map is constant')
        >>> print(report["images"])
        [  ok] images: float32
    """

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing failed (warnings are allowed)."""
        return all(check.status != "fail" for check in self.checks)

    def __getitem__(self, name: str) -> Check:
        """The finding called ``name``.

        Raises:
            KeyError: there is none.
        """
        for check in self.checks:
            if check.name == name:
                return check
        raise KeyError(f"no check {name!r}; there are {[check.name for check in self.checks]}")

    def to_dict(self) -> dict[str, Any]:
        """The findings as plain data, for a JSON record."""
        return {"ok": self.ok, "checks": [asdict(check) for check in self.checks]}

    def __str__(self) -> str:
        return "\n".join(str(check) for check in self.checks)

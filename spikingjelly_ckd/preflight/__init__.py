"""Before the first epoch: what was chosen, why, and what would go wrong."""

from .report import Check, PreflightReport
from .run import preflight

__all__ = ["Check", "PreflightReport", "preflight"]

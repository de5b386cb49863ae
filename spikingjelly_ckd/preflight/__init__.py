"""Checks before the first epoch: which layers were chosen, why, and what would go wrong."""

from .report import Check, PreflightReport
from .run import preflight

__all__ = ["Check", "PreflightReport", "preflight"]

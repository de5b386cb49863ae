"""The installed SpikingJelly: the only module that imports it, and tests of what it can do."""

from __future__ import annotations

from importlib.metadata import version

from ...errors.installed import needs_packages, root_logger_untouched

with needs_packages("spikingjelly_ckd"), root_logger_untouched():
    from spikingjelly.activation_based import base, functional, layer, neuron, surrogate

__all__ = ["HAS_BACKENDS", "base", "functional", "layer", "neuron", "spikingjelly_version", "surrogate"]

HAS_BACKENDS = hasattr(functional, "set_backend")
"""Whether every neuron has a ``backend`` that is set on it, as in 0.0.0.0.14."""


def spikingjelly_version() -> str:
    """The installed SpikingJelly, as pip names it (the package itself carries no version).

    Example:
        >>> spikingjelly_version().partition(".")[0] in ("0", "2")
        True
    """
    return version("spikingjelly")

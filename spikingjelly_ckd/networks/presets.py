"""What is known of SpikingJelly's own networks, by class name: where their last spikes are, how they walk through time.

No model is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import nn

__all__ = ["StudentSteps", "preset_student_steps", "student_preset_paths"]

StudentSteps = Literal["multi", "loop", "internal"]
"""How a student takes its time steps: all in one call, one call for each, or by itself, from images."""

# class name -> where its last spikes with positions are, best first; a negative number counts from the end
_STUDENT_PRESETS = {
    "SpikingResNet": ("layer4", "layer3", "layer2", "layer1"),
    "SEWResNet": ("layer4", "layer3", "layer2", "layer1"),
    "SpikingVGG": ("features",),
    "MSResNet": ("head_lif",),
    "Spikformer": ("blocks.-1",),
    "QKFormer": ("stage3.-1",),
    "MaxFormer": ("stage3.-1.mlp.lif1",),
    "SpikeDrivenTransformer": ("blocks.-1.mlp.lif1",),
    "MASNN": ("conv_blocks.-1",),
    "SNASNet": ("last_act.1",),
    "SpikeDHS": ("feature",),
}
_STEP_PRESETS: dict[str, StudentSteps] = {"SNASNet": "internal", "OTTTSpikingVGG": "loop"}


def preset_student_steps(module: nn.Module) -> StudentSteps | None:
    """How a known SpikingJelly network wants its time steps, by class name.

    Args:
        module: the network, also inside a wrapper.

    Returns:
        ``"internal"`` for one that runs its own time loop (SNASNet), ``"loop"`` for one that takes a single step per
        call and has no multi-step mode (OTTT), None for every other network.

    Example:
        >>> from torch import nn
        >>> class SNASNet(nn.Module): ...
        >>> preset_student_steps(SNASNet())
        'internal'
    """
    known = _known(module, _STEP_PRESETS)
    return None if known is None else _STEP_PRESETS[known[1]]


def student_preset_paths(module: nn.Module) -> list[tuple[str, str]]:
    """Where the last spikes of a known student are, best first, each path with the class's name; empty for others.

    Args:
        module: the network, also inside a wrapper.
    """
    known = _known(module, _STUDENT_PRESETS)
    if known is None:
        return []
    prefix, name = known
    paths = [_concrete(module, prefix, pattern) for pattern in _STUDENT_PRESETS[name]]
    return [(path, name) for path in paths if path is not None]


def _known(module: nn.Module, presets: Mapping[str, object]) -> tuple[str, str] | None:
    """Where a class with a preset sits: ``(path, class name)``, if there is exactly one outermost."""
    found: list[tuple[str, str]] = []
    for path, child in module.named_modules():
        if any(not outer or path.startswith(f"{outer}.") for outer, _ in found):
            continue
        name = next((kind.__name__ for kind in type(child).__mro__ if kind.__name__ in presets), None)
        if name is not None:
            found.append((path, name))
    return found[0] if len(found) == 1 else None


def _concrete(module: nn.Module, prefix: str, pattern: str) -> str | None:
    """``pattern`` below ``prefix`` with negative numbers counted out; None if there is no such module."""
    parts = prefix.split(".") if prefix else []
    for part in pattern.split("."):
        children = [name for name, _ in module.get_submodule(".".join(parts)).named_children()]
        if part.startswith("-"):
            if len(children) < -int(part):
                return None
            part = children[int(part)]
        if part not in children:
            return None
        parts.append(part)
    return ".".join(parts)

"""The classifier of a network."""

from __future__ import annotations

from torch import nn

from .outputs import Role

__all__ = ["find_head"]


def find_head(module: nn.Module, classes: int, *, role: Role) -> str:
    """The path of a network's last linear layer with as many outputs as there are classes.

    Args:
        module: the network.
        classes: ``K``.
        role: ``"student"`` or ``"teacher"``, for the message.

    Raises:
        ValueError: no linear layer has ``classes`` outputs.

    Example:
        >>> from torch import nn
        >>> find_head(nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 10)), 10, role="teacher")
        '1'
    """
    linears = {path: child for path, child in module.named_modules() if isinstance(child, nn.Linear)}
    found = [path for path, child in linears.items() if child.out_features == classes]
    if not found:
        raise ValueError(
            f"the {role} {type(module).__name__} has no nn.Linear with {classes} outputs, so a loss that applies its "
            f"classifier cannot run; its last linear layers are {list(linears)[-5:]}"
        )
    return str(found[-1])

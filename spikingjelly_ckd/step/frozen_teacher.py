"""A module that has a frozen teacher, which is no part of it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Self, cast

from torch import Tensor, nn

from ..networks.recording import converts_input
from .arguments import NO_DATA_PARALLEL

__all__ = ["WithFrozenTeacher"]


class WithFrozenTeacher(nn.Module):
    """Base of the distiller: the teacher is in no ``parameters()`` and no ``state_dict()``, but moves with ``.to()``.

    A deep copy shares the teacher. A teacher from :func:`~spikingjelly_ckd.prepare_teacher` keeps its types.

    Args:
        teacher: frozen and put into ``eval`` here, in place; None where there is none.
    """

    def __init__(self, teacher: nn.Module | None) -> None:
        super().__init__()
        # in a tuple, so that it is no submodule
        self._frozen_teacher = () if teacher is None else (teacher.requires_grad_(False).eval(),)

    @property
    def teacher(self) -> nn.Module:
        """The frozen teacher.

        Raises:
            RuntimeError: there is none.
        """
        if not self._frozen_teacher:
            raise RuntimeError("this distiller has no teacher: it was made with teacher=None")
        return self._frozen_teacher[0]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        for teacher in self._frozen_teacher:
            prepared = [module for module in teacher.modules() if converts_input(module)]
            own = {id(tensor) for module in prepared for tensor in (*module.parameters(), *module.buffers())}
            teacher._apply(lambda x, own=own: _moved(x, fn(x)) if id(x) in own else fn(x))  # type: ignore[no-untyped-call]
        return cast(Self, super()._apply(fn, recurse))  # type: ignore[no-untyped-call]

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        memo.update((id(teacher), teacher) for teacher in self._frozen_teacher)
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        state = self.__getstate__()  # type: ignore[no-untyped-call]  # without what was compiled: that runs this one
        twin.__dict__.update(copy.deepcopy(state, memo))
        return twin

    def _replicate_for_data_parallel(self) -> Self:
        raise TypeError(NO_DATA_PARALLEL)


def _moved(tensor: Tensor, converted: Tensor) -> Tensor:
    """``tensor`` on the device of ``converted``, in its own type."""
    return converted if converted.dtype == tensor.dtype else tensor.to(converted.device)

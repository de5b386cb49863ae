"""A student with a frozen teacher, which is not registered as a submodule."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Self, cast

from torch import Tensor, nn

from ..networks import compat
from ..networks.guards import outside_inference
from ..networks.recording import converts_input
from .network_arguments import NO_DATA_PARALLEL, check_networks

__all__ = ["WithFrozenTeacher"]


class WithFrozenTeacher(nn.Module):
    """Base of the distiller: the teacher is in no ``parameters()`` and no ``state_dict()``, but moves with ``.to()``.

    A deep copy shares the teacher, and resets the student's states, which may hold a graph (a checkpointed student runs
    again in ``backward``). A teacher from :func:`~spikingjelly_ckd.prepare_teacher` keeps its types.

    Args:
        teacher: frozen and put into ``eval`` here, in place; None where there is none.
        student: the network that is trained.
    """

    def __init__(self, teacher: nn.Module | None, student: nn.Module) -> None:
        super().__init__()
        self.student = student
        # in a tuple, so that it is no submodule
        self._frozen_teacher = () if teacher is None else (_freeze(teacher, student),)

    @property
    def teacher(self) -> nn.Module:
        """The frozen teacher.

        Raises:
            RuntimeError: there is none.
        """
        if not self._frozen_teacher:
            raise RuntimeError("this distiller has no teacher: it was made with teacher=None")
        return self._frozen_teacher[0]

    def replace_teacher(self, teacher: nn.Module) -> None:
        """Put another network in the teacher's place, such as a prepared one; layers keep their paths.

        ``distiller.teacher = network`` does the same.

        Args:
            teacher: frozen and put into ``eval`` here, in place.

        Raises:
            RuntimeError: there was no teacher.
            TypeError: ``teacher`` is no module, or holds ``nn.DataParallel``.
            ValueError: it shares a tensor with the student, was exported, or is a spiking network in place of an ANN
                or the reverse.
        """
        if not self._frozen_teacher:
            raise RuntimeError("this distiller has no teacher to replace: it was made with teacher=None")
        if teacher is None:
            raise TypeError("teacher must be a torch.nn.Module, got None; to train without one make a new distiller")
        check_networks(teacher, self.student)
        if compat.has_neurons(teacher) != compat.has_neurons(self.teacher):
            raise ValueError(
                "a spiking teacher takes time steps and an ANN takes images, so one cannot replace the other: make a "
                "new distiller"
            )
        self._frozen_teacher = (_freeze(teacher, self.student),)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "teacher":  # nn.Module would register it as a submodule, and the property would go on to hide it
            self.replace_teacher(value)
        else:
            super().__setattr__(name, value)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        for teacher in self._frozen_teacher:
            prepared = [module for module in teacher.modules() if converts_input(module)]
            own = {id(tensor) for module in prepared for tensor in (*module.parameters(), *module.buffers())}
            teacher._apply(lambda x, own=own: _moved(x, fn(x)) if id(x) in own else fn(x))  # type: ignore[no-untyped-call]
        return cast(Self, super()._apply(fn, recurse))  # type: ignore[no-untyped-call]

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        memo.update((id(teacher), teacher) for teacher in self._frozen_teacher)
        compat.reset(self.student)
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        state = self.__getstate__()  # type: ignore[no-untyped-call]  # without the compiled call, which would run this distiller
        twin.__dict__.update(copy.deepcopy(state, memo))
        return twin

    def _replicate_for_data_parallel(self) -> Self:
        raise TypeError(NO_DATA_PARALLEL)


def _freeze(teacher: nn.Module, student: nn.Module) -> nn.Module:
    """The teacher in eval mode, with parameters that need no gradient; a scripted one has no ``requires_grad_``.

    A module without tensors that both networks hold (an activation, a surrogate function) becomes one of the teacher's
    own, whose mode is not the student's.
    """
    of_student = {id(module) for module in student.modules()}
    for parent in list(teacher.modules()):
        for name, child in parent.named_children():
            if id(child) in of_student:
                setattr(parent, name, copy.deepcopy(child))
    with outside_inference():
        for module in teacher.modules():
            for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
                if tensor.is_inference():  # made in inference_mode: no gradient passes it
                    copied = tensor.clone()
                    setattr(module, name, nn.Parameter(copied, False) if name in module._parameters else copied)
    for parameter in teacher.parameters():
        parameter.requires_grad_(False)
    return teacher.eval()


def _moved(tensor: Tensor, converted: Tensor) -> Tensor:
    """``tensor`` on the device of ``converted``, in its own type."""
    return converted if converted.dtype == tensor.dtype else tensor.to(converted.device)

"""Errors that carry as data what a caller acts on: the name of an argument, or that a training diverged."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

__all__ = ["ArgumentError", "ArgumentNotFoundError", "ArgumentTypeError", "ArgumentValueError", "InvalidStepError"]

_AS_KEYWORDS: Mapping[str, str] = MappingProxyType({})


class ArgumentError(Exception):
    """An argument that cannot be used, and what to pass instead. Raise one of the subclasses.

    ``str(error)`` is the argument, the text and ``"; pass NAME=VALUE"`` for the remedy; a text with ``{remedy}`` in it
    has the remedy there instead. Errors can be pickled. PyTorch raises an error of a loading process again from its
    traceback alone: then ``argument`` is empty and ``text`` is that traceback.

    Args:
        argument: its name.
        text: what was expected, what was passed, and what to do.
        remedy: arguments that would help, name -> value.

    Attributes:
        argument: its name.
        text: without the argument and the remedy.
        remedy: name -> value, or None.

    Example:
        >>> error = ArgumentValueError("root", "holds no data", remedy={"download": True})
        >>> str(error), error.argument, error.remedy
        ('root holds no data; pass download=True', 'root', {'download': True})
    """

    def __init__(self, argument: str, text: str = "", *, remedy: Mapping[str, Any] | None = None) -> None:
        self.argument, self.text = (argument, text) if text else ("", argument)
        self.remedy = remedy
        super().__init__(self.render())

    def render(self, flags: Mapping[str, str] = _AS_KEYWORDS, called: str | None = None) -> str:
        """The message, with the arguments that a command line sets shown as its flags.

        Args:
            flags: name of an argument -> flag.
            called: what to call the argument in place of its flag, such as one that was not passed; None for the flag.

        Returns:
            Text; ``str(error)`` where no flag is given.

        Example:
            >>> error = ArgumentValueError("root", "holds no data", remedy={"download": True})
            >>> error.render({"root": "--data-path", "download": "--download"})
            '--data-path holds no data; pass --download'
            >>> error.render(called="the row's root")
            "the row's root holds no data; pass download=True"
        """
        remedy = " and ".join(_setting(name, value, flags) for name, value in (self.remedy or {}).items())
        text = self.text if "{remedy}" in self.text or not remedy else f"{self.text}; pass {{remedy}}"
        called = flags.get(self.argument, self.argument) if called is None else called
        return f"{called} {text.replace('{remedy}', remedy)}".lstrip()

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), remedy=self.remedy), (self.argument, self.text), self.__dict__


class ArgumentTypeError(ArgumentError, TypeError):
    """An argument of the wrong kind.

    Example:
        >>> str(ArgumentTypeError("time_steps", "must be an integer, got str"))
        'time_steps must be an integer, got str'
    """


class ArgumentValueError(ArgumentError, ValueError):
    """An argument of the right kind with a value that cannot be used.

    Example:
        >>> str(ArgumentValueError("time_steps", "must be at least 1, got 0", remedy={"time_steps": 4}))
        'time_steps must be at least 1, got 0; pass time_steps=4'
    """


class ArgumentNotFoundError(ArgumentError, FileNotFoundError):
    """An argument that names a file or folder which does not exist.

    Example:
        >>> ArgumentNotFoundError("path", "must be a file that is there, got net.safetensors").argument
        'path'
    """


class InvalidStepError(ValueError):
    """A step whose values must not be trained on; nothing was changed.

    Args:
        text: what was found.
        diverged: whether it shows that the training diverged: the student's logits or a loss are not finite, or its
            neurons have fallen silent.

    Example:
        >>> InvalidStepError("the loss 'task' is not finite", diverged=True).diverged
        True
    """

    def __init__(self, text: str, *, diverged: bool = False) -> None:
        super().__init__(text)
        self.diverged = diverged


def _setting(name: str, value: object, flags: Mapping[str, str]) -> str:
    """``download=True``, or ``--download``; ``flip=False``, or ``--no-flip``; ``roll=0``, or ``--roll 0``."""
    if name not in flags:
        return f"{name}={value!r}"
    if isinstance(value, bool):
        return flags[name] if value else flags[name].replace("--", "--no-", 1)
    return f"{flags[name]} {value!r}" if value == "" else f"{flags[name]} {value}"

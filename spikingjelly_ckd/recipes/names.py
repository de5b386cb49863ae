"""Functions by their names: as ``module:function`` in files and on command lines."""

from __future__ import annotations

import importlib
import itertools
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from ..errors.arguments import ArgumentTypeError
from ..errors.installed import InstallationError
from ..errors.near import hint, nearest

__all__ = [
    "BUILDERS",
    "failure_text",
    "in_code_of_user",
    "name_of",
    "package_function",
    "raised_here",
    "resolve_name",
    "shown",
]

_PACKAGE = __name__.partition(".")[0]
BUILDERS = dict.fromkeys(
    (
        *("resnet19", "resnet20", "resnet34", "spiking_resnet19", "spiking_resnet20", "spiking_resnet34"),
        *("resnet8", "resnet18", "spiking_resnet8", "sew_resnet18", "sew_resnet34", "max_resnet18", "spikformer_4_384"),
        *("vgg16", "spiking_vgg16"),
    ),
    f"{_PACKAGE}.recipes.models",
) | {
    "spikingjelly_network": f"{_PACKAGE}.recipes.models",
    "timm_network": f"{_PACKAGE}.recipes.timm_teachers",
}
"""Functions of this package that a file may name, and their modules; any path inside the package may stand before."""
_DATA = ("cifar10", "cifar100", "cifar10dvs", "dvsgesture", "image_folder", "imagenet", "ncaltech101")
_OURS = BUILDERS | dict.fromkeys(_DATA, f"{_PACKAGE}.recipes.data") | {"digits": f"{_PACKAGE}.recipes.data.digits"}
"""Functions that are meant where their name stands alone, and their modules."""


def name_of(build: Callable[..., Any]) -> str:
    """``module:name`` of a function or class, for :func:`resolve_name`.

    The module is the outermost package that exports it, so a name in a record does not depend on the file inside.

    Raises:
        ValueError: it cannot be imported by name (a lambda, a method, a partial, or defined inside a function).

    Example:
        >>> from spikingjelly_ckd.recipes.models import resnet20
        >>> name_of(resnet20)
        'spikingjelly_ckd.recipes.models:resnet20'
    """
    if not callable(build):
        raise ArgumentTypeError(
            "build", f"must be the function that makes the network, such as mynets.build, got {build!r:.200}"
        )
    name = getattr(build, "__qualname__", f"<{type(build).__name__}>")
    if not name.isidentifier():
        raise ValueError(f"{build.__module__}:{name} cannot be imported by its name; pass a function of a module")
    packages = itertools.accumulate(build.__module__.split("."), "{}.{}".format)
    exports = (path for path in packages if getattr(sys.modules.get(path), name, None) is build)
    module = next(exports, build.__module__)
    return f"{module}:{name}"


def resolve_name(name: str) -> Callable[..., Any]:
    """The function or class called ``module:name``.

    Raises:
        ModuleNotFoundError: the module needs another one that is not installed.
        ValueError: not of that form, no such module or one that cannot be imported, or no such name in it.

    Example:
        >>> resolve_name("spikingjelly_ckd.recipes.models:resnet20").__name__
        'resnet20'
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        bare = name.strip(":").removesuffix(".py")
        ours = [f"{_OURS[known]}:{known}" for known in nearest(bare, _OURS)]
        ours = [f"{bare}:FUNCTION"] if bare in _modules_here() else ours
        meant = f"; did you mean {' or '.join(ours)}?" if ours else ""
        raise ValueError(f"expected module:function, such as mynets:build, got {name!r}{meant}")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            text = f"{name!r}: {module_name} cannot be imported: {failure_text(error)}"
            raise ModuleNotFoundError(text, name=error.name) from error
        advice = f"run from its folder, or set PYTHONPATH{hint(module_name, _modules_here())}"
        if module_name.endswith(".py"):
            advice = f"write {Path(module_name).stem}:{attribute}, without .py and folder, and {advice}"
        raise ValueError(f"{name!r}: there is no module {module_name!r}; {advice}") from error
    except InstallationError:
        raise
    except Exception as error:
        raise ValueError(f"{name!r}: {module_name} cannot be imported: {failure_text(error)}") from error
    found = getattr(module, attribute, None)
    if callable(found):
        return cast(Callable[..., Any], found)
    meant = hint(attribute, (known for known, value in vars(module).items() if callable(value)))
    raise ValueError(f"{name!r}: {module_name} has no function {attribute!r}{meant}")


def shown(value: Any) -> Any:
    """A value as plain data: a function by its name.

    Args:
        value: of a recipe.

    Example:
        >>> from spikingjelly_ckd.recipes.models import resnet20
        >>> shown(resnet20), shown(0.5)
        ('spikingjelly_ckd.recipes.models:resnet20', 0.5)
    """
    if not callable(value):
        return value
    try:
        return name_of(value)
    except ValueError:
        return repr(value)


@contextmanager
def in_code_of_user(function: Callable[..., Any]) -> Iterator[None]:
    """For the call of a function that the user named: what its code raises is one line with the place.

    What functions of this package raise, and what they raise inside the function, stays as it is.

    Args:
        function: that is called.

    Raises:
        RuntimeError: the function raised what is neither of the others.
        TypeError: it raised one.
        ValueError: it raised one.

    Example:
        >>> import operator
        >>> with in_code_of_user(operator.truediv):
        ...     pass
    """
    try:
        yield
    except Exception as error:
        module = getattr(function, "__module__", None) or ""
        if raised_here(error) or module.partition(".")[0] == _PACKAGE:
            raise
        name = getattr(function, "__qualname__", type(function).__name__)
        kind = next((one for one in (TypeError, ValueError) if isinstance(error, one)), RuntimeError)
        raise kind(f"{module}:{name} raised {failure_text(error)}") from error


def raised_here(error: Exception) -> bool:
    """Whether a file of this package raised an error.

    Args:
        error: as it was caught.
    """
    return _is_ours(traceback.extract_tb(error.__traceback__)[-1].filename)


def _is_ours(filename: str) -> bool:
    return Path(filename).is_relative_to(Path(__file__).parents[1])


def failure_text(error: Exception, *, outside_libraries: bool = False) -> str:
    """Kind, text and place of an error in a module of the user's, in one line.

    Args:
        error: as it was caught.
        outside_libraries: the place is the last one that is neither in an installed package nor in this one.
    """
    text = " ".join(str(error).split())
    said = f"{type(error).__name__}: {text}" if text else type(error).__name__
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<frozen")]
    if outside_libraries:
        of_libraries = ("site-packages", "dist-packages")
        own = (frame for frame in frames if not _is_ours(frame.filename))
        frames = [frame for frame in own if not any(part in of_libraries for part in Path(frame.filename).parts)]
    if isinstance(error, SyntaxError) or not frames:  # which says its own place
        return said
    return f"{said} ({frames[-1].filename}, line {frames[-1].lineno})"


def _modules_here() -> list[str]:
    """Modules and packages of the working folder."""
    return [*(path.stem for path in Path().glob("*.py")), *(path.parent.name for path in Path().glob("*/__init__.py"))]


def package_function(name: str, modules: Mapping[str, str]) -> Callable[..., Any] | None:
    """The function of this package that a file names; no module is imported by what the file says.

    Args:
        name: ``module:function``; any path inside the package may stand before the function.
        modules: function -> its module, such as :data:`BUILDERS`.

    Returns:
        None where it is none of them.

    Example:
        >>> package_function("spikingjelly_ckd.recipes.models:resnet20", BUILDERS).__name__
        'resnet20'
        >>> package_function("os:system", BUILDERS)
    """
    module, _, function = name.partition(":")
    if module.partition(".")[0] != _PACKAGE or function not in modules:
        return None
    return cast(Callable[..., Any], getattr(importlib.import_module(modules[function]), function))

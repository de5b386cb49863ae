"""One forward of one network, with its layers recorded and class scores differentiated at them.

The only place of the package where a class score is differentiated: the step, the search for a teacher's layer and
``prepare_teacher`` all come here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from . import compat
from .guards import outside_inference
from .outputs import Logits, Role, read_logits
from .recorded import Recording
from .recording import record

__all__ = ["NoGradientError", "ObservedForward", "Run", "Targets", "UnrelatedLayersError", "observe_forward"]

Run = Callable[[nn.Module, Tensor], Any]
"""How a network is called: ``run(network, inputs)`` returns what the network returns."""

Targets = Callable[[Tensor], Mapping[str, Tensor]]
"""Logits ``[N, K]`` -> name -> class index of each image, ``[N, 1]``."""


class UnrelatedLayersError(ValueError):
    """The class scores do not depend on any of the layers at which they are to be differentiated."""


class NoGradientError(UnrelatedLayersError):
    """No gradient passes the network, whatever the layer."""


@dataclass(frozen=True)
class ObservedForward:
    """What one forward showed.

    Attributes:
        recording: the outputs of the recorded layers, with their graph where there is one.
        logits: what the network returned; None where the forward ended at the last recorded layer.
        gradients: (target, path) -> gradient of that target's class score at each call of the layer, or None where the
            score does not depend on it.
    """

    recording: Recording
    logits: Logits | None = None
    gradients: Mapping[tuple[str, str], tuple[Tensor | None, ...]] = field(default_factory=dict)

    def gradients_at(self, target: str, path: str) -> tuple[Tensor, ...]:
        """The gradient of a target's class score at each call of a layer, zeros where the score does not depend on it.

        Args:
            target: name of a target class.
            path: of the layer.

        Raises:
            KeyError: the score of ``target`` was not differentiated at ``path``.
            RuntimeError: as :meth:`Recording.calls`.
        """
        calls, found = self.recording.calls(path), self.gradients[target, path]
        return tuple(torch.zeros_like(x) if g is None else g for x, g in zip(calls, found, strict=True))


def observe_forward(
    network: nn.Module,
    inputs: Tensor,
    paths: Collection[str],
    *,
    run: Run,
    role: Role,
    batch: int,
    steps: int | None = None,
    cam_paths: Collection[str] = (),
    targets: Targets | None = None,
    with_graph: bool = False,
    create_graph: bool = False,
    stop: bool = False,
) -> ObservedForward:
    """Run a network once, record layers, and differentiate class scores at some of them.

    No parameter and no ``.grad`` is touched. The recorded output of a layer in ``cam_paths`` is a leaf where nothing in
    front of it has a graph, so a class map costs the backward of the part behind it and no more.

    Args:
        network: the network; mode and state are the caller's.
        inputs: what it takes.
        paths: of all layers to record.
        run: how to call the network.
        role: ``"student"`` or ``"teacher"``, for messages and for what its output may look like.
        batch: ``N``.
        steps: ``T`` where it is known.
        cam_paths: those of ``paths`` at which class scores are differentiated.
        targets: which class of each image, for one or more targets; None differentiates nothing.
        with_graph: keep the forward's graph, for losses that train the network.
        create_graph: give the gradients a graph of their own; keeps the forward's graph as well.
        stop: end the forward as soon as every layer in ``paths`` has run.

    Returns:
        An :class:`ObservedForward`.

    Raises:
        TypeError: the network returned no logits.
        UnrelatedLayersError: the class scores do not depend on the layers; a ``ValueError``.
        ValueError: shapes that cannot be logits.
        RuntimeError: a layer did not run, or its output was changed in place.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2))
        >>> seen = observe_forward(net, torch.ones(1, 3, 3, 3), ["1"], run=lambda net, x: net(x), role="teacher",
        ...     batch=1, cam_paths=["1"], targets=lambda logits: {"first": logits.argmax(1, keepdim=True)})
        >>> seen.gradients["first", "1"][0].shape
        torch.Size([1, 4, 1, 1])
    """
    cam_paths = tuple(dict.fromkeys(cam_paths))
    logits: Logits | None = None
    scores: dict[str, Tensor] = {}
    gradients: dict[tuple[str, str], tuple[Tensor | None, ...]] = {}
    with record(network, paths, as_leaf=cam_paths, stop=stop) as recording, _graph(with_graph or bool(cam_paths)):
        logits = read_logits(run(network, inputs), role=role, size=batch, steps=steps)
        if targets is not None:
            mean = logits.mean
            scores = {name: mean.gather(1, index.clone()).sum() for name, index in targets(mean).items()}
        # inside the block: a checkpointed part runs again for its gradient, and has to find the same hooks
        calls = [(path, point) for path in (cam_paths if scores else ()) for point in recording.calls(path)]
        recording.close()
        keep = with_graph or create_graph or len(scores) > 1
        for name, score in scores.items():
            if not score.requires_grad:
                raise _unrelated(network, role, cam_paths, recording.saw_gradients_off)
            if role == "student":
                compat.reset(network)  # or that part would go on from the states at the end
            found = torch.autograd.grad(
                score, [point for _, point in calls], retain_graph=keep, create_graph=create_graph, allow_unused=True
            )
            if all(gradient is None for gradient in found) and any(map(_is_quantised, network.modules())):
                raise _unrelated(network, role, cam_paths, False)
            for path in cam_paths:
                gradients[name, path] = tuple(g for (of, _), g in zip(calls, found, strict=True) if of == path)
    return ObservedForward(recording, logits, gradients)


def _unrelated(network: nn.Module, role: Role, paths: Collection[str], gradients_off: bool) -> UnrelatedLayersError:
    """Why no class score can be differentiated at the layers; what is not known is not said."""
    if gradients_off:
        return NoGradientError(
            f"the {role}'s forward switches gradients off (torch.no_grad, inference_mode, or a checkpoint with "
            "use_reentrant=True inside it), so no class map can be taken; remove that, since the distiller runs it "
            "without a graph by itself"
        )
    kinds = sorted({type(module).__name__ for module in network.modules() if _is_quantised(module)})
    if kinds:
        return NoGradientError(
            f"the {role} is quantised ({', '.join(kinds)}), which no gradient passes, so no class map can be taken"
        )
    return UnrelatedLayersError(
        f"the {role}'s logits do not depend on the layers {list(paths)}, or no gradient passes what stands behind them "
        f"(a checkpoint with use_reentrant=True, detach(), a round trip through numpy); pass {role}_layer="
    )


def _is_quantised(module: nn.Module) -> bool:
    return ".quantized" in type(module).__module__ or ".ao.nn" in type(module).__module__


@contextmanager
def _graph(wanted: bool) -> Iterator[None]:
    """Run with or without a graph, whatever mode the caller is in."""
    with outside_inference(), torch.set_grad_enabled(wanted):
        yield

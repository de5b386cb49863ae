"""Make a distiller train faster: each change is timed, compared with the distiller without it, and kept if it helps."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, distributed

from .distiller import Distiller
from .errors.checks import check_choice, check_count, check_non_negative
from .functional.maps import spike_activation_map
from .networks.compat import use_fast_neurons
from .networks.static_stem import run_static_stem_once
from .prepare import PreparedTeacher, prepare_teacher
from .step.output import TeacherSeen

__all__ = ["USUAL", "Acceleration", "Switch", "Trial", "accelerate"]

Switch = Literal["fast neurons", "static stem", "channels-last", "bfloat16", "teacher", "compile"]
"""What may make a step cheaper, in the order in which it is tried."""
USUAL: tuple[Switch, ...] = ("fast neurons", "static stem", "channels-last", "bfloat16", "teacher")
"""All but ``"compile"``, which takes minutes at the first step."""
PAYS = 0.98
"""A switch pays if a step with it takes less than this share of the time without it."""
NOISE = 2.0**-8
"""Relative standard deviation of the noise that is put on the images to measure how sensitive a student is. It is the
relative distance of neighbouring bfloat16 numbers."""
EXACT = ("fast neurons", "static stem")
"""Switches that change no spike."""
AS_FAR = 1.5
"""Logits and maps may differ by this many times the difference that the noise makes."""
WARM_UP = 2
"""Steps before the timing begins."""


@dataclass(frozen=True)
class Trial:
    """What came of one switch, tried together with those that were already on.

    Attributes:
        switch: its name.
        on: whether it stays on.
        ratio: seconds of a step with it / seconds without it, median of the rounds; None where it was not timed.
        logit_error: difference of the student's logits between the original distiller and the one with this switch and
            all that were on before: ``|difference| / |logits - their mean over the classes|`` (Euclidean). For
            ``"teacher"``, of the prepared teacher's logits from the original one's.
        map_error: the same of the spike maps at the recorded layers, relative to their deviation from the mean over the
            positions; the largest of all layers. For ``"teacher"``, of its class maps. None where no layer is recorded.
        note: why it is off, or what was done.

    Example:
        >>> print(Trial("static stem", on=True, ratio=0.9, logit_error=0.0, map_error=0.0))
        static stem, on: 0.90 of the step's time; logits off by 0.0e+00, maps off by 0.0e+00
    """

    switch: Switch
    on: bool
    ratio: float | None = None
    logit_error: float | None = None
    map_error: float | None = None
    note: str = ""

    def __str__(self) -> str:
        time_ = "" if self.ratio is None else f"{self.ratio:.2f} of the step's time"
        errors = (("logits", self.logit_error), ("maps", self.map_error))
        moved = [f"{name} off by {error:.1e}" for name, error in errors if error is not None]
        text = "; ".join(filter(None, [time_, ", ".join(moved), self.note]))
        return f"{self.switch}, {'on' if self.on else 'off'}: {text}"


@dataclass(frozen=True)
class Acceleration:
    """What :func:`accelerate` tried and did; ``print`` it.

    Attributes:
        trials: one for each switch that was asked for.
        seconds: of forward and backward of a step, before and after, medians; None where nothing was timed.
        sensitivity: errors of the student's logits and maps, as in :class:`Trial`, that noise of 0.4 % on the images
            makes; the second is None where no layer is recorded.
        prepared: the prepared teacher; None where the teacher was not replaced.

    Example:
        >>> trials = Trial("fast neurons", on=True, ratio=0.8), Trial("static stem", on=False, note="saves no time")
        >>> found = Acceleration(trials, seconds=(0.02, 0.016), sensitivity=(0.01, 0.03))
        >>> found.on
        ('fast neurons',)
        >>> print(found)
        on: fast neurons; a step 20.0 ms -> 16.0 ms
          fast neurons, on: 0.80 of the step's time
          static stem, off: saves no time
          noise of 0.4 % on the images moves logits by 1.0e-02, maps by 3.0e-02
    """

    trials: tuple[Trial, ...]
    seconds: tuple[float, float] | None
    sensitivity: tuple[float, float | None]
    prepared: PreparedTeacher | None = None

    @property
    def on(self) -> tuple[Switch, ...]:
        """The switches that are on."""
        return tuple(trial.switch for trial in self.trials if trial.on)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for a record."""
        return {
            "on": list(self.on),
            "trials": [asdict(trial) for trial in self.trials],
            "seconds": self.seconds,
            "sensitivity": self.sensitivity,
        }

    def __str__(self) -> str:
        lines = [f"on: {', '.join(self.on) or 'nothing'}"]
        if self.seconds is not None:
            before, after = self.seconds
            lines[0] += f"; a step {1000 * before:.1f} ms -> {1000 * after:.1f} ms"
        lines += [f"  {trial}" for trial in self.trials]
        logits, maps = self.sensitivity
        moved = f"logits by {logits:.1e}" + ("" if maps is None else f", maps by {maps:.1e}")
        return "\n".join([*lines, f"  noise of {100 * NOISE:.1f} % on the images moves {moved}"])


def accelerate(
    distiller: Distiller,
    images: Tensor,
    labels: Tensor,
    *,
    switches: Sequence[Switch] = USUAL,
    rounds: int = 7,
    tolerance: float = 0.25,
    teacher_output: TeacherSeen | None = None,
    held_out: Iterable[tuple[Tensor, Tensor]] | None = None,
) -> Acceleration:
    """Make the steps of a distiller cheaper, in place, by the switches that save time on this machine.

    Call it once, on the device of the training and before the optimiser is made. Switches are tried one after the
    other on copies of the student, each together with those that were kept. Forward and backward with and without it
    are timed in turns, and logits and maps on this batch are compared in train mode.

    A switch stays on if a step takes less than 0.98 of the time without it, and logits and maps differ by no more than
    ``tolerance``, or than 1.5 times the difference that noise of 0.4 % on the images makes, whichever is larger. 0.4 %
    is the relative distance of neighbouring bfloat16 numbers. The noise is measured because a deep spiking network can
    be so sensitive, above all before its training, that one more spike in an early layer changes the last layer for the
    whole batch, through BatchNorm. With the first two switches nothing may differ, neither in train nor in eval mode.

    - ``"fast neurons"``: :func:`~spikingjelly_ckd.use_fast_neurons`; the same spikes.
    - ``"static stem"``: the student's layers in front of its first neurons run once for all time steps of an image; the
      same spikes. In train mode that ends at the first BatchNorm.
    - ``"channels-last"``: memory format of the student's convolutions; other rounding.
    - ``"bfloat16"``: student and losses run under autocast, in steps and in ``predict``. It is saved in the distiller's
      state; a distiller that loads a state is switched as the state says.
    - ``"teacher"``: :func:`~spikingjelly_ckd.prepare_teacher` in channels-last with folded BatchNorm, in bfloat16 or
      float32, compiled too where ``"compile"`` is asked for: the cheapest of them that agrees.
    - ``"compile"``: the whole distiller by ``torch.compile``. It takes minutes, once here and once at the first step.

    Parameters, buffers, modes and random numbers stay as they are. The student's accuracy is not measured.

    Args:
        distiller: bare, neither compiled nor in ``DistributedDataParallel``; its layers are chosen on the batch where
            they were not before.
        images: a batch of the training, of its usual size, as for the distiller.
        labels: likewise.
        switches: what to try.
        rounds: of timing; 0 times nothing and switches on whatever agrees. It has to be 0 with several processes of
            ``torch.distributed``, whose timings would differ.
        tolerance: largest error of logits and maps, see :class:`Trial`.
        teacher_output: where the training passes cached outputs, that of this batch.
        held_out: for ``prepare_teacher``.

    Returns:
        An :class:`Acceleration`.

    Raises:
        TypeError: no distiller, or a wrong kind of argument.
        ValueError: a compiled distiller, an unknown switch, a number out of range, or a batch that the distiller
            refuses.
        RuntimeError: several processes and ``rounds`` above 0.

    Example:
        >>> import torch
        >>> from spikingjelly_ckd import CKDDistiller
        >>> from spikingjelly_ckd.recipes.models import ResNet, SpikingResNet
        >>> sizes = (4, 8, 16), (1, 1, 1), 10
        >>> distiller = CKDDistiller(ResNet(*sizes), SpikingResNet(*sizes), time_steps=2)
        >>> images, labels = torch.randn(4, 3, 16, 16), torch.arange(4)
        >>> accelerate(distiller, images, labels, switches=["fast neurons", "static stem"], rounds=0).on
        ('fast neurons', 'static stem')
    """
    if not isinstance(distiller, Distiller):
        raise TypeError(f"distiller must be a Distiller, got {type(distiller).__name__}")
    if distiller._compiled_call_impl is not None:
        raise ValueError("the distiller is compiled: accelerate it before, with 'compile' among switches=")
    for name, tensor in (("images", images), ("labels", labels)):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name} must be a tensor, got {type(tensor).__name__}")
    if isinstance(switches, str):
        raise TypeError(f"switches must be a list of names, got the string {switches!r}; pass [{switches!r}]")
    for switch in switches:
        check_choice("switches", switch, get_args(Switch))
    check_count("rounds", rounds, least=0)
    check_non_negative("tolerance", tolerance)
    if rounds and distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1:
        raise RuntimeError("every process would time for itself and decide otherwise: pass rounds=0")
    devices = [images.device] if images.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.enable_grad():
        distiller._build(distiller.read(images, labels))
        bench = _Bench(distiller, images, labels, teacher_output, rounds, tolerance)
        current, trials = copy.deepcopy(distiller), list[Trial]()
        prepared: PreparedTeacher | None = None
        for switch in (name for name in get_args(Switch) if name in switches):
            trial, switched = copy.deepcopy(current), None
            try:
                if switch == "teacher":
                    switched = _prepare(trial, bench, compile="compile" in switches, held_out=held_out)
                    found = bench.judge(switch, trial, current, switched)
                else:
                    _APPLY[switch](trial)
                    found = bench.judge(switch, trial, current)
            except Exception as error:  # there is nothing to switch, or whatever a compiler, kernel or layer raises
                kind = "" if isinstance(error, _NothingToSwitchError) else f"{type(error).__name__}: "
                notes = [f"{kind}{error}".splitlines()[0], *getattr(error, "__notes__", ())]
                found = Trial(switch, False, note="; ".join(notes))
            trials.append(found)
            current = trial if found.on else current
            prepared = switched if found.on and switched is not None else prepared
        seconds = bench.seconds(copy.deepcopy(distiller), current) if rounds else None
    for done in (found.switch for found in trials if found.on):
        if done == "teacher":
            distiller.replace_teacher(cast(PreparedTeacher, prepared).network)
        else:
            _APPLY[done](distiller)
    return Acceleration(tuple(trials), seconds, bench.sensitivity, prepared)


class _NothingToSwitchError(Exception):
    """The distiller has nothing that the switch could change."""


class _Bench:
    """One batch with the original distiller's outputs on it, by which trials are judged."""

    def __init__(
        self,
        distiller: Distiller,
        images: Tensor,
        labels: Tensor,
        cached: TeacherSeen | None,
        rounds: int,
        tolerance: float,
    ) -> None:
        self.images, self.labels, self.cached, self.rounds = images, labels, cached, rounds
        self.buffers = {name: buffer.clone() for name, buffer in distiller.student.named_buffers()}
        self.before = {training: self._look(distiller, images, training) for training in (True, False)}
        torch.manual_seed(0)
        self.sensitivity = self._errors(distiller, images * (1 + NOISE * torch.randn_like(images)))
        self.allowed = [max(tolerance, AS_FAR * (error or 0.0)) for error in self.sensitivity]

    def judge(
        self, switch: Switch, trial: Distiller, current: Distiller, prepared: PreparedTeacher | None = None
    ) -> Trial:
        """Whether the trial agrees with the original distiller, and is faster than the current one."""
        note = ""
        errors: tuple[float | None, float | None]
        if prepared is not None:  # which has been compared with the teacher as it was
            note, errors = ", ".join(prepared.done), (prepared.logit_error, prepared.map_error)
        else:
            errors = self._errors(trial, self.images)
            if switch in EXACT and not any(errors):  # eval mode is run by other code
                errors = self._errors(trial, self.images, training=False)
            for error, allowed in zip(errors, self.allowed, strict=True):
                most = 0.0 if switch in EXACT else allowed
                if error is not None and not error <= most:  # not ``error > most``, which is False for NaN
                    return Trial(switch, False, None, *errors, f"moved by more than {most:.1e} (tolerance=)")
        if not self.rounds:
            self._timed(trial.train())  # so that what its backward raises is known
        seconds = self._interleaved(trial, current) if self.rounds else []
        ratio = statistics.median(one / other for one, other in seconds) if seconds else None
        if ratio is not None and ratio >= PAYS:
            return Trial(switch, False, ratio, *errors, "does not pay")
        return Trial(switch, True, ratio, *errors, note)

    def seconds(self, before: Distiller, after: Distiller) -> tuple[float, float]:
        """Medians of a step of both."""
        one, other = zip(*self._interleaved(before, after), strict=True)
        return statistics.median(one), statistics.median(other)

    def _look(self, distiller: Distiller, images: Tensor, training: bool) -> tuple[Tensor, list[Tensor]]:
        """Logits and spike maps of a copy of the student with its original buffers; random layers draw the same."""
        torch.manual_seed(0)
        twin = copy.deepcopy(distiller).train(training)
        twin.student.load_state_dict(self.buffers, strict=False)  # timed steps have updated its statistics
        step = twin.observe(images, self.labels, self.cached)
        layers = {id(spikes): spikes for each in step.student.features.values() for spikes in each}
        return step.logits.detach(), [spike_activation_map(x.detach(), negative="abs") for x in layers.values()]

    def _errors(self, distiller: Distiller, images: Tensor, training: bool = True) -> tuple[float, float | None]:
        (logits, maps), (logits_before, maps_before) = self._look(distiller, images, training), self.before[training]
        moved = [_moved(map_, before, (1, 2)) for map_, before in zip(maps, maps_before, strict=True)]
        return _moved(logits, logits_before, (1,)), max(moved, default=None)

    def _interleaved(self, *distillers: Distiller) -> list[list[float]]:
        """Seconds of a step of each distiller, for every round; the order is reversed from round to round."""
        for distiller in distillers:
            for _ in range(WARM_UP):
                self._timed(distiller.train())
        found = []
        for number in range(self.rounds):
            order = range(len(distillers)) if number % 2 else reversed(range(len(distillers)))
            times = {index: self._timed(distillers[index]) for index in order}
            found.append([times[index] for index in range(len(distillers))])
        return found

    def _timed(self, distiller: Distiller) -> float:
        distiller.zero_grad()
        start = self._now()
        distiller(self.images, self.labels, self.cached).loss.backward()
        return self._now() - start

    def _now(self) -> float:
        if self.images.device.type == "cuda":
            torch.cuda.synchronize(self.images.device)
        return time.perf_counter()


def _moved(now: Tensor, before: Tensor, dims: tuple[int, ...]) -> float:
    spread = (before - before.mean(dims, keepdim=True)).norm().clamp_min(torch.finfo(before.dtype).tiny)
    return float((now - before).norm() / spread)


def _prepare(
    distiller: Distiller, bench: _Bench, *, compile: bool, held_out: Iterable[tuple[Tensor, Tensor]] | None
) -> PreparedTeacher:
    """Give the distiller the cheapest teacher that agrees with its own."""
    observer = distiller.observers.teacher
    if not distiller.uses_teacher or bench.cached is not None:
        raise _NothingToSwitchError("no teacher runs in a step")
    if observer.time_steps is not None:
        raise _NothingToSwitchError("a spiking teacher cannot be prepared")
    images = observer.inputs(distiller.read(bench.images, bench.labels))
    layers = sorted({layer.path for each in observer.layers.values() for layer in each})
    options: dict[str, Any] = {"layers": layers, "fold_norms": True, "compile": compile, "held_out": held_out}
    tried = [prepare_teacher(distiller.teacher, images, dtype=dtype, **options) for dtype in _DTYPES]
    done = [found for found in tried if found.seconds is not None]
    if not done:
        raise _NothingToSwitchError(tried[0].left_out[0])
    timed = min(done, key=lambda found: cast(tuple[float, float], found.seconds)[1])
    prepared = timed if bench.rounds else done[0]
    distiller.replace_teacher(prepared.network)
    return prepared


def _use_fast_neurons(distiller: Distiller) -> None:
    if not use_fast_neurons(distiller.student).changed:
        raise _NothingToSwitchError("no neuron that is not fast already")


def _use_channels_last(distiller: Distiller) -> None:
    if not any(parameter.ndim == 4 for parameter in distiller.student.parameters()):
        raise _NothingToSwitchError("no convolution of two dimensions")
    distiller.student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _use_bfloat16(distiller: Distiller) -> None:
    distiller.observers.autocast = True


def _run_static_stem_once(distiller: Distiller) -> None:
    if distiller.time_steps in (None, 1) or distiller.student_steps != "multi":
        raise _NothingToSwitchError("no image is repeated over time in one call")
    if not run_static_stem_once(distiller.student):
        raise _NothingToSwitchError("no layer of SpikingJelly that it covers")


def _compile(distiller: Distiller) -> None:
    distiller.compile(dynamic=False)


_DTYPES = (torch.bfloat16, torch.float32)
_APPLY: dict[Switch, Callable[[Distiller], None]] = {
    "fast neurons": _use_fast_neurons,
    "static stem": _run_static_stem_once,
    "channels-last": _use_channels_last,
    "bfloat16": _use_bfloat16,
    "compile": _compile,
}

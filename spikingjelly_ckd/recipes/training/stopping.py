"""How a training ends before its time: with which exit status, and in all of its processes."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException

from ..files import say
from .resume import GO_ON

__all__ = ["StopTogether"]

TERMINATED = 128 + signal.SIGTERM
"""Exit status of a process that SIGTERM ended, as a shell says it."""
FIRST = "SPIKINGJELLY_CKD_FIRST_PROCESS"
"""Variable in which the process that starts the others tells them its number."""
PAUSE = 1.0
"""Seconds between two looks of a process that was started whether the first is still there."""
_LAUNCHERS: list[Any] = []
"""Lightning's, each of which started processes of this training; those of the first fit serve the later ones too."""


class StopTogether(Callback):
    """End the processes of a training before the same step, once one of them got SIGTERM.

    Lightning makes a collective call in its handler of the signal, in the middle of another one perhaps. Where the
    signal reaches more processes than the first, as a batch queue or a container sends it, they wait for each other
    until they are killed. Here a handler notes the signal, and the processes agree before each step. A single process
    is left to Lightning.
    """

    def __init__(self) -> None:
        self._received = False
        self._agreed = False
        self._listens = False
        self._running = False
        self._before: Any = None

    @contextmanager
    def watch(self, trainer: Trainer) -> Iterator[None]:
        """Around a fit and what is measured after it: after SIGTERM end with 128 + 15, where Lightning ends with 0.

        Raises:
            SystemExit: with that status, once the step is finished. A process that the first one started ends with 0,
                since Lightning kills the first at once where such a process ends with anything else.
        """
        self._listens = trainer.world_size > 1 and threading.current_thread() is threading.main_thread()
        self._before = signal.getsignal(signal.SIGTERM) or signal.SIG_DFL  # None where it was not set from Python
        self._listen()
        if trainer.strategy.launcher is not None:
            _LAUNCHERS.append(trainer.strategy.launcher)
            if trainer.local_rank == 0:
                os.environ[FIRST] = str(os.getpid())
        if _was_started_by_the_first(trainer):
            _end_with(int(os.environ[FIRST]))
        cause: BaseException | None = None
        try:
            yield
        except BaseException as error:
            if not self._agreed:
                _end_children_at_exit()
            if not (isinstance(error, (SIGTERMException, Exception)) and self._was_told(trainer)):
                raise
            _let_loading_processes_end()
            cause = error  # or of a loading process that got the signal too, or of the step that waited for it
        finally:
            if self._listens:
                signal.signal(signal.SIGTERM, self._before)
        if self._was_told(trainer):
            say(f"Stopped by SIGTERM. {GO_ON}")
            raise SystemExit(0 if self._agreed and _was_started_by_the_first(trainer) else TERMINATED) from cause

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the place of Lightning's handler."""
        self._running = True
        self._listen()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Stop where a process was told to. Lightning has just synchronised them, so that none waits for another."""
        self._agree(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop also where it was told after the last step."""
        self._agree(trainer)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the place of Lightning's handler again."""
        self._listen()

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop; in the middle there may be more batches for one process than for another."""
        self._agree(trainer)

    def _listen(self) -> None:
        if self._listens:
            signal.signal(signal.SIGTERM, self._note)

    def _agree(self, trainer: Trainer) -> None:
        if self._listens and trainer.strategy.reduce_boolean_decision(self._received, all=False):
            self._received = self._agreed = True
            raise SIGTERMException

    def _note(self, number: int, frame: Any) -> None:
        """The handler: before the first step there is nothing to finish."""
        self._received = True
        if callable(self._before):
            self._before(number, frame)
        elif not self._running:
            raise SIGTERMException

    def _was_told(self, trainer: Trainer) -> bool:
        return self._received or trainer.received_sigterm


def _was_started_by_the_first(trainer: Trainer) -> bool:
    return trainer.local_rank > 0 and FIRST in os.environ


def _let_loading_processes_end() -> None:
    """Where the signal reached them too: torch's handler of their end raises wherever this process has got to."""
    if threading.current_thread() is threading.main_thread() and hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


@cache
def _end_with(first: int) -> None:
    """Let this process end soon after its parent, also where that was killed and this one waits for it to connect."""

    def look() -> None:
        while os.getppid() == first:
            time.sleep(PAUSE)
        os._exit(1)

    threading.Thread(target=look, name="end with the first process", daemon=True).start()


def _end_children_at_exit() -> None:
    """Where this process started the others, let them not outlive it: they would wait for it in a collective call.

    In the other direction Lightning watches: where one of them fails, it ends all. At the exit, and not at once, since
    it would end this process too before the message is out.
    """
    for launcher in _LAUNCHERS:
        atexit.register(launcher.kill, signal.SIGKILL if sys.platform != "win32" else signal.SIGTERM)

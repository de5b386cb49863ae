"""Several processes of a test, which find each other by gloo."""

import socket
from typing import Any

from torch import multiprocessing as mp

NEEDED = ("lightning.pytorch", "timm.data", "spikingjelly.activation_based.functional", "spikingjelly_ckd")
mp.get_context("forkserver").set_forkserver_preload(list(NEEDED))


def on_processes(worker, processes: int, *args: Any, found: int = 1) -> list[dict]:
    """Call ``worker(rank, port, *args, *found)`` in each process.

    They are forked from one that has imported what is needed, which takes each seconds otherwise, and has done nothing
    else.

    Args:
        worker: a function of a module.
        processes: how many.
        args: more for it.
        found: how many dictionaries it is given last, to write into.

    Returns:
        Those dictionaries.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with mp.Manager() as manager:
        shared = [manager.dict() for _ in range(found)]
        mp.start_processes(worker, (port, *args, *shared), nprocs=processes, start_method="forkserver")
        return [dict(each) for each in shared]

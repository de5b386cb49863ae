"""The files of a cache."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..data.loading import SeededSamples

__all__ = ["CachedSamples", "whole_file"]


class CachedSamples(SeededSamples):
    """What :meth:`TeacherCache.read` gives; each process maps the files itself."""

    def __init__(
        self, samples: SeededSamples, paths: Sequence[Path], maps: Sequence[str], dtype: np.dtype[Any]
    ) -> None:
        super().__init__(samples.dataset, samples.seed)
        self.paths = paths
        self.maps = maps
        self.dtype = dtype
        self._files: list[Any] | None = None
        self._open()

    def _open(self) -> list[Any]:
        if self._files is not None:
            return self._files
        self._files = []
        for path in self.paths:
            try:
                file = np.load(path, mmap_mode="r")
            except FileNotFoundError as error:
                raise RuntimeError(
                    f"{path} is not there: TeacherCache.fill makes it; processes on several nodes need one folder"
                ) from error
            except (OSError, EOFError, ValueError) as error:
                raise ValueError(f"{path} is damaged ({error}); delete it, it will be filled anew") from error
            if file.dtype != self.dtype or file.shape != (len(self),):
                raise ValueError(f"{path} is damaged: it has other rows than its key says; delete it")
            self._files.append(file)
        return self._files

    def __getitem__(self, key: tuple[int, int]) -> Any:
        epoch, index = key
        view = epoch % len(self.paths)
        image, label = super().__getitem__((view, index))
        row = self._open()[view][index]
        maps = {}
        for number, name in enumerate(self.maps):
            low, span = row[f"range{number}"]
            maps[name] = torch.from_numpy(row[f"map{number}"].astype(np.float32) * span + low)
        return image, label, {"logits": torch.from_numpy(row["logits"].astype(np.float32)), "maps": maps}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_files": None}  # a mapped file would travel to a worker with all it holds


@contextmanager
def whole_file(path: Path) -> Iterator[Any]:
    """A file that is there whole or not at all, also after a loss of power."""
    number, name = tempfile.mkstemp(".part", f"{path.name}.", path.parent)
    try:
        with os.fdopen(number, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)

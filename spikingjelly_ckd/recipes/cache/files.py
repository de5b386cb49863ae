"""The files of a teacher cache: how the output for an image is stored and read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from ...methods.base import TeacherOutput
from ..data.loading import SeededSamples

__all__ = ["CachedSamples", "RowFormat"]


@dataclass(frozen=True)
class RowFormat:
    """How the teacher's output for one image is stored as one row of a file.

    Logits are fp16. A class map is fp16 from 0 to 1, with its lowest value and its range in fp32, since values of
    Grad-CAM may be smaller than fp16 can hold.

    Attributes:
        maps: names of the losses whose class maps are stored.
        dtype: fields of a row: ``logits``, ``map0``, ``map1``, ..., ``range0``, ``range1``, ...
    """

    maps: tuple[str, ...]
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, output: TeacherOutput) -> RowFormat:
        """The format for outputs with these numbers of classes and positions."""
        maps = sorted(output.class_maps)
        shapes = [tuple(output.class_maps[name].shape[1:]) for name in maps]
        fields: list[Any] = [("logits", "<f2", tuple(output.logits.shape[1:]))]
        fields += [(f"map{number}", "<f2", shape) for number, shape in enumerate(shapes)]
        fields += [(f"range{number}", "<f4", (2,)) for number in range(len(shapes))]
        return cls(tuple(maps), np.dtype(fields))

    def write_header(self, file: Any, rows: int) -> None:
        """Begin a ``.npy`` file of so many rows."""
        header = {"descr": self.dtype.descr, "fortran_order": False, "shape": (rows,)}
        np.lib.format.write_array_header_2_0(file, header)

    def encode(self, output: TeacherOutput) -> np.ndarray[Any, Any]:
        """One row for each image of a batch.

        Raises:
            ValueError: a number that fp16 cannot hold.
        """
        rows = np.zeros(len(output.logits), self.dtype)
        with np.errstate(over="ignore"):
            rows["logits"] = output.logits.cpu().numpy()
        for number, name in enumerate(self.maps):
            values = output.class_maps[name].float()
            low, high = values.amin((1, 2)), values.amax((1, 2))
            span = high - low
            unit = (values - low[:, None, None]) / torch.where(span > 0, span, 1.0)[:, None, None]
            rows[f"map{number}"] = unit.cpu().numpy()
            rows[f"range{number}"] = torch.stack([low, span], 1).cpu().numpy()
        if not all(np.isfinite(rows[name]).all() for name in cast(Sequence[str], self.dtype.names)):
            raise ValueError(
                "the teacher's logits or class maps hold NaN, inf or numbers beyond fp16 (65504), which cannot be "
                "kept; check its weights and its input, or train without a cache"
            )
        return rows

    def decode(self, row: Any) -> dict[str, Any]:
        """The output for one image: ``"logits"`` ``[K]`` and ``"maps"``, name -> ``[h, w]``, in fp32."""
        maps = {}
        for number, name in enumerate(self.maps):
            low, span = row[f"range{number}"]
            maps[name] = torch.from_numpy(row[f"map{number}"].astype(np.float32) * span + low)
        return {"logits": torch.from_numpy(row["logits"].astype(np.float32)), "maps": maps}


class CachedSamples(SeededSamples):
    """Samples ``(image, label, cached)`` by ``(epoch, index)``; each loading process maps the files itself.

    Args:
        samples: the training set.
        paths: the file of each view.
        row_format: of the files.

    Raises:
        RuntimeError: a file is not there.
        ValueError: a file is damaged.
    """

    def __init__(self, samples: SeededSamples, paths: Sequence[Path], row_format: RowFormat) -> None:
        super().__init__(samples.dataset, samples.seed)
        self.paths = paths
        self.row_format = row_format
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
                raise ValueError(f"{path} is damaged ({error}); delete it, and it will be filled again") from error
            if file.dtype != self.row_format.dtype or file.shape != (len(self),):
                raise ValueError(
                    f"{path} is damaged: its rows are not those of this cache; delete it, and it will be filled again"
                )
            self._files.append(file)
        return self._files

    def __getitem__(self, key: tuple[int, int]) -> Any:
        epoch, index = key
        view = epoch % len(self.paths)
        image, label = super().__getitem__((view, index))
        return image, label, self.row_format.decode(self._open()[view][index])

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_files": None}  # a mapped file would be pickled for a worker with all its content

"""One sample on disk: a picture, or the event frames of a recording. Nothing in these files is unpickled."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

__all__ = ["FrameLoader", "check_events", "load_image"]

WIDE_FORMATS = ("PNG", "PPM")
"""File formats whose pictures of mode I (32 bit) hold numbers of 16 bit."""
MOST_FRAME_VALUES = 2**28
"""Of one recording: 1 GiB as float32."""
MOST_EVENTS = 2**28
BITS_PER_SAMPLE, PHOTOMETRIC, BLACK_IS_ZERO = 258, 262, 1
"""Tags of TIFF."""


class _UnusableError(ValueError):
    """What is wrong with a file, without its name."""


def load_image(path: str) -> Image.Image:
    """A picture as 8-bit RGB; grey pictures of 16 bit are scaled to 8 bit.

    Whatever Pillow turns into RGB by itself is left to it: black and white, grey, palettes, transparency (dropped),
    CMYK. The orientation that a camera notes (EXIF) is not applied, as in torchvision.

    Args:
        path: of a file that Pillow reads.

    Returns:
        A picture of mode ``"RGB"``.

    Raises:
        ValueError: the file cannot be read, or its numbers have no known range (32 bit or floating point).
    """
    try:
        with Image.open(path) as image:
            image.load()
            return _to_8_bit(image).convert("RGB")
    except Exception as error:  # decoders raise whatever their parsing ran into, such as struct.error or IndexError
        raise ValueError(f"{path} cannot be read as an image ({error}); replace or delete it") from error


def _to_8_bit(image: Image.Image) -> Image.Image:
    """The picture itself, or one of mode L where its numbers have 16 bit, which ``convert`` would cut off at 255."""
    sixteen_bit = image.mode.startswith("I;16") or (image.mode == "I" and image.format in WIDE_FORMATS)
    if image.mode not in ("I", "F") and not sixteen_bit:
        return image
    kind = "floating-point numbers" if image.mode == "F" else "integers"
    if not sixteen_bit:
        raise ValueError(f"its pixels are {kind} of 32 bit, whose black and white are not known; save it in 8 or 16")
    tags = getattr(image, "tag_v2", {})
    bits, zero = tags.get(BITS_PER_SAMPLE, (16,)), tags.get(PHOTOMETRIC, BLACK_IS_ZERO)
    if (tuple(bits), zero) != ((16,), BLACK_IS_ZERO):
        raise ValueError(f"its pixels have {bits[0]} bit, black is {zero}; save it with 8 or 16 bit, black as zero")
    pixels = np.asarray(image).astype(np.uint32)
    return Image.fromarray(((pixels + 128) // 257).astype(np.uint8))  # 65535 is 257 times 255


@dataclass(frozen=True)
class FrameLoader:
    """Reads the event frames of one recording from an archive as SpikingJelly writes it.

    Attributes:
        time_steps: ``T``.
    """

    time_steps: int

    def __call__(self, path: str) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The frames of a file, ``[T, 2, H, W]``.

        Raises:
            ValueError: no archive with real numbers under ``frames``, another shape, NaN or negative counts, or not a
                single event. The message names the file.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                shape, dtype = _header(arrays, "frames")
                self._check_header(shape, dtype)
                stored = arrays["frames"]
            with np.errstate(over="ignore"):
                frames: np.ndarray[Any, np.dtype[np.float32]] = stored.astype(np.float32)
        except _UnusableError as error:
            raise ValueError(f"{path} {error}") from error
        except Exception as error:  # zipfile, zlib and NumPy raise whatever their parsing ran into
            raise ValueError(f"{path} is no archive of event frames under the key 'frames': {error}") from error
        if not np.isfinite(frames).all():
            raise ValueError(f"{path} holds NaN, inf or numbers beyond float32 among its event frames; make it again")
        if frames.min() < 0:
            raise ValueError(f"{path} holds negative counts of events ({frames.min():g}); make it again")
        if not frames.any():
            raise ValueError(f"{path} holds frames without a single event; make it again, or delete it")
        return frames

    def _check_header(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        if dtype.kind not in "uifb":
            raise _UnusableError(f"must hold frames of real numbers, got {dtype}")
        if len(shape) != 4 or shape[0] != self.time_steps or shape[1] != 2:
            raise _UnusableError(f"must hold frames [T, 2, H, W] with T = time_steps = {self.time_steps}, got {shape}")
        if not 0 < math.prod(shape) <= MOST_FRAME_VALUES:
            raise _UnusableError(f"must hold frames of 1 to {MOST_FRAME_VALUES} numbers, got {shape}")


def check_events(path: str, size: int | tuple[int, int]) -> None:
    """Check the events of one recording, before they are made into frames.

    Args:
        path: of an archive with the keys ``t``, ``x``, ``y`` and ``p``, as SpikingJelly writes it.
        size: height and width of the sensor, pixels; one number where they are equal.

    Raises:
        ValueError: no such archive, no event, arrays of unlike length or that are no integers, or coordinates or
            polarities out of range. The message names the file.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            _check_event_headers({name: _header(arrays, name) for name in "txyp"})
            ranges = {name: (int(arrays[name].min()), int(arrays[name].max())) for name in "xyp"}
    except _UnusableError as error:
        raise ValueError(f"{path} {error}") from error
    except Exception as error:  # as above
        raise ValueError(f"{path} is no archive of events under the keys t, x, y and p: {error}") from error
    height, width = (size, size) if isinstance(size, int) else size
    for name, most in (("x", width - 1), ("y", height - 1), ("p", 1)):
        low, high = ranges[name]
        if low < 0 or high > most:
            raise ValueError(
                f"{path} holds events with {name} from {low} to {high}, and the sensor has 0 to {most}; unpack it again"
            )


def _check_event_headers(headers: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]) -> None:
    for name, (shape, dtype) in headers.items():
        if dtype.kind not in "uib" or len(shape) != 1 or not 0 < shape[0] <= MOST_EVENTS:
            raise _UnusableError(f"must hold 1 to {MOST_EVENTS} integers under {name!r}, got {dtype} {shape}")
    lengths = [shape[0] for shape, _ in headers.values()]
    if len(set(lengths)) != 1:
        raise _UnusableError(f"must hold as many t, x, y and p, got {lengths}")


def _header(arrays: Any, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of an array in an archive, before it is read: a small file can claim to be a large one."""
    with arrays.zip.open(f"{name}.npy") as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    return shape, dtype

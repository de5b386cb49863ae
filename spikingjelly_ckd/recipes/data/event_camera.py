"""A simulated event camera, and the paths on which images move in front of it.

The sensor follows the common model of event cameras: a pixel remembers the log intensity of its last event and fires
ON or OFF whenever the present one differs from it by a contrast threshold (Lichtsteiner, Posch and Delbruck, IEEE
JSSC 2008; simulated in ESIM: Rebecq, Gehrig and Scaramuzza, CoRL 2018). Thresholds that differ between pixels and
background events follow v2e (Hu, Liu and Delbruck, CVPR Workshops 2021). Time constants, refractory periods and noise
that depends on intensity are left out.

Shapes: ``T`` frames, ``N`` recordings, ``2`` polarities (ON, OFF), ``H W`` pixels, ``S`` moments at which the sensor
compares intensities.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ...errors.checks import check_count, check_non_negative
from ..progress import tracked

__all__ = ["EventCamera", "random_paths"]


@dataclass(frozen=True)
class EventCamera:
    """A sensor of ``size x size`` pixels that reports changes of log intensity.

    Attributes:
        size: pixels along each side.
        threshold: contrast ``C`` in units of natural-log intensity at which a pixel fires; real sensors 0.1 to 0.5.
        mismatch: standard deviation of the threshold between pixels, same unit.
        noise: mean number of background events per pixel and polarity in one recording; Poisson distributed.

    Raises:
        TypeError: a value is no number, or ``size`` is no integer.
        ValueError: a value is out of range.

    Example:
        A bright square moves right by one pixel: ON where it arrives, OFF where it leaves.

        >>> import torch
        >>> image = torch.full((1, 6, 6), 0.1)
        >>> image[0, 2:4, 2:4] = 1.0
        >>> path = torch.tensor([[[0.0, 0.0], [1.0, 0.0]]])
        >>> camera = EventCamera(size=6, threshold=1.0)
        >>> frames = camera.record(image, path, time_steps=1, generator=torch.Generator().manual_seed(0))
        >>> frames[0, 0, :, 2]  # log 10 is 2.3 thresholds
        tensor([[0., 0., 0., 0., 2., 0.],
                [0., 0., 2., 0., 0., 0.]])
    """

    size: int = 32
    threshold: float = 0.2
    mismatch: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        check_count("size", self.size, least=2)
        for name in ("threshold", "mismatch", "noise"):
            check_non_negative(name, getattr(self, name))
        if self.threshold == 0:
            raise ValueError("threshold must be above 0, got 0: every pixel would fire without end")

    def thresholds(self, generator: torch.Generator) -> Tensor:
        """The threshold of every pixel, at least a tenth of the nominal one.

        Args:
            generator: draws the mismatch.

        Returns:
            Shape ``[H, W]``, units of log intensity.
        """
        spread = torch.randn(self.size, self.size, generator=generator) * self.mismatch
        return (self.threshold + spread).clamp(min=self.threshold / 10)

    def record(self, images: Tensor, paths: Tensor, time_steps: int, generator: torch.Generator) -> Tensor:
        """Move the images over the sensor and count events in equal stretches of time.

        Args:
            images: intensity, shape ``[N, H', W']``, above 0; bilinearly resized to the sensor.
            paths: where each image is at each moment, in pixels right and down from the centre, shape
                ``[N, S + 1, 2]``; ``S`` is a multiple of ``time_steps``. The first moment sets the references and
                gives no event.
            time_steps: ``T``.
            generator: draws mismatch and noise.

        Returns:
            Event counts, float32, ``[T, N, 2, H, W]``; ``[:, :, 0]`` is ON (brighter), ``[:, :, 1]`` is OFF.

        Raises:
            TypeError: ``time_steps`` is no integer.
            ValueError: shapes that do not fit, or an intensity that is not above 0.
        """
        check_count("time_steps", time_steps)
        if images.ndim != 3 or paths.ndim != 3 or paths.shape[0] != images.shape[0] or paths.shape[2] != 2:
            raise ValueError(
                f"images must be [N, H, W] and paths [N, S + 1, 2], got {tuple(images.shape)} and {tuple(paths.shape)}"
            )
        moments = paths.shape[1] - 1
        if moments < time_steps or moments % time_steps:
            raise ValueError(f"paths must have S + 1 moments, S a multiple of time_steps={time_steps}, got S={moments}")
        if not bool((images > 0).all()):
            raise ValueError("images must be above 0 everywhere, since pixels see its logarithm; add a floor")
        thresholds = self.thresholds(generator)
        scene = images.float().unsqueeze(1)
        if scene.shape[-2:] != (self.size, self.size):
            scene = F.interpolate(scene, size=(self.size, self.size), mode="bilinear", align_corners=False)
        frames = torch.zeros(time_steps, len(images), 2, self.size, self.size)
        reference = _shifted(scene, paths[:, 0]).log()
        for moment in tracked(range(moments), "Event camera", moments):
            difference = _shifted(scene, paths[:, moment + 1]).log() - reference
            # the margin keeps rounding from deciding a difference of exactly one threshold
            crossings = (difference / thresholds * (1 + 1e-5)).trunc()
            reference += crossings * thresholds
            frame = frames[moment * time_steps // moments]
            frame[:, 0] += crossings.clamp(min=0)
            frame[:, 1] -= crossings.clamp(max=0)
        if self.noise:
            frames += torch.poisson(torch.full_like(frames, self.noise / time_steps), generator=generator)
        return frames


def random_paths(count: int, moments: int, generator: torch.Generator, *, reach: float, turns: float = 1.0) -> Tensor:
    """Smooth random trajectories: a sine in each direction, of random frequency and phase, around a random centre.

    Args:
        count: ``N``, how many.
        moments: ``S``; a path has ``S + 1`` points.
        generator: draws them.
        reach: largest distance from the middle of the sensor along each axis, pixels.
        turns: mean number of periods in a recording; each is drawn from half to one and a half of it.

    Returns:
        Shape ``[N, S + 1, 2]``, pixels right and down.

    Raises:
        TypeError: ``count`` or ``moments`` is no integer.
        ValueError: a value out of range.

    Example:
        >>> import torch
        >>> paths = random_paths(3, 16, torch.Generator().manual_seed(0), reach=4.0)
        >>> tuple(paths.shape), bool(paths.abs().max() <= 4.0)
        ((3, 17, 2), True)
    """
    check_count("count", count)
    check_count("moments", moments)
    if not (math.isfinite(reach) and reach >= 0 and math.isfinite(turns) and turns >= 0):
        raise ValueError(f"reach and turns must be at least 0 and finite, got {reach} and {turns}")
    draws = torch.rand(4, count, 1, 2, generator=generator)
    amplitude = reach * (0.5 + 0.5 * draws[0])
    centre = (reach - amplitude) * (2 * draws[1] - 1)
    time = torch.linspace(0, 1, moments + 1).view(1, -1, 1)
    return centre + amplitude * torch.sin(2 * math.pi * (turns * (0.5 + draws[2]) * time + draws[3]))


def _shifted(scene: Tensor, offsets: Tensor) -> Tensor:
    """``scene`` ``[N, 1, H, W]`` moved by ``offsets`` ``[N, 2]`` pixels, edges carried outward; ``[N, H, W]``."""
    size = scene.shape[-1]
    matrix = torch.eye(2, 3).repeat(len(scene), 1, 1)
    matrix[:, :, 2] = -2.0 * offsets / size
    grid = F.affine_grid(matrix, list(scene.shape), align_corners=False)
    return F.grid_sample(scene, grid, mode="bilinear", padding_mode="border", align_corners=False).squeeze(1)

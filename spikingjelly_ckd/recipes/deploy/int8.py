"""Weights in int8: a file of a quarter of the size, and how much the network changed.

Weights of convolutions and linear layers are rounded to integers from -127 to 127 with one scale for each output
channel (symmetric, largest absolute value at 127), after BatchNorm was folded into them. Everything else stays as it
is, and so do membrane potentials and spikes: this is about the weights that have to be kept and moved. PyTorch's own
quantisation (``torch.ao``) is deprecated in favour of ``torchao``, which torch does not bring.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from ...errors.arguments import ArgumentValueError
from ...step.batch import read_batch
from ..export import write_network
from ..weights import SCALE
from .evaluate import batches_of, evaluate_exported
from .exported import ExportedNetwork, read_exported, remark_on_samples
from .tracing import TraceError, fold_norms, trace_network

__all__ = ["Int8Export", "export_int8", "quantize"]

INT8 = "int8"
"""What the JSON says of the weights."""
LARGEST = 127
SAMPLES = 64
"""On which logits are compared."""
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Int8Export:
    """A network whose weights were written as int8, and how it differs from what it was made of.

    Attributes:
        path: of the ``.safetensors`` file.
        quantized: how many tensors are int8.
        folded: how many BatchNorms were folded.
        norms: how many there are.
        bytes_before: of the file that was read.
        bytes_after: of the file that was written.
        drift: largest absolute difference of a logit, averaged over time, on the samples.
        largest: largest absolute logit there, before.
        spread: largest difference of such a logit between the first of the samples and another.
        samples: how many were compared.
        agreement: share of them with the same class, from 0 to 1.
        accuracy_before: percent; None without labels.
        accuracy_after: percent; None without labels.

    Example:
        >>> counts = {"quantized": 10, "folded": 9, "norms": 9, "bytes_before": 2**20, "bytes_after": 2**18}
        >>> figures = {"drift": 0.02, "largest": 1.5, "spread": 0.8, "samples": 64, "agreement": 1.0}
        >>> print(Int8Export(Path("b.safetensors"), **counts, **figures, accuracy_before=91.5, accuracy_after=91.4))
        b.safetensors: 10 tensors in int8, 9 of 9 BatchNorms folded, 0.25 of 1.00 MiB; logits differ by at most 0.02
        of 1.5 on 64 samples, and 100% of these have the same class; accuracy 91.40 % (before: 91.50 %)
    """

    path: Path
    quantized: int
    folded: int
    norms: int
    bytes_before: int
    bytes_after: int
    drift: float
    largest: float
    spread: float
    samples: int
    agreement: float
    accuracy_before: float | None
    accuracy_after: float | None

    def __str__(self) -> str:
        text = (
            f"{self.path}: {self.quantized} tensors in int8, {self.folded} of {self.norms} BatchNorms folded, "
            f"{self.bytes_after / 2**20:.2f} of {self.bytes_before / 2**20:.2f} MiB; logits differ by at most "
            f"{self.drift:.2g} of {self.largest:.2g} on {self.samples} samples, and {self.agreement:.0%} of these "
            f"have the same class{remark_on_samples(self.spread, self.largest, self.samples)}"
        )
        if self.accuracy_before is None:
            return text
        return f"{text}; accuracy {self.accuracy_after:.2f} % (before: {self.accuracy_before:.2f} %)"


def quantize(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A weight as integers with one scale for each output channel: ``weight`` is about ``integers * scale``.

    Args:
        weight: ``[C, ...]``, the first axis counts output channels.

    Returns:
        int8 in -127..127 of the same shape, and the scales ``[C]``; 1 of a channel of zeros.

    Example:
        >>> quantize(torch.tensor([[0.5, -1.0], [0.0, 0.0]]))
        (tensor([[  64, -127],
                [   0,    0]], dtype=torch.int8), tensor([0.0079, 1.0000]))
    """
    largest = weight.detach().flatten(1).abs().amax(1)
    scale = torch.where(largest > 0, largest / LARGEST, 1.0)
    return (weight.detach() / scale.view(-1, *[1] * (weight.ndim - 1))).round().to(torch.int8), scale


@torch.no_grad()
def export_int8(
    student: str | Path,
    path: str | Path,
    images: str | Path | None = None,
    *,
    build: Callable[..., nn.Module] | None = None,
    batch_size: int = 64,
) -> Int8Export:
    """Write an exported network again with its weights in int8, and compare the two.

    The new pair of files is read like any other: :func:`.export.load_network` multiplies the integers by their scales,
    so the network computes in floating point with weights of 8 bit. A folded BatchNorm stays where it was and adds a
    number for each channel.

    Args:
        student: path of a ``.safetensors`` file with its JSON, or ``hf://owner/name``.
        path: of the ``.safetensors`` file to write.
        images: to compare on, as for :func:`.evaluate.evaluate`; class folders give accuracy before and after. None
            takes noise, which says little: pass images.
        build: as for :func:`.export.load_network`.
        batch_size: samples run at once.

    Returns:
        :class:`Int8Export`; print it.

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: the weights are int8 already, ``path`` is that of the student or has another ending, or as
            :func:`.evaluate.evaluate`.

    Example:
        >>> import tempfile
        >>> from spikingjelly_ckd.recipes.export import save_network
        >>> from spikingjelly_ckd.recipes.models import spiking_resnet8
        >>> folder, about = Path(tempfile.mkdtemp()), {"size": 16, "time_steps": 2}
        >>> network = spiking_resnet8(10)
        >>> _ = save_network(folder / "a.safetensors", network, spiking_resnet8, {"num_classes": 10}, **about)
        >>> report = export_int8(folder / "a.safetensors", folder / "b.safetensors")
        >>> report.quantized, report.folded
        (10, 9)
    """
    path, before = Path(path), read_exported(student, build)
    if before.about.get("weights") == INT8:
        raise ArgumentValueError("student", f"{student} has its weights in int8 already; pass the file it was made of")
    if path.suffix != ".safetensors" or path.resolve() == before.file.resolve():
        raise ArgumentValueError("path", f"must end in .safetensors and be no file of the student, got {path}")
    samples = None if images is None else before.samples(images)
    batch = before.noise(SAMPLES) if samples is None else next(batches_of(samples.dataset, SAMPLES, before))[0]
    network = copy.deepcopy(before.network)
    folded = _fold(network, _input(before, batch[:2]))
    tensors = dict(network.state_dict())
    weights = [f"{name}.weight" for name, module in network.named_modules() if isinstance(module, LAYERS)]
    for name in weights:
        if not tensors[name].isfinite().all():
            raise ArgumentValueError("student", f"{student}: {name} holds numbers that are not finite")
        tensors[name], tensors[name + SCALE] = quantize(tensors[name])
    about = {name: value for name, value in before.about.items() if name not in ("sha256", "accuracy")}
    write_network(path, tensors, about | {"weights": INT8})
    after = read_exported(path, build)
    was, now = before.logits(batch).mean, after.logits(batch).mean
    found: list[float | None] = [None, None]
    if samples is not None and samples.has_labels and images is not None:
        found = [evaluate_exported(one, images, batch_size=batch_size).accuracy for one in (before, after)]
    return Int8Export(
        path,
        quantized=len(weights),
        folded=folded,
        norms=sum(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules()),
        bytes_before=before.file.stat().st_size,
        bytes_after=path.stat().st_size,
        drift=float((now - was).abs().max()),
        largest=float(was.abs().max()),
        spread=float((was - was[:1]).abs().max()),
        samples=len(batch),
        agreement=float((was.argmax(1) == now.argmax(1)).float().mean()),
        accuracy_before=found[0],
        accuracy_after=found[1],
    )


def _input(network: ExportedNetwork, images: Tensor) -> Tensor:
    """What the network takes in one call."""
    if network.runner is None:
        return images.mean(1) if images.ndim == 5 else images
    batch = read_batch(images, None, time_steps=network.runner.time_steps, batch_first=True)
    way = network.runner.student_steps
    return batch.images if way == "internal" else batch.over_time()[0] if way == "loop" else batch.over_time()


def _fold(network: nn.Module, example: Tensor) -> int:
    """Fold BatchNorms in place, each of which then adds a number for each channel and does nothing else."""
    try:
        found = fold_norms(trace_network(network, example))
    except TraceError:  # each channel of a convolution has a scale of its own, so that little is lost
        return 0
    for first, norm, bias in found:
        layer, after = cast(nn.Linear, network.get_submodule(first)), cast(nn.BatchNorm2d, network.get_submodule(norm))
        if layer.bias is not None:
            layer.bias.zero_()
        cast(Tensor, after.running_mean).copy_(-bias)
        cast(Tensor, after.running_var).fill_(1 - after.eps)
        if after.affine:
            after.weight.fill_(1)
            after.bias.zero_()
    return len(found)

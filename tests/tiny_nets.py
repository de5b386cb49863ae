"""Networks of a user's own, for ``--student tiny_nets:student``."""

import os
import time

from spikingjelly.activation_based import functional, layer, neuron
from torch import nn

from spikingjelly_ckd.recipes.models import ResNet, SpikingResNet

WIDTHS, DEPTHS = (4, 8, 16), (1, 1, 1)
PAUSE = float(os.environ.get("PAUSE", "0.1"))
"""Seconds that a forward of ``Slow`` waits; 0 where nothing is to be interrupted."""


class Dropped(SpikingResNet):
    """With dropout, so that a step draws random numbers in the network too."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.flatten = nn.Sequential(self.flatten, nn.Dropout(0.1))


class Slow(Dropped):
    """Takes its time, so that it can be interrupted in the middle of an epoch."""

    def forward(self, frames):
        time.sleep(PAUSE)
        return super().forward(frames)


def student(num_classes, in_channels=3):
    return Dropped(WIDTHS, DEPTHS, num_classes, in_channels)


def frozen_student(num_classes, in_channels=3):
    return student(num_classes, in_channels).requires_grad_(False)


def slow_student(num_classes, in_channels=3):
    return Slow(WIDTHS, DEPTHS, num_classes, in_channels)


def optional_student(num_classes, in_channels=3, *, last_activation="spike"):
    return SpikingResNet(WIDTHS, DEPTHS, num_classes, in_channels, last_activation=last_activation)


class Averaging(nn.Module):
    """Returns the mean over time, of which no module of it has the steps."""

    def __init__(self, num_classes, in_channels):
        super().__init__()
        self.network = SpikingResNet(WIDTHS, DEPTHS, num_classes, in_channels)
        self.more = nn.Linear(num_classes, num_classes)

    def forward(self, frames):
        return self.more(self.network(frames).mean(0).tanh())


def averaging_student(num_classes, in_channels=3):
    return Averaging(num_classes, in_channels)


def student_without_norm(num_classes, in_channels=3):
    kit = {"step_mode": "m"}
    return nn.Sequential(
        layer.Conv2d(in_channels, 8, 3, 2, **kit),
        neuron.LIFNode(v_threshold=0.3, **kit),
        layer.Conv2d(8, 16, 3, 2, **kit),
        neuron.LIFNode(v_threshold=0.1, **kit),
        layer.AdaptiveAvgPool2d(1, **kit),
        layer.Flatten(**kit),
        layer.Linear(16, num_classes, **kit),
    )


def teacher(num_classes, in_channels=3):
    return ResNet(WIDTHS, DEPTHS, num_classes, in_channels)


def wide_teacher(num_classes, in_channels=3):
    return ResNet((16, 32, 64), DEPTHS, num_classes, in_channels)


def eleven_outputs(in_channels=3):
    return student(11, in_channels)


def single_step(num_classes, in_channels=3):
    network = student_without_norm(num_classes, in_channels)
    functional.set_step_mode(network, "s")
    return network


def other_names(classes, width):
    return student(classes, width)


class TwoHeads(nn.Module):
    """Returns the logits of two heads of one shape."""

    def __init__(self, num_classes, in_channels):
        super().__init__()
        self.network = SpikingResNet(WIDTHS, DEPTHS, num_classes, in_channels)
        self.second = layer.Linear(num_classes, num_classes, step_mode="m")

    def forward(self, frames):
        logits = self.network(frames)
        return logits, self.second(logits)


def two_heads(num_classes, in_channels=3):
    return TwoHeads(num_classes, in_channels)


class Remembers(nn.Module):
    """Adds to its output how often it was called, which no reset knows of."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, logits):
        self.calls += 1
        return logits + self.calls


class KeepsOutputs(nn.Module):
    """A monitor that nobody ever clears."""

    def __init__(self):
        super().__init__()
        self.kept = []

    def forward(self, x):
        self.kept.append(x)
        return x


def monitored_student(num_classes, in_channels=3):
    return nn.Sequential(SpikingResNet(WIDTHS, DEPTHS, num_classes, in_channels), KeepsOutputs())


def counting_student(num_classes, in_channels=3):
    return nn.Sequential(SpikingResNet(WIDTHS, DEPTHS, num_classes, in_channels), Remembers())

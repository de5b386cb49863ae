"""A validation part: cut from the training part by hash, and what is chosen on it."""

import pytest
import torch

from spikingjelly_ckd.functional.errors import ArgumentValueError
from spikingjelly_ckd.recipes.data.splits import hold_out

LABELS = torch.arange(100) % 4
NAMES = [f"image{row}" for row in range(100)]


def test_what_is_held_out_follows_from_the_names_alone():
    kept, held = hold_out(LABELS, NAMES, 21)
    assert sorted([*kept.tolist(), *held.tolist()]) == list(range(100))
    assert (len(held), LABELS[held].bincount().tolist()) == (21, [6, 5, 5, 5])
    order = torch.randperm(100, generator=torch.Generator().manual_seed(0))
    _, shuffled = hold_out(LABELS[order], [NAMES[row] for row in order.tolist()], 20)
    _, straight = hold_out(LABELS, NAMES, 20)
    assert sorted(order[shuffled].tolist()) == straight.tolist()
    assert straight.tolist() != list(range(20)), "not the first ones"


@pytest.mark.parametrize("count", [51, 100, 1000, 0, -1])
def test_more_than_half_or_nothing_cannot_be_held_out(count):
    with pytest.raises(ArgumentValueError, match=f"leave at least as many to train on: {count} of 100") as caught:
        hold_out(LABELS, NAMES, count)
    assert caught.value.argument == "val_images"


def test_every_class_is_in_both_parts():
    with pytest.raises(ArgumentValueError, match=r"leaves class \d \(and 1 more\) without an image"):
        hold_out(LABELS, NAMES, 2)
    labels = torch.tensor([0] * 9 + [1])
    with pytest.raises(ArgumentValueError, match="leaves class 1"):
        hold_out(labels, NAMES[:10], 5)

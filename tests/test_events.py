"""The simulated event camera, its trajectories, and the digits."""

import hashlib
import json
import math

import pytest
import torch
from torch import Tensor

from spikingjelly_ckd.recipes.data.digits import EventCamera, digit_events, random_paths, stratified_split


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def straight(*points: tuple[float, float]) -> Tensor:
    return torch.tensor([points])


def scene(size: int = 12, *, paper: float = 0.1) -> Tensor:
    image = torch.full((1, size, size), paper)
    image[0, 4:8, 4:8] = 1.0
    return image


@pytest.fixture(scope="module")
def digits():
    return digit_events(3, camera=EventCamera(16, 0.25, 0.03, 0.1), reach=1.0, looks=2)


def test_nothing_moves_and_nothing_is_noisy_so_nothing_fires():
    paths = torch.full((1, 9, 2), 1.7)
    assert EventCamera(12, 0.05, mismatch=0.02).record(scene(), paths, 4, generator()).count_nonzero() == 0


def test_a_bright_square_that_moves_right_is_on_ahead_and_off_behind():
    frames = EventCamera(12, 1.0).record(scene(), straight((0, 0), (1, 0)), 1, generator())
    expected = torch.zeros(2, 12, 12)
    expected[0, 4:8, 8] = expected[1, 4:8, 4] = 2  # log 10 is 2.3 thresholds of 1
    assert torch.equal(frames[0, 0], expected)


def test_a_dark_square_has_the_other_polarity():
    bright = EventCamera(12, 0.4).record(scene(), straight((0, 0), (0, 1)), 1, generator())
    dark = EventCamera(12, 0.4).record(0.1 / scene(), straight((0, 0), (0, 1)), 1, generator())
    assert bright[0, 0, 0].sum() > 0
    assert torch.equal(bright.flip(2), dark)


def test_downward_motion_is_along_the_rows():
    frames = EventCamera(12, 1.0).record(scene(), straight((0, 0), (0, 1)), 1, generator())
    assert frames[0, 0, 0, 8, 4:8].tolist() == [2, 2, 2, 2]


def test_a_pixel_remembers_what_is_left_of_a_threshold():
    # log 10 = 2.303 split in two looks: 1.15 thresholds and the rest, so one event each at threshold 1
    image, half = scene(), math.sqrt(10)
    paths = straight((0, 0), (1, 0), (1, 0))
    once = EventCamera(12, 1.0).record(image, paths, 2, generator())
    assert once[0].sum() == 16
    assert once[1].sum() == 0
    # a ramp of half contrast per pixel: after two pixels the ahead column has seen the whole of log 10
    ramp = torch.full((1, 12, 12), 0.1)
    ramp[..., 4:] = 0.1 * half
    ramp[..., 5:] = 1.0
    ramp = ramp.flip(2)
    moved = EventCamera(12, 2.0).record(ramp, straight((0, 0), (1, 0), (2, 0)), 2, generator())
    column = moved[:, 0, 0, 6]
    assert column[0].sum() == 0, "1.15 of 2 is no event yet"
    assert column[1].sum() == 1, "2.3 of 2 is one"


def test_a_higher_threshold_gives_fewer_events():
    paths = random_paths(1, 16, generator(), reach=3.0)
    counts = [EventCamera(12, c).record(scene(), paths, 4, generator()).sum().item() for c in (0.1, 0.3, 0.9)]
    assert counts[0] > counts[1] > counts[2] > 0


def test_mismatch_is_a_pattern_of_the_sensor_with_the_stated_spread():
    thresholds = EventCamera(128, 0.3, mismatch=0.03).thresholds(generator())
    assert abs(thresholds.mean().item() - 0.3) < 2e-3
    assert abs(thresholds.std().item() - 0.03) < 2e-3
    assert EventCamera(128, 0.3, mismatch=1.0).thresholds(generator()).min() >= 0.03 - 1e-7
    twice = scene().expand(2, -1, -1)
    frames = EventCamera(12, 0.3, mismatch=0.1).record(twice, torch.tensor([[[0.0, 0], [1, 0]]] * 2), 1, generator())
    assert torch.equal(frames[:, 0], frames[:, 1])


def test_background_events_have_the_stated_rate_in_both_polarities():
    still = torch.zeros(50, 5, 2)
    frames = EventCamera(16, 0.3, noise=0.4).record(torch.ones(50, 16, 16), still, 4, generator())
    rates = frames.sum(0).mean(dim=(0, 2, 3))
    assert (rates - 0.4).abs().max() < 0.02  # sd 0.4**0.5 / 12800**0.5 = 0.006
    assert torch.equal(frames, frames.round())


def test_time_is_divided_into_equal_stretches():
    paths = straight(*[(0.0, 0.0)] * 5, (2.0, 0.0), *[(2.0, 0.0)] * 3)  # moves only in the fifth of eight looks
    frames = EventCamera(12, 0.5).record(scene(), paths, 4, generator())
    assert [frame.sum().item() > 0 for frame in frames] == [False, False, True, False]


def test_paths_stay_within_reach_and_are_smooth():
    paths = random_paths(200, 40, generator(), reach=3.0, turns=1.0)
    assert paths.abs().max() <= 3.0
    assert paths.std() > 0.5
    assert paths.diff(dim=1).abs().max() <= 3.0 * 2 * math.pi * 1.5 / 40
    assert random_paths(2, 4, generator(), reach=0.0).abs().max() == 0


def test_digits_have_the_stated_shapes_and_are_counts(digits):
    assert digits.frames.shape == (3, 1797, 2, 16, 16)
    assert digits.frames.dtype == torch.float32
    assert digits.labels.shape == (1797,)
    assert digits.labels.dtype == torch.int64
    assert digits.images.shape == (1797, 8, 8)
    assert digits.images.min() == 0
    assert digits.images.max() == 1
    assert torch.equal(digits.frames, digits.frames.round())
    assert digits.frames.min() == 0
    assert (digits.frames.sum(dim=(0, 2, 3, 4)) > 0).all()


def test_the_same_arguments_give_the_same_recordings(digits):
    camera = EventCamera(16, 0.25, 0.03, 0.1)
    before = torch.random.get_rng_state()
    again = digit_events(3, camera=camera, reach=1.0, looks=2)
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(digits.frames, again.frames)
    other = digit_events(3, camera=camera, reach=1.0, looks=2, seed=1)
    assert not torch.equal(digits.frames, other.frames)
    assert other.split_hash == digits.split_hash


def test_the_split_is_fixed_stratified_and_hashed(digits):
    parts = digits.split
    assert {name: len(rows) for name, rows in parts.items()} == {"train": 719, "val": 359, "test": 719}
    assert torch.equal(torch.cat(list(parts.values())).sort().values, torch.arange(1797))
    whole = digits.labels.bincount() / 1797
    for name, rows in parts.items():
        frames, labels = digits.part(name)
        assert frames.shape[1] == len(labels) == len(rows)
        assert (labels.bincount(minlength=10) / len(rows) - whole).abs().max() < 0.004
    text = json.dumps({name: rows.tolist() for name, rows in parts.items()}, sort_keys=True, separators=(",", ":"))
    assert digits.split_hash == hashlib.sha256(text.encode()).hexdigest()
    # a record quotes this: a change of the split must be a decision
    assert digits.split_hash.startswith("083a548357d6")
    assert digits.split_name == "digits-40-20-40-seed2026"


def test_the_digit_can_be_seen_in_its_events(digits):
    """Nearest class mean of blurred event counts is far above chance, so the label is in the data."""
    counts = torch.nn.functional.avg_pool2d(digits.frames.sum(dim=(0, 2)).unsqueeze(1), 2).flatten(1)
    train, test = digits.split["train"], digits.split["test"]
    means = torch.stack([counts[train][digits.labels[train] == k].mean(0) for k in range(10)])
    right = torch.cdist(counts[test], means).argmin(1) == digits.labels[test]
    assert right.float().mean() > 0.4


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: EventCamera(size=1), ValueError, "size must be at least 2"),
        (lambda: EventCamera(size=8.0), TypeError, "size must be an integer"),
        (lambda: EventCamera(threshold=0), ValueError, "threshold must be above 0"),
        (lambda: EventCamera(threshold=float("nan")), ValueError, "threshold must be at least 0 and finite"),
        (lambda: EventCamera(mismatch=-1), ValueError, "mismatch must be at least 0"),
        (lambda: EventCamera(noise="1"), TypeError, "noise must be a number"),
        (lambda: EventCamera(12).record(scene()[0], straight((0, 0), (1, 0)), 1, generator()), ValueError, "images"),
        (lambda: EventCamera(12).record(scene(), torch.zeros(1, 4, 2), 2, generator()), ValueError, "multiple"),
        (lambda: EventCamera(12).record(scene(paper=0.0), torch.zeros(1, 3, 2), 2, generator()), ValueError, "floor"),
        (lambda: random_paths(0, 4, generator(), reach=1), ValueError, "count must be at least 1"),
        (lambda: random_paths(1, 4, generator(), reach=-1), ValueError, "reach and turns"),
        (lambda: stratified_split(torch.zeros(4, 2), {"a": 1.0}, 0), ValueError, "labels must have shape"),
        (lambda: stratified_split(torch.zeros(4), {"a": 0.5}, 0), ValueError, "sum to 1"),
        (lambda: digit_events(0), ValueError, "time_steps must be at least 1"),
        (lambda: digit_events(2, looks=True), TypeError, "looks must be an integer"),
    ],
)
def test_bad_arguments(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_an_unknown_part_names_the_parts(digits):
    with pytest.raises(ValueError, match="'test', 'train', 'val'"):
        digits.part("valid")

"""Differences of paired arms, against textbook formulas and simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from spikingjelly_ckd.recipes.comparison.statistics import compare_arms, seeds_to_tell

pytestmark = pytest.mark.tools


def arms(values):
    return {name: dict(enumerate(row)) for name, row in values.items()}


def test_two_arms_give_the_paired_t_test():
    plain, other = [50.2, 51.9, 49.0, 52.4], [51.0, 53.5, 50.1, 53.0]
    found = compare_arms(arms({"plain": plain, "ckd": other}), "plain").differences["ckd"]
    low, high = stats.ttest_rel(other, plain).confidence_interval(0.95)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert found.verdict == "above"
    assert compare_arms(arms({"plain": other, "ckd": plain}), "plain").differences["ckd"].verdict == "below"


def test_the_residual_is_that_of_the_two_way_analysis_of_variance():
    values = np.random.default_rng(0).normal(60, 2, (5, 4))
    found = compare_arms(arms({f"arm{index}": row for index, row in enumerate(values)}), "arm0")
    left = values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()
    assert found.freedom == 12
    assert found.deviation == pytest.approx(math.sqrt((left**2).sum() / 12))
    half = stats.t.ppf(1 - 0.05 / 8, 12) * found.deviation * math.sqrt(2 / 4)
    assert all(one.half == pytest.approx(half) for one in found.differences.values())


def test_arms_without_effect_are_rarely_called_above_or_below():
    random, wrong, rounds = np.random.default_rng(1), 0, 400
    for _ in range(rounds):
        values = random.normal(0, 1, (6, 5)) + random.normal(0, 5, 5)
        found = compare_arms(arms({f"arm{index}": row for index, row in enumerate(values)}), "arm0")
        wrong += any(one.verdict != "not told apart" for one in found.differences.values())
    assert 0.01 < wrong / rounds < 0.08


@pytest.mark.parametrize("count", [1, 10])
def test_as_many_seeds_as_are_named_tell_a_point(count):
    seeds = seeds_to_tell(1.0, 0.9, arms=count)
    random, told = np.random.default_rng(2), 0
    for _ in range(200):
        values = random.normal(0, 0.9, (count + 1, seeds))
        values[1] += 1
        found = compare_arms(arms({f"arm{index}": row for index, row in enumerate(values)}), "arm0")
        told += found.differences["arm1"].verdict == "above"
    assert 0.7 < told / 200 < 0.9


def test_a_missing_run_leaves_the_other_pairs():
    values = arms({"plain": [50.0, 52.0, 54.0], "ckd": [51.0, 53.5, 54.5], "kd": [50.5, 52.5, 55.0]})
    del values["ckd"][1]
    found = compare_arms(values, "plain")
    assert (found.differences["ckd"].mean, found.differences["ckd"].seeds) == (0.75, 2)
    assert found.freedom == 3
    assert found.differences["ckd"].half > found.differences["kd"].half


def test_one_seed_gives_a_difference_without_an_interval():
    found = compare_arms({"plain": {0: 50.0}, "ckd": {0: 60.0}}, "plain")
    assert str(found.differences["ckd"]) == "+10.00"
    assert found.differences["ckd"].verdict == "not told apart"
    assert found.seeds_for_a_point is None
    assert compare_arms({"plain": {0: 50.0}, "ckd": {1: 60.0}}, "plain").differences == {"ckd": None}


def test_differences_that_are_the_same_in_every_seed_have_no_interval():
    found = compare_arms(arms({"plain": [50.0, 52.5], "ckd": [52.5, 55.0], "kd": [50.0, 52.5]}), "plain")
    assert (found.deviation, found.freedom, found.seeds_for_a_point) == (None, 2, None)
    assert {str(one) for one in found.differences.values()} == {"+2.50", "+0.00"}
    assert {one.verdict for one in found.differences.values()} == {"not told apart"}


def test_what_is_no_accuracy_is_refused():
    with pytest.raises(ValueError, match="the control 'plain' has no accuracy"):
        compare_arms({"plain": {}, "ckd": {0: 1.0}}, "plain")
    with pytest.raises(ValueError, match="finite"):
        compare_arms({"plain": {0: float("nan")}}, "plain")
    with pytest.raises(ValueError, match="out of range"):
        seeds_to_tell(0.0, 1.0)
    assert seeds_to_tell(1e-6, 10.0) is None

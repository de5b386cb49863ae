"""Every table of figures is what its records say."""

import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from spikingjelly_ckd.recipes.comparison.statistics import compare_arms

pytestmark = pytest.mark.tools

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_tables_are_rendered_from_the_records():
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "render.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("part", "name"), [("digits", "digits"), ("cifar10", "CIFAR-10 subset")])
def test_which_method_says_what_the_records_say(part, name):
    page = (ROOT / "docs" / "which_method.md").read_text("utf8")
    table = (ROOT / "docs" / "results.md").read_text("utf8")
    accuracies = defaultdict(dict)
    for path in (ROOT / "benchmarks" / "results" / f"methods_{part}").glob("*_seed*.json"):
        record = json.loads(path.read_text("utf8"))
        accuracies[record["method"].removesuffix(" (no teacher)")][record["seed"]] = record["accuracy"]["last"]
    found = compare_arms(accuracies, "plain")
    _, above, below, seeds = re.search(rf"^\| ({name}) \| (.+) \| (.+) \| (\d+) \|$", page, re.M).groups()
    verdicts = {arm: difference.verdict for arm, difference in found.differences.items()}
    expected = {arm: str(found.differences[arm]) for arm, verdict in verdicts.items() if verdict == "above"}
    assert above == (", ".join(f"{arm} {text}" for arm, text in expected.items()) or "none")
    assert below == (", ".join(sorted(arm for arm, verdict in verdicts.items() if verdict == "below")) or "none")
    assert int(seeds) == found.seeds_for_a_point
    figures = set(re.findall(r"[+-]\d+\.\d ± \d+\.\d", " ".join(page.split())))
    assert figures
    assert [figure for figure in figures if figure not in table] == []

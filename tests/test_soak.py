"""A dozen kills of the soak: ``python tests/soak.py`` has more."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.tools

SOAK = Path(__file__).with_name("soak.py")


@pytest.mark.slow
def test_killed_a_dozen_times_and_resumed_the_bits_are_the_same():
    done = subprocess.run([sys.executable, str(SOAK), "--kills", "12"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    assert done.stdout.endswith("12 kills, 0 that went wrong\n")

"""The check of shapes: names bound to sizes across arguments, and what its messages say."""

import re

import pytest
import torch
from torch import nn

import spikingjelly_ckd
from spikingjelly_ckd import functional
from spikingjelly_ckd.functional import check_shapes


def zeros(*shape):
    return torch.zeros(shape)


@pytest.mark.parametrize(
    "tensors",
    [
        {"spikes": (zeros(4, 2, 3, 8, 8), "T N C h w"), "teacher_map": (zeros(2, 5, 5), "N h' w'")},
        {"labels": (zeros(2), "N | N K"), "logits": (zeros(2, 5), "N K | T N K")},
        {"labels": (zeros(2, 5), "N | N K"), "logits": (zeros(3, 2, 5), "N K | T N K")},
        {"student": (zeros(5), "... K"), "teacher": (zeros(5), "... K")},
        {"student": (zeros(3, 2, 5), "... K"), "teacher": (zeros(3, 2, 5), "... K")},
        {"student": (zeros(2, 3, 4), "N ... w"), "teacher": (zeros(2, 3, 4), "N ... w")},
        {"value": (zeros(), "")},
        {"steps": (zeros(2, 0, 3), "T>=2 N K")},
        {},
    ],
)
def test_shapes_that_fit(tensors):
    check_shapes(**tensors)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"maps": (zeros(2, 3), "N h w")}, "maps must be [N, h, w], got (2, 3)"),
        (
            {"student": (zeros(2, 5), "N K"), "teacher": (zeros(2, 4), "N K")},
            "teacher must be [N, K], got (2, 4): K is 4 here and 5 in student (2, 5)",
        ),
        ({"square": (zeros(3, 4), "n n")}, "square must be [n, n], got (3, 4): n is 4 here and 3 in square (3, 4)"),
        (
            {"logits": (zeros(3, 2, 5), "N K | T N K"), "labels": (zeros(3), "N | N K")},
            "labels must be [N] or [N, K], got (3,): N is 3 here and 2 in logits (3, 2, 5)",
        ),
        ({"labels": (zeros(1, 2, 3), "N | N K")}, "labels must be [N] or [N, K], got (1, 2, 3)"),
        (
            {"steps": (zeros(1, 2, 1), "T>=2 N K>=2")},
            "steps must be [T, N, K] with T >= 2 and K >= 2, got (1, 2, 1)",
        ),
        ({"logits": (zeros(2, 1), "N K>=2 | T N K>=2")}, "logits must be [N, K] or [T, N, K] with K >= 2, got (2, 1)"),
        (
            {"student": (zeros(3, 2, 5), "... K"), "teacher": (zeros(2, 5), "... K")},
            "teacher must be [..., K], got (2, 5): ... is (2,) here and (3, 2) in student (3, 2, 5)",
        ),
        ({"student": (zeros(2), "N ... w")}, "student must be [N, ..., w], got (2,)"),
    ],
)
def test_shapes_that_do_not(tensors, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        check_shapes(**tensors)


def test_a_hint_says_what_to_do():
    with pytest.raises(ValueError, match=r"got \(2,\); pass steps\[None\]$"):
        check_shapes("pass steps[None]", steps=(zeros(2), "T N K"))


def test_something_else_than_a_tensor():
    with pytest.raises(TypeError, match=r"maps must be a tensor \[N, h, w\], got list"):
        check_shapes(maps=([[1.0]], "N h w"))


def error(student, teacher):
    check_shapes("a hint", student=(student, "N K>=2"), teacher=(teacher, "N K | T N K"))
    return (student - teacher).square().mean()


@pytest.mark.parametrize("dynamic", [False, True])
def test_it_traces_into_the_graph_and_still_raises(dynamic):
    torch.compiler.reset()
    whole = torch.compile(error, backend="eager", fullgraph=True, dynamic=dynamic)
    assert whole(torch.ones(3, 4), zeros(2, 3, 4)) == 1
    assert whole(torch.ones(5, 4), zeros(5, 4)) == 1
    torch.compiler.reset()
    compiled = torch.compile(error, backend="eager", dynamic=dynamic)
    with pytest.raises(ValueError, match="K is 5 here and 4 in student"):
        compiled(torch.ones(3, 4), zeros(3, 5))


def test_it_reads_no_values():
    meta = torch.empty(2, 3, device="meta")
    check_shapes(student=(meta, "N K"), teacher=(meta, "N K"))
    assert functional.soft_kl(meta, meta, 2.0).device.type == "meta"


def test_functional_is_public_and_holds_every_formula():
    assert spikingjelly_ckd.functional is functional
    assert "functional" in spikingjelly_ckd.__all__
    assert functional.__all__ == sorted(functional.__all__)
    for name in functional.__all__:
        function = getattr(functional, name)
        assert not isinstance(function, type | nn.Module)
        assert function.__doc__, name
    for module in ("divergences", "features", "logits", "maps", "time"):
        assert set(getattr(functional, module).__all__) <= set(functional.__all__)

"""Steps beside their floor: CKD, compiled, every method, fast neurons, prepared teachers, and whether it grows."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from methods import ARMS as METHODS
from speed_bench import Bench, Row, about, compute, has_pooled_head
from timing import quartiles, ratios

from spikingjelly_ckd import prepare_teacher, use_fast_neurons
from spikingjelly_ckd.networks.variants import fold_norms
from spikingjelly_ckd.published import ckd
from spikingjelly_ckd.recipes.methods import read_method


def steps(bench: Bench, rounds: int) -> Row:
    """Plain, teacher, floor, CKD with Grad-CAM and with the head's weights, and the authors' way."""
    arms = {"plain": bench.plain(), "teacher": bench.teacher_alone(), "floor": bench.floor(), "CKD": bench.ckd()}
    if has_pooled_head(bench.pair):
        weight = ckd(samd={"cam_method": "weight"})
        arms |= {"CKD, weight-CAM": bench.distiller(weight), "as released": bench.released()}
    if bench.device.type == "cuda":
        arms["CKD, teacher_stream"] = bench.ckd(teacher_stream=True)
    return compute(bench, arms, rounds)


def compiled(bench: Bench, rounds: int) -> Row:
    """CKD under ``torch.compile`` as a whole, beside the floor of two compiled networks."""
    arms = {"floor": bench.floor(), "CKD": bench.ckd()}
    arms |= {"floor, compiled": bench.floor(compiled=True), "CKD, compiled": bench.ckd(compiled=True)}
    return compute(bench, arms, rounds)


def methods(bench: Bench, rounds: int) -> Row:
    """Every arm of benchmarks/methods.py that trains the pair's own student."""
    arms = {"plain": bench.plain(), "teacher": bench.teacher_alone(), "floor": bench.floor()}
    for name, text in METHODS.items():
        if name != "plain" and "ReLU" not in name and not name.endswith(("(auto)", "(released)")):
            arms[name] = bench.distiller(read_method(text))
    row = compute(bench, arms, rounds)
    for name in arms:  # where no teacher runs, the floor is the plain step
        if name.endswith("(no teacher)"):
            row["ratio"][name] = ratios(row["raw"][name], row["raw"]["plain"])
    return row


def neurons(bench: Bench, rounds: int) -> Row:
    """SpikingJelly's own neurons and those of ``use_fast_neurons``: the first of the student alone, and whole steps."""
    arms: dict[str, Callable[[], object]] = {}
    for mark in ("", ", fast"):
        use_fast_neurons(bench.student, enable=bool(mark))
        arms |= {f"neuron{mark}": bench.first_neuron(), f"plain{mark}": bench.plain(), f"CKD{mark}": bench.ckd()}
    row = compute(bench, arms, rounds, base="plain")
    row["ratio"] = {arm: ratios(row["raw"][f"{arm}, fast"], row["raw"][arm]) for arm in ("neuron", "plain", "CKD")}
    return row


def prepared(bench: Bench, rounds: int) -> Row:
    """CKD with teachers from ``prepare_teacher``: what a step costs over the plain one, in eager teacher forwards."""
    settings: dict[str, dict[str, Any]] = {
        "fp32": {},
        "compiled": {"compile": True},
        "bf16": {"dtype": torch.bfloat16},
        "bf16, compiled": {"dtype": torch.bfloat16, "compile": True},
    }
    arms = {"plain": bench.plain(), "teacher": bench.teacher_alone(), "floor": bench.floor(), "CKD": bench.ckd()}
    done, notes = {}, {}
    folded = copy.deepcopy(bench.teacher)
    if fold_norms(folded):
        arms["teacher, BatchNorm folded"] = bench.teacher_alone(folded)
    for name, options in settings.items():
        teacher = prepare_teacher(bench.teacher, bench.images, **options)
        done[name], notes[name] = ", ".join(teacher.done) or "as it was", str(teacher)
        arms[f"teacher, {name}"] = bench.teacher_alone(teacher.network)
        arms[f"CKD, {name}"] = bench.ckd(teacher.network, teacher_layer=teacher.layer)
    row = compute(bench, arms, rounds)
    raw = row["raw"]
    row["over_plain"] = {}
    for name in ("floor", *(name for name in arms if name.startswith("CKD"))):
        rounds_of = zip(raw[name], raw["plain"], raw["teacher"], strict=True)
        row["over_plain"][name] = quartiles([(step - plain) / forward for step, plain, forward in rounds_of])
    row["forward"] = {name: ratios(raw[name], raw["teacher"]) for name in arms if name.startswith("teacher, ")}
    return row | {"done": done, "notes": notes}


def growth(bench: Bench, rounds: int) -> Row:
    """CKD and floor at both ends of T, batch and classes: does what CKD adds grow faster than the floor?"""
    ends: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "T": ({"time_steps": 1}, {"time_steps": 8}),
        "batch": ({"batch": 16}, {"batch": 256}),
        "classes": ({"classes": 10}, {"classes": 1000}),
    }
    found = {}
    for axis, changes in ends.items():
        rows = []
        for change in changes:
            one = Bench(bench.name, replace(bench.pair, **change), bench.device, bench.autocast)
            rows.append(
                compute(one, {"floor": one.floor(), "CKD": one.ckd()}, rounds) | {"value": next(iter(change.values()))}
            )
        found[axis] = rows
    return about(bench) | {"rounds": rounds, "axes": found}

"""Import paths and names of earlier versions: each works, and its warning names the new one and the user's line."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from spikingjelly_ckd import _renamed

pytestmark = pytest.mark.tools

ROOT = Path(__file__).parents[1]
DOCUMENTED = {
    "adapted": ["AdaptedLoss"],
    "adaptors": ["AttentionFusion", "BlurredGenerator", "align", "regressor"],
    "arguments": ["LayerSpec", "Weight", "explained"],
    "balance": ["AUTO_BATCHES", "AUTO_SHARE", "AutoWeight", "gradient_norm"],
    "batch": ["Batch", "read_batch"],
    "checks": ["check_choice", "check_positive"],
    "class_token": ["keep_class_token"],
    "compat": ["NeuronPath", "has_neurons", "neuron_path", "reset", "spikingjelly_version", "use_fast_neurons"],
    "hooks": ["Recording", "record"],
    "layers": ["find_layer", "find_stages"],
    "layouts": ["Layer"],
    "losses": [
        *("attention_distance", "blur", "check_steps", "class_indices", "correct_steps", "feature_error"),
        *("gaussian_like", "map_divergence", "probability_kl", "soft_kl", "step_kl"),
    ],
    "maps": [
        *("at_least_float32", "class_activation_map", "fold_time", "grad_cam", "grad_cam_plus_plus", "hires_cam"),
        *("is_constant", "match_maps", "normalize_map", "spike_activation_map", "time_mean"),
    ],
    "networks.fused_neurons": ["SURROGATES", "Dynamics", "Leak", "fused_steps"],
    "probing": ["fresh", "untouched"],
    "randomness": ["RandomLoss"],
    "recipes.augment": ["EventNDA", "EventResize", "EventRoll", "event_transform", "image_transform"],
    "recipes.cache": ["CachedData", "TeacherCache", "has_changed"],
    "recipes.compare.records": ["ArmRecord", "read_records", "set_damaged_aside"],
    "recipes.compare.statistics": ["Accuracies", "Comparison", "Difference", "compare_arms", "seeds_to_tell"],
    "recipes.compare.table": ["LOUDER_OF", "arms_of", "check_comparable", "compare_records", "control_of", "render"],
    "recipes.energy": ["AC_PJ", "MAC_PJ", "Energy", "Operations", "ann_twin", "count_operations", "measure_energy"],
    "recipes.events": ["DigitEvents", "EventCamera", "digit_events", "random_paths", "stratified_split"],
    "recipes.landscape": ["filter_normalized", "loss_surface", "random_direction"],
    "recipes.loading": ["EpochData", "EpochSampler", "SeededSamples", "seed_all", "seeded"],
    "recipes.report.environment": ["environment"],
    "recipes.report.record_checks": ["check_record"],
    "recipes.report.schema": ["Accuracy", "Record", "RecordedData", "RecordedStudent", "RecordedTeacher"],
    "recipes.report.records": ["FORMAT", "environment", "is_over", "read_record", "summary", "write_record"],
    "recipes.run": ["Fitted", "build_network", "fit", "make_distiller", "run_row", "run_teacher"],
    "recipes.splits": ["SPLIT_HASHES", "SUBSET_SEED", "dvs_samples", "split", "split_hash", "stratified_subset"],
    "recipes.table": ["interval95", "main", "tabulate"],
    "recipes.training": ["DistillationModule", "cosine_with_warmup", "count_right"],
    "signals": ["DistillationLoss", "LinearHead", "Signals", "TeacherOutput", "Term"],
    "steps": ["StepPoint"],
    "streams": ["SideStream"],
}
"""Old module -> names that its documentation had, or that others are likely to have imported."""
SCRIPT = """
import importlib, json, sys, warnings
from spikingjelly_ckd._renamed import OLD_MODULES, OLD_NAMES
found = {}
for old, names in json.loads(sys.argv[1]).items():
    for name in names:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            space = {}
            try:
                exec(compile(f"from spikingjelly_ckd.{old} import {name}", "a user's file", "exec"), space)
            except ImportError as error:
                found[f"{old}.{name}"] = {"error": str(error)}
                continue
        ours = {str(w.message): w for w in seen if "the old name will be removed" in str(w.message)}
        homes = [f"spikingjelly_ckd.{home}" for home in OLD_MODULES.get(old, (old,))]
        news = [vars(importlib.import_module(home)).get(OLD_NAMES.get(name, name)) for home in homes]
        found[f"{old}.{name}"] = {
            "said": list(ours),
            "files": sorted({w.filename for w in ours.values()}),
            "kinds": sorted({w.category.__name__ for w in ours.values()}),
            "is_new": any(space[name] is new for new in news),
        }
print(json.dumps(found))
"""


def run(script, *arguments):
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.fixture(scope="module")
def imported():
    return json.loads(run(SCRIPT, json.dumps(DOCUMENTED)).splitlines()[-1])


def test_every_old_module_is_tried():
    assert _renamed.OLD_MODULES.keys() <= DOCUMENTED.keys()


@pytest.mark.parametrize("old", DOCUMENTED)
def test_an_old_path_gives_the_new_names_and_warns_once(old, imported):
    first, *others = DOCUMENTED[old]
    homes = [f"spikingjelly_ckd.{new}" for new in _renamed.OLD_MODULES.get(old, ())]
    text = f"spikingjelly_ckd.{old} is called {' and '.join(homes)} now; the old name will be removed"
    moved = [text] if homes else []
    for name in (first, *others):
        found, new = imported[f"{old}.{name}"], _renamed.OLD_NAMES.get(name, name)
        renamed = [f"{name} is called {new} now; the old name will be removed"] if new != name else []
        assert "error" not in found, found["error"]
        assert found["is_new"]
        assert found["said"] == (moved if name == first else []) + renamed
        assert found["files"] in ([], ["a user's file"]), "the warning points at another line than the import's"
        assert found["kinds"] in ([], ["DeprecationWarning"])


def test_the_ways_to_import_a_module_and_to_read_what_was_pickled():
    run(
        "import pickle\n"
        "import spikingjelly_ckd.maps\n"
        "from spikingjelly_ckd import hooks\n"
        "from spikingjelly_ckd.losses import *\n"
        "import spikingjelly_ckd.recipes.events as events\n"
        "from spikingjelly_ckd.functional.maps import grad_cam\n"
        "from spikingjelly_ckd.networks.recording import record\n"
        "assert spikingjelly_ckd.maps.grad_cam is grad_cam\n"
        "assert hooks.record is record\n"
        "assert soft_kl.__module__ == 'spikingjelly_ckd.functional.divergences'\n"
        "assert events.EventCamera.__module__.startswith('spikingjelly_ckd.recipes.data.')\n"
        "from spikingjelly_ckd.methods.base import TeacherOutput\n"
        "old = b'cspikingjelly_ckd.signals\\nTeacherOutput\\n.'\n"
        "assert pickle.loads(old) is TeacherOutput"
    )


def test_what_never_was_is_still_missing():
    with pytest.raises(ModuleNotFoundError, match="spikingjelly_ckd.nowhere"):
        importlib.import_module("spikingjelly_ckd.nowhere")
    with pytest.warns(DeprecationWarning, match="spikingjelly_ckd.streams is called"):
        streams = importlib.import_module("spikingjelly_ckd.streams")
    for module in (streams, importlib.import_module("spikingjelly_ckd.recipes.training")):
        with pytest.raises(AttributeError, match="no attribute 'nothing'"):
            module.nothing  # noqa: B018


def test_nothing_of_the_package_uses_an_old_path():
    used = run(
        "import sys, spikingjelly_ckd, spikingjelly_ckd.recipes.row\n"
        "from spikingjelly_ckd._renamed import OLD_MODULES\n"
        "print([name for name in OLD_MODULES if f'spikingjelly_ckd.{name}' in sys.modules])"
    )
    assert used.splitlines()[-1] == "[]"

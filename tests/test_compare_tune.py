"""Compare --tune: values are looked for on the validation part, with the same budget for every arm."""

import json
import math
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import tiny_nets
from method_runs import make_ground
from test_compare import flags, kill_twice, results, stop_after

from spikingjelly_ckd.errors.installed import InstallationError
from spikingjelly_ckd.published import METHODS, Method
from spikingjelly_ckd.recipes.compare import command, one_seed, tuning, workers
from spikingjelly_ckd.recipes.compare import trials as trained
from spikingjelly_ckd.recipes.compare.arms import read_arms
from spikingjelly_ckd.recipes.compare.batches import InMemory
from spikingjelly_ckd.recipes.compare.flags import RECIPE
from spikingjelly_ckd.recipes.compare.lockstep import Seed, StoppedError
from spikingjelly_ckd.recipes.compare.search import Range, Trial, best_trial, propose, search_space, with_values
from spikingjelly_ckd.recipes.comparison.records import ArmRecord
from spikingjelly_ckd.recipes.comparison.table import compare_records, render
from spikingjelly_ckd.recipes.method_arguments import numbers_of, with_arguments
from spikingjelly_ckd.recipes.methods import read_method

pytestmark = pytest.mark.tools


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    return make_ground(tmp_path_factory.mktemp("ground"), per_class_train=4)


class NoSeedsError(Exception):
    """Instead of the seeds of a comparison."""


@pytest.fixture
def tune(ground, tmp_path, monkeypatch):
    """Run a comparison with a search, both in this process; the records by arm and seed."""
    pytest.importorskip("optuna")

    def run(*more, out=tmp_path / "out", seeds=True, stop=None, trials=2):
        def search_inline(found, parts, **_):
            for part in parts:
                trained.train_part(found, part, *([] if stop is None else [stop]))
            return workers.Outcome(done=list(parts))

        def seeds_inline(plan, numbers, **_):
            if not seeds:
                raise NoSeedsError
            for seed in numbers:
                if plan.without_record(seed):
                    one_seed.train_seed(plan, seed)
            return workers.Outcome(done=list(numbers))

        monkeypatch.setattr(tuning, "run_seeds", search_inline)
        monkeypatch.setattr(command, "run_seeds", seeds_inline)
        asked = flags(ground, out, "--epochs", "1", "--jobs", "1", "--tune", str(trials), *more)
        if not seeds:
            with pytest.raises(NoSeedsError):
                command.compare(asked)
            return json.loads((out / "tuning.json").read_text())
        assert command.compare(asked) == 0
        return results(out)

    return run


def recipe_of(method, **values):
    return replace(RECIPE, method=method, **values)


# --- what is searched ------------------------------------------------------------------------------------------------


def test_every_method_of_the_catalogue_has_its_weights_and_temperatures_searched():
    for name in METHODS:
        recipe = recipe_of(name)
        space = search_space(recipe)
        losses = recipe.read_method().losses
        assert len([one for one in space.values() if math.isclose(one.high, 10 * one.given)]) == len(losses), name
        assert math.isclose(space["lr"].high, 10 * space["lr"].low, rel_tol=1e-3)
        for end in ("low", "high"):
            with_values(recipe, {key: getattr(one, end) for key, one in space.items()})


def test_ranges_are_around_what_was_given():
    space = search_space(recipe_of("kd:weight=0.5,temperature=2", lr=0.01))
    assert {name: (one.low, one.given, one.high) for name, one in space.items()} == {
        "lr": (0.003162, 0.01, 0.03162),
        "weight": (0.05, 0.5, 5.0),
        "temperature": (1.0, 2.0, 4.0),
    }
    assert [*search_space(recipe_of("kd:weight=auto"))] == ["lr", "temperature"]
    assert [*search_space(recipe_of("ckd", beta="hold"))] == ["lr", "gamma", "map_temperature", "temperature"]
    assert [*search_space(recipe_of("ckd", beta="auto", gamma=0.0))] == ["lr", "map_temperature", "temperature"]


def own_method(strength=2.0, depth=3, sharpness=5):
    kd = read_method("kd").losses["kd"][0]
    return Method({"mine": (type(kd)(temperature=sharpness), strength)})


def test_methods_and_losses_of_ones_own_are_searched_whatever_their_arguments_are_called():
    space = search_space(recipe_of("test_compare_tune:own_method"))
    assert {name: (one.low, one.high) for name, one in space.items() if name != "lr"} == {
        "strength": (0.2, 20.0),
        "sharpness": (2.5, 10.0),
    }
    loss = recipe_of("spikingjelly_ckd:KDLoss:temperature=2.0")
    assert [*search_space(loss)] == ["lr", "temperature", "weight"]
    (kd, weight) = with_values(loss, {"weight": 0.25}).read_method().losses["KDLoss"]
    assert (kd.temperature, weight) == (2.0, 0.25)


def test_values_become_the_text_that_a_user_would_write():
    tuned = with_values(recipe_of("kd:weight=0.5"), {"lr": 0.02, "weight": 1.5, "temperature": 3.0})
    assert (tuned.method, tuned.lr) == ("kd:weight=1.5,temperature=3.0", 0.02)
    assert with_arguments("dkd:warm_up_share=0.1", {"alpha": 2}) == "dkd:warm_up_share=0.1,alpha=2"
    assert with_arguments("a:b:key='1'", {}) == "a:b:key='1'"  # a text, and no number
    assert numbers_of("dkd")["temperature"] == 4.0
    ckd = with_values(recipe_of("ckd"), {"beta": 0.3, "map_temperature": 1.5}).read_method()
    assert (ckd.losses["samd"][1], ckd.losses["samd"][0].temperature) == (0.3, 1.5)


# --- how -------------------------------------------------------------------------------------------------------------

SPACE = {"lr": Range(0.1, 0.01, 1.0), "weight": Range(1.0, 0.1, 10.0)}


def peak(values):
    """An accuracy that is greatest at lr 0.3 and weight 4."""
    return 90 - 20 * abs(math.log10(values["lr"] / 0.3)) - 10 * abs(math.log10(values["weight"] / 4))


def searched(trials, *seeds):
    tried = []
    for _ in range(trials):
        values = propose(SPACE, tried, *seeds)
        tried.append(Trial(values, peak(values)))
    return tried


def test_a_search_begins_with_the_given_values_and_finds_better_ones():
    pytest.importorskip("optuna")
    tried = searched(20, 1, 2)
    assert tried[0].values == {"lr": 0.1, "weight": 1.0}
    assert all(one.low <= trial.values[name] <= one.high for trial in tried for name, one in SPACE.items())
    best = best_trial(tried)
    assert best.val_accuracy == max(trial.val_accuracy for trial in tried) > 85 > tried[0].val_accuracy
    late, early = ([peak(trial.values) for trial in part] for part in (tried[-8:], tried[1:6]))
    assert sum(late) / 8 > sum(early) / 5  # it has learned where to look


def test_a_search_follows_from_its_seed_and_goes_on_as_if_it_had_not_stopped():
    pytest.importorskip("optuna")
    whole = searched(9, 1, 2)
    assert whole == searched(9, 1, 2)
    assert [trial.values for trial in whole[1:]] != [trial.values for trial in searched(9, 1, 3)[1:]]
    assert propose(SPACE, whole[:6], 1, 2) == whole[6].values


def test_trials_that_failed_are_told_and_never_taken():
    pytest.importorskip("optuna")
    failed = [Trial({"lr": 0.1, "weight": 1.0}, None, "NaN"), Trial({"lr": 0.2, "weight": 1.0}, None, "NaN")]
    assert propose(SPACE, failed, 0).keys() == SPACE.keys()
    assert best_trial(failed) is None
    good = Trial({"lr": 0.3, "weight": 1.0}, 0.0)
    assert best_trial([*failed, good]) is good


def test_the_better_of_two_is_taken_and_of_equals_the_first():
    one, two = Trial({"lr": 0.1}, 50.0), Trial({"lr": 0.2}, 60.0)
    assert best_trial([one, two]) is best_trial([two, one]) is two
    assert best_trial([one, replace(two, val_accuracy=50.0)]) is one


def test_a_missing_optuna_is_one_line_with_the_command(ground, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.setattr("spikingjelly_ckd.errors.installed._is_there", lambda name: name != "optuna")
    with pytest.raises(InstallationError, match=r"--tune needs optuna, which is not installed: pip install 'optuna"):
        command.compare(flags(ground, tmp_path / "out", "--methods", "kd", "--tune", "2"))
    assert not (tmp_path / "out").exists()


# --- which arms ------------------------------------------------------------------------------------------------------


def arms_of(*methods):
    return read_arms(RECIPE, methods)[0]


def found_for(arms, *names):
    """Trials of which the second one, with half the learning rate, is the better."""
    found = {}
    for arm in tuning.arms_to_tune(arms, names):
        space = search_space(arm.recipe)
        given = {name: one.given for name, one in space.items()}
        found[arm.name] = [Trial(given, 40.0), Trial(given | {"lr": 0.05}, 50.0)]
    return found


def test_all_arms_are_tuned_and_plain_with_them():
    arms = arms_of("kd", "enof")
    assert {arm.name for arm in tuning.arms_to_tune(arms, [])} == {"plain", "kd", "enof", "plain, ReLU read-out"}
    assert {arm.name for arm in tuning.arms_to_tune(arms, ["kd"])} == {"plain", "kd"}
    about = {"trials": 2, "epochs": 1, "seed": 9}
    tuned = {arm.name: arm for arm in tuning.tuned_arms(arms, found_for(arms), about, untuned=False)}
    assert {*tuned} == {f"{arm.name} (tuned)" for arm in arms}
    assert {arm.recipe.lr for arm in tuned.values()} == {0.05}
    assert tuned["kd (tuned)"].control == tuned["plain x3 (tuned)"].control == "plain (tuned)"
    assert tuned["enof (tuned)"].control == "plain, ReLU read-out (tuned)"
    assert tuned["plain x3 (tuned)"].factor == 3
    assert tuned["kd (tuned)"].tuned["val_accuracy"] == 50.0
    assert len(tuned["kd (tuned)"].tuned["tried"]) == 2


def test_untuned_arms_stay_where_they_are_asked_for_or_needed():
    arms = arms_of("kd", "dkd")
    about = {"trials": 2, "epochs": 1, "seed": 9}

    def names(*named, untuned=False):
        return {arm.name for arm in tuning.tuned_arms(arms, found_for(arms, *named), about, untuned=untuned)}

    tuned = {"plain (tuned)", "plain x3 (tuned)", "kd (tuned)"}
    assert names("kd") == tuned | {"plain", "plain x3", "dkd"}
    assert names("kd", untuned=True) == tuned | {"plain", "plain x3", "dkd", "kd"}
    assert names(untuned=True) == tuned | {"dkd (tuned)", "plain", "plain x3", "dkd", "kd"}


def test_an_arm_whose_trials_all_failed_keeps_the_given_values():
    arms = arms_of("plain")
    failed = {"plain": [Trial({"lr": 0.1}, None, "NaN"), Trial({"lr": 0.2}, None, "NaN")]}
    tuned = tuning.tuned_arms(arms, failed, {"trials": 2}, untuned=False)
    assert tuned[0].recipe.lr == 0.1
    assert tuned[0].tuned["val_accuracy"] is None


# --- the whole -------------------------------------------------------------------------------------------------------


def test_a_comparison_of_tuned_arms(tune, tmp_path, capsys):
    found = tune("--methods", "kd", "--seeds", "0", "1")
    names = {"plain (tuned)", "plain x3 (tuned)", "kd (tuned)"}
    assert {*found} == {(name, seed) for name in names for seed in (0, 1)}
    written = json.loads((tmp_path / "out" / "tuning.json").read_text())
    assert written["trials"] == len(written["arms"]["kd"]["tried"]) == len(written["arms"]["plain"]["tried"]) == 2
    assert {*written["arms"]} == {"plain", "kd"}
    assert written["seed"] == 1_000_003
    assert written["epochs"] == 1
    for seed in (0, 1):
        kd, plain, louder = (found[f"{name} (tuned)", seed] for name in ("kd", "plain", "plain x3"))
        assert kd["method"]["tuned"]["values"] == written["arms"]["kd"]["values"]
        assert kd["method"]["tuned"]["tried"] == written["arms"]["kd"]["tried"]
        assert kd["method"]["text"] == written["arms"]["kd"]["method"]
        assert {*kd["method"]["tuned"]["values"]} == {"lr", "weight", "temperature"}
        assert louder["method"]["tuned"] == plain["method"]["tuned"]
        assert [*plain["method"]["tuned"]["values"]] == ["lr"]
        assert kd["control"] == "plain (tuned)"
    table = (tmp_path / "out" / "table.md").read_text()
    assert "| kd (tuned) |" in table
    assert "the best of 2 trials" in table
    assert "seed 1000003" in capsys.readouterr().err
    assert not list((tmp_path / "out" / "checkpoints").glob("tuning-*"))


def test_what_is_trained_is_what_was_taken(tune, monkeypatch):
    rates = {}
    train = Seed.train

    def spy(seed, *rest):
        rates[seed.run.seed] = {name: state.optimizer.param_groups[0]["lr"] for name, state in seed.states.items()}
        train(seed, *rest)

    monkeypatch.setattr(Seed, "train", spy)
    best = Trial({"lr": 0.2}, 90.0)
    monkeypatch.setattr(tuning, "best_trial", lambda tried: replace(best, values=tried[0].values | {"lr": 0.2}))
    tune("--methods", "kd", "--seeds", "4")
    assert rates[4] == {"plain (tuned)": 0.2, "plain x3 (tuned)": 0.2, "kd (tuned)": 0.2}
    assert {*rates} == {4, trained.SEED}
    assert rates[trained.SEED]["kd"] != rates[trained.SEED]["plain"]  # of the second trial, each arm its own


def test_no_image_of_the_test_part_is_looked_at(tune, monkeypatch):
    part, search_ended = InMemory.part, []

    def watched(batches, name):
        assert name == "val" or search_ended
        return part(batches, name)

    write = tuning._write_all
    monkeypatch.setattr(InMemory, "part", watched)
    monkeypatch.setattr(command, "rehearsed", lambda plan, data, methods, unfit: (plan, {}, 1.0))
    monkeypatch.setattr(tuning, "_write_all", lambda *rest: (search_ended.append(True), write(*rest)))
    tune("--methods", "kd", "--seeds", "0")
    assert search_ended


def test_a_search_that_was_stopped_goes_on_as_if_it_had_not(tune, tmp_path, monkeypatch):
    more = ("--methods", "kd", "ckd", "--tune-epochs", "2")
    whole = tune(*more, out=tmp_path / "whole", seeds=False)
    out = tmp_path / "stopped"
    for epochs in (1, 3):  # in the middle of the first trial, then of the second
        with pytest.raises(StoppedError):
            tune(*more, out=out, stop=stop_after(epochs, of=4))
        assert not (out / "tuning.json").exists()
    done = json.loads((out / "tuning" / "kd.json").read_text())["trials"]
    assert len(done) == 1
    begun = []
    begin = tuning.Plan.begin
    monkeypatch.setattr(tuning.Plan, "begin", lambda plan, *rest: (begun.append(len(plan.arms)), begin(plan, *rest))[1])
    assert tune(*more, out=out, seeds=False) == whole
    assert tune(*more, out=out, seeds=False) == whole
    assert begun[1:] == [3] or begun == [3]  # the second trial; nothing ran again


def test_arms_are_searched_the_same_in_any_company(tune, tmp_path):
    together = tune("--methods", "kd", "ckd", out=tmp_path / "together", seeds=False)
    alone = tune("--methods", "kd", out=tmp_path / "alone", seeds=False)
    assert {name: together["arms"][name] for name in alone["arms"]} == alone["arms"]
    grown = tune("--methods", "kd", "ckd", out=tmp_path / "alone", seeds=False)  # an arm that is asked for later
    assert grown == together


def test_a_trial_that_fails_is_recorded_and_the_others_go_on(tune, monkeypatch):
    draw = propose

    def beyond(space, tried, *seeds):
        values = draw(space, tried, *seeds)
        return values | {"temperature": -1.0} if tried and "temperature" in space else values

    monkeypatch.setattr(trained, "propose", beyond)
    arms = tune("--methods", "kd", seeds=False)["arms"]
    assert "temperature must be" in arms["kd"]["tried"][1]["failed"]
    assert arms["kd"]["tried"][1]["val_accuracy"] is None
    assert arms["kd"]["values"] == arms["kd"]["tried"][0]["values"]
    assert arms["plain"]["tried"][1]["val_accuracy"] is not None


def test_other_settings_of_a_search_are_refused_and_a_damaged_file_is_set_aside(tune, tmp_path):
    first = tune("--methods", "kd", seeds=False)
    with pytest.raises(ValueError, match="tune 2 -> 3"):
        tune("--methods", "kd", trials=3)
    path = tmp_path / "out" / "tuning" / "kd.json"
    for text in (
        "{",
        '{"asked": {}, "trials": [{"values": {"lr": "x"}}]}',
        '{"asked": {}, "trials": [{"values": {}}]}',
    ):
        path.write_text(text)
        assert tune("--methods", "kd", seeds=False) == first
        assert len(list(path.parent.glob("kd.json*damaged*"))) >= 1


def test_flags_that_do_not_go_together_are_refused(ground, tmp_path):
    pytest.importorskip("optuna")
    for more, words in (
        (["--tune-epochs", "2"], "tune_epochs does nothing without --tune"),
        (["--untuned"], "untuned does nothing without --tune"),
        (["--tune", "2", "--tune-methods", "dkd"], "tune_methods must be of the arms, plain, plain x3, kd, got dkd"),
        (["--tune", "2", "--tune-epochs", "1", "--warmup-epochs", "1"], "tune_epochs must be above warmup_epochs"),
    ):
        with pytest.raises(ValueError, match=words):
            command.compare(flags(ground, tmp_path / "out", "--methods", "kd", *more))
    more = ("--tune", "2", "--tune-epochs", "1")
    with pytest.raises(ValueError, match=r"tune_epochs must be above warmup_epochs \(1\), got 1"):
        command.compare(flags(ground, tmp_path / "out", "--methods", "kd@warmup_epochs=1", *more))
    assert not (tmp_path / "out").exists()


def test_a_budget_that_the_search_takes_leaves_the_seeds_for_the_next_time(ground, tmp_path, monkeypatch, capsys):
    pytest.importorskip("optuna")
    asked = flags(ground, tmp_path / "out", "--methods", "kd", "--seeds", "0", "--tune", "2", "--budget", "1s")
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(command, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(command, "run_seeds", None)  # nothing is trained

    def takes_time(plan, arms, **_):
        clock.now += 1.0
        return plan

    monkeypatch.setattr(command, "tuned_plan", takes_time)
    assert command.compare(asked) == 0
    assert "seed 0 did not fit into the budget; the same command goes on with it" in capsys.readouterr().err
    monkeypatch.setattr(command, "tuned_plan", lambda plan, arms, **_: None)
    assert command.compare(asked) == 0


def test_a_budget_that_holds_no_search_names_the_flags_of_the_search(ground, tmp_path):
    pytest.importorskip("optuna")
    asked = flags(ground, tmp_path / "out", "--methods", "kd", "--seeds", "0", "--tune", "900", "--budget", "20s")
    with pytest.raises(ValueError, match=r"pass fewer trials \(--tune\), --tune-epochs or --tune-methods, or a larger"):
        command.compare(asked)


def test_the_table_compares_tuned_arms_with_tuned_controls(compared_records):
    found = compare_records(compared_records, "plain (tuned)")
    assert {*found.differences} == {"kd (tuned)", "plain x3 (tuned)"}
    louder = compare_records(compared_records, "plain x3 (tuned)")
    assert "kd (tuned)" in louder.differences
    assert "kd" not in louder.differences
    text = render(compared_records)
    assert "kd (tuned) +20.00" in text
    assert "| lr 0.05, the best of 4 trials |" in text


@pytest.fixture
def compared_records():
    tuned = {"tuned": {"values": {"lr": 0.05}, "trials": 4}}
    accuracies = {"plain": 50, "plain x3": 50, "kd": 50, "plain (tuned)": 60, "plain x3 (tuned)": 60, "kd (tuned)": 80}
    return [
        ArmRecord(
            arm=arm,
            control="plain" + " (tuned)" * ("tuned" in arm),
            seed=seed,
            method=tuned if "tuned" in arm else {},
            test_accuracy=accuracy + 0.1 * (seed * (2 if "kd" in arm else 1) % 3),
        )
        for arm, accuracy in accuracies.items()
        for seed in range(3)
    ]


@pytest.mark.slow
def test_a_search_over_processes_is_the_search_in_one(ground, tune, tmp_path):
    more = ("--methods", "kd", "--seeds", "0", "--epochs", "1", "--tune", "2")
    whole = tune("--methods", "kd", out=tmp_path / "whole", seeds=False)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuning, "run_seeds", workers.run_seeds)
        patch.setattr(command, "run_seeds", workers.run_seeds)
        assert command.compare(flags(ground, tmp_path / "out", *more, "--jobs", "2")) == 0
    assert json.loads((tmp_path / "out" / "tuning.json").read_text()) == whole
    assert {name for name, _ in results(tmp_path / "out")} == {"plain (tuned)", "plain x3 (tuned)", "kd (tuned)"}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_search_that_is_killed_twice_ends_like_one_that_is_not(ground, tune, tmp_path, monkeypatch):
    monkeypatch.setattr(tiny_nets, "PAUSE", 0)  # in this process, which nobody kills
    asked = ("--methods", "kd", "--seeds", "0", "--epochs", "4", "--student", "tiny_nets:slow_student")
    whole = tune(*asked, out=tmp_path / "whole", trials=3)
    out = tmp_path / "killed"
    line = flags(ground, out, *asked, "--tune", "3", "--jobs", "2")
    kill_twice(line, lambda: any((out / "checkpoints").glob("tuning-*/latest.ckpt")))
    assert results(out) == whole
    one, other = (json.loads((tmp_path / name / "tuning.json").read_text()) for name in ("whole", "killed"))
    assert one == other

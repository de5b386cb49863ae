"""Plots of what runs left: the numbers are those of the records, and no name of a run breaks them."""

import itertools
import math
import warnings
from dataclasses import replace

import matplotlib
import pytest
import torch
from matplotlib.markers import CARETDOWN
from matplotlib.text import Text
from report_cases import HOSTILE, arm

from spikingjelly_ckd.recipes.report.plots import fonts
from spikingjelly_ckd.recipes.report.plots.results import (
    differences,
    plot_accuracy_and_energy,
    plot_confusion,
    plot_forest,
    plot_layer_rates,
    plot_training,
)
from spikingjelly_ckd.recipes.report.plots.style import save_figure

pytestmark = pytest.mark.tools

PLAIN = [arm("plain", seed, value) for seed, value in enumerate((60.0, 62.0, 61.0))]
KD = [arm("kd", seed, value) for seed, value in enumerate((70.1, 71.9, 71.2))]
SAME = [arm("nld", seed, value) for seed, value in enumerate((60.2, 61.9, 61.1))]


def texts(axes):
    return [text.get_text() for text in axes.texts]


def on_an_axis(figure):
    """Texts of a drawn figure that the line of an axis touches."""
    return [
        text.get_text()
        for axes in figure.axes
        if axes.get_visible()
        for text in (*axes.texts, *axes.get_xticklabels(), *axes.get_yticklabels())
        for spine in axes.spines.values()
        if spine.get_visible() and text.get_text() and text.get_window_extent().overlaps(spine.get_window_extent())
    ]


def test_the_forest_says_the_differences_and_marks_those_told_apart():
    records = [*PLAIN, *SAME, *KD]
    axes = plot_forest(records).axes[0]
    found = differences(records)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["kd", "nld"]  # the best first
    assert texts(axes) == [str(found["kd"][1]), str(found["nld"][1])]
    bars = {line.get_ydata()[0]: line.get_xdata() for line in axes.lines[1:] if line.get_marker() == "None"}
    assert list(bars[0]) == pytest.approx([found["kd"][1].low, found["kd"][1].high])
    filled = [line.get_markerfacecolor() != "none" for line in axes.lines if line.get_marker() not in ("None", "")]
    assert filled == [True, False]


def test_one_ruined_arm_hides_no_other():
    ruined = [arm("mgd", seed, 10.0 + seed) for seed in range(3)]
    axes = plot_forest([*PLAIN, *SAME, *KD, *ruined]).axes[0]
    low, high = axes.get_xlim()
    assert low > -40
    assert high < 40
    assert "<" in [line.get_marker() for line in axes.lines]
    assert texts(axes)[-1].startswith("-50")


def test_each_arm_of_a_forest_has_its_own_control():
    control = [arm("plain, ReLU", seed, 64.0 + seed, control="plain, ReLU") for seed in range(3)]
    enof = [arm("enof", seed, 65.0 + seed, control="plain, ReLU") for seed in range(3)]
    records = [*PLAIN, *KD, *control, *enof]
    assert differences(records)["enof"][0] == "plain, ReLU"
    assert differences(records)["enof"][1].mean == pytest.approx(1.0)
    labels = [label.get_text() for label in plot_forest(records).axes[0].get_yticklabels()]
    assert "enof\nbeside plain, ReLU" in labels


def test_curves_are_means_in_bands_from_the_lowest_to_the_highest():
    figure = plot_training([*PLAIN, *KD])
    axes = figure.axes[0]
    plain, kd = axes.lines
    assert list(plain.get_xdata()) == [1, 2, 3]
    assert list(plain.get_ydata()) == pytest.approx([41.0, 56.0, 61.0])
    band = axes.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == 40.0
    assert band[:, 1].max() == 62.0
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "validation accuracy, %")
    assert kd.get_linestyle() != plain.get_linestyle()


def test_many_arms_have_a_field_each_with_their_control():
    many = [record for name in "abcdef" for record in (arm(name, 0, 70.0), arm(name, 1, 72.0))]
    figure = plot_training([*PLAIN, *many], part="test")
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title() for axes in shown] == list("abcdef")
    assert all(len(axes.lines) == 2 for axes in shown)


def test_epochs_without_an_accuracy_are_gaps():
    holes = arm("kd", 0, 70.0, history=[{"val_accuracy": None}, {"loss": 1.0}, {"val_accuracy": 50.0}])
    assert list(plot_training([holes]).axes[0].lines[0].get_xdata()) == [3]
    with pytest.raises(ValueError, match="no curve"):
        plot_training([arm("kd", 0, None)])


def test_energy_has_the_range_over_the_seeds():
    axes = plot_accuracy_and_energy([*PLAIN, *KD, arm("far", 0, 60.0, energy_mj=1e300)]).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("energy of one image, mJ", "test accuracy, %")
    assert len(axes.containers) == 2  # what no axis holds is left out
    assert axes.containers[0].lines[0].get_xdata()[0] == pytest.approx(0.0041)
    with pytest.raises(ValueError, match="nothing to draw"):
        plot_accuracy_and_energy([arm("kd", 0, 60.0, energy_mj=None)])


def test_energies_that_differ_by_rounding_look_alike():
    alike = [
        arm(f"kd:weight={number}", seed, 60.0, energy_mj=0.00712 + 1e-9 * (number + seed))
        for number in range(3)
        for seed in range(2)
    ]
    figure = plot_accuracy_and_energy(alike)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    low, high = axes.get_xlim()
    assert 0 < low < 0.00712 < high
    assert high - low >= 0.019 * 0.00712
    assert axes.xaxis.get_major_formatter().get_offset() == ""
    assert len({text.get_text() for text in axes.get_xticklabels()}) == len(axes.get_xticklabels())


def test_arms_that_learned_nothing_hide_no_energy():
    ruined = [arm("at", seed, 10.0 + seed, energy_mj=0.5) for seed in range(3)]
    others = [arm(f"nkd:weight={number}", 0, 61.0) for number in range(9)]
    for more in ([], [*others, *(arm("sp", seed, 9.0 + seed, energy_mj=0.5) for seed in range(3))]):
        figure = plot_accuracy_and_energy([*PLAIN, *SAME, *KD, *ruined, *more])
        axes = figure.axes[0]
        assert axes.get_ylim()[0] > 55
        carets = {line.get_label(): line.get_xydata()[0] for line in axes.lines if line.get_marker() == CARETDOWN}
        assert [*carets] == (["at, 11.0 %", "sp, 10.0 %"] if more else ["at, 11.0 %"])
        assert len({tuple(place) for place in carets.values()}) == len(carets), "none lies over another"
        (legend,) = [axes.get_legend()] if axes.get_legend() else figure.legends
        assert legend.get_title().get_text().endswith("caret at the edge: below the axis")
        assert legend.get_texts()[-1].get_text().endswith([*carets][-1])
    for several in ([*PLAIN, *ruined], [*PLAIN, *SAME, *KD, *ruined, *(replace(run, arm="sp") for run in ruined)]):
        assert plot_accuracy_and_energy(several).axes[0].get_ylim()[0] < 10, "of few arms all are in sight"


def test_a_column_holds_the_whole_figure():
    names = ("plain", "kd:weight=1.0,task_weight=1.0,temperature=2.0", *(f"ckd:beta={n}" for n in range(9)))
    many = [arm(name, seed, 60.0 + index + seed) for index, name in enumerate(names) for seed in range(3)]
    control = [arm("plain, ReLU", seed, 64.0 + seed, control="plain, ReLU") for seed in range(3)]
    enof = [arm("enof", seed, 65.0 + seed, control="plain, ReLU") for seed in range(3)]
    rates = {name: {f"stage{n}.0.a.long.name.lif1": 0.1 * n for n in range(4)} for name in names}
    figures = [
        *(plot_forest(records, width="column") for records in (many, [*many, *control, *enof], [*PLAIN, *KD])),
        *(plot_training(records, width="column") for records in (many, [*PLAIN, *KD])),
        *(plot_accuracy_and_energy(records, width="column") for records in (many, [*PLAIN, *KD])),
        *(plot_layer_rates(of, width="column") for of in (rates, dict(list(rates.items())[:3]))),
    ]
    for figure in figures:
        assert figure.get_figwidth() == 3.4
        figure.draw_without_rendering()
        assert on_an_axis(figure) == []
        whole = figure.get_tightbbox()
        assert whole.x0 > -0.05
        assert whole.x1 < 3.45
        labels = [label for axes in figure.axes for label in axes.get_xticklabels() if axes.get_visible()]
        boxes = [label.get_window_extent() for label in labels if label.get_text() and label.get_rotation() == 0]
        assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    assert {"ckd:beta=8", "+10.00", "kd:weight=1.0,\ntask_weight=1.0,\ntemperature=2.0"} <= {*texts(figures[0].axes[0])}
    for forest in figures[:3]:  # names stand over their marks, and beside the numbers
        boxes = [text.get_window_extent() for text in forest.axes[0].texts]
        boxes += [line.get_window_extent() for line in forest.axes[0].lines if len(line.get_xdata()) == 1]
        over = [one for one, other in itertools.combinations(boxes, 2) if one.overlaps(other)]
        assert over == []


@pytest.mark.parametrize("draw", [plot_forest, plot_training, plot_accuracy_and_energy])
def test_no_name_of_a_page_touches_an_axis(draw):
    long = [arm("kd:weight=1.0,task_weight=1.0,temperature=2.0", seed, 70.0 + seed) for seed in range(3)]
    figure = draw([*PLAIN, *SAME, *KD, *long])
    figure.draw_without_rendering()
    assert on_an_axis(figure) == []


@pytest.mark.parametrize("draw", [plot_forest, plot_training, plot_accuracy_and_energy])
def test_another_width_is_refused(draw):
    with pytest.raises(
        ValueError, match=r"width must be one of \['column', 'page'\], got 'colum'; did you mean 'column'"
    ):
        draw([*PLAIN, *KD], width="colum")
    with pytest.raises(ValueError, match="width must be"):
        plot_layer_rates({"kd": {"lif": 0.1}}, width="phone")


def test_an_accuracy_of_zero_is_one():
    assert plot_accuracy_and_energy([arm("kd", 0, 0.0)]).axes[0].containers


def test_many_arms_have_numbers_that_do_not_cover_each_other():
    alike = [arm(f"kd:weight={number}", seed, 70.0 + 0.1 * seed) for number in range(20) for seed in range(2)]
    figure = plot_accuracy_and_energy([*PLAIN, *alike])
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in figure.axes[0].texts]  # without their lines
    assert [text.get_text() for text in figure.axes[0].texts] == [str(number) for number in range(1, 22)]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert named[0] == "1  kd:weight=0"
    assert named[-1] == "21  plain"  # the best first
    assert figure.legends[0].get_title().get_text() == "mean; bars: lowest to highest seed"


@pytest.mark.parametrize(
    "kept", ["kd:weight=1.0,task_weight=1.0,temperature={}", "{}" + "x" * 90, "x" * 90 + "{}" + "x" * 90]
)
def test_long_names_that_differ_stay_different(kept):
    names = [kept.format(value) for value in "245678"]
    records = [*PLAIN, *(arm(name, seed, 70.0 + seed) for name in names for seed in range(2))]
    forest, curves = plot_forest(records), plot_training(records)
    assert len({label.get_text() for label in forest.axes[0].get_yticklabels()}) == 6
    assert len({axes.get_title() for axes in curves.axes if axes.get_visible()}) == 6
    classes = plot_confusion(torch.eye(6), names).axes[0]
    assert len({label.get_text() for label in classes.get_yticklabels()}) == 6


def test_bands_and_bars_say_what_they_are():
    for several, words in (([*PLAIN, *KD], "lowest to highest seed"), ([PLAIN[0], KD[0]], "")):
        for figure in (plot_training(several), plot_accuracy_and_energy(several)):
            title = figure.axes[0].get_legend().get_title().get_text()
            assert title.endswith(words)
            assert bool(title) == bool(words)


def test_a_single_epoch_has_one_tick():
    axes = plot_training([arm("kd", 0, 60.0, history=[{"val_accuracy": 60.0}])]).axes[0]
    low, high = axes.get_xlim()
    assert [tick for tick in axes.get_xticks() if low < tick < high] == [1]


def test_rates_stand_beside_their_layers():
    axes = plot_layer_rates({"kd": {"a": 0.25, "b": 0.5}, "plain": {"b": 0.1}}).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    kd, plain = axes.lines
    assert list(kd.get_xdata()) == [25.0, 50.0]
    assert (list(plain.get_xdata()), list(plain.get_ydata())) == ([10.0], [1])
    with pytest.raises(ValueError, match="no firing rate"):
        plot_layer_rates({"kd": {}})


def test_rates_of_many_networks_are_a_map_with_a_scale():
    rates = {f"kd:weight={number}": {"a": 0.01 * number, "b": 0.5} for number in range(30)}
    rates["kd:weight=3"] = {"b": 0.5}
    figure = plot_layer_rates(rates)
    axes, scale = figure.axes
    assert axes.images[0].get_array().shape == (2, 30)
    assert math.isnan(axes.images[0].get_array().filled(math.nan)[0, 3])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert scale.get_ylabel() == "firing rate, % of neurons and time steps"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.draw_without_rendering()
    assert plot_layer_rates({str(number): {"a": 0.0} for number in range(9)}).axes[0].images


def test_confusions_are_shares_of_the_true_class():
    figure = plot_confusion(torch.tensor([[8, 2, 0], [0, 0, 0], [1, 1, 2]]), ["a", "b", "c"])
    axes, scale = figure.axes
    shown = axes.images[0].get_array().filled(math.nan)
    assert shown[0].tolist() == [80, 20, 0]
    assert all(map(math.isnan, shown[1]))
    assert texts(axes) == ["80", "20", "25", "25", "50"]
    assert scale.get_ylabel() == "share of the true class, %"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")


@pytest.mark.parametrize(
    ("counts", "names", "words"),
    [
        (torch.ones(2, 3), None, r"\[K, K\]"),
        (torch.tensor([[1.0, -1.0], [0.0, 1.0]]), None, "below 0"),
        (torch.tensor([[1.0, math.nan], [0.0, 1.0]]), None, "finite"),
        (torch.zeros(2, 2), None, "hold an image"),
        (torch.ones(2, 2), ["a"], "one for each class"),
        ([[1, 2], [3, 4]], None, r"counts must be a tensor \[K, K\] of real numbers, got list"),
        (torch.ones(2, 2, dtype=torch.complex64), None, "of real numbers, got torch.complex64"),
    ],
)
def test_what_is_no_confusion_matrix_is_refused(counts, names, words):
    with pytest.raises((TypeError, ValueError), match=words):
        plot_confusion(counts, names)


def test_a_hundred_classes_are_readable():
    axes = plot_confusion(torch.eye(100)).axes[0]
    assert len(axes.get_yticks()) <= 25
    assert not axes.texts


def test_numbers_of_a_loop_are_drawn_as_records_are():
    accuracies = {"plain": torch.tensor([60.0, 62.0, 61.0]), "kd": [70.1, 71.9, 71.2]}
    of_records, own = plot_forest([*PLAIN, *KD]).axes[0], plot_forest(accuracies).axes[0]
    assert texts(own) == texts(of_records)
    others = plot_forest({"mine": accuracies["plain"], "kd": accuracies["kd"][:2]}, control="mine").axes[0]
    assert [label.get_text() for label in others.get_yticklabels()] == ["kd"]
    curves = plot_training({"kd": [[10.0, 30.0], [20.0, 50.0]]}, part="test").axes[0]
    assert curves.lines[0].get_ydata().tolist() == [15.0, 40.0]
    (mark,) = plot_accuracy_and_energy({"kd": torch.tensor([[60.0, 0.02], [62.0, 0.04]])}).axes[0].containers
    assert mark.lines[0].get_xydata().tolist() == [pytest.approx([0.03, 61.0])]


@pytest.mark.parametrize(
    ("draw", "given", "words"),
    [
        (plot_forest, {"kd": [60.0]}, r"control must be one of the arms \['kd'\], got 'plain'"),
        (plot_forest, {"plain": [0.5], "kd": [161.0]}, "accuracies in percent, from 0 to 100, got 161"),
        (plot_forest, {"plain": [[0.5]], "kd": [[1.0]]}, r"must have \[seeds\] for each arm, got \(1, 1\) for 'plain'"),
        (plot_forest, {"plain": [], "kd": [1.0]}, r"must have \[seeds\] for each arm, got \(0,\) for 'plain'"),
        (plot_training, {"kd": [1.0, 2.0]}, r"must have \[seeds, epochs\] for each arm, got \(2,\) for 'kd'"),
        (plot_training, {"kd": [[1.0, math.nan]]}, "must be finite, and a value of 'kd' is not"),
        (plot_accuracy_and_energy, {"kd": [[60.0, 0.1, 2.0]]}, "an accuracy in percent and an energy in mJ for each"),
        (plot_accuracy_and_energy, {"kd": [[60.0, -0.1]]}, "an accuracy in percent and an energy in mJ for each seed"),
        (plot_training, {"kd": [["a"]]}, r"'kd' must have numbers \[seeds, epochs\]: "),
        (plot_forest, {"plain": [60.0], 3: [61.0]}, "must have a text as the name of each arm, got 3"),
        (plot_layer_rates, {"kd": {"a": -0.1}}, r"rates\['kd'\]\['a'\] must be at least 0 and finite, got -0.1"),
        (plot_layer_rates, {"kd": {"a": 12.0}}, r"rates\['kd'\]\['a'\] must be a share from 0 to 1, got 12"),
        (plot_layer_rates, {"kd": {"a": math.nan}}, "must be at least 0 and finite, got nan"),
        (plot_layer_rates, {"kd": {"a": "x"}}, r"rates\['kd'\]\['a'\] must be a number, got str 'x'"),
        (plot_layer_rates, {"a": 0.5}, "rates must hold network -> layer -> rate, got float for 'a'"),
        (plot_training, {"kd": [[1.0, 2.0], [3.0]]}, r"'kd' must have numbers \[seeds, epochs\]: "),
    ],
)
def test_numbers_that_cannot_be_drawn_are_refused(draw, given, words):
    with pytest.raises((TypeError, ValueError), match=words):
        draw(given)


def test_names_are_drawn_with_the_chinese_fonts_of_the_machine(monkeypatch):
    monkeypatch.setattr(fonts, "CHINESE_FONTS", ("a font that nobody has", "STIXGeneral"))
    before = matplotlib.rcParams["font.family"].copy()
    label = plot_confusion(torch.eye(1), ["\u732b"]).axes[0].get_xticklabels()[0]
    assert label.get_fontfamily() == [*before, "STIXGeneral"]
    assert matplotlib.rcParams["font.family"] == before


def test_no_name_of_a_run_breaks_a_plot(tmp_path):
    records = [*PLAIN, *(arm(text, seed, 65.0 + seed) for text in HOSTILE for seed in range(3))]
    few = [*PLAIN, *(arm(text, seed, 65.0 + seed) for text in HOSTILE[6:8] for seed in range(3))]
    rates = {text: {other: 0.1 for other in HOSTILE} for text in HOSTILE[:4]}
    figures = [
        plot_forest(records),
        plot_training(records),
        plot_training(few),
        plot_accuracy_and_energy(records),
        plot_accuracy_and_energy(few),
        plot_layer_rates(rates),
        plot_confusion(torch.eye(len(HOSTILE)), HOSTILE),
    ]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        for number, figure in enumerate(figures):
            svg = save_figure(figure, tmp_path / f"{number}.svg").read_text("utf8")
            assert "<script" not in svg
            assert "\u202e" not in svg
    assert "hidden" in (tmp_path / "2.svg").read_text("utf8")  # matplotlib leaves out names with an underscore
    with pytest.raises(ValueError, match="no arm shares a seed"):
        plot_forest(KD)

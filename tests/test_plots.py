"""Figures: what they show, what they refuse, a scale on each, one look that survives grey, and no trace left behind."""

import ast
import itertools
import math
import sys
import warnings
from pathlib import Path

import matplotlib
import pytest
import torch
from conftest import tiny_student, tiny_teacher
from matplotlib.figure import Figure
from PIL import Image
from spikingjelly.activation_based import functional, layer, neuron
from torch import nn

from spikingjelly_ckd import CKDDistiller, Distiller
from spikingjelly_ckd.methods import KDLoss, SAMDLoss
from spikingjelly_ckd.recipes.report import plots
from spikingjelly_ckd.recipes.report.plots import style
from spikingjelly_ckd.recipes.report.plots.activity import (
    firing_rates,
    plot_distiller_rates,
    plot_distiller_spikes,
    plot_firing_rates,
    plot_spikes,
)
from spikingjelly_ckd.recipes.report.plots.agreement import own_range
from spikingjelly_ckd.recipes.report.plots.landscape import plot_landscape
from spikingjelly_ckd.recipes.report.plots.looking import MapReader, see_maps
from spikingjelly_ckd.recipes.report.plots.maps import (
    map_agreement,
    plot_distiller_maps,
    plot_maps,
    plot_seen_maps,
)

MAPS = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(2))
OTHERS = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(3))
PHOTOS = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(4))
EVENTS = torch.randint(0, 3, (5, 3, 2, 16, 16), generator=torch.Generator().manual_seed(5)).float()
GRID = [-1.0, -0.5, 0.0, 0.5, 1.0]
BOWL = 1 + torch.tensor(GRID).square() + torch.tensor(GRID).square().unsqueeze(1)
SPIKES = (torch.rand(4, 3, 6, 5, 5, generator=torch.Generator().manual_seed(6)) < 0.2).float()


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def scales(figure):
    """Labels of the colour bars."""
    bars = [axes for axes in figure.axes if hasattr(axes, "_colorbar")]
    return [axes.get_xlabel() or axes.get_ylabel() for axes in bars]


def panels(figure):
    return figure.axes[0].images


def rates(steps=4):
    return {name: torch.arange(6.0 * steps).view(steps, 6) / 50 for name in ("first", "second")}


EVERY = {
    "maps of images": (lambda: plot_maps(PHOTOS, MAPS, {"student": OTHERS}), 2),
    "maps of events": (lambda: plot_maps(EVENTS, MAPS, {"plain": OTHERS, "CKD": OTHERS}), 3),
    "maps of tokens": (lambda: plot_maps(PHOTOS, MAPS.flatten(1), {"student": MAPS.flatten(1)}, grid=(4, 4)), 2),
    "maps of a student alone": (lambda: plot_maps(PHOTOS[:, :1], None, {"student": OTHERS}), 1),
    "spikes": (lambda: plot_spikes(SPIKES), 1),
    "ternary spikes": (lambda: plot_spikes(SPIKES - SPIKES.flip(2)), 1),
    "firing rates": (lambda: plot_firing_rates({"plain": rates(), "CKD": rates()}), 1),
    "landscape": (lambda: plot_landscape({"plain": BOWL, "CKD": 2 * BOWL}, GRID), 1),
    "landscape with a line": (
        lambda: plot_landscape({"a": BOWL}, GRID, lines={"a": BOWL[2]}, line_positions=GRID),
        1,
    ),
}


# --- every figure ----------------------------------------------------------------------------------------------------


@pytest.mark.tools
@pytest.mark.parametrize("name", EVERY)
def test_every_figure_has_a_scale_named_axes_and_is_drawn(name, tmp_path):
    draw, expected = EVERY[name]
    before = dict(matplotlib.rcParams)
    figure = draw()
    assert isinstance(figure, Figure)
    assert dict(matplotlib.rcParams) == before
    assert len(scales(figure)) == expected
    assert all(scales(figure)), "a colour bar says what it shows"
    for axes in figure.axes:
        if not axes.axison or hasattr(axes, "_colorbar"):
            continue
        shared = axes.get_shared_x_axes().get_siblings(axes), axes.get_shared_y_axes().get_siblings(axes)
        assert any(other.get_xlabel() for other in shared[0])
        assert any(other.get_ylabel() for other in shared[1])
    for ending in ("png", "svg", "pdf"):
        path = tmp_path / "new" / f"figure.{ending}"
        first, second = (style.save_figure(draw(), path, dpi=60).read_bytes() for _ in range(2))
        assert first == second
    if "matplotlib.pyplot" in sys.modules:
        assert not sys.modules["matplotlib.pyplot"].get_fignums(), "no figure is pyplot's"
    assert dict(matplotlib.rcParams) == before


def test_the_package_draws_without_pyplot():
    for path in Path(plots.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            module = getattr(node, "module", "") or ""
            assert "pyplot" not in [*names, *module.split(".")], f"{path.name} imports pyplot"
            assert "matplotlib.pyplot" not in names


def lightness(colours):
    """CIE L* of colours ``[N, 3]`` in sRGB."""
    linear = torch.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    y = linear @ torch.tensor([0.2126, 0.7152, 0.0722], dtype=linear.dtype)
    return torch.where(y > 216 / 24389, 116 * y ** (1 / 3) - 16, y * 24389 / 27)


@pytest.mark.parametrize("colours", [style.EVIDENCE, style.SIGNED], ids=lambda colours: colours.name)
def test_a_print_in_grey_keeps_the_order_of_the_values(colours):
    grey = lightness(torch.from_numpy(colours(torch.linspace(0, 1, 256).numpy())[:, :3]))
    steps = grey.diff() * (grey[-1] - grey[0]).sign()
    assert (steps > 0).all()
    assert (grey[-1] - grey[0]).abs() > 75
    assert (grey[128] - grey[[0, -1]]).abs().min() > 30, "zero is told from both ends"


def test_series_differ_in_colour_and_without_colour():
    looks = [style.series_style(k) for k in range(7)]
    assert len({look["color"] for look in looks}) == len({(x["linestyle"], x["marker"]) for x in looks}) == 7


def test_a_scale_needs_a_label_and_a_range():
    figure = style.new_figure(2, 2)
    axes = figure.add_subplot()
    with pytest.raises(ValueError, match="label must say"):
        style.add_scale(figure, axes, style.EVIDENCE, 0, 1, "")
    with pytest.raises(ValueError, match=r"low must be below high, got 1 and 1"):
        style.add_scale(figure, axes, style.EVIDENCE, 1, 1, "map")


def test_a_raster_has_the_figure_s_pixels():
    figure = style.new_figure(2, 1, constrained=False)
    figure.set_facecolor("#D55E00")
    pixels = style.rasterize(figure, dpi=50)
    assert pixels.shape == (3, 50, 100)
    assert (pixels == torch.tensor([0xD5, 0x5E, 0x00]).view(3, 1, 1)).all()


# --- maps ------------------------------------------------------------------------------------------------------------


def test_the_agreement_is_pearson_s_and_the_share_of_peaks():
    student = torch.tensor([[[0.0, 1.0], [2.0, 9.0]], [[5.0, 0.0], [0.0, 5.0]], [[1.0, 0.0], [0.0, 0.0]]])
    teacher = torch.tensor([[[0.0, 2.0], [4.0, 18.0]], [[8.0, 0.0], [1.0, 0.0]], [[0.0, 0.0], [0.0, 3.0]]])
    found = map_agreement(student, teacher)
    for i in range(3):
        by_hand = torch.corrcoef(torch.stack([student[i].flatten(), teacher[i].flatten()]))[0, 1]
        assert found.correlation[i].item() == pytest.approx(by_hand.item(), abs=1e-5)
    assert found.pointing.tolist() == [1.0, 0.5, 0.0]
    tiny = map_agreement(student, 1e-9 * teacher)
    assert torch.allclose(tiny.correlation, found.correlation, atol=1e-5), "no matter how small a class map is"


def test_counts_and_masks_are_maps_as_their_numbers_are():
    counts = torch.arange(12).view(3, 2, 2) % 5
    assert torch.equal(own_range(counts), own_range(counts.float()))
    found, expected = map_agreement(counts, counts.flip(0)), map_agreement(counts.float(), counts.flip(0).float())
    assert torch.equal(found.correlation, expected.correlation)
    plot_maps(PHOTOS, MAPS > 0.5, {"student": MAPS > 0.6})


def test_the_larger_map_is_brought_to_the_smaller_one_s_size():
    fine = torch.rand(2, 8, 8)
    coarse = nn.functional.avg_pool2d(fine, 2)
    assert torch.allclose(map_agreement(fine, coarse).correlation, torch.ones(2), atol=1e-5)


def test_a_constant_map_has_no_agreement_and_its_panel_says_so():
    flat = MAPS.clone()
    flat[1] = 0.5
    found = map_agreement(flat, MAPS)
    assert [math.isnan(value) for value in found.correlation.tolist()] == [False, True, False]
    assert [math.isnan(value) for value in found.pointing.tolist()] == [False, True, False]
    whole, said = plot_maps(PHOTOS, MAPS, {"student": MAPS}), plot_maps(PHOTOS, MAPS, {"student": flat})
    assert len(panels(whole)) - len(panels(said)) == 2, "neither the map nor the difference is drawn"
    assert [text for text in texts(said) if "constant" in text] == ["constant map:\nno position"]
    assert {"not defined", "r not defined"} <= set(texts(said))
    silent = plot_maps(PHOTOS, MAPS, {"student": torch.zeros(3, 4, 4)})
    assert "agreement not defined" in texts(silent)
    blind = plot_maps(PHOTOS, torch.zeros(3, 4, 4), {"student": MAPS})
    assert len([text for text in texts(blind) if "constant" in text]) == 3


def test_a_map_is_drawn_where_it_is():
    corner = torch.zeros(1, 4, 4)
    corner[0, 0, 3] = 7.0
    figure = plot_maps(torch.ones(1, 3, 8, 8), corner, {"student": corner})
    teacher = figure.axes[0].images[1].get_array()
    height, width = teacher.shape[:2]
    dark = torch.from_numpy(teacher.sum(-1)) < 1
    assert dark[: height // 4, 3 * width // 4 :].all()
    assert dark.sum() == height * width / 16
    difference = figure.axes[0].images[3].get_array()
    zero = style.SIGNED(0.5)[:3]
    assert abs(difference - zero).max() < 0.01
    (circle, *_), (cross, *_) = (
        [line for line in figure.axes[0].lines if line.get_marker() == marker] for marker in "ox"
    )
    left, right, bottom, top = figure.axes[0].images[1].get_extent()
    x, y = circle.get_xdata()[0], circle.get_ydata()[0]
    assert x == pytest.approx(left + 0.875 * (right - left))
    assert y == pytest.approx(top + 0.125 * (bottom - top))
    assert len(cross.get_xdata()) == 1


def test_answers_are_marked_right_or_wrong_without_colour():
    labels, said = torch.tensor([1, 2, 0]), {"teacher": torch.tensor([1, 2, 0]), "student": torch.eye(3)}
    figure = plot_maps(PHOTOS, MAPS, {"student": MAPS}, labels=labels, answers=said, classes=["cat", "dog", "hen"])
    found = texts(figure)
    assert [text for text in found if text.startswith("answer")] == [
        *("answer dog ✓", "answer hen ✓", "answer cat ✓"),
        *("answer cat ✗", "answer dog ✗", "answer hen ✗"),
    ]
    assert [text for text in found if text.startswith("true")] == ["true dog", "true hen", "true cat"]
    assert "mean r = 1.00" in found
    without = texts(plot_maps(PHOTOS, MAPS, {"student": MAPS}, answers=said))
    assert "answer 1" in without
    assert not any("✓" in text or "✗" in text for text in without)


def test_normalised_images_are_shown_as_they_were():
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
    normalised = (PHOTOS - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    figure = plot_maps(normalised, MAPS, {"student": MAPS}, mean=mean, std=std)
    shown = figure.axes[0].images[0].get_array()
    finer = shown.shape[0] // 16
    assert abs(shown[::finer, ::finer] - PHOTOS[0].movedim(0, -1).numpy()).max() < 1e-5
    assert "by its own range" not in texts(figure)
    assert "by its own range" in texts(plot_maps(normalised, MAPS, {"student": MAPS}))


def test_events_are_on_minus_off_over_time_on_one_scale():
    figure = plot_maps(EVENTS, MAPS, {"student": MAPS})
    reach = (EVENTS[:, :, 0] - EVENTS[:, :, 1]).sum(0).abs().max().item()
    bar = next(axes for axes in figure.axes if axes.get_xlabel().startswith("events"))
    assert bar.get_xlim() == (-reach, reach)
    counts = plot_maps(EVENTS.sum(0), MAPS, {"student": MAPS})
    assert (figure.axes[0].images[0].get_array() == counts.axes[0].images[0].get_array()).all()


def test_a_class_token_is_no_position():
    tokens = torch.rand(3, 1 + 16)
    by_hand = plot_maps(PHOTOS, tokens[:, 1:].view(3, 4, 4), {"student": MAPS})
    figure = plot_maps(PHOTOS, tokens, {"student": MAPS}, grid=(4, 4))
    for ours, theirs in zip(panels(figure), panels(by_hand), strict=True):
        assert (ours.get_array() == theirs.get_array()).all()


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"students": {}}, ValueError, "students must hold at least one map"),
        ({"students": {"teacher": MAPS}}, ValueError, "rename it"),
        ({"students": {"student": MAPS[:2]}}, ValueError, "student has maps of 2 images and the others of 3"),
        ({"students": {"student": MAPS[0]}}, ValueError, r"pass grid=\(h, w\)|grid must be"),
        ({"students": {"student": MAPS.unsqueeze(1)}}, ValueError, r"student must be \[N, h, w\] or \[N, L\]"),
        ({"students": {"student": "map"}}, TypeError, "student must be a tensor"),
        ({"students": {"student": MAPS / 0}}, ValueError, "student holds NaN or inf"),
        ({"teacher": torch.rand(3, 1, 1)}, ValueError, "teacher has one position only"),
        ({"teacher": torch.rand(3, 17)}, ValueError, r"grid must be \(h, w\)"),
        ({"images": PHOTOS[:2]}, ValueError, "images are 2 and the maps of 3"),
        ({"images": EVENTS.transpose(0, 1)}, ValueError, r"batch-first: pass images.transpose\(0, 1\)"),
        ({"images": PHOTOS.movedim(1, -1)}, ValueError, "1 or 3 channels, or 2 polarities, got 16"),
        ({"images": PHOTOS[0]}, ValueError, r"images must be \[N, C, H, W\] or \[T, N, C, H, W\]"),
        ({"images": PHOTOS * math.inf}, ValueError, "images hold NaN or inf"),
        ({"labels": torch.arange(2)}, ValueError, "N is 3 here and 2"),
        ({"answers": {"student": torch.arange(4)}}, ValueError, "answers of 'student' are 4 and the images 3"),
        (
            {"answers": {"plain": torch.arange(3)}},
            ValueError,
            "answers must be of 'teacher' or of .'student'., got 'pl",
        ),
        ({"answers": {"student": torch.rand(3)}}, TypeError, "answers.'student'. must be class indices, whole numbers"),
        ({"labels": torch.rand(3)}, TypeError, "labels must be class indices, whole numbers, got torch.float32"),
        (
            {"labels": torch.arange(3), "classes": ["a", "b"]},
            ValueError,
            "labels must be 0 to 1 for the 2 classes, got 2",
        ),
        ({"mean": (0.5,) * 3}, ValueError, "pass mean and std together"),
        ({"mean": (0.5,) * 2, "std": (0.5,) * 2}, ValueError, "mean must be of each of 3 channels, got 2 numbers"),
        (
            {"images": PHOTOS[:0], "teacher": MAPS[:0], "students": {"student": MAPS[:0]}},
            ValueError,
            "images must hold one at least",
        ),
    ],
)
def test_axes_and_values_that_cannot_be_right_are_refused(change, error, words):
    given = {"images": PHOTOS, "teacher": MAPS, "students": {"student": MAPS}} | change
    with pytest.raises(error, match=words):
        plot_maps(**given)


def test_a_long_name_does_not_run_into_its_neighbour():
    figure = plot_maps(PHOTOS, MAPS, {"a very long name of a network": MAPS})
    assert "a very long..." in texts(figure)


def overlapping(figure):
    """Pairs of texts of a sheet that lie over each other, and texts that are cut."""
    figure.draw_without_rendering()
    boxes = {text: text.get_window_extent() for text in figure.axes[0].texts}
    page = figure.bbox
    over = [(a.get_text(), b.get_text()) for a, b in itertools.combinations(boxes, 2) if boxes[a].overlaps(boxes[b])]
    cut = [text.get_text() for text, box in boxes.items() if box.x0 < -1 or box.x1 > page.x1 + 1 or box.y0 < -1]
    return over + cut


@pytest.mark.parametrize("count", [1, 3, 6])
def test_no_text_of_a_sheet_lies_over_another(count):
    labels = torch.tensor([0, 1, 0])
    students = {f"{number} {'W' * 20}": OTHERS for number in range(count)}
    answers = dict.fromkeys([*students, "teacher"], labels)
    names = ["W" * 30, "a class with a long name"]
    assert overlapping(plot_maps(PHOTOS, MAPS, students, labels=labels, answers=answers, classes=names)) == []


@pytest.mark.tools
@pytest.mark.parametrize("name", [r"$\frac$", "a$b$", "x\ny", "\u202eabc"])
def test_names_are_shown_as_they_are(name):
    labels = torch.tensor([0, 0, 0])
    figures = [
        plot_maps(PHOTOS, MAPS, {name: MAPS}, labels=labels, answers={name: labels}, classes=[name]),
        plot_spikes(SPIKES, title=name),
        plot_firing_rates({name: {name: SPIKES[:, :, 0, 0, 0]}, "other": {name: SPIKES[:, :, 0, 0, 0]}}),
        plot_landscape({name: BOWL}, GRID, lines={name: BOWL[2]}, line_positions=GRID),
    ]
    shown = name.encode("unicode_escape").decode() if name.startswith("\u202e") else name.replace("\n", "\\n")
    for figure in figures:
        style.rasterize(figure, dpi=50)  # a formula that is none would raise here
        words = texts(figure) + [axes.get_title() for axes in figure.axes]
        assert any(shown in word for word in words), words


# --- a distiller and a batch -----------------------------------------------------------------------------------------


def with_statistics(student, batch):
    """The student after some batches, so that it fires in eval mode too."""
    plain = Distiller(None, student, {}, time_steps=2).train()
    for _ in range(30):
        plain(*batch)
    return student


def test_a_distiller_s_maps_are_those_of_its_own_loss(teacher, student, batch):
    distiller = CKDDistiller(teacher, with_statistics(student, batch), time_steps=2)
    distiller.eval()
    with torch.no_grad():
        out = distiller(*batch)
    seen = see_maps(distiller, *batch)
    assert torch.equal(seen.student, out.maps["student"])
    assert torch.equal(seen.teacher, out.maps["teacher"])
    assert torch.equal(seen.student_logits, out.logits)
    assert torch.equal(seen.teacher_logits, teacher(batch[0]))
    assert torch.equal(seen.labels, batch[1])
    assert plot_seen_maps({"student": seen}).axes


@pytest.mark.parametrize("given", [("5", "5"), ("2", "2")])
def test_layers_that_the_user_named_are_looked_at_before_the_first_step_too(teacher, student, batch, given):
    with_statistics(student, batch)
    distiller = CKDDistiller(teacher, student, time_steps=2, student_layer=given[0], teacher_layer=given[1])
    before = see_maps(distiller, *batch)
    distiller.eval()
    with torch.no_grad():
        assert torch.equal(before.student, distiller(*batch).maps["student"])


def test_a_distiller_without_a_map_loss_or_a_teacher_can_be_looked_at(teacher, student, batch):
    with_statistics(student, batch)
    without_maps = Distiller(teacher, student, {"kd": (KDLoss(), 1.0)}, time_steps=2)
    with_maps = CKDDistiller(teacher, student, time_steps=2)
    assert torch.equal(see_maps(without_maps, *batch).student, see_maps(with_maps, *batch).student)
    alone = see_maps(Distiller(None, student, {}, time_steps=2), batch[0])
    assert (alone.teacher, alone.teacher_logits, alone.labels) == (None, None, None)
    assert scales(plot_seen_maps({"student": alone})) == ["map, 0 to 1 of its own range"]


@pytest.mark.parametrize("student_map", ["spikes", "grad_cam"])
def test_maps_of_the_label_are_those_of_the_labels_that_are_given(teacher, student, batch, student_map):
    with_statistics(student, batch)
    losses = {"samd": (SAMDLoss(target_class="label", student_map=student_map, negative="sum"), 1.0)}
    reader, images = MapReader(Distiller(teacher, student, losses, time_steps=2)), batch[0]
    first_choice = teacher(images).argmax(1)
    others = (first_choice + 1) % 5
    of_choice, of_others, without = (reader.read(images, labels) for labels in (first_choice, others, None))
    for role in ("teacher", "student")[: 1 if student_map == "spikes" else 2]:
        assert not torch.equal(getattr(of_choice, role), getattr(of_others, role)), f"other labels, {role}"
        assert torch.equal(getattr(of_choice, role), getattr(without, role)), f"no labels, {role}"


@pytest.mark.parametrize("batch_first", [False, True])
def test_recordings_are_shown_with_time_first(batch_first):
    frames = torch.rand(3, 4, 2, 8, 8)
    given = frames.transpose(0, 1) if batch_first else frames
    torch.manual_seed(0)
    distiller = CKDDistiller(tiny_teacher(channels=2), tiny_student(channels=2), batch_first=batch_first)
    seen = see_maps(distiller, given, torch.arange(4))
    assert torch.equal(seen.images, frames)
    assert len(scales(plot_distiller_maps(distiller, given, torch.arange(4)))) == 3


def test_token_networks_are_read_by_their_positions():
    class Tokens(nn.Module):
        """Eight pixels square as 2x2 patches, each a token."""

        def __init__(self, spiking):
            super().__init__()
            self.patch = layer.Conv2d(3, 6, 4, 4) if spiking else nn.Conv2d(3, 6, 4, 4)
            self.act = neuron.IFNode(v_threshold=0.05) if spiking else nn.ReLU()
            self.head = nn.Linear(6, 5)
            functional.set_step_mode(self, "m")

        def forward(self, x):
            tokens = self.act(self.patch(x).flatten(-2).transpose(-1, -2))
            return self.head(tokens.mean(-2))

    torch.manual_seed(0)
    distiller = CKDDistiller(Tokens(False), Tokens(True), time_steps=2, student_layer="act", teacher_layer="act")
    seen = see_maps(distiller, torch.rand(2, 3, 8, 8), torch.arange(2))
    assert seen.student.shape == seen.teacher.shape == (2, 2, 2)


def test_before_and_after_and_two_students_stand_side_by_side(teacher, student, batch):
    distiller = CKDDistiller(teacher, student, time_steps=2)
    before = see_maps(distiller, *batch)
    for parameter in student.parameters():
        nn.init.normal_(parameter)
    figure = plot_distiller_maps(distiller, *batch, before=before)
    assert [texts(figure).count(text) for text in ("before", "after", "minus the teacher")] == [2, 2, 2]
    without = texts(plot_distiller_maps(distiller, *batch, before=before, difference=False))
    assert [without.count(text) for text in ("before", "after", "minus the teacher")] == [1, 1, 0]
    others = {"plain": CKDDistiller(teacher, tiny_student(), time_steps=2), "CKD": distiller}
    assert {"plain", "CKD"} <= set(texts(plot_distiller_maps(others, *batch)))
    elsewhere = see_maps(distiller, batch[0] + 1, batch[1])
    with pytest.raises(ValueError, match="must be of the same images; those of 'before' are others"):
        plot_distiller_maps(distiller, *batch, before=elsewhere)
    with pytest.raises(ValueError, match="SeenMaps, got none"):
        plot_seen_maps({})


def test_looking_leaves_both_networks_as_they_were(teacher, student, batch):
    distiller = CKDDistiller(teacher, student, time_steps=2)
    distiller.train()
    distiller(*batch).loss.backward()
    state = {name: value.clone() for name, value in distiller.state_dict().items() if isinstance(value, torch.Tensor)}
    gradients = [parameter.grad.clone() for parameter in student.parameters()]
    random = torch.get_rng_state()
    reader = MapReader(distiller)
    first = reader.read(*batch)
    with torch.inference_mode():
        again = reader.read(*batch)
    firing_rates(distiller, batch[0])
    plot_distiller_spikes(distiller, batch[0])
    assert torch.equal(first.student, again.student)
    assert torch.equal(torch.get_rng_state(), random)
    assert student.training
    assert not teacher.training
    assert all(torch.equal(value, distiller.state_dict()[name]) for name, value in state.items())
    assert all(torch.equal(p.grad, saved) for p, saved in zip(student.parameters(), gradients, strict=True))
    assert not any(module._forward_hooks for net in (teacher, student) for module in net.modules())


# --- activity --------------------------------------------------------------------------------------------------------


def test_rates_are_shares_of_values_that_are_not_zero(batch):
    for mode, steps in (("m", "multi"), ("s", "loop")):
        torch.manual_seed(1)
        student = tiny_student(step_mode=mode)
        distiller = Distiller(None, student, {}, time_steps=3, student_steps=steps)
        found = firing_rates(distiller, batch[0])
        assert list(found) == ["2", "5"]
        assert all(values.shape == (3, 4) for values in found.values())
        if mode == "m":
            expected = found
            frames = batch[0].expand(3, *batch[0].shape)
            functional.reset_net(student.eval())
            by_hand = (student[:3](frames) != 0).float().flatten(2).mean(2)
            functional.reset_net(student)
            assert torch.allclose(found["2"], by_hand)
        else:
            assert all(torch.allclose(values, expected[name]) for name, values in found.items())


def test_a_student_without_neurons_or_with_a_shared_one_has_no_rates(batch):
    with pytest.raises(ValueError, match="without spiking neurons"):
        firing_rates(Distiller(None, nn.Sequential(nn.Flatten(2), nn.Linear(192, 5)), {}, time_steps=2), batch[0])
    shared = neuron.IFNode(step_mode="m")
    net = nn.Sequential(shared, layer.Conv2d(3, 3, 1, step_mode="m"), neuron.IFNode(step_mode="m"), nn.Flatten(2))
    net.append(nn.Linear(192, 5))
    net.forward = lambda x: net[4](net[3](net[2](net[1](net[0](net[0](x))))))
    with pytest.raises(ValueError, match="shared between places"):
        firing_rates(Distiller(None, net, {}, time_steps=2), batch[0])


def test_the_raster_shows_the_image_s_neurons_and_says_which():
    figure = plot_spikes(SPIKES, image=2, most=50, title="layer")
    shown = torch.from_numpy(figure.axes[0].images[0].get_array().data)
    chosen = torch.linspace(0, 149, 50).round().long()
    assert torch.equal(shown, SPIKES[:, 2].flatten(1)[:, chosen].T)
    assert figure.axes[0].get_ylabel() == "neuron (50 of 150)"
    assert plot_spikes(SPIKES, most=500).axes[0].get_ylabel() == "neuron"
    line = next(line for line in figure.axes[1].lines if line.get_label() == "this image")
    assert torch.allclose(torch.tensor(line.get_ydata()), 100 * SPIKES[:, 2].flatten(1).mean(1))


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"spikes": torch.rand(4, 3)}, ValueError, "must be .T, N, .... with neurons"),
        ({"spikes": torch.rand(4)}, ValueError, "spikes must be"),
        ({"spikes": [1]}, TypeError, "spikes must be a tensor"),
        ({"spikes": torch.full((1, 1, 2), torch.nan)}, ValueError, "hold NaN or inf"),
        ({"spikes": SPIKES, "image": 3}, ValueError, r"image must lie in 0\.\.2, got 3"),
        ({"spikes": SPIKES, "most": 0}, ValueError, "most must be at least 1"),
    ],
)
def test_a_raster_refuses(given, error, words):
    with pytest.raises(error, match=words):
        plot_spikes(**given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "rates must hold network"),
        ({"student": {}}, "no network without layers"),
        ({"a": rates(), "b": {"other": torch.rand(4, 6)}}, r"of 'b' are of layers \['other'\]"),
        ({"a": rates(), "b": rates(5)}, "must be 4 steps of shares"),
        ({"a": {"first": torch.rand(4, 6) + 1}}, "shares in .0, 1."),
        ({"a": {"first": torch.full((4, 6), torch.nan)}}, "shares in .0, 1."),
        ({"a": {"first": torch.rand(4)}}, r"must be \[T, N\]"),
        ({"a": {"first": torch.tensor(0.5)}}, r"must be \[T, N\] .*, got \(\)"),
    ],
)
def test_rates_that_cannot_be_right_are_refused(given, words):
    with pytest.raises(ValueError, match=words):
        plot_firing_rates(given)


def test_nothing_is_shown_with_a_scale_up_to_one():
    def bars(figure):
        return [axes._colorbar.vmax for axes in figure.axes if hasattr(axes, "_colorbar")]

    assert bars(plot_firing_rates({"silent": {"only": torch.zeros(2, 3)}})) == [1]
    assert bars(plot_maps(0 * EVENTS, MAPS, {"student": OTHERS}))[0] == 1
    silent = plot_spikes(torch.zeros(1, 1, 3)).axes[1]
    assert silent.get_ylim() == (0, 1)
    assert [tick for tick in silent.get_xticks() if 0.5 < tick < 1.5] == [1]  # one time step


@pytest.mark.parametrize("count", [2, 6])
def test_rates_of_several_networks_have_names_beside_each_other(count):
    figure = plot_firing_rates({f"network number {number} of many": rates(8) for number in range(count)})
    figure.draw_without_rendering()
    fields = figure.axes[1 : 1 + count]
    for texts in ([axes.title for axes in fields], [axes.xaxis.label for axes in figure.axes[: 1 + count]]):
        boxes = [text.get_window_extent() for text in texts]
        assert not any(one.overlaps(other) for one, other in itertools.pairwise(boxes))
    legend = figure.legends[0].get_window_extent()
    assert legend.x1 <= figure.bbox.x1
    assert not any(legend.overlaps(axes.title.get_window_extent()) for axes in fields)


def test_silent_networks_have_a_scale_too(batch):
    assert scales(plot_firing_rates({"silent": {"only": torch.zeros(2, 3)}})) == ["firing rate (%)"]
    assert scales(plot_spikes(torch.zeros(2, 1, 3))) == ["spikes a step"]
    distillers = {name: Distiller(None, tiny_student(), {}, time_steps=2) for name in ("plain", "CKD")}
    assert plot_distiller_rates(distillers, batch[0]).axes[0].get_ylabel() == "layer"


# --- landscape -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"surfaces": {}}, "surfaces must hold at least one"),
        ({"surfaces": {"a": BOWL[:3, :3]}}, "has 3 positions, and 5 were given"),
        ({"surfaces": {"a": BOWL[:3]}}, "must be .P, P."),
        ({"surfaces": {"a": -BOWL}}, "above 0"),
        ({"surfaces": {"a": BOWL * math.inf}}, "finite"),
        ({"surfaces": {"a": torch.ones(5, 5)}}, "surfaces are constant"),
        ({"surfaces": {"a": BOWL}, "lines": {"a": BOWL[0]}, "line_positions": [0.0]}, "lines of 'a' has 5"),
    ],
)
def test_a_landscape_refuses(given, words):
    with pytest.raises(ValueError, match=words):
        plot_landscape(positions=GRID, **given)


def test_landscapes_share_one_scale():
    figure = plot_landscape({"low": BOWL, "high": 10 * BOWL}, GRID)
    bar = next(axes for axes in figure.axes if hasattr(axes, "_colorbar"))
    assert bar.get_ylim() == pytest.approx((0.0, math.log10(30)))


@pytest.mark.parametrize(
    "surfaces", [{"a": BOWL}, {"a": BOWL, "b": BOWL}, {f"a network with a name {number}": BOWL for number in range(4)}]
)
def test_labels_of_a_landscape_fit(surfaces):
    lines = {"a": torch.tensor([1e6, 1e3, 0.1, 1e3, 1e6])}
    about = "cross-entropy on the first 200 images of the test part"
    figure = plot_landscape(surfaces, GRID, lines=lines, line_positions=GRID, measure=about)
    figure.draw_without_rendering()
    for axes in figure.axes:
        box = axes.yaxis.label.get_window_extent()
        assert -1 <= box.y0 <= box.y1 <= figure.bbox.y1 + 1
    ticks = [tick.label1.get_window_extent() for tick in figure.axes[-1].yaxis.get_major_ticks()]
    assert not any(one.overlaps(other) for one, other in itertools.pairwise(ticks))


def test_the_committed_pictures_are_whole():
    images = Path(__file__).parents[1] / "docs/images"
    for path in images.rglob("*.png"):
        with Image.open(path) as picture:
            picture.verify()


def test_characters_that_no_font_draws_are_one_warning(tmp_path):
    @style.styled
    def draw():
        figure = style.new_figure(2.0, 1.0)
        figure.add_subplot().set(title="a\ue123\ue124", xlabel="\ue123")
        return figure

    with pytest.warns(UserWarning, match="no font of this machine draws") as said:
        style.save_figure(draw(), tmp_path / "figure.png")
    (text,) = {str(one.message) for one in said}
    assert text.startswith("no font of this machine draws ")
    assert set(text.split("draws ")[1].split(",")[0]) == {"\ue123", "\ue124"}
    assert {one.filename for one in said} == {__file__}


def test_other_warnings_of_a_figure_stay():
    @style.styled
    def draw():
        warnings.warn("something else", RuntimeWarning, stacklevel=2)

    with pytest.warns(RuntimeWarning, match="something else"):
        draw()

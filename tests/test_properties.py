"""Every loss and every formula on inputs that say nothing or too much: finite values, and gradients within a bound.

A loss may weigh one image more than another, but an image for which the student is silent, or sure beyond measure, may
not outweigh the batch. ``LOSSES`` and ``FUNCTIONS`` state a bound for each: of the Euclidean norm of the gradient of
one image, times the number of images where the loss is a mean over them.
"""

from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spikingjelly.activation_based import functional as snn
from spikingjelly.activation_based import layer, neuron
from torch import nn

from spikingjelly_ckd import CATKDLoss, Distiller, NLDLoss, SAMDLoss, functional, methods
from spikingjelly_ckd.functional.bounds import bounded_logits

SIZES = (4, 4)
CHANNELS = 3


@dataclass(frozen=True)
class Situation:
    """What the networks give: how many images, classes and time steps, of which type, and what is odd about it."""

    student: str
    teacher: str
    images: int
    classes: int
    steps: int
    dtype: torch.dtype
    seed: int

    def _random(self, *shape: int, salt: int = 0) -> torch.Tensor:
        return torch.rand(*shape, generator=torch.Generator().manual_seed(self.seed + salt), dtype=torch.float64)

    def _logits(self, odd: str, *lead: int, salt: int) -> torch.Tensor:
        """Entries of a row lie at least 0.5 apart unless they are odd."""
        order = self._random(*lead, self.classes, salt=salt).argsort(-1)
        logits = order - (self.classes - 1) / 2 + 0.5 * self._random(*lead, self.classes, salt=salt + 1)
        if odd in ("1e4", "1e30"):
            most = torch.finfo(self.dtype).max
            logits = torch.where(logits > 0, 1.0, -1.0) * min(float(odd), most)
        return self._silenced(logits, odd, image=-2).to(self.dtype)

    def _silenced(self, tensor: torch.Tensor, odd: str, *, image: int) -> torch.Tensor:
        """Zero or constant: everywhere, for the first image (at axis ``image``), or at the first step (axis 0)."""
        tensor = tensor.clone()
        if odd == "zero":
            tensor.zero_()
        elif odd == "equal":
            tensor.fill_(3.7)
        elif odd == "zero image":
            tensor.select(image, 0).zero_()
        elif odd == "equal image":
            tensor.select(image, 0).fill_(3.7)
        elif odd == "zero step" and self.steps > 1 and len(tensor) == self.steps:
            tensor[0].zero_()
        return tensor

    def logits(self, *, teacher: bool = False) -> torch.Tensor:
        odd = self.teacher if teacher else self.student
        return self._logits(odd, self.images, salt=2 if teacher else 0)

    def step_logits(self) -> torch.Tensor:
        return self._logits(self.student, self.steps, self.images, salt=0)

    def labels(self) -> torch.Tensor:
        return torch.arange(self.images) % self.classes

    def probabilities(self, *, teacher: bool = False) -> torch.Tensor:
        """Rows of zeros where the logits are zero; one-hot where they are huge."""
        logits = self.logits(teacher=teacher).double()
        return torch.where((logits == 0).all(1, keepdim=True), 0.0, logits.softmax(1)).to(self.dtype)

    def spikes(self) -> torch.Tensor:
        """``[T, N, C, h, w]``; the first position fires at every step, the second never."""
        spikes = (self._random(self.steps, self.images, CHANNELS, *SIZES) > 0.5).double()
        spikes[..., 0, 0], spikes[..., 0, 1] = 1, 0
        return self._silenced(spikes, self.student, image=1).to(self.dtype)

    def student_maps(self) -> torch.Tensor:
        return self.spikes().double().sum((0, 2)).to(self.dtype)

    def features(self, *, salt: int = 4) -> torch.Tensor:
        """Of the teacher, ``[N, C, h, w]``."""
        return self._silenced(0.1 + self._random(self.images, CHANNELS, *SIZES, salt=salt), self.teacher, image=0).to(
            self.dtype
        )

    def teacher_maps(self) -> torch.Tensor:
        return self.features()[:, 0]


STUDENTS = ["usual", "zero", "equal", "zero image", "equal image", "zero step", "1e4", "1e30"]
SITUATIONS = st.builds(
    Situation,
    student=st.sampled_from(STUDENTS),
    teacher=st.sampled_from([kind for kind in STUDENTS if kind != "zero step"]),
    images=st.sampled_from([1, 2, 3]),
    classes=st.sampled_from([2, 5]),
    steps=st.sampled_from([1, 2, 3]),
    dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]),
    seed=st.integers(0, 99),
)


def usual(images=2, steps=2, student="usual", teacher="usual", dtype=torch.float32):
    return Situation(student, teacher, images, 5, steps, dtype, 0)


def check(value, leaves, situation, bound, *, images_at=0):
    """The value's type, and that it and the gradients are finite and bounded."""
    assert value.dtype == (torch.float64 if situation.dtype == torch.float64 else torch.float32)
    assert value.isfinite().all(), value
    if isinstance(bound, tuple):
        sized = [leaves[0].detach(), *([situation.logits(teacher=True)] if bound == BY_TEACHERS_SIZE else [])]
        bound = bound[0] + bound[1] * min(max(tensor.abs().max().item() for tensor in sized), 1e15)
    if not value.requires_grad:
        return
    gradients = torch.autograd.grad(value, leaves, allow_unused=True)
    for gradient in gradients:
        if gradient is None:
            continue
        assert gradient.isfinite().all()
        of_images = gradient.double().movedim(images_at, 0).flatten(1).norm(dim=1)
        assert of_images.max() <= bound, (of_images, bound)


# --- losses ----------------------------------------------------------------------------------------------------------

LOGITS = "student_logits"
STEPS = "student_per_step_logits"
BY_SIZE = 20.0, 20.0
"""And as much for each unit of the largest logit, up to 1e15: the gradient of a target that is not detached."""
BY_TEACHERS_SIZE = 20.0, 20.1
"""The same for the largest logit of either network: the gradient of a divergence that weighs by the student."""
LOSSES = [
    # loss, what it learns from, bound of an image's gradient times the number of images
    ("KDLoss", {}, 6),  # tau |q - p|, at most tau times the root of 2; so where no reason is given
    ("NLDLoss", {}, 4),
    ("NLDLoss", {"mode": "probabilities"}, 4),
    ("NLDLoss", {"temperature": 20.0, "mode": "probabilities"}, 40),
    ("NLDLoss", {"spread": "variance"}, 4),
    ("NLDLoss", {"noise": 0.5}, 4),
    ("NLDLoss", {"detach_statistics": False}, 10),  # and the noise's spread moves with the logits
    ("DKDLoss", {}, 80),  # tau * (alpha + beta) * 2
    ("DISTLoss", {}, 40),  # one over the spread of the probabilities
    ("LSKDLoss", {}, 20),  # tau over the spread of the logits
    ("WeightedSoftLabelLoss", {}, 4),
    ("WTTMLoss", {}, 6),  # times how unsure the teacher is, at most K ** 0.8
    ("WTTMLoss", {"weighted": False}, 2),
    ("RLDLoss", {}, 50),  # alpha 2 and beta tau 2
    ("NKDLoss", {}, 5),
    ("AKLLoss", {}, BY_TEACHERS_SIZE),
    ("HardLabelLoss", {}, 2),
    ("EnOFLoss", {}, 4),
    ("TDKDLoss", {}, 5),
    ("TDKDLoss", {"ensemble": "correct"}, 5),
    ("TETLoss", {}, 2),
    ("TSERLoss", {}, 5),
    ("TKSLoss", {}, BY_SIZE),
    ("TKSLoss", {"detach_target": True}, 20),
    ("StrongWeakLoss", {}, 4),
    ("StrongWeakLoss", {"detach_target": False}, BY_SIZE),
    ("PrefixKDLoss", {}, 4),
    ("PrefixKDLoss", {"target": "next"}, 4),
    ("PrefixKDLoss", {"detach_target": False}, BY_SIZE),
    ("SeAlKDLoss", {}, 10),
]
TWO_STEPS = {"StrongWeakLoss", "PrefixKDLoss"}
"""Losses that compare time steps."""
SAMD_SETTINGS = [
    {"normalization": normalization, "scaling": scaling}
    for normalization in ("sample", "batch", "none")
    for scaling in ("softmax", "none", "zscore", "l2")
]
"""Of ``compute``; the bound is per spike."""
FEATURE_LOSSES = [
    ("ATLoss", {}, 10),
    ("ATLoss", {"power": 1.0}, 10),
    ("FitNetsLoss", {"student_shape": (CHANNELS, *SIZES), "teacher_shape": (CHANNELS, *SIZES)}, 400),  # BatchNorm's eps
    ("MGDLoss", {"student_channels": CHANNELS, "teacher_channels": CHANNELS}, 100),
    ("KDSNNLoss", {"student_channels": CHANNELS, "teacher_channels": CHANNELS}, 10),
    ("BKDSNNLoss", {"student_channels": CHANNELS, "teacher_channels": CHANNELS}, 100),
    ("BKDSNNLoss", {"pooled": True, "student_channels": CHANNELS, "teacher_channels": CHANNELS}, 100),
    ("ReviewKDLoss", {}, 1e5),  # two of them, each on a whole batch without a spike
    ("VkDLoss", {"student_channels": CHANNELS, "teacher_channels": CHANNELS}, 10),
    ("WKDFLoss", {"student_channels": CHANNELS, "teacher_channels": CHANNELS}, 1e4),  # BatchNorm's eps, and its own
    ("SASTCLoss", {}, 1e4),
    ("RKDLoss", {}, 1e4),
    ("SPLoss", {}, 10),
    ("CKALoss", {}, 10),
]
RELATIONS = {"RKDLoss", "SPLoss", "CKALoss"}
"""Of images to each other: one image is refused."""


WITH_A_TEST = {"SAMDLoss", "CATKDLoss", "E2KDLoss", "SDDLoss", "BranchKDLoss", "OFALoss"}
"""Losses with a test of their own below."""


def named(rows):
    return [pytest.param(*row, id=f"{row[0]} {row[1]}") for row in rows]


def few(examples=30):
    return settings(max_examples=examples, derandomize=True, deadline=None, database=None)


def made(name, options, situation):
    torch.manual_seed(situation.seed)
    loss = getattr(methods, name)(**options)
    return loss.double() if situation.dtype == torch.float64 else loss


def test_every_loss_has_a_row():
    assert {row[0] for row in LOSSES + FEATURE_LOSSES} | WITH_A_TEST == set(methods.__all__)


@pytest.mark.parametrize(("name", "options", "bound"), named(LOSSES))
@few()
@given(situation=SITUATIONS)
def test_losses_of_logits(name, options, bound, situation):
    loss = made(name, options, situation)
    images = situation.images
    if (name == "DISTLoss" and images == 1) or (name in TWO_STEPS and situation.steps == 1):
        with pytest.raises(ValueError, match="larger batch|time_steps=2"):
            loss(*arguments(loss, situation)[0])
        return
    given_to, leaf = arguments(loss, situation)
    check(images * loss(*given_to), [leaf], situation, bound, images_at=leaf.ndim - 2)


def arguments(loss, situation):
    """What ``forward`` takes, and the student's part of it."""
    by_steps = STEPS in loss.takes
    leaf = (situation.step_logits() if by_steps else situation.logits()).requires_grad_()
    rest = {"teacher_logits": situation.logits(teacher=True), "labels": situation.labels()}
    return [leaf, *(rest[name] for name in loss.takes if name in rest)], leaf


@pytest.mark.parametrize("options", SAMD_SETTINGS, ids=str)
@few()
@given(situation=SITUATIONS)
def test_samd(options, situation):
    spikes = situation.spikes().requires_grad_()
    value = situation.images * methods.SAMDLoss(**options)(spikes, situation.teacher_maps())
    check(value, [spikes], situation, 500 if options["normalization"] == "none" else 50, images_at=1)


@few(60)
@given(situation=SITUATIONS, normalize=st.booleans())
def test_cat_kd(situation, normalize):
    maps = situation.spikes().mean(0).requires_grad_()
    value = situation.images * methods.CATKDLoss(normalize=normalize)(maps, situation.features())
    check(value, [maps], situation, 10)


@few(60)
@given(situation=SITUATIONS, criterion=st.sampled_from(["dkd", "kd"]))
def test_sdd(situation, criterion):
    """The logits of every time step stand for those of every region."""
    logits = situation.step_logits().transpose(0, 1).contiguous().requires_grad_()  # [N, M, K]
    teacher = situation.logits(teacher=True).unsqueeze(1).expand_as(logits)
    value = situation.images * methods.SDDLoss(criterion)(logits, teacher, situation.labels())
    check(value, [logits], situation, 160)


@few()
@given(situation=SITUATIONS)
def test_branches(situation):
    """On two layers; BatchNorm's slope bounds what comes through the branch, four of them in a row."""
    torch.manual_seed(situation.seed)
    loss = methods.BranchKDLoss(num_classes=situation.classes)
    spikes, logits = situation.spikes().requires_grad_(), situation.logits().requires_grad_()
    loss.build([spikes.shape, spikes.shape], [])
    loss = loss.double() if situation.dtype == torch.float64 else loss
    value = situation.images * loss([spikes, spikes], logits, situation.labels())
    check(value, [logits], situation, 5 * situation.images)  # a mean over the images that have a right head
    value = situation.images * loss([spikes, spikes], logits, situation.labels())
    check(value, [spikes], situation, 1e5, images_at=1)


@few()
@given(situation=SITUATIONS)
def test_e2kd(situation):
    maps = situation.student_maps().requires_grad_()
    check(situation.images * methods.E2KDLoss()(maps, situation.teacher_maps()), [maps], situation, 1)


@pytest.mark.parametrize(("name", "options", "bound"), named(FEATURE_LOSSES))
@few()
@given(situation=SITUATIONS)
def test_losses_of_features(name, options, bound, situation):
    loss = made(name, options, situation)
    spikes, features = situation.spikes().requires_grad_(), situation.features()
    if name in RELATIONS and situation.images == 1:
        with pytest.raises(ValueError, match="use a larger batch"):
            loss(spikes, features)
        return
    if loss.layer_choice == "stages":
        loss.build([spikes.shape], [features.shape])
        loss = loss.to(torch.float64) if situation.dtype == torch.float64 else loss
        value = loss([spikes], [features])
    else:
        value = loss(spikes, features)
    check(situation.images * value, [spikes], situation, bound, images_at=1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize(("name", "options", "bound"), named(FEATURE_LOSSES))
def test_large_signed_features(name, options, bound, dtype):
    """Membrane potentials, and features in front of an activation, of +-1e4."""
    loss = made(name, options, usual())
    student = (1e4 * (2 * torch.rand(2, 4, CHANNELS, *SIZES) - 1)).to(dtype).requires_grad_()
    teacher = (1e4 * (2 * torch.rand(4, CHANNELS, *SIZES) - 1)).to(dtype)
    if loss.layer_choice == "stages":
        loss.build([student.shape], [teacher.shape])
        value = loss([student], [teacher])
    else:
        value = loss(student, teacher)
    assert value.isfinite()
    assert torch.autograd.grad(value, student)[0].isfinite().all()


@few()
@given(situation=SITUATIONS, power=st.sampled_from([1.0, 1.5]))
def test_ofa(situation, power):
    torch.manual_seed(situation.seed)
    spikes, logits = situation.spikes().requires_grad_(), situation.logits().requires_grad_()
    loss = methods.OFALoss(power, num_classes=situation.classes)
    loss.build([spikes.shape], [spikes.shape[1:]])
    loss = loss.double() if situation.dtype == torch.float64 else loss
    value = loss([spikes], logits, situation.logits(teacher=True), situation.labels()).sum()
    check(value, [logits], situation, 4)
    check(
        loss([spikes], logits.detach(), logits.detach(), situation.labels()).sum(), [spikes], situation, 10, images_at=1
    )


# --- formulas --------------------------------------------------------------------------------------------------------


def of_maps(function, **options):
    return lambda s: (lambda maps: function(maps, s.teacher_maps(), **options), s.student_maps())


def of_layers(function, **options):
    return lambda s: (lambda layer: function(layer, s.features(), **options), s.spikes()[0])


def of_relations(function):
    """Of as many images and one more: a single one has no relation."""

    def build(s):
        more = replace(s, images=s.images + 1)
        return lambda layer: function(layer, more.features()), more.spikes()[0]

    return build


def of_vectors(function):
    return lambda s: (lambda rows: function(rows, s.features().flatten(1)), s.spikes()[0].flatten(1))


def of_queries(s):
    keys, errors = s.features().flatten(2), s.spikes().flatten(3)[..., :CHANNELS]
    return lambda queries: functional.attended_error(queries, keys, errors), s.spikes().flatten(3)


def of_logits(function, *rest):
    return lambda s: (lambda logits: function(logits, s.logits(teacher=True), *rest), s.logits())


def of_labelled_logits(function):
    return lambda s: (lambda logits: function(logits, s.logits(teacher=True), s.labels(), 2.0), s.logits())


def of_probabilities(function, *rest):
    return lambda s: (lambda given_to: function(given_to, s.probabilities(teacher=True), *rest), s.probabilities())


def of_steps(function, *rest):
    return lambda s: (lambda steps: function(steps, *rest), s.step_logits())


def of_labelled_steps(function):
    return lambda s: (lambda steps: function(steps, s.labels()), s.step_logits())


def of_class_scores(function):
    """Features that are silent or constant, with gradients of their own; and the other way round."""

    def build(s):
        return lambda spikes: function(spikes, s.features()) + function(s.features(), spikes), s.spikes()[0]

    return build


def of_spikes(function):
    return lambda s: (function, s.spikes())


def by_weights(s):
    weight, classes = torch.eye(CHANNELS, dtype=s.dtype), s.labels() % CHANNELS
    return lambda features: functional.class_activation_map(features, weight, classes), s.spikes()[0]


def replaced(s):
    return lambda steps: functional.replace_errors(steps, s.logits(teacher=True), s.labels())[0], s.step_logits()


def of_other_steps(s):
    steps = s.step_logits()
    return functional.mean_of_other_steps, torch.cat([steps, steps[:1] / 2])


FUNCTIONS = [
    # function, what makes it a function of the student's tensor, bound of its gradient
    ("soft_kl", of_logits(functional.soft_kl, 2.0), 4),
    ("probability_kl", of_probabilities(functional.probability_kl), 100),  # one probability over the other
    ("map_divergence", of_maps(functional.map_divergence), 10),
    ("map_divergence", of_maps(functional.map_divergence, scaling="none"), 100),
    ("map_divergence", of_maps(functional.map_divergence, scaling="zscore"), 10),
    ("map_divergence", of_maps(functional.map_divergence, scaling="l2"), 10),
    ("cosine_map_distance", of_maps(functional.cosine_map_distance), 2),
    ("attention_distance", of_layers(functional.attention_distance), 10),
    ("class_map_error", of_layers(functional.class_map_error, size=2, normalize=True), 10),
    ("feature_error", of_layers(functional.feature_error), 100),
    ("hierarchical_context_error", of_layers(functional.hierarchical_context_error), 10),
    ("regions", of_spikes(lambda spikes: functional.regions(spikes.mean(0), (1, 2))), 10),
    ("decoupled_kl", of_labelled_logits(lambda *given_to: sum(functional.decoupled_kl(*given_to))), 4),
    ("weighted_soft_label_error", of_labelled_logits(functional.weighted_soft_label_error), 4),
    ("correlation", of_probabilities(functional.correlation, 1), 40),
    ("correlation", of_probabilities(functional.correlation, 0), 1e8),  # images that are nearly alike
    ("log_kl", of_logits(lambda *both: functional.log_kl(*(bounded_logits(z).log_softmax(1) for z in both))), 4),
    ("split_class", of_labelled_logits(lambda z, _, labels, tau: functional.split_class(z, labels, tau)[0]), 4),
    ("split_class", of_labelled_logits(lambda z, _, labels, tau: functional.split_class(z, labels, tau)[1]), 4),
    ("transformed_teacher_kl", of_logits(functional.transformed_teacher_kl, 0.2), 6),
    ("refined_kl", of_labelled_logits(lambda *given_to: sum(functional.refined_kl(*given_to, 1.0))), 4),
    ("normalized_error", of_labelled_logits(lambda *given_to: sum(functional.normalized_error(*given_to))), 4),
    ("adaptive_kl", of_logits(functional.adaptive_kl), BY_TEACHERS_SIZE),
    ("hard_label_error", of_logits(functional.hard_label_error), 4),
    ("distance_error", of_relations(functional.distance_error), 1e3),
    ("angle_error", of_relations(functional.angle_error), 1e3),
    ("similarity_error", of_relations(functional.similarity_error), 10),
    ("linear_cka", of_relations(functional.linear_cka), 10),
    ("normalized_feature_error", of_vectors(functional.normalized_feature_error), 10),
    ("channel_statistics_error", of_layers(functional.channel_statistics_error), 100),
    ("enhanced_target_error", of_labelled_logits(lambda *given_to: functional.enhanced_target_error(*given_to[:3])), 4),
    ("attended_error", of_queries, 20),
    ("standardize_logits", lambda s: (functional.standardize_logits, s.logits()), 10),
    ("gaussian_like", lambda s: (lambda logits: functional.gaussian_like(logits, detach=False), s.logits()), 20),
    ("mix_noise", of_logits(functional.mix_noise, 0.3, 2.0), 4),
    ("spike_activation_map", of_spikes(functional.spike_activation_map), 10),
    ("fold_time", of_spikes(functional.fold_time), 10),
    ("time_mean", of_spikes(functional.time_mean), 10),
    ("at_least_float32", of_spikes(functional.at_least_float32), 10),
    ("grad_cam", of_class_scores(functional.grad_cam), 20),
    ("grad_cam_plus_plus", of_class_scores(functional.grad_cam_plus_plus), 20),
    ("hires_cam", of_class_scores(functional.hires_cam), 20),
    ("class_activation_map", by_weights, 10),
    ("match_maps", of_maps(lambda one, other: functional.match_maps(one, other[:, ::2])[0]), 10),
    ("normalize_map", lambda s: (lambda maps: functional.normalize_map(maps, "sample"), s.student_maps()), 10),
    ("normalize_map", lambda s: (lambda maps: functional.normalize_map(maps, "batch"), s.student_maps()), 10),
    ("normalize_map", lambda s: (lambda maps: functional.normalize_map(maps, "none"), s.student_maps()), 10),
    ("step_kl", lambda s: (lambda z: functional.step_kl(z, s.logits(teacher=True), 2.0), s.step_logits()), 10),
    (
        "right_heads_kl",
        lambda s: (lambda heads: functional.right_heads_kl(heads, s.labels(), 2.0), s.step_logits()),
        10,
    ),
    ("step_cross_entropy", of_labelled_steps(functional.step_cross_entropy), 10),
    ("step_entropy", of_steps(functional.step_entropy, 1.0), 10),
    ("most_and_least_confident", of_steps(lambda steps: sum(functional.most_and_least_confident(steps))), 10),
    ("prefix_means", of_steps(functional.prefix_means), 10),
    ("sum_correct_steps", of_labelled_steps(lambda *given_to: functional.sum_correct_steps(*given_to)[0]), 10),
    ("replace_errors", replaced, 10),
    ("mean_of_other_steps", of_other_steps, BY_SIZE),
]
CHOOSE_OR_REFUSE = {
    "blur",
    "check_shapes",
    "check_steps",
    "class_indices",
    "correct_steps",
    "disagreement_weights",
    "is_constant",
}


def test_every_formula_has_a_row():
    assert {row[0] for row in FUNCTIONS} | CHOOSE_OR_REFUSE == set(functional.__all__)


@pytest.mark.parametrize(
    ("build", "bound"), [pytest.param(*row[1:], id=f"{row[0]} {index}") for index, row in enumerate(FUNCTIONS)]
)
@few()
@given(situation=SITUATIONS)
def test_formulas(build, bound, situation):
    function, leaf = build(situation)
    torch.manual_seed(situation.seed)
    leaf.requires_grad_()
    value = function(leaf)
    assert value.isfinite().all(), value
    weights = torch.linspace(-1, 1, value.numel(), dtype=value.dtype).view_as(value)  # no symmetry hides a gradient
    check((value * weights / value.numel()).sum(), [leaf], situation, bound)


# --- one by one ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [row[1] for row in LOSSES if row[0] == "NLDLoss"], ids=str)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_nld_of_the_largest_numbers(options, dtype):
    most = torch.finfo(dtype).max
    student = torch.tensor([[most, -most, 0.0], [most, most, -most], [most, most, most]], dtype=dtype)
    for logits in (student, student.sqrt().nan_to_num(0.0), -student):
        leaf = logits.clone().requires_grad_()
        value = NLDLoss(**options)(leaf, logits.roll(1, 1))
        assert value.isfinite()
        (gradient,) = torch.autograd.grad(value, leaf)
        assert gradient.isfinite().all()
        assert gradient.abs().max() < 1000


def test_the_right_class_is_pulled_up_however_large_the_logits_are():
    for size in (1e4, 1e14, 1e30, 3e38):
        leaf = torch.tensor([[size, -size, 0.0]], requires_grad=True)
        value = NLDLoss(noise_weight=0.0)(leaf, torch.tensor([[-size, size, 0.0]]))
        torch.testing.assert_close(torch.autograd.grad(value, leaf)[0], torch.tensor([[2.0, -2.0, 0.0]]))


def test_probabilities_of_zero_are_no_numbers_less():
    rows = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, 0.5]])
    for student in rows:
        for teacher in rows:
            leaf = student[None].clone().requires_grad_()
            value = functional.probability_kl(leaf, teacher[None])
            assert value.isfinite().all()
            assert torch.autograd.grad(value.sum(), leaf)[0].isfinite().all()
    assert functional.probability_kl(rows[1:2], rows[1:2]) == 0


@pytest.mark.parametrize("scaling", ["l2", "zscore"])
@pytest.mark.parametrize("normalization", ["sample", "batch", "none"])
def test_a_silent_map_counts_one_and_the_others_are_pulled_as_without_it(scaling, normalization):
    situation = usual(images=3, dtype=torch.float64)
    spikes, maps = situation.spikes(), situation.teacher_maps()
    spikes[:, 0] = 0
    loss = SAMDLoss(normalization=normalization, scaling=scaling)
    leaf = spikes.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(3 * loss(leaf, maps), leaf)
    assert gradient.norm() < 10
    if normalization != "batch":  # there a map depends on the others, and the least of the batch on the silent one
        assert not gradient[:, 0].any()
        alone = spikes[:, 1:].clone().requires_grad_()
        (expected,) = torch.autograd.grad(2 * loss(alone, maps[1:]), alone)
        torch.testing.assert_close(gradient[:, 1:], expected)
        assert loss(spikes, maps).item() == pytest.approx((1 + 2 * loss(spikes[:, 1:], maps[1:]).item()) / 3, rel=1e-4)


@pytest.mark.parametrize("scaling", ["l2", "zscore"])
def test_a_real_valued_layer_that_is_next_to_silent_is_bounded_as_well(scaling):
    situation = usual(images=2)
    for size in (1e-2, 1e-5, 1e-12, 1e-30):
        leaf = (size * situation.spikes()).requires_grad_()
        value = SAMDLoss(scaling=scaling)(leaf, situation.teacher_maps())
        assert torch.autograd.grad(value, leaf)[0].abs().max() < 4000


def test_a_spike_at_one_place_is_no_silence():
    """Its map keeps the direction that a loud one has."""
    one, many = torch.zeros(1, 1, 1, 4, 4), torch.zeros(1, 1, 500, 4, 4)
    one[..., 1, 2] = many[..., 1, 2] = 1
    maps = torch.rand(1, 4, 4)
    for scaling in ("l2", "zscore"):
        loss = SAMDLoss(scaling=scaling)
        assert loss(one, maps).item() == pytest.approx(loss(many, maps).item(), rel=1e-4)


# --- a student beside a silent image ---------------------------------------------------------------------------------


def bright_quarters():
    """Which quarter of the image is bright is its class."""
    images, labels = 0.3 * torch.rand(48, 3, 8, 8), torch.arange(48) % 4
    for image, label in zip(images, labels.tolist(), strict=True):
        image[:, 4 * (label // 2) :, 4 * (label % 2) :][:, :4, :4] += 1.5
    return images, labels


def pair():
    teacher = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4),
    )  # fmt: skip
    student = nn.Sequential(
        layer.Conv2d(3, 8, 3, padding=1), neuron.LIFNode(v_threshold=0.5, detach_reset=True),
        layer.AdaptiveAvgPool2d(4),
        layer.Conv2d(8, 16, 3, padding=1), neuron.LIFNode(v_threshold=0.3, detach_reset=True),
        layer.AdaptiveAvgPool2d(1), layer.Flatten(), layer.Linear(16, 4),
    )  # fmt: skip
    snn.set_step_mode(student, "m")
    for index in (0, 3):
        student[index].weight.data.mul_(2)
        student[index].bias.data.zero_()  # a black image leaves it silent
    return teacher, student


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        lambda: SAMDLoss(scaling="l2"),
        lambda: SAMDLoss(scaling="zscore"),
        lambda: CATKDLoss(normalize=True),
    ],
    ids=["l2", "zscore", "CAT-KD"],
)
def test_one_silent_image_in_each_batch_does_not_ruin_the_student(make):
    shares = []
    for seed in range(3):
        torch.manual_seed(seed)
        (images, labels), (teacher, student) = bright_quarters(), pair()
        optimizer = torch.optim.Adam(teacher.parameters(), 0.01)
        for _ in range(40):
            optimizer.zero_grad()
            nn.functional.cross_entropy(teacher(images), labels).backward()
            optimizer.step()
        distiller = Distiller(teacher, student, {"loss": (make(), 1.0)}, layers={"loss": ("4", "4")}, time_steps=4)
        optimizer = torch.optim.SGD(student.parameters(), 0.1, momentum=0.9)
        for _ in range(60):
            chosen = torch.randperm(48)[:16]
            batch = images[chosen].index_fill(0, torch.tensor([0]), 0.0)
            optimizer.zero_grad()
            distiller(batch, labels[chosen]).loss.backward()
            optimizer.step()
        shares.append((distiller.predict(images).argmax(1) == labels).float().mean().item())
    assert min(shares) > 0.7, shares

"""What a loss is: what it takes, what follows from it, and how its values become one number."""

import inspect
import warnings

import pytest
import torch
from conftest import tiny_student, tiny_teacher
from torch import nn

from spikingjelly_ckd import DistillationLoss, Distiller, KDLoss, SAMDLoss, Signals, methods
from spikingjelly_ckd.methods import projected, stochastic
from spikingjelly_ckd.methods.base import NEEDS, NEEDS_OF, Term
from spikingjelly_ckd.methods.signals import LinearHead

N, K, T = 4, 5, 2
NEEDED = {
    "BranchKDLoss": {"student_features", "labels"},
    "SDDLoss": {"features", "logits", "labels", "student_head", "teacher_head"},
    "PrefixKDLoss": {"per_step_logits"},
    "HardLabelLoss": {"logits"},
    "AKLLoss": {"logits"},
    "NKDLoss": {"logits", "labels"},
    "RLDLoss": {"logits", "labels"},
    "WTTMLoss": {"logits"},
    "ATLoss": {"features"},
    "BKDSNNLoss": {"features"},
    "CATKDLoss": {"features", "logits", "student_head", "teacher_head"},
    "DISTLoss": {"logits"},
    "DKDLoss": {"logits", "labels"},
    "E2KDLoss": {"features", "gradients", "student_gradients"},
    "EnOFLoss": {"features", "logits", "teacher_head"},
    "FitNetsLoss": {"features"},
    "KDLoss": {"logits"},
    "KDSNNLoss": {"features"},
    "LSKDLoss": {"logits"},
    "MGDLoss": {"features"},
    "NLDLoss": {"logits"},
    "OFALoss": {"features", "logits", "labels"},
    "ReviewKDLoss": {"features"},
    "SAMDLoss": {"features", "gradients"},
    "SeAlKDLoss": {"logits", "per_step_logits", "labels"},
    "StrongWeakLoss": {"per_step_logits"},
    "TDKDLoss": {"logits", "per_step_logits", "labels"},
    "TETLoss": {"per_step_logits", "labels"},
    "TKSLoss": {"per_step_logits", "labels"},
    "TSERLoss": {"logits", "per_step_logits"},
    "VkDLoss": {"features"},
    "WKDFLoss": {"features"},
    "SASTCLoss": {"features"},
    "RKDLoss": {"features"},
    "SPLoss": {"features"},
    "CKALoss": {"features"},
    "WeightedSoftLabelLoss": {"logits", "labels"},
}
TEXTS = [
    "ATLoss(power=2.0)",
    "CATKDLoss(size=2, normalize=False)",
    "DISTLoss(temperature=1.0, beta=1.0, gamma=1.0)",
    "DKDLoss(temperature=4.0, alpha=1.0, beta=8.0)",
    "E2KDLoss(target_class=teacher)",
    "EnOFLoss(temperature=2.0)",
    "KDLoss(temperature=4.0)",
    "LSKDLoss(temperature=2.0, eps=1e-07)",
    "NLDLoss(temperature=2.0, noise_weight=0.1, spread=std, mode=logits)",
    "SeAlKDLoss(alpha=0.6, beta=0.15, temperature=3.0)",
    "StrongWeakLoss(direction=strong_to_weak, temperature=2.0, squared_temperature=True, detach_target=True)",
    "TDKDLoss(alpha=0.2, beta=0.5, temperature=3.0, ensemble=mean)",
    "TETLoss(lamb=0.0, means=1.0, label_smoothing=0.0)",
    "TKSLoss(temperature=3.0, detach_target=False)",
    "TSERLoss(alpha=0.5, gamma=0.1, temperature=4.0, entropy=reward)",
    "WeightedSoftLabelLoss(temperature=2.0)",
]
"""As they stand in ``benchmarks/results/methods_digits``."""


def signals(**more):
    return Signals(torch.arange(N), torch.rand(N, K), **more)


class LogitMSE(DistillationLoss):
    takes = ("student_logits", "teacher_logits")

    def forward(self, student, teacher):
        return (student - teacher).square().mean(dim=1)


# --- what it takes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", methods.__all__)
def test_needs_of_the_packages_losses(name):
    assert set(getattr(methods, name)().needs) == NEEDED[name]


def test_every_need_follows_from_a_field_of_the_signals():
    assert {need for needs in NEEDS_OF.values() for need in needs} == NEEDS.keys()
    assert NEEDS_OF.keys() | {"class_map"} == Signals.__dataclass_fields__.keys()


def test_what_it_takes_comes_in_its_order():
    class Backwards(DistillationLoss):
        takes = ("labels", "student_per_step_logits", "student_logits", "teacher_logits", "teacher_head")

    assert Backwards.needs == ("labels", "logits", "per_step_logits", "teacher_head")
    head = LinearHead(torch.rand(K, 3), None)
    given = signals(teacher_logits=torch.rand(N, K), student_per_step_logits=torch.rand(T, N, K), teacher_head=head)
    assert [id(x) for x in Backwards().select(given)] == [id(getattr(given, name)) for name in Backwards.takes]


def test_one_layer_comes_as_a_tensor_and_stages_as_a_tuple():
    class Pair(DistillationLoss):
        takes = ("student_features", "teacher_features", "teacher_gradients")

    class Stages(Pair):
        layer_choice = "stages"

    layer = torch.rand(N, 3, 2, 2)
    one = signals(student_features=(layer,), teacher_features=(layer,), teacher_gradients=(layer,))
    two = signals(student_features=(layer,) * 2, teacher_features=(layer,) * 2, teacher_gradients=(layer,) * 2)
    assert Pair.needs == Stages.needs == ("features", "gradients")
    assert all(x is layer for x in Pair().select(one))
    assert [len(x) for x in Stages().select(two)] == [2, 2, 2]
    with pytest.raises(ValueError, match="got 2 of the student; add one loss for each pair"):
        Pair().select(two)


def test_layers_of_the_student_alone_need_no_teacher():
    alone = type("Alone", (DistillationLoss,), {"takes": ("student_features", "labels")})
    assert alone.needs == ("labels", "student_features")
    both = type("Both", (DistillationLoss,), {"takes": ("teacher_features", "student_features")})
    assert both.needs == ("features",)
    older = type("Older", (DistillationLoss,), {"takes": ("student_features",), "needs": ("features",)})
    assert older.needs == ("features",)


def test_the_middle_of_the_students_layers_is_found_without_a_teacher(student, batch):
    class Sparse(DistillationLoss):
        takes = ("student_features",)
        layer_choice = "middle"

        def forward(self, layer):
            return layer.mean()

    distiller = Distiller(None, student, {"sparse": (Sparse(), 1.0)}, time_steps=2)
    distiller(*batch).loss.backward()
    assert [layer.path for layer in distiller.layers["sparse"][0]] == ["2"]


def test_the_number_of_classes_is_there_when_parameters_are_made(teacher, student, batch):
    class Sized(DistillationLoss):
        takes = ("student_features",)
        needs_build = True

        def build(self, student_shapes, teacher_shapes):
            self.needs_build, self.seen = False, (self.num_classes, len(student_shapes), teacher_shapes)

        def forward(self, layer):
            return layer.mean()

    for given, network in ((None, teacher), (7, None)):
        loss = Sized()
        loss.num_classes = given
        Distiller(network, student, {"sized": (loss, 1.0)}, time_steps=2, example=batch)
        assert loss.seen == (given or 5, 1, [])


def test_an_unknown_field_is_refused_where_the_class_is_defined():
    with pytest.raises(ValueError, match=r"Wrong.takes must name fields of \[.*'student_logits'.*got \['membranes'\]"):
        type("Wrong", (DistillationLoss,), {"takes": ("student_logits", "membranes")})
    for name in ("takes", "needs"):
        with pytest.raises(TypeError, match=f"Wrong.{name} must be a tuple of texts, got 'labels'"):
            type("Wrong", (DistillationLoss,), {name: "labels"})


def test_a_field_that_the_needs_leave_out_is_refused_where_the_class_is_defined():
    with pytest.raises(ValueError, match=r"needs \('labels',\) leave out \['logits'\]"):
        type("Wrong", (DistillationLoss,), {"takes": ("student_logits", "teacher_logits"), "needs": ("labels",)})
    with pytest.raises(ValueError, match=r"leave out \['logits'\]"):
        type("Wrong", (KDLoss,), {"needs": ("per_step_logits",)})  # it takes what KDLoss takes
    more = type("More", (KDLoss,), {"needs": ["labels", "logits"]})
    assert more().needs == ["labels", "logits"]
    of_object = type("OfObject", (KDLoss,), {"needs": property(lambda self: ("logits",))})
    assert of_object().needs == ("logits",)


def test_a_loss_that_says_nothing_is_told_what_to_say():
    with pytest.raises(NotImplementedError, match=r"must say what it takes .*or define select"):
        DistillationLoss().select(signals())


# --- what was not asked for ------------------------------------------------------------------------------------------


def test_what_no_loss_needs_is_none():
    assert signals().teacher_logits is None
    assert signals().student_per_step_logits is None


def test_a_field_that_is_not_there_is_named_with_its_need():
    loss = LogitMSE()
    loss.needs = ()
    with pytest.raises(ValueError, match="LogitMSE takes teacher_logits, which these signals do not hold.*'logits'"):
        loss.select(signals())
    with pytest.raises(ValueError, match="takes teacher_gradients.*'features' and 'gradients'"):
        SAMDLoss().class_map(signals(teacher_features=(torch.rand(N, 3, 2, 2),)))


def test_a_select_that_reads_what_was_not_needed_raises_instead_of_training_on_nan():
    class Forgetful(DistillationLoss):
        needs = ("student_head",)

        def select(self, signals):
            return signals.student_logits, signals.teacher_logits

        def forward(self, student, teacher):
            return (student - teacher).square().mean()

    loss = Forgetful()
    with pytest.raises(ValueError, match="Forgetful.select gives None for 'teacher' of forward.*'logits' for teacher_"):
        loss.compute(*loss.select(signals()))


def test_none_is_passed_on_where_forward_has_it_as_default():
    class Masked(LogitMSE):
        def select(self, signals):
            return signals.student_logits, signals.teacher_logits, None

        def forward(self, student, teacher, mask=None):
            return student.sum()

    loss = Masked()
    assert loss.compute(*loss.select(signals(teacher_logits=torch.rand(N, K)))).value.ndim == 0


# --- values ----------------------------------------------------------------------------------------------------------


def test_one_value_for_each_image_trains_as_their_mean(batch):
    class Scalar(LogitMSE):
        def forward(self, student, teacher):
            return super().forward(student, teacher).mean()

    gradients = []
    for loss in (LogitMSE(), Scalar()):
        torch.manual_seed(0)
        distiller = Distiller(tiny_teacher(), tiny_student(), {"mse": (loss, 0.3)}, time_steps=2)
        out = distiller(*batch)
        out.loss.backward()
        gradients.append([out.loss.detach(), *(p.grad for p in distiller.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_images_that_are_skipped_weigh_nothing_and_are_counted():
    values = torch.tensor([1.0, 2.0, 6.0], requires_grad=True)
    term = DistillationLoss().term(values, skipped=torch.tensor([False, True, False]), maps={"student": values})
    assert term.value.item() == pytest.approx(7 / 3)
    assert term.skipped == 1
    assert list(term.maps) == ["student"]
    term.value.backward()
    torch.testing.assert_close(values.grad, torch.tensor([1 / 3, 0.0, 1 / 3]))


def test_wrong_values():
    with pytest.raises(
        ValueError, match=r"LogitMSE must return a scalar or one value for each image, \[N\], got \(4, 5\)"
    ):
        LogitMSE().term(torch.rand(N, K))
    with pytest.raises(ValueError, match=r"values must be \[N\], got \(\)"):
        LogitMSE().term(torch.rand(()), skipped=torch.zeros(N, dtype=torch.bool))
    with pytest.raises(ValueError, match="N is 2 here and 4 in values"):
        LogitMSE().term(torch.rand(N), skipped=torch.zeros(2, dtype=torch.bool))
    with pytest.raises(TypeError, match="LogitMSE must return a tensor, got float"):
        LogitMSE().term(1.0)


@pytest.mark.parametrize("dynamic", [False, True])
def test_selecting_and_computing_trace_into_one_graph(dynamic):
    """The checks of shapes and of None, with them."""
    given = signals(
        teacher_logits=torch.rand(N, K),
        student_per_step_logits=torch.rand(T, N, K),
        student_features=(torch.rand(T, N, 3, 4, 4),),
        teacher_features=(torch.rand(N, 3, 2, 2),),
        teacher_gradients=(torch.rand(N, 3, 2, 2),),
    )
    for loss in (LogitMSE(), KDLoss(), SAMDLoss(), methods.TDKDLoss(ensemble="correct"), methods.DKDLoss()):
        selected = loss.select(given)
        torch.compiler.reset()
        options = {"backend": "eager", "fullgraph": True, "dynamic": dynamic}
        compiled = torch.compile(lambda *x, loss=loss: loss.compute(*x).value, **options)
        torch.testing.assert_close(compiled(*selected), loss.compute(*selected).value)


# --- print -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", TEXTS)
def test_a_loss_prints_as_in_the_records(text):
    assert repr(getattr(methods, text.partition("(")[0])()) == text


def test_settings_are_printed_in_the_order_of_the_signature_and_nothing_else():
    assert repr(methods.NLDLoss(noise=0.5, mode="probabilities")) == (
        "NLDLoss(temperature=2.0, noise_weight=0.1, sd=0.5, mode=probabilities)"
    )
    assert repr(SAMDLoss(cam_method="hires_cam")) == (
        "SAMDLoss(temperature=2.0, normalization=sample, scaling=softmax, target_class=teacher, cam_method=hires_cam, "
        "student_map=spikes, negative=refuse)"
    )
    built = methods.BKDSNNLoss(student_channels=4, teacher_channels=4, generator=torch.Generator())
    assert repr(built).splitlines()[1] == "  blur_ratio=0.15, pooled=False"

    class Own(DistillationLoss):
        def __init__(self, depth, mask=None, width=3):
            super().__init__()
            self.width, self.depth, self.mask, self.other = width, depth, mask, 1

    assert repr(Own(2)) == "Own(depth=2, width=3)"


# --- old names -------------------------------------------------------------------------------------------------------


def test_needs_and_select_alone_are_a_loss_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        class Loss(DistillationLoss):
            needs = ("logits",)

            def select(self, signals):
                return signals.student_logits, signals.teacher_logits

            def forward(self, student, teacher):
                return (student - teacher).square().mean()

        given = signals(teacher_logits=torch.rand(N, K))
        loss = Loss()
        assert loss.compute(*loss.select(given)).value == loss(given.student_logits, given.teacher_logits)


def test_pick_and_measure_of_a_subclass_work_and_warn(batch):
    with warnings.catch_warnings(record=True, action="always") as seen:

        class Old(DistillationLoss):
            needs = ("logits", "step_logits")

            def pick(self, signals):
                return signals.student_step_logits, signals.teacher_logits

            def measure(self, steps, teacher):
                return Term(self(steps, teacher), violations={"too far": torch.tensor(False)})

            def forward(self, steps, teacher):
                return (steps - teacher).square().mean()

    assert {str(warning.message) for warning in seen} == {
        "Old.pick is now called select",
        "Old.measure is now called compute",
        "Old.needs: 'step_logits' is now 'per_step_logits'",
    }
    assert {(warning.category, warning.filename) for warning in seen} == {(DeprecationWarning, __file__)}
    assert Old.needs == ("logits", "per_step_logits")
    distiller = Distiller(tiny_teacher(), tiny_student(), {"old": (Old(), 1.0)}, time_steps=2)
    with pytest.warns(DeprecationWarning, match="student_step_logits is now student_per_step_logits"):
        out = distiller(*batch)
    assert out.terms["old"] > 0


def test_a_pick_that_extends_the_parents_reaches_it():
    given = signals(teacher_logits=torch.rand(N, K))

    def pick(self, signals):
        student, teacher = super(halved, self).pick(signals)
        return student / 2, teacher

    with pytest.warns(DeprecationWarning, match="Halved.pick is now called select"):
        halved = type("Halved", (KDLoss,), {"pick": pick})
    with pytest.warns(DeprecationWarning, match="pick is now called select"):
        student, teacher = halved().select(given)
    assert torch.equal(student, given.student_logits / 2)
    assert teacher is given.teacher_logits


def test_pick_and_measure_of_the_packages_losses_work_and_warn():
    given = signals(teacher_logits=torch.rand(N, K))
    with pytest.warns(DeprecationWarning, match="KDLoss.pick is now called select"):
        picked = KDLoss().pick(given)
    with pytest.warns(DeprecationWarning, match="KDLoss.measure is now called compute"):
        assert KDLoss().measure(*picked).value == KDLoss()(*picked)
    maps = torch.rand(2, N, 3, 3)
    with pytest.warns(DeprecationWarning, match="SAMDLoss.measure is now called compute"):
        assert set(SAMDLoss().measure(*maps).maps) == {"student", "teacher"}


def test_base_classes_have_their_old_names():
    with pytest.warns(DeprecationWarning, match="AdaptedLoss is now called ProjectedLoss"):
        assert projected.AdaptedLoss is projected.ProjectedLoss
    with pytest.warns(DeprecationWarning, match="RandomLoss is now called StochasticLoss"):
        assert stochastic.RandomLoss is stochastic.StochasticLoss
    for module in (projected, stochastic):
        with pytest.raises(AttributeError, match="has no attribute 'OtherLoss'"):
            module.OtherLoss  # noqa: B018


def test_weights_that_were_saved_under_the_projectors_old_name_load():
    saved, fresh = (nn.ModuleDict({"hint": methods.KDSNNLoss(3, 4)}) for _ in range(2))
    old = {key.replace("projector", "adaptor"): value for key, value in saved.state_dict().items()}
    assert "hint.adaptor.weight" in old
    fresh.load_state_dict(old)
    assert torch.equal(fresh["hint"].projector.weight, saved["hint"].projector.weight)


def test_the_arguments_of_a_loss_are_those_of_its_signature():
    assert "evidence" not in inspect.signature(SAMDLoss).parameters


FLAGS = [
    (getattr(methods, name), parameter.name)
    for name in methods.__all__
    for parameter in inspect.signature(getattr(methods, name)).parameters.values()
    if isinstance(parameter.default, bool)
]


@pytest.mark.parametrize(("loss", "flag"), FLAGS)
def test_a_word_is_no_flag(loss, flag):
    with pytest.raises(TypeError, match=f"{flag} must be True or False, got str 'no'"):
        loss(**{flag: "no"})

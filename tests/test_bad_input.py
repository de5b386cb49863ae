"""Each mistake raises one clear error before any parameter has changed."""

import copy

import pytest
import torch
from conftest import tiny_student, tiny_teacher
from spikingjelly.activation_based import layer, neuron
from torch import nn

from spikingjelly_ckd import (
    CKDDistiller,
    Distiller,
    FitNetsLoss,
    KDLoss,
    SAMDLoss,
    prepare_teacher,
    published,
    warm_up,
)
from spikingjelly_ckd.step.validate import input_violations, logit_violations

SEEDED = torch.Generator().manual_seed(0)
IMAGES, LABELS = torch.randn(4, 3, 8, 8, generator=SEEDED), torch.tensor([0, 1, 2, 4])
FRAMES = torch.randn(3, 4, 3, 8, 8, generator=SEEDED)


def nan_in(tensor):
    out = tensor.clone()
    out.view(-1)[5] = float("nan")
    return out


INPUTS = {
    "images of 3 dimensions": ((IMAGES[0], LABELS), ValueError, r"\[N, C, H, W\]"),
    "uint8 images": ((torch.zeros(4, 3, 8, 8, dtype=torch.uint8), LABELS), TypeError, "floating point"),
    "numpy images": ((IMAGES.numpy(), LABELS), TypeError, "images must be a tensor"),
    "no images": ((IMAGES[:0], LABELS[:0]), ValueError, "empty"),
    "channels last": ((IMAGES.permute(0, 2, 3, 1), LABELS), ValueError, "channels-last"),
    "fewer labels than images": ((IMAGES, LABELS[:3]), ValueError, "N=4"),
    "more labels than images": ((IMAGES, LABELS.repeat(2)), ValueError, "N=4"),
    "labels of 3 dimensions": ((IMAGES, LABELS.view(4, 1, 1)), ValueError, r"\[N\] or \[N, K\]"),
    "float labels": ((IMAGES, LABELS.float()), TypeError, "integer class indices"),
    "labels as a list": ((IMAGES, LABELS.tolist()), TypeError, "labels must be a tensor"),
    "no labels": ((IMAGES, None), TypeError, "use predict"),
    "label too large": ((IMAGES, LABELS + 1), ValueError, r"0\.\.4"),
    "label negative": ((IMAGES, LABELS - 1), ValueError, r"0\.\.4"),
    "soft labels of other classes": ((IMAGES, torch.rand(4, 7)), ValueError, r"soft labels must be \[N, K\]"),
    "integer soft labels": ((IMAGES, torch.ones(4, 5, dtype=torch.long)), TypeError, "soft labels"),
    "a column of class indices": ((IMAGES, LABELS[:, None]), TypeError, r"pass labels\.squeeze\(1\)"),
    "negative soft labels": ((IMAGES, torch.randn(4, 5) - 3), ValueError, "not negative"),
    "soft labels with NaN": ((IMAGES, nan_in(torch.rand(4, 5))), ValueError, "finite"),
    "images with NaN": ((nan_in(IMAGES), LABELS), ValueError, "images hold NaN"),
    "T that does not match": ((FRAMES, LABELS), ValueError, "time_steps is 2.*T=3"),
    "frames batch-first": ((FRAMES.transpose(0, 1)[:, :2], LABELS), ValueError, "batch_first=True"),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_no_value_that_is_not_finite_is_missed_wherever_it_is(value, dtype):
    for size in (1, 5, 64, 1001):
        clean = torch.linspace(-1, 1, size, dtype=dtype)
        assert not any(fault.item() for fault in logit_violations("student", clean).values())
        for place in {0, size // 2, size - 1}:
            values = clean.clone()
            values[place] = value
            for violations in (logit_violations("teacher", values), input_violations(values, None, 5)):
                assert all(fault.item() for fault in violations.values()), (size, place)
    assert not any(fault.item() for fault in logit_violations("teacher", torch.empty(0, 5, dtype=dtype)).values())


@pytest.mark.parametrize("case", INPUTS)
def test_input(case):
    (images, labels), error, message = INPUTS[case]
    student = tiny_student()
    distiller = CKDDistiller(tiny_teacher(), student, time_steps=2)
    distiller(IMAGES, LABELS)
    before = copy.deepcopy(student.state_dict())
    with pytest.raises(error, match=message):
        distiller(images, labels)
    for name, tensor in student.state_dict().items():  # BatchNorm's statistics too
        assert torch.equal(tensor, before[name]), name
    assert all(parameter.grad is None for parameter in student.parameters())


def test_batch_first_event_frames_are_recognised_by_their_labels():
    with pytest.raises(ValueError, match="batch_first=True"):
        CKDDistiller(tiny_teacher(), tiny_student())(FRAMES.transpose(0, 1), LABELS)


def test_labels_that_fit_say_that_frames_of_another_t_are_not_batch_first():
    frames, labels = torch.rand(5, 4, 3, 8, 8), torch.zeros(4, dtype=torch.long)
    distiller = CKDDistiller(tiny_teacher(), tiny_student(), time_steps=4)
    with pytest.raises(ValueError, match=r"time_steps is 4, but the event frames have T=5: \(5, 4, 3, 8, 8\)$"):
        distiller(frames, labels)
    with pytest.raises(ValueError, match="look batch-first"):
        distiller.predict(frames)


class Returns(nn.Module):
    """The student or teacher with something done to its output."""

    def __init__(self, net, change):
        super().__init__()
        self.net, self.change = net, change

    def forward(self, x):
        return self.change(self.net(x))


STUDENTS = {
    "batch-first logits": (lambda z: z.transpose(0, 1), ValueError, "batch-first"),
    "another T": (lambda z: z[:1], ValueError, "1 time steps for a batch of T=2"),
    "one class": (lambda z: z[..., :1], ValueError, "1 class"),
    "other classes": (lambda z: z[..., :4], ValueError, "5 classes and the student 4"),
    "flattened time": (lambda z: z.flatten(0, 1), ValueError, "expected logits"),
    "no tensor": (lambda z: {"out": z}, TypeError, "returned dict"),
    "NaN": (nan_in, ValueError, "student's logits hold NaN"),
    "inf": (lambda z: z / 0, ValueError, "student's logits hold NaN or inf"),
}


@pytest.mark.parametrize("case", STUDENTS)
def test_student_output(case):
    change, error, message = STUDENTS[case]
    with pytest.raises(error, match=message):
        CKDDistiller(tiny_teacher(), Returns(tiny_student(), change), time_steps=2)(IMAGES, LABELS)


TEACHERS = {
    "one class": (lambda z: z[:, :1], ValueError, "1 class"),
    "per-step logits": (lambda z: z.expand(2, *z.shape), ValueError, r"teacher returned shape \(2, 4, 5\)"),
    "features": (lambda z: z[:, :, None, None], ValueError, r"expected logits \[N, K\]"),
    "no tensor": (str, TypeError, "returned str"),
    "NaN": (nan_in, ValueError, "teacher's logits hold NaN"),
    "inf": (lambda z: z * float("inf"), ValueError, "teacher's logits hold NaN or inf"),
}


@pytest.mark.parametrize("case", TEACHERS)
def test_teacher_output(case):
    change, error, message = TEACHERS[case]
    distiller = CKDDistiller(
        Returns(tiny_teacher(), change), tiny_student(), time_steps=2, teacher_layer="net.5", student_layer="5"
    )
    with pytest.raises(error, match=message):
        distiller(IMAGES, LABELS)


@pytest.mark.parametrize("path", ["", "4"])
def test_a_teacher_put_back_into_train_mode(path):
    teacher = tiny_teacher()
    distiller = CKDDistiller(teacher, tiny_student(), time_steps=2)
    teacher.get_submodule(path).train()
    with pytest.raises(RuntimeError, match=r"train mode.*teacher\.eval\(\)"):
        distiller(IMAGES, LABELS)


def test_a_teacher_unfrozen_again():
    teacher = tiny_teacher()
    distiller = CKDDistiller(teacher, tiny_student(), time_steps=2)
    teacher[3].weight.requires_grad_(True)
    with pytest.raises(RuntimeError, match=r"requires_grad_\(False\)"):
        distiller(IMAGES, LABELS)


class Detached(nn.Module):
    """Returns what has no graph, as under ``torch.no_grad``."""

    def __init__(self):
        super().__init__()
        self.net = tiny_student()

    def forward(self, frames):
        return self.net(frames).detach()


@pytest.mark.parametrize("kind", ["frozen", "frozen, beside a projector", "detached"])
def test_a_student_of_which_nothing_would_be_trained(kind):
    student = Detached() if kind == "detached" else tiny_student().requires_grad_(False)
    projected = kind.endswith("projector")
    losses = {"fitnets": (FitNetsLoss(), 1.0)} if projected else {"kd": (KDLoss(), 1.0)}
    distiller = Distiller(tiny_teacher(), student, losses, time_steps=2, example=(IMAGES, LABELS))
    with pytest.raises(ValueError, match=r"student returns logits .* call student\.requires_grad_\(True\)") as raised:
        distiller(IMAGES, LABELS)
    assert raised.value.argument == "student"
    with torch.no_grad():
        assert distiller(IMAGES, LABELS).loss.isfinite()
    assert distiller.eval()(IMAGES, LABELS).loss.isfinite(), "to look at it is no training"


def test_a_frozen_student_may_pass_gradients_on_to_its_images():
    images = IMAGES.clone().requires_grad_()
    distiller = Distiller(tiny_teacher(), tiny_student().requires_grad_(False), {"kd": (KDLoss(), 1.0)}, time_steps=2)
    distiller(images, LABELS).loss.backward()
    assert images.grad.abs().sum() > 0


@pytest.mark.parametrize("wrong", ["single-step", "loop on multi-step", "loop without T", "unknown word"])
def test_step_modes(wrong):
    if wrong == "single-step":
        with pytest.raises(ValueError, match=r"set_step_mode.*'loop'.*'internal'"):
            CKDDistiller(tiny_teacher(), tiny_student(step_mode="s"), time_steps=2)
    elif wrong == "loop on multi-step":
        with pytest.raises(ValueError, match="multi-step mode"):
            CKDDistiller(tiny_teacher(), tiny_student(), time_steps=2, student_steps="loop")
    elif wrong == "loop without T":
        distiller = CKDDistiller(tiny_teacher(), tiny_student(step_mode="s"), student_steps="loop")
        with pytest.raises(ValueError, match="pass time_steps="):
            distiller(IMAGES, LABELS)
    else:
        with pytest.raises(ValueError, match="student_steps must be one of"):
            CKDDistiller(tiny_teacher(), tiny_student(), student_steps="both")


def test_images_into_a_multi_step_network_without_time_steps_is_explained():
    distiller = CKDDistiller(tiny_teacher(), tiny_student(), student_layer="5", teacher_layer="5")
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        distiller(IMAGES, LABELS)
    assert "pass time_steps= for images" in caught.value.__notes__[0]


def test_a_student_without_spiking_neurons_is_named():
    ann = nn.Sequential(nn.Flatten(), nn.Linear(192, 5))
    with pytest.raises(RuntimeError, match="cannot be multiplied") as caught:
        CKDDistiller(tiny_teacher(), ann, time_steps=3)(IMAGES, LABELS)
    assert "It has no spiking neurons, so it is no student" in "".join(caught.value.__notes__)


def test_unknown_layers_offer_the_nearest_names():
    named = nn.Sequential()
    for name, module in zip(("stem", "norm1", "act1", "conv2", "norm2", "act2"), tiny_teacher(), strict=False):
        named.add_module(name, module)
    with pytest.raises(ValueError, match=r"no layer 'act3'.*'act2'"):
        CKDDistiller(named, tiny_student(), teacher_layer="act3")
    with pytest.raises(ValueError, match=r"no layer 'conv'; its last ones are \['4', '5', '6', '7', '8'\]"):
        CKDDistiller(tiny_teacher(), tiny_student(), student_layer="conv")
    with pytest.raises(ValueError, match="the losses that compare layers are"):
        Distiller(tiny_teacher(), tiny_student(), {"kd": (KDLoss(), 1)}, layers={"kd": ("5", "5")})


def test_a_map_of_one_position():
    teacher, student = tiny_teacher(), tiny_student()
    with pytest.raises(ValueError, match="one position|1x1"):
        CKDDistiller(teacher, student, time_steps=2, student_layer="6")(IMAGES, LABELS)
    with pytest.raises(ValueError, match="one position|1x1"):
        CKDDistiller(teacher, student, time_steps=2, teacher_layer="6")(IMAGES, LABELS)


def test_a_layer_that_never_fires():
    silent = tiny_student(norm=False)
    silent[5].v_threshold = 1e6
    with pytest.raises(ValueError, match="does not fire"):
        CKDDistiller(tiny_teacher(), silent, time_steps=2, student_layer="5")(IMAGES, LABELS)


def test_a_layer_that_is_not_used():
    class Unused(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.spare = tiny_student(), neuron.IFNode(step_mode="m")

        def forward(self, x):
            return self.net(x)

    with pytest.raises(RuntimeError, match="did not run"):
        CKDDistiller(tiny_teacher(), Unused(), time_steps=2, student_layer="spare")(IMAGES, LABELS)


def test_every_teacher_map_constant():
    teacher = tiny_teacher()
    nn.init.zeros_(teacher[8].weight)
    with pytest.raises(ValueError, match="constant"):
        CKDDistiller(teacher, tiny_student(), time_steps=2, teacher_layer="5")(IMAGES, LABELS)


def test_signed_values_in_the_students_layer():
    with pytest.raises(ValueError, match="negative"):
        CKDDistiller(tiny_teacher(), tiny_student(), time_steps=2, student_layer="4")(IMAGES, LABELS)
    out = CKDDistiller(tiny_teacher(), tiny_student(), time_steps=2, student_layer="4", negative="abs")(IMAGES, LABELS)
    assert out.loss.isfinite()


def test_a_layer_shared_between_places():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
            self.act, self.head = nn.ReLU(), nn.Linear(6, 5)

        def forward(self, x):
            return self.head(self.act(self.conv2(self.act(self.conv1(x)))).mean((2, 3)))

    with pytest.raises((ValueError, RuntimeError), match="2 times"):
        CKDDistiller(Shared(), tiny_student(), time_steps=2, teacher_layer="act")(IMAGES, LABELS)


def test_teacher_layer_that_does_not_lead_to_the_logits():
    class Aside(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.aside = tiny_teacher(), nn.Conv2d(3, 4, 3)

        def forward(self, x):
            self.aside(x)
            return self.net(x)

    with pytest.raises(ValueError, match="do not depend on the layers"):
        CKDDistiller(Aside(), tiny_student(), time_steps=2, teacher_layer="aside")(IMAGES, LABELS)


class WrongNeeds(KDLoss):
    needs = ("logits", "membranes")


class EvidenceAlone(KDLoss):
    needs = ("logits", "gradients")


CONSTRUCTION = {
    "negative beta": (lambda: CKDDistiller(tiny_teacher(), tiny_student(), beta=-1), ValueError, "weight of 'samd'"),
    "NaN gamma": (lambda: CKDDistiller(tiny_teacher(), tiny_student(), gamma=float("nan")), ValueError, "'nld'"),
    "a word as weight": (lambda: CKDDistiller(tiny_teacher(), tiny_student(), beta="big"), ValueError, "'auto'"),
    "None as weight": (lambda: CKDDistiller(tiny_teacher(), tiny_student(), beta=None), TypeError, "number"),
    "negative task weight": (
        lambda: Distiller(tiny_teacher(), tiny_student(), {}, task_weight=-1),
        ValueError,
        "task_weight",
    ),
    "auto beside a task of weight 0": (
        lambda: Distiller(tiny_teacher(), tiny_student(), {"kd": (KDLoss(), "auto")}, task_weight=0),
        ValueError,
        "share of the task's gradient",
    ),
    "unknown variant": (lambda: CKDDistiller(tiny_teacher(), tiny_student(), variant="v2"), ValueError, "variant"),
    "time_steps 0": (lambda: CKDDistiller(tiny_teacher(), tiny_student(), time_steps=0), ValueError, "time_steps"),
    "time_steps 2.0": (lambda: CKDDistiller(tiny_teacher(), tiny_student(), time_steps=2.0), TypeError, "time_steps"),
    "networks in the wrong order": (lambda: CKDDistiller(tiny_student(), tiny_teacher()), ValueError, "order"),
    "one network twice": (
        lambda: (lambda net: CKDDistiller(net, net))(tiny_student()),
        ValueError,
        "are one tensor, and the teacher is frozen",
    ),
    "no module": (lambda: CKDDistiller("resnet18", tiny_student()), TypeError, "teacher must be a torch.nn.Module"),
    "student in DataParallel": (
        lambda: CKDDistiller(tiny_teacher(), nn.DataParallel(tiny_student())),
        TypeError,
        "DistributedDataParallel",
    ),
    "teacher in DataParallel": (
        lambda: CKDDistiller(nn.DataParallel(tiny_teacher()), tiny_student()),
        TypeError,
        "DistributedDataParallel",
    ),
    "a loss called task": (
        lambda: Distiller(tiny_teacher(), tiny_student(), {"task": (KDLoss(), 1)}),
        ValueError,
        "another name",
    ),
    "a loss without weight": (
        lambda: Distiller(tiny_teacher(), tiny_student(), {"kd": KDLoss()}),
        TypeError,
        r"must be \(loss, weight\)",
    ),
    "a function as loss": (
        lambda: Distiller(tiny_teacher(), tiny_student(), {"kd": (lambda a, b: a, 1)}),
        TypeError,
        "DistillationLoss",
    ),
    "losses in a list": (
        lambda: Distiller(tiny_teacher(), tiny_student(), [(KDLoss(), 1)]),
        TypeError,
        "losses must be a dict",
    ),
    "a name that nn.ModuleDict has": (
        lambda: Distiller(tiny_teacher(), tiny_student(), {"keys": (KDLoss(), 1)}),
        ValueError,
        "the name 'keys' is an attribute of nn.ModuleDict.*another name",
    ),
    "a mode for a name": (
        lambda: Distiller(tiny_teacher(), tiny_student(), {"training": (KDLoss(), 1)}),
        ValueError,
        "the name 'training' is an attribute of nn.ModuleDict",
    ),
    "a class as task loss": (
        lambda: Distiller(tiny_teacher(), tiny_student(), {}, task_loss=nn.CrossEntropyLoss),
        TypeError,
        r"task_loss must be .*, got the class CrossEntropyLoss: pass an object of it, CrossEntropyLoss\(\.\.\.\)",
    ),
    "a word as task loss": (
        lambda: Distiller(tiny_teacher(), tiny_student(), {}, task_loss="ce"),
        TypeError,
        "task_loss must be a function or a module, got str 'ce'",
    ),
    "a list as teacher_input": (
        lambda: CKDDistiller(tiny_teacher(), tiny_student(), teacher_input=[nn.Identity()]),
        TypeError,
        "teacher_input must be a function or a module, got list",
    ),
    "three items as example": (
        lambda: CKDDistiller(tiny_teacher(), tiny_student(), time_steps=2, example=(IMAGES, LABELS, LABELS)),
        ValueError,
        r"example must be images or \(images, labels\), got 3 items",
    ),
    "a list as schedule": (
        lambda: CKDDistiller(tiny_teacher(), tiny_student(), schedule=[warm_up(0.1)]),
        TypeError,
        "schedule must be a dict",
    ),
    "a method that was not called": (
        lambda: Distiller.from_method(published.kd, tiny_teacher(), tiny_student()),
        TypeError,
        r"must be a Method such as published\.kd\(\), got function; call it",
    ),
    "a network in the place of a method": (
        lambda: Distiller.from_method(tiny_teacher(), tiny_student(), published.kd()),
        TypeError,
        "must be a Method such as .*, got Sequential$",
    ),
    "a full stop in a name": (
        lambda: Distiller(tiny_teacher(), tiny_student(), {"kd.1": (KDLoss(), 1)}),
        ValueError,
        "non-empty string without",
    ),
    "one loss with parameters twice": (
        lambda: Distiller(
            tiny_teacher(),
            tiny_student(),
            dict.fromkeys("ab", (FitNetsLoss((6, 8, 8), (6, 8, 8)), 1)),
        ),
        ValueError,
        "the losses 'a' and 'b' are one FitNetsLoss",
    ),
    "layers of a CKDDistiller": (
        lambda: CKDDistiller(tiny_teacher(), tiny_student(), layers={"samd": ("5", "5")}),
        TypeError,
        "pass student_layer= and teacher_layer=",
    ),
    "the preparation in place of its network": (
        lambda: CKDDistiller(prepare_teacher(tiny_teacher(), IMAGES), tiny_student()),
        TypeError,
        r"got PreparedTeacher; pass its \.network",
    ),
    "a word for check": (
        lambda: CKDDistiller(tiny_teacher(), tiny_student(), check="no"),
        TypeError,
        "check must be True or False, got str 'no'",
    ),
    "a number for batch_first": (
        lambda: CKDDistiller(tiny_teacher(), tiny_student(), batch_first=1),
        TypeError,
        "batch_first must be True or False",
    ),
    "a word for teacher_stream": (
        lambda: CKDDistiller(tiny_teacher(), tiny_student(), teacher_stream="yes"),
        TypeError,
        "teacher_stream must be True or False",
    ),
    "unknown needs": (
        lambda: Distiller(tiny_teacher(), tiny_student(), {"kd": (WrongNeeds(), 1)}),
        ValueError,
        "membranes",
    ),
    "gradients without features": (
        lambda: Distiller(tiny_teacher(), tiny_student(), {"kd": (EvidenceAlone(), 1)}),
        ValueError,
        "without 'features'",
    ),
    "a task loss that compares layers": (
        lambda: Distiller(tiny_teacher(), tiny_student(), {}, task_loss=SAMDLoss()),
        ValueError,
        "'task' may need",
    ),
    "one layer where a pair belongs": (
        lambda: Distiller(tiny_teacher(), tiny_student(), {"m": (SAMDLoss(), 1)}, layers={"m": "5"}),
        TypeError,
        r"\(student layers, teacher layers\)",
    ),
    "a number as layer": (
        lambda: CKDDistiller(tiny_teacher(), tiny_student(), student_layer=5),
        TypeError,
        "layer",
    ),
}


@pytest.mark.parametrize("case", CONSTRUCTION)
def test_construction(case):
    make, error, message = CONSTRUCTION[case]
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("frames", [False, True])
def test_one_neuron_left_in_single_step_mode(frames):
    student = tiny_student()
    student[2].step_mode = "s"
    batch = (torch.randn(3, *IMAGES.shape), LABELS) if frames else (IMAGES, LABELS)
    distiller = CKDDistiller(tiny_teacher(), student, time_steps=None if frames else 3)
    with pytest.raises(ValueError, match=r"neuron '2' is in single-step mode and got all 3 time steps.*set_step_mode"):
        distiller(*batch)


def test_a_neuron_in_single_step_mode_that_is_called_once_a_step_is_no_fault():
    class Walks(nn.Module):
        """A block that walks through time itself."""

        def __init__(self, neuron):
            super().__init__()
            self.neuron = neuron

        def forward(self, frames):
            return torch.stack([self.neuron(frame) for frame in frames])

    student = tiny_student()
    student[2].step_mode = "s"
    expected = tiny_student()
    expected.load_state_dict(student.state_dict())
    student[2] = Walks(student[2])
    first, second = (
        CKDDistiller(tiny_teacher(), net, time_steps=3, gamma=0.0)(IMAGES, LABELS) for net in (student, expected)
    )
    torch.testing.assert_close(first.terms["task"], second.terms["task"])


def test_the_distiller_itself_in_data_parallel():
    distiller = CKDDistiller(tiny_teacher(), tiny_student(), time_steps=2)
    with pytest.raises(TypeError, match="DistributedDataParallel"):
        distiller._replicate_for_data_parallel()  # what nn.DataParallel calls for each GPU


def test_teacher_input_of_a_wrong_shape():
    distiller = CKDDistiller(tiny_teacher(), tiny_student(), time_steps=2, teacher_input=lambda x: x[:2])
    with pytest.raises(ValueError, match="teacher_input must return"):
        distiller(IMAGES, LABELS)


def test_a_teacher_that_cannot_take_the_events_is_explained():
    frames = torch.rand(3, 4, 2, 8, 8)
    distiller = CKDDistiller(tiny_teacher(), tiny_student(channels=2), student_layer="5", teacher_layer="5")
    with pytest.raises(RuntimeError) as caught:
        distiller(frames, LABELS)
    assert "teacher_input= can resize" in caught.value.__notes__[0]


def test_a_teacher_that_refuses_the_size_is_explained_while_its_layer_is_sought():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = tiny_teacher()

        def forward(self, x):
            assert x.shape[-1] == 224, "input height does not match"
            return self.net(x)

    with pytest.raises(AssertionError) as caught:
        CKDDistiller(Fixed(), tiny_student(), time_steps=2)(IMAGES, LABELS)
    assert "teacher_input= can resize" in caught.value.__notes__[0]


def test_predict_checks_its_input_too():
    distiller = CKDDistiller(tiny_teacher(), tiny_student(), time_steps=2)
    with pytest.raises(ValueError, match="channels-last"):
        distiller.predict(IMAGES.permute(0, 2, 3, 1))


def test_a_ternary_student():
    ternary = getattr(neuron, "TernaryIFNode", None)
    if ternary is None:
        pytest.skip("SpikingJelly 0.0.0.0.14 has no ternary neurons")
    student = nn.Sequential(
        layer.Conv2d(3, 6, 3, step_mode="m"),
        layer.BatchNorm2d(6, step_mode="m"),
        ternary(step_mode="m"),
        layer.AdaptiveAvgPool2d(1, step_mode="m"),
        layer.Flatten(step_mode="m"),
        layer.Linear(6, 5, step_mode="m"),
    )
    with pytest.raises(ValueError, match="negative='abs'"):
        CKDDistiller(tiny_teacher(), student, time_steps=4, student_layer="2")(IMAGES, LABELS)
    out = CKDDistiller(tiny_teacher(), student, time_steps=4, student_layer="2", negative="abs")(IMAGES, LABELS)
    out.loss.backward()
    assert student[0].weight.grad.abs().sum() > 0

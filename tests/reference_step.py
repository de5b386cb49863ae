"""Steps of distillation written out in plain torch, without the package: what the distiller has to equal.

Every function takes the two networks of ``conftest``, whose first stage ends at 2, whose second ends at 5 and whose
head is 8, and runs them part by part.
"""

import math
from dataclasses import dataclass, field

import torch
from spikingjelly.activation_based import functional
from torch import Tensor, nn
from torch.nn import functional as F

TIME_STEPS = 2


@dataclass
class Expected:
    """What one step has to give, in the distiller's names."""

    loss: Tensor
    logits: Tensor
    terms: dict[str, Tensor]
    weights: dict[str, float]
    maps: dict[str, Tensor] = field(default_factory=dict)
    skipped: int = 0


def ckd(
    teacher: nn.Sequential,
    student: nn.Sequential,
    images: Tensor,
    labels: Tensor,
    generator: torch.Generator,
    *,
    student_end: int,
    teacher_end: int,
    beta: float,
    gamma: float,
    task_weight: float,
) -> Expected:
    """Cross-entropy + beta SAMD + gamma NLD, for the teacher's own first choice."""
    features, teacher_logits = teacher_parts(teacher, images, teacher_end)
    evidence = class_gradient(teacher_logits, teacher_logits.argmax(1), features)
    functional.reset_net(student)
    spikes = student[: student_end + 1](over_time(images))
    logits = student[student_end + 1 :](spikes).mean(0)
    functional.reset_net(student)

    samd, maps, blind = saliency(spikes, class_map(features, evidence))
    noise = torch.randn(logits.shape, generator=generator, dtype=logits.dtype)
    noise = logits.detach().mean(1, keepdim=True) + logits.detach().std(1, keepdim=True) * noise
    terms = {
        "task": cross_entropy(logits, labels),
        "samd": samd,
        "nld": softened_kl(logits + 0.1 * noise, teacher_logits, 2.0).mean(),
    }
    weights = {"task": task_weight, "samd": beta, "nld": gamma}
    return Expected(weighted(terms, weights), logits, terms, weights, maps, int(blind.sum()))


def many(
    teacher: nn.Sequential, student: nn.Sequential, images: Tensor, labels: Tensor, log_ratios: list[float]
) -> Expected:
    """SAMD for the label's class, e2KD, AT, CAT-KD, TDKD, and KD at 0.3 of the task's gradient.

    ``log_ratios`` holds what the automatic weight measured in the steps before, and gets this step's.
    """
    with torch.no_grad():
        shallow = teacher[:3](images)
    deep, teacher_logits = teacher_parts(teacher, images, 5)
    of_first = class_gradient(teacher_logits, teacher_logits.argmax(1), deep, keep=True)
    of_label = class_gradient(teacher_logits, labels, deep)
    first, teacher_logits = teacher_logits.argmax(1), teacher_logits.detach()

    functional.reset_net(student)
    early = student[:3](over_time(images))
    late = student[3:6](early)
    steps = student[6:](late)
    logits = steps.mean(0)
    functional.reset_net(student)

    samd, samd_maps, samd_blind = saliency(late, class_map(deep, of_label))
    (pull,) = torch.autograd.grad(logits[range(len(first)), first].sum(), late, create_graph=True)
    own = (pull.mean((3, 4), keepdim=True) * late).sum((0, 2)).relu()
    e2, theirs, e2_blind = explanations(own, class_map(deep, of_first))
    head, teacher_head = student[8].weight, teacher[8].weight
    class_maps = quarters(torch.einsum("kc,nchw->nkhw", head, late.mean(0)))
    teacher_class_maps = quarters(torch.einsum("kc,nchw->nkhw", teacher_head, deep.detach()))
    ensemble = steps.detach().mean(0)
    terms = {
        "task": cross_entropy(logits, labels),
        "samd": samd,
        "e2": e2,
        "at": attention(early, shallow) + attention(late, deep.detach()),
        "cat": ((class_maps - teacher_class_maps) ** 2).mean(),
        "td": 0.2 * torch.stack([softened_kl(z, teacher_logits, 3.0) for z in steps]).mean()
        + 0.5 * torch.stack([softened_kl(z, ensemble, 3.0) for z in steps]).mean(),
        "auto": softened_kl(logits, teacher_logits, 4.0).mean(),
    }
    log_ratios.append(float((pull_at(terms["auto"], early, late) / pull_at(terms["task"], early, late)).log()))
    auto = 0.3 / math.exp(sum(log_ratios) / len(log_ratios))
    weights = {"task": 1.0, "samd": 1.0, "e2": 0.5, "at": 2.0, "cat": 1.0, "td": 1.0, "auto": auto}
    maps = {f"samd/{side}": found for side, found in samd_maps.items()} | {
        "e2/student": own.detach(),
        "e2/teacher": theirs,
    }
    return Expected(weighted(terms, weights), logits, terms, weights, maps, int(samd_blind.sum() + e2_blind.sum()))


def mgd(
    teacher: nn.Sequential, student: nn.Sequential, images: Tensor, labels: Tensor, convolutions: list[Tensor]
) -> Expected:
    """MGD: the teacher's layer made of the student's without 15% of its channels, drawn from torch's own source.

    ``convolutions`` are the weight and bias of the first and of the second one.
    """
    with torch.no_grad():
        features = teacher[:6](images)
    functional.reset_net(student)
    spikes = student[:6](over_time(images))
    logits = student[6:](spikes).mean(0)
    functional.reset_net(student)

    kept = (torch.rand(spikes.shape[1:3]) >= 0.15).to(spikes.dtype)
    hidden = F.conv2d(spikes.mean(0) * kept[:, :, None, None], *convolutions[:2], padding=1).relu()
    generated = F.conv2d(hidden, *convolutions[2:], padding=1)
    terms = {
        "task": cross_entropy(logits, labels),
        "mgd": ((generated - features) ** 2).sum((1, 2, 3)).mean(),
    }
    weights = {"task": 1.0, "mgd": 1.0}
    return Expected(weighted(terms, weights), logits, terms, weights)


# --- the networks ----------------------------------------------------------------------------------------------------


def over_time(images: Tensor) -> Tensor:
    return images.expand(TIME_STEPS, *images.shape)


def teacher_parts(teacher: nn.Sequential, images: Tensor, end: int) -> tuple[Tensor, Tensor]:
    """The layer at ``end`` as a leaf, and the logits that the rest makes of a copy of it."""
    with torch.no_grad():
        leaf = teacher[: end + 1](images)
    leaf.requires_grad_()
    return leaf, teacher[end + 1 :](leaf.clone())


def class_gradient(logits: Tensor, classes: Tensor, layer: Tensor, *, keep: bool = False) -> Tensor:
    score = logits[range(len(classes)), classes].sum()
    (gradient,) = torch.autograd.grad(score, layer, retain_graph=keep)
    return gradient


def pull_at(value: Tensor, *layers: Tensor) -> Tensor:
    """Norm of the gradient at these layers."""
    gradients = torch.autograd.grad(value, layers, retain_graph=True)
    return torch.stack([gradient.norm() for gradient in gradients]).norm()


# --- the formulas ----------------------------------------------------------------------------------------------------


def weighted(terms: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    return sum(weights[name] * value for name, value in terms.items())


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return -torch.log_softmax(logits, 1)[range(len(labels)), labels].mean()


def softened_kl(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """``tau**2 KL(teacher || student)``, one value a row."""
    target = torch.softmax(teacher.detach() / temperature, 1)
    entropy = (target * torch.log(target)).sum(1)
    return temperature**2 * (entropy - (target * torch.log_softmax(student / temperature, 1)).sum(1))


def class_map(features: Tensor, gradient: Tensor) -> Tensor:
    """Grad-CAM, ``[N, h, w]``."""
    return (gradient.mean((2, 3), keepdim=True) * features.detach()).sum(1).relu()


def saliency(spikes: Tensor, teacher_map: Tensor) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """SAMD at temperature 2, both maps as they are compared, and which images are left out."""
    student_map = spikes.sum(0).sum(1)
    factor = student_map.shape[1] // teacher_map.shape[1]
    if factor > 1:
        student_map = F.avg_pool2d(student_map, factor)
    blind = constant(teacher_map)
    student_map = student_map - student_map.amin((1, 2), keepdim=True)
    student_map = student_map / (student_map.amax((1, 2), keepdim=True) + 1.0)
    teacher_map = teacher_map - teacher_map.amin((1, 2), keepdim=True)
    teacher_map = teacher_map / teacher_map.amax((1, 2), keepdim=True).clamp_min(1e-300)
    distance = softened_kl(student_map.flatten(1), teacher_map.flatten(1), 2.0)
    value = (distance * (~blind).to(distance.dtype)).mean()
    return value, {"student": student_map.detach(), "teacher": teacher_map}, blind


def explanations(student_map: Tensor, teacher_map: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """e2KD: one minus the cosine, the teacher's map, and which images are left out."""
    blind = constant(teacher_map)
    one, other = student_map.flatten(1), teacher_map.flatten(1)
    lengths = one.norm(dim=1).clamp_min(1e-8) * other.norm(dim=1).clamp_min(1e-8)
    distance = 1 - (one * other).sum(1) / lengths
    return (distance * (~blind).to(distance.dtype)).mean(), teacher_map, blind


def constant(maps: Tensor) -> Tensor:
    high, low = maps.amax((1, 2)), maps.amin((1, 2))
    return high - low <= 1e-6 * torch.maximum(high.abs(), low.abs())


def attention(spikes: Tensor, features: Tensor) -> Tensor:
    """AT of one pair of layers with maps of one size."""
    maps = [(x**2).mean(1).flatten(1) for x in (spikes.mean(0), features)]
    maps = [x / x.norm(dim=1, keepdim=True).clamp_min(1e-12) for x in maps]
    return ((maps[0] - maps[1]) ** 2).mean()


def quarters(maps: Tensor) -> Tensor:
    """Averaged over the four quarters of the map, ``[N, K, 2, 2]``."""
    return F.avg_pool2d(maps, maps.shape[-1] // 2)

"""CIFAR-100, Max-ResNet-18, T=4: trained without a teacher, its authors report 83.06 %. Needs SpikingJelly 2.x.

CKDSNN did not use this network. The schedule is that of temporal-decoupled distillation (TDKD, arXiv 2501.15925), whose
teachers are ResNet-34. Its method is --method tdkd, and plain training --method plain.
"""

from spikingjelly_ckd.recipes.data import cifar100
from spikingjelly_ckd.recipes.models import max_resnet18, resnet19
from spikingjelly_ckd.recipes.recipe import Recipe, cited, ours, paper, released
from spikingjelly_ckd.recipes.row import run_row

AUTHORS = "arXiv 2505.18608"
TDKD = "TDKD's code"

RECIPE = Recipe(
    name="cifar100_maxresnet18_t4",
    paper_accuracy=None,
    data=cited(cifar100, AUTHORS),
    student=cited(max_resnet18, AUTHORS),
    teacher=ours(resnet19),
    time_steps=cited(4, AUTHORS),
    size=ours(32),
    crop_padding=cited(4, TDKD),
    flip=cited(True, TDKD),
    auto_augment=cited("cifar10", TDKD),
    cutout=cited(16, TDKD),
    epochs=cited(300, TDKD),
    batch_size=cited(128, TDKD),
    lr=cited(0.1, TDKD),
    optimizer=cited("sgd", TDKD),
    momentum=cited(0.9, TDKD),
    weight_decay=cited(5e-4, TDKD),
    norm_decay=cited(False, TDKD),
    warmup_epochs=ours(0),
    amp=ours("bf16-mixed"),
    task_loss=cited("tet", TDKD),
    map_temperature=paper(2.0),
    temperature=paper(2.0),
    noise_weight=paper(0.1),
    beta=paper(1.0),
    gamma=paper(1.0),
    target_class=released("teacher"),
    teacher_epochs=ours(300),
    teacher_lr=ours(0.1),
)

if __name__ == "__main__":
    run_row(RECIPE, description=__doc__)

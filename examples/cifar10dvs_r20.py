"""CIFAR10-DVS, ResNet-20, T=10: CKDSNN reports 81.55 %, on a split and at a size that are not published.

Three splits are in use and not comparable: --split first90, tebn or random42. The teacher sees the mean frame.
"""

from spikingjelly_ckd.recipes.data import cifar10dvs
from spikingjelly_ckd.recipes.models import resnet20, spiking_resnet20
from spikingjelly_ckd.recipes.recipe import Recipe, ours, paper, released
from spikingjelly_ckd.recipes.row import run_row

RECIPE = Recipe(
    name="cifar10dvs_r20",
    paper_accuracy=81.55,
    data=paper(cifar10dvs),
    student=paper(spiking_resnet20),
    teacher=ours(resnet20),
    time_steps=paper(10),
    size=ours(48),
    split=ours("first90"),
    flip=ours(True),
    nda=ours(True),
    epochs=ours(200),
    batch_size=ours(64),
    lr=ours(0.1),
    optimizer=paper("sgd"),
    momentum=paper(0.9),
    weight_decay=paper(1e-4),
    warmup_epochs=ours(0),
    amp=ours("bf16-mixed"),
    map_temperature=paper(2.0),
    temperature=paper(2.0),
    noise_weight=paper(0.1),
    beta=paper(1.0),
    gamma=paper(1.0),
    target_class=released("teacher"),
    teacher_epochs=ours(200),
    teacher_lr=ours(0.1),
)

if __name__ == "__main__":
    run_row(RECIPE, description=__doc__)

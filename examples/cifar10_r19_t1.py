"""CIFAR-10, ResNet-19, T=1: CKDSNN reports 96.11 %."""

from spikingjelly_ckd.recipes.data import cifar10
from spikingjelly_ckd.recipes.models import resnet19, spiking_resnet19
from spikingjelly_ckd.recipes.recipe import Recipe, paper, released
from spikingjelly_ckd.recipes.row import run_row

RECIPE = Recipe(
    name="cifar10_r19_t1",
    paper_accuracy=96.11,
    data=paper(cifar10),
    student=paper(spiking_resnet19),
    teacher=released(resnet19),
    time_steps=paper(1),
    size=released(32),
    crop_padding=released(4),
    flip=released(True),
    auto_augment=released("cifar10"),
    erase=released(0.5),
    epochs=released(400),
    batch_size=released(128),
    lr=released(0.1),
    optimizer=paper("sgd"),
    momentum=paper(0.9),
    weight_decay=paper(1e-4),
    warmup_epochs=released(0),
    amp=released("bf16-mixed"),
    map_temperature=paper(2.0),
    temperature=paper(2.0),
    noise_weight=paper(0.1),
    beta=paper(1.0),
    gamma=paper(1.0),
    target_class=released("teacher"),
    teacher_epochs=released(300),
    teacher_lr=released(0.05),
)

if __name__ == "__main__":
    run_row(RECIPE, description=__doc__)

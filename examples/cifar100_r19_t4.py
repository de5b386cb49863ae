"""CIFAR-100, ResNet-19, T=4: CKDSNN reports 83.88 %. Its settings are not published; T=1's are taken."""

from spikingjelly_ckd.recipes.data import cifar100
from spikingjelly_ckd.recipes.models import resnet19, spiking_resnet19
from spikingjelly_ckd.recipes.recipe import Recipe, ours, paper, released
from spikingjelly_ckd.recipes.row import run_row

RECIPE = Recipe(
    name="cifar100_r19_t4",
    paper_accuracy=83.88,
    data=paper(cifar100),
    student=paper(spiking_resnet19),
    teacher=released(resnet19),
    time_steps=paper(4),
    size=ours(32),
    crop_padding=ours(4),
    flip=ours(True),
    auto_augment=ours("cifar10"),
    erase=ours(0.5),
    epochs=ours(400),
    batch_size=ours(128),
    lr=ours(0.1),
    optimizer=paper("sgd"),
    momentum=paper(0.9),
    weight_decay=paper(1e-4),
    warmup_epochs=ours(0),
    amp=ours("16-mixed"),
    map_temperature=paper(2.0),
    temperature=paper(2.0),
    noise_weight=paper(0.1),
    beta=paper(1.0),
    gamma=paper(1.0),
    target_class=released("teacher"),
    teacher_epochs=released(400),
    teacher_lr=released(0.1),
)

if __name__ == "__main__":
    run_row(RECIPE, description=__doc__)

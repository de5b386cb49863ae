"""CIFAR-100, VGG-16 with BatchNorm, T=4: no number of CKDSNN for this network is known.

The body is SpikingJelly's, with one linear layer behind its global average; the teacher is torchvision's likewise.
Augmentation, schedule and optimiser are those of the other CIFAR rows.
"""

from spikingjelly_ckd.recipes.data import cifar100
from spikingjelly_ckd.recipes.models import spiking_vgg16, vgg16
from spikingjelly_ckd.recipes.recipe import Recipe, ours, paper, released
from spikingjelly_ckd.recipes.row import run_row

RECIPE = Recipe(
    name="cifar100_vgg16_t4",
    paper_accuracy=None,
    data=ours(cifar100),
    student=ours(spiking_vgg16),
    teacher=ours(vgg16),
    time_steps=ours(4),
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
    amp=ours("bf16-mixed"),
    map_temperature=paper(2.0),
    temperature=paper(2.0),
    noise_weight=paper(0.1),
    beta=paper(1.0),
    gamma=paper(1.0),
    target_class=released("teacher"),
    teacher_epochs=ours(400),
    teacher_lr=ours(0.1),
)

if __name__ == "__main__":
    run_row(RECIPE, description=__doc__)

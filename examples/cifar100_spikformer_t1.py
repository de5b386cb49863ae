"""CIFAR-100, Spikformer-4-384, T=1: CKDSNN reports 83.07 %. Needs SpikingJelly 2.x.

Which teacher and schedule the paper used is not published. BKDSNN trains this network with
--optimizer adamw --lr 5e-4 --wd 0.06 -b 64 from a ViT-S teacher (train_teacher.py --model timm:vit_small_patch16_224).
"""

from spikingjelly_ckd.recipes.data import cifar100
from spikingjelly_ckd.recipes.models import resnet19, spikformer_4_384
from spikingjelly_ckd.recipes.recipe import Recipe, ours, paper, released
from spikingjelly_ckd.recipes.row import run_row

RECIPE = Recipe(
    name="cifar100_spikformer_t1",
    paper_accuracy=83.07,
    data=paper(cifar100),
    student=paper(spikformer_4_384),
    teacher=ours(resnet19),
    time_steps=paper(1),
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
    warmup_epochs=ours(20),
    amp=ours("bf16-mixed"),
    clip=ours(1.0),
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

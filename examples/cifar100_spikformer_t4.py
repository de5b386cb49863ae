"""CIFAR-100, Spikformer-4-384, T=4, with the schedule of its own authors. Needs SpikingJelly 2.x.

Others with this network's size: Spikformer 78.15 % (without a teacher), BKDSNN 81.26 % (Spikingformer). CKDSNN lists
83.07 % at T=1, see cifar100_spikformer_t1. The values are those of cifar10.yml in the authors' repository; its ten
epochs of cool-down at the end, lowest learning rate and const mode of erasing are left out.
"""

from spikingjelly_ckd.recipes.data import cifar100
from spikingjelly_ckd.recipes.models import resnet19, spikformer_4_384
from spikingjelly_ckd.recipes.recipe import Recipe, cited, ours, paper, released
from spikingjelly_ckd.recipes.row import run_row

AUTHORS = "Spikformer's cifar10.yml"

RECIPE = Recipe(
    name="cifar100_spikformer_t4",
    paper_accuracy=None,
    data=ours(cifar100),
    student=cited(spikformer_4_384, AUTHORS),
    teacher=ours(resnet19),
    time_steps=cited(4, AUTHORS),
    size=cited(32, AUTHORS),
    flip=ours(True),
    auto_augment=cited("rand-m9-n1-mstd0.4-inc1", AUTHORS),
    erase=cited(0.25, AUTHORS),
    mixup=cited(0.5, AUTHORS),
    mixup_off_epoch=cited(200, AUTHORS),
    epochs=cited(300, AUTHORS),
    batch_size=cited(128, AUTHORS),
    lr=cited(5e-4, AUTHORS),
    optimizer=cited("adamw", AUTHORS),
    momentum=ours(0.9),
    weight_decay=cited(0.06, AUTHORS),
    norm_decay=cited(False, "timm's default"),
    warmup_epochs=cited(20, AUTHORS),
    amp=ours("bf16-mixed"),
    label_smoothing=cited(0.1, AUTHORS),
    map_temperature=paper(2.0),
    temperature=paper(2.0),
    noise_weight=paper(0.1),
    beta=paper(1.0),
    gamma=paper(1.0),
    target_class=released("teacher"),
    teacher_epochs=ours(300),
    teacher_lr=ours(1e-3),
)

if __name__ == "__main__":
    run_row(RECIPE, description=__doc__)

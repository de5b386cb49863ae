"""N-Caltech101, ResNet-20, T=10, on a split of our own, ncaltech101-hash10: no number of CKDSNN is known.

There is no official split, so numbers of others do not compare: Transfer-for-DVS has 92.64 % with its released
checkpoint. Settings as in cifar10dvs_r20.
"""

from spikingjelly_ckd.recipes.data import ncaltech101
from spikingjelly_ckd.recipes.models import resnet20, spiking_resnet20
from spikingjelly_ckd.recipes.recipe import Recipe, ours, paper, released
from spikingjelly_ckd.recipes.row import run_row

RECIPE = Recipe(
    name="ncaltech101_r20_t10",
    paper_accuracy=None,
    data=ours(ncaltech101),
    student=ours(spiking_resnet20),
    teacher=ours(resnet20),
    time_steps=ours(10),
    size=ours(64),
    flip=ours(True),
    nda=ours(True),
    epochs=ours(200),
    batch_size=ours(64),
    lr=ours(0.1),
    optimizer=ours("sgd"),
    momentum=ours(0.9),
    weight_decay=ours(1e-4),
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

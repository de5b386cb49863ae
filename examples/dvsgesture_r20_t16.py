"""DVS128 Gesture, ResNet-20, T=16, on the official split: no number of CKDSNN is known.

SASTC reports 97.92 % by its abstract, with another network. T and the batch are those of SpikingJelly's classify_dvsg;
the rest is as in cifar10dvs_r20, without its flip, which would turn a left hand into a right one.
"""

from spikingjelly_ckd.recipes.data import dvsgesture
from spikingjelly_ckd.recipes.models import resnet20, spiking_resnet20
from spikingjelly_ckd.recipes.recipe import Recipe, cited, ours, paper, released
from spikingjelly_ckd.recipes.row import run_row

EXAMPLE = "SpikingJelly's classify_dvsg"

RECIPE = Recipe(
    name="dvsgesture_r20_t16",
    paper_accuracy=None,
    data=ours(dvsgesture),
    student=ours(spiking_resnet20),
    teacher=ours(resnet20),
    time_steps=cited(16, EXAMPLE),
    size=ours(64),
    nda=ours(True),
    epochs=ours(200),
    batch_size=cited(16, EXAMPLE),
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

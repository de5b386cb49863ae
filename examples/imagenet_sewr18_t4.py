"""ImageNet-1K, SEW-ResNet-18, T=4: CKDSNN reports 66.92 % beside KDSNN's 63.42 %.

That both numbers are of this network is inferred from the pair, and T is not stated with them. Settings as in
imagenet_sewr34_t4. --teacher timm:resnet18 saves training a teacher.
"""

from spikingjelly_ckd.recipes.data import imagenet
from spikingjelly_ckd.recipes.models import resnet18, sew_resnet18
from spikingjelly_ckd.recipes.recipe import Recipe, cited, ours, paper, released
from spikingjelly_ckd.recipes.row import run_row

RECIPE = Recipe(
    name="imagenet_sewr18_t4",
    paper_accuracy=66.92,
    data=paper(imagenet),
    student=cited(sew_resnet18, "inferred"),
    teacher=ours(resnet18),
    time_steps=ours(4),
    size=ours(224),
    resized_crop=ours(True),
    flip=ours(True),
    epochs=ours(320),
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
    teacher_epochs=ours(90),
    teacher_lr=ours(0.1),
)

if __name__ == "__main__":
    run_row(RECIPE, description=__doc__)

"""ImageNet-1K, SEW-ResNet-34, T=4: CKDSNN reports 73.05 %.

Its settings are not published; epochs and lr are those of BKDSNN (four GPUs with 128 images each: --devices 4
--strategy ddp -b 128). --teacher timm:resnet34 saves training a teacher.
"""

from spikingjelly_ckd.recipes.data import imagenet
from spikingjelly_ckd.recipes.models import resnet34, sew_resnet34
from spikingjelly_ckd.recipes.recipe import Recipe, ours, paper, released
from spikingjelly_ckd.recipes.row import run_row

RECIPE = Recipe(
    name="imagenet_sewr34_t4",
    paper_accuracy=73.05,
    data=paper(imagenet),
    student=paper(sew_resnet34),
    teacher=ours(resnet34),
    time_steps=paper(4),
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

"""A spiking ResNet-20 learns from its ANN twin on an ImageFolder tree (train/, test/), in one plain PyTorch loop."""

import json
import sys
import time
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Subset
from torchvision import datasets
from torchvision import transforms as tf

from spikingjelly_ckd import CKDDistiller, preflight, use_fast_neurons
from spikingjelly_ckd.recipes.models import resnet20, spiking_resnet20
from spikingjelly_ckd.recipes.parser import Parser, read_count, read_number, read_whole
from spikingjelly_ckd.recipes.progress import say_busy


def loader(args, split, *augmentation):
    steps = [tf.Resize((32, 32)), *augmentation, tf.ToTensor(), tf.Normalize((0.49, 0.48, 0.45), (0.25, 0.24, 0.26))]
    data = datasets.ImageFolder(args.data_path / split, tf.Compose(steps))
    members = [[i for i, label in enumerate(data.targets) if label == k] for k in range(len(data.classes))]
    keep = [i for m in members for i in m[: getattr(args, f"{split}_per_class")]]
    order = torch.Generator().manual_seed(args.seed)  # one order and one augmentation for every method
    return DataLoader(Subset(data, keep), args.b, split == "train", generator=order, num_workers=args.j)


def fit(args, name, module, step, predict, epochs):
    train, test = loader(args, "train", tf.RandomCrop(32, 4), tf.RandomHorizontalFlip()), loader(args, "test")
    optimizer = torch.optim.SGD(module.parameters(), args.lr, momentum=0.9, weight_decay=args.wd)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(train))
    accuracy, start = [], time.perf_counter()
    for _ in range(epochs):
        module.train()
        for images, labels in train:
            optimizer.zero_grad()
            step(images.to(args.device), labels.to(args.device)).backward()
            optimizer.step()
            schedule.step()
        module.eval()
        with torch.no_grad():
            right = [predict(images.to(args.device)).argmax(1).cpu() == labels for images, labels in test]
        accuracy.append(100 * torch.cat(right).float().mean().item())
        left = (time.perf_counter() - start) * (epochs / len(accuracy) - 1)
        said = "smoke run, which says nothing" if args.smoke else f"about {left:.0f} s left"
        print(f"{name} epoch {len(accuracy)}/{epochs}: test accuracy {accuracy[-1]:.2f} % ({said})", flush=True)
    return {"accuracy": accuracy, "seconds": time.perf_counter() - start}


def arguments():
    parser = Parser(description=__doc__, usage="%(prog)s --data-path DIR [flags] (see --help)")
    parser.add_argument("--data-path", type=Path, required=True, help="ImageFolder tree with train/ and test/; needed")
    parser.add_argument("--method", choices=["plain", "ckd"], default="ckd", help="plain is the control (%(default)s)")
    parser.add_argument("--output", type=Path, help="record, with the student beside it (minimal_METHOD.json)")
    parser.add_argument("--teacher", type=Path, help="its weights, trained first where there are none (teacher.pt)")
    parser.add_argument("--smoke", action="store_true", help="one epoch of few images, to see that everything runs")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="to train on (%(default)s)")
    parser.add_argument("--cupy", action="store_true", help="CuPy neurons, SpikingJelly 0.0.0.0.14 on CUDA")
    values = {
        "-T": (1, read_count, "time steps"),
        "-b": (64, read_count, "batch size"),
        "-j": (2, read_whole, "loading processes"),
        "--epochs": (12, read_count, "epochs of the student"),
        "--teacher-epochs": (20, read_count, "epochs of a teacher that is trained first"),
        "--lr": (0.1, read_number, "first learning rate, which falls to 0 as a cosine"),
        "--wd": (1e-4, read_number, "weight decay"),
        "--seed": (0, read_whole, "of weights, order and augmentation"),
        "--beta": (1.0, read_number, "weight of SAMD"),
        "--gamma": (1.0, read_number, "weight of NLD"),
        "--train-per-class": (None, read_count, "at most so many training images of each class"),
        "--test-per-class": (None, read_count, "at most so many test images of each class"),
    }
    for flag, (value, read, text) in values.items():
        parser.add_argument(flag, default=value, type=read, help=f"{text} ({'all' if value is None else value})")
    args = parser.parse_args()
    if not all((args.data_path / part).is_dir() for part in ("train", "test")):
        parser.error(f"--data-path {args.data_path} must hold train/ and test/ with a folder of images for each class")
    train, test = (
        {one.name for one in (args.data_path / part).iterdir() if one.is_dir()} for part in ("train", "test")
    )
    if train != test:
        only = ", ".join(sorted(train ^ test))
        parser.error(f"--data-path {args.data_path} has classes in one of train/ and test/ only: {only}")
    if len(train) < 2:
        parser.error(f"--data-path {args.data_path} must have the folders of at least two classes in train/")
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: PyTorch sees no GPU on this machine; pass --device cpu")
    if args.smoke:
        args.epochs, args.teacher_epochs, args.train_per_class, args.test_per_class = 1, 1, 4, 4
    args.teacher = args.teacher or Path("teacher_smoke.pt" if args.smoke else "teacher.pt")
    args.output = args.output or Path(f"minimal_{args.method}.json")
    for path in (args.teacher, args.output):
        path.parent.mkdir(parents=True, exist_ok=True)
    say_busy(args.device)
    return args


def main():
    args = arguments()
    torch.manual_seed(args.seed)
    classes = sum(folder.is_dir() for folder in (args.data_path / "train").iterdir())
    teacher, student = resnet20(classes).to(args.device), spiking_resnet20(classes).to(args.device)
    neurons = use_fast_neurons(student) if args.cupy else None
    if not args.teacher.exists():
        fit(args, "teacher", teacher, lambda x, y: cross_entropy(teacher(x), y), teacher, args.teacher_epochs)
        torch.save(teacher.state_dict(), args.teacher)
    try:
        teacher.load_state_dict(torch.load(args.teacher, weights_only=True))
    except Exception:  # what torch says of a file that is none of its own differs from file to file
        sys.exit(f"--teacher {args.teacher} is no ResNet-20 of {classes} classes; name a new file, to train one first")
    distiller = CKDDistiller(teacher, student, time_steps=args.T, beta=args.beta, gamma=args.gamma)
    print(preflight(distiller, tuple(x.to(args.device) for x in next(iter(loader(args, "train"))))))
    steps = {"ckd": lambda x, y: distiller(x, y).loss, "plain": lambda x, y: cross_entropy(distiller.predict(x), y)}
    found = fit(args, args.method, distiller, steps[args.method], distiller.predict, args.epochs)
    torch.save(student.state_dict(), args.output.with_suffix(".pt"))
    args.output.write_text(json.dumps({"args": vars(args), "neurons": neurons, **found}, default=str))
    print(f"record {args.output}, student {args.output.with_suffix('.pt')}, teacher {args.teacher}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("Stopped. A teacher that was finished is kept, the rest begins anew")

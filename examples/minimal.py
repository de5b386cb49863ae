"""A spiking ResNet-20 learns from its ANN twin on an ImageFolder tree (train/, test/), in one plain PyTorch loop."""

import argparse
import json
import time
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Subset
from torchvision import datasets
from torchvision import transforms as tf

from spikingjelly_ckd import CKDDistiller, preflight, use_fast_neurons
from spikingjelly_ckd.recipes.models import resnet20, spiking_resnet20


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
        print(f"{name} epoch {len(accuracy)}/{epochs}: test accuracy {accuracy[-1]:.2f} %", flush=True)
    return {"accuracy": accuracy, "seconds": time.perf_counter() - start}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    values = {"--data-path": Path("data"), "--output": Path("record.json"), "--teacher": Path("teacher.pt"), "-T": 1}
    values |= {"-b": 64, "-j": 2, "--epochs": 12, "--teacher-epochs": 20, "--lr": 0.1, "--wd": 1e-4, "--device": "cpu"}
    values |= {"--seed": 0, "--beta": 1.0, "--gamma": 1.0, "--train-per-class": 10**9, "--test-per-class": 10**9}
    for flag, value in values.items():
        parser.add_argument(flag, default=value, type=type(value))
    parser.add_argument("--method", choices=["plain", "ckd"], default="ckd")
    parser.add_argument("--cupy", action="store_true", help="CuPy neurons, SpikingJelly 0.0.0.0.14 on CUDA")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    classes = sum(folder.is_dir() for folder in (args.data_path / "train").iterdir())
    teacher, student = resnet20(classes).to(args.device), spiking_resnet20(classes).to(args.device)
    neurons = use_fast_neurons(student) if args.cupy else None
    if not args.teacher.exists():
        fit(args, "teacher", teacher, lambda x, y: cross_entropy(teacher(x), y), teacher, args.teacher_epochs)
        torch.save(teacher.state_dict(), args.teacher)
    teacher.load_state_dict(torch.load(args.teacher, weights_only=True))
    distiller = CKDDistiller(teacher, student, time_steps=args.T, beta=args.beta, gamma=args.gamma)
    print(preflight(distiller, tuple(x.to(args.device) for x in next(iter(loader(args, "train"))))))
    steps = {"ckd": lambda x, y: distiller(x, y).loss, "plain": lambda x, y: cross_entropy(distiller.predict(x), y)}
    found = fit(args, args.method, distiller, steps[args.method], distiller.predict, args.epochs)
    args.output.write_text(json.dumps({"args": vars(args), "neurons": neurons, **found}, default=str))

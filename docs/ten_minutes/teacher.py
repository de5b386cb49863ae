"""The teacher: an ordinary ANN of PyTorch, trained on the same digits. Yours may be any classifier that you have."""

import torch
from torch import nn
from torch.nn.functional import cross_entropy

EPOCHS = 8


def trained_teacher(images, labels, test_images, test_labels):
    def stage(inputs, outputs, stride):
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
        )

    torch.manual_seed(0)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    teacher = nn.Sequential(stage(1, 16, 1), stage(16, 32, 2), stage(32, 64, 2), *head)
    optimizer = torch.optim.SGD(teacher.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(labels)).split(25):
            optimizer.zero_grad()
            cross_entropy(teacher(images[rows]), labels[rows]).backward()
            optimizer.step()
        schedule.step()
    teacher.eval()
    with torch.no_grad():
        right = (teacher(test_images).argmax(1) == test_labels).float().mean().item()
    print(f"teacher: test accuracy {100 * right:.1f} %", flush=True)
    return teacher

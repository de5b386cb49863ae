"""A SEW-ResNet learns the digits of scikit-learn: a training script for SpikingJelly, without a teacher."""

import torch
from sklearn.datasets import load_digits
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from spikingjelly.activation_based.model.sew_resnet import BasicBlock
from torch import nn
from torch.nn.functional import cross_entropy, interpolate

EPOCHS = 6
T = 4


def sew_resnet(classes):
    def stage(inputs, outputs, stride):
        down = nn.Sequential(layer.Conv2d(inputs, outputs, 1, stride, bias=False), layer.BatchNorm2d(outputs))
        spiking = {"spiking_neuron": neuron.IFNode, "surrogate_function": surrogate.ATan(), "detach_reset": True}
        return BasicBlock(inputs, outputs, stride, down, cnf="ADD", **spiking)

    return nn.Sequential(
        layer.Conv2d(1, 16, 3, padding=1, bias=False),
        layer.BatchNorm2d(16),
        neuron.IFNode(surrogate_function=surrogate.ATan(), detach_reset=True),
        stage(16, 32, 2),
        stage(32, 64, 2),
        layer.AdaptiveAvgPool2d(1),
        layer.Flatten(),
        layer.Linear(64, classes),
    )


digits = load_digits()
images = interpolate(torch.tensor(digits.images)[:, None].float() / 8 - 1, size=16, mode="bilinear")
labels = torch.tensor(digits.target)
images, labels, test_images, test_labels = images[:1000], labels[:1000], images[1000:], labels[1000:]

torch.manual_seed(0)
student = sew_resnet(10)
functional.set_step_mode(student, "m")
optimizer = torch.optim.SGD(student.parameters(), lr=0.1, momentum=0.9)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)

for epoch in range(EPOCHS):
    student.train()
    for rows in torch.randperm(len(labels)).split(25):
        x, y = images[rows], labels[rows]
        logits = student(x.repeat(T, 1, 1, 1, 1)).mean(0)
        loss = cross_entropy(logits, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        functional.reset_net(student)
    schedule.step()
    student.eval()
    with torch.no_grad():
        logits = student(test_images.repeat(T, 1, 1, 1, 1)).mean(0)
    functional.reset_net(student)
    right = (logits.argmax(1) == test_labels).float().mean().item()
    print(f"epoch {epoch + 1}/{EPOCHS}: loss {loss.item():.3f}, test accuracy {100 * right:.1f} %", flush=True)

torch.save(student.state_dict(), "plain.pt")

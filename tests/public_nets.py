"""Networks as published repositories lay them out, written by hand: nothing of this package is imported here.

``Spikformer`` has the shape of the spiking transformers: images ``[N, C, H, W]`` in, repeated over T inside, plain
``nn.Conv2d`` and ``nn.BatchNorm2d`` on ``[T * N, ...]``, neurons of SpikingJelly on ``[T, N, ...]``, mean logits out.
``SEWNet`` has that of the SEW nets for static images: the stem runs once, then single-step neurons in a loop over T.
"""

import torch
from spikingjelly.activation_based import encoding, functional, layer, neuron
from torch import nn


def lif():
    return neuron.LIFNode(tau=2.0, detach_reset=True, step_mode="m")


class SPS(nn.Module):
    """Patches of 4x4 by two convolutions with pooling."""

    def __init__(self, in_channels, dim):
        super().__init__()
        self.proj_conv, self.proj_bn = nn.Conv2d(in_channels, dim // 2, 3, 1, 1, bias=False), nn.BatchNorm2d(dim // 2)
        self.proj_lif, self.pool = lif(), nn.MaxPool2d(2)
        self.proj_conv1, self.proj_bn1 = nn.Conv2d(dim // 2, dim, 3, 1, 1, bias=False), nn.BatchNorm2d(dim)
        self.proj_lif1, self.pool1 = lif(), nn.MaxPool2d(2)

    def forward(self, x):
        T, B = x.shape[:2]
        x = self.proj_bn(self.proj_conv(x.flatten(0, 1))).unflatten(0, (T, B))
        x = self.pool(self.proj_lif(x).flatten(0, 1))
        x = self.proj_bn1(self.proj_conv1(x)).unflatten(0, (T, B))
        return self.pool1(self.proj_lif1(x).flatten(0, 1)).unflatten(0, (T, B))


class SSA(nn.Module):
    """Spiking self-attention without a softmax, on ``[T, N, C, L]``."""

    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        for name in ("q", "k", "v", "proj"):
            setattr(self, f"{name}_conv", nn.Conv1d(dim, dim, 1, bias=False))
            setattr(self, f"{name}_bn", nn.BatchNorm1d(dim))
            setattr(self, f"{name}_lif", lif())
        self.attn_lif = neuron.LIFNode(tau=2.0, v_threshold=0.5, detach_reset=True, step_mode="m")

    def spikes(self, name, x):
        T, B = x.shape[:2]
        y = getattr(self, f"{name}_bn")(getattr(self, f"{name}_conv")(x.flatten(0, 1))).unflatten(0, (T, B))
        return getattr(self, f"{name}_lif")(y)

    def forward(self, x):
        q, k, v = (self.spikes(name, x).unflatten(2, (self.heads, -1)).transpose(-1, -2) for name in "qkv")
        x = (q @ k.transpose(-2, -1)) @ v * 0.125
        return self.spikes("proj", self.attn_lif(x.transpose(-1, -2).flatten(2, 3)))


class MLP(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.fc1_conv, self.fc1_bn, self.fc1_lif = nn.Conv1d(dim, hidden, 1), nn.BatchNorm1d(hidden), lif()
        self.fc2_conv, self.fc2_bn, self.fc2_lif = nn.Conv1d(hidden, dim, 1), nn.BatchNorm1d(dim), lif()

    def forward(self, x):
        T, B = x.shape[:2]
        x = self.fc1_lif(self.fc1_bn(self.fc1_conv(x.flatten(0, 1))).unflatten(0, (T, B)))
        return self.fc2_lif(self.fc2_bn(self.fc2_conv(x.flatten(0, 1))).unflatten(0, (T, B)))


class Block(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.attn, self.mlp = SSA(dim, heads), MLP(dim, 2 * dim)

    def forward(self, x):
        x = x + self.attn(x)
        return x + self.mlp(x)


class Spikformer(nn.Module):
    def __init__(self, T=4, in_channels=3, num_classes=10, embed_dims=16, num_heads=2, depths=1):  # noqa: N803
        super().__init__()
        self.T = T
        self.patch_embed = SPS(in_channels, embed_dims)
        self.block = nn.ModuleList(Block(embed_dims, num_heads) for _ in range(depths))
        self.head = nn.Linear(embed_dims, num_classes)

    def forward_features(self, x):
        x = self.patch_embed(x)
        H, W = x.shape[-2:]
        x = x.flatten(3)
        for block in self.block:
            x = block(x)
        return x.unflatten(3, (H, W)).flatten(3).mean(3)

    def forward(self, x):
        x = x.unsqueeze(0).repeat(self.T, 1, 1, 1, 1)
        return self.head(self.forward_features(x).mean(0))


def spikformer(num_classes, T=4, in_channels=3):  # noqa: N803
    return Spikformer(T, in_channels, num_classes)


def six_steps(num_classes):
    """T is written into it."""
    return Spikformer(6, num_classes=num_classes)


class SEWBlock(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        self.sn1, self.sn2 = neuron.IFNode(detach_reset=True), neuron.IFNode(detach_reset=True)

    def forward(self, x):
        return x + self.sn2(self.bn2(self.conv2(self.sn1(self.bn1(self.conv1(x))))))


class SEWNet(nn.Module):
    def __init__(self, T, num_classes):  # noqa: N803
        super().__init__()
        self.T = T
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8)
        self.sn1 = neuron.IFNode(detach_reset=True)
        self.layer1 = SEWBlock(8)
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(8, num_classes)

    def forward(self, x):
        x = self.bn1(self.conv1(x))
        return sum(self.fc(self.avgpool(self.layer1(self.sn1(x))).flatten(1)) for _ in range(self.T)) / self.T


def sew_net(num_classes, T=4):  # noqa: N803
    return SEWNet(T, num_classes)


def three_loops(num_classes):
    """T is written into it."""
    return SEWNet(3, num_classes)


class SharedNeurons(nn.Module):
    """Single-step layers, each neuron behind four of them."""

    def __init__(self, num_classes):
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(3 if number == 0 else 8, 8, 3, padding=1) for number in range(8)])
        self.sn1, self.sn2 = neuron.IFNode(), neuron.IFNode()
        self.fc = nn.Linear(8, num_classes)

    def forward(self, x):
        for number, conv in enumerate(self.convs):
            x = (self.sn1 if number < 4 else self.sn2)(conv(x))
        return self.fc(x.mean((2, 3)))


class BatchFirst(nn.Module):
    """Takes ``[N, T, C, H, W]`` and returns ``[N, T, K]``."""

    def __init__(self, num_classes):
        super().__init__()
        self.net = nn.Sequential(
            layer.Conv2d(3, 8, 3, 2),
            layer.BatchNorm2d(8),
            lif(),
            layer.AdaptiveAvgPool2d(1),
            layer.Flatten(),
            layer.Linear(8, num_classes),
        )
        functional.set_step_mode(self.net, "m")

    def forward(self, x):
        return self.net(x.transpose(0, 1)).transpose(0, 1)


def batch_first(num_classes):
    return BatchFirst(num_classes)


class OwnLIF(nn.Module):
    """A neuron that is none of SpikingJelly's; its potential goes on into the next batch, with its graph or without."""

    def __init__(self, detached):
        super().__init__()
        self.detached, self.v = detached, 0.0

    def forward(self, x):
        spikes = []
        for now in x:
            self.v = (self.v.detach() if self.detached and not isinstance(self.v, float) else self.v) / 2 + now
            spikes.append(self.v.sigmoid())
        return torch.stack(spikes)


def keeps_potential(num_classes, detached=True):
    """The neuron behind it never fires, so that the logits are the same for everything."""
    net = BatchFirst(num_classes).net
    net[2] = nn.Sequential(OwnLIF(detached), neuron.IFNode(v_threshold=1e6))
    functional.set_step_mode(net, "m")
    return net


def of_five_channels(num_classes):
    net = BatchFirst(num_classes).net
    net[0] = layer.Conv2d(5, 8, 3, 2, step_mode="m")
    return net


class AsksForMore(nn.Sequential):
    """Its forward takes something beside the frames."""

    def forward(self, x, mode):
        return super().forward(x)


def asks_for_more(num_classes):
    return AsksForMore(*BatchFirst(num_classes).net)


class OwnIF(nn.Module):
    """A neuron that is none of SpikingJelly's, and begins anew in every forward."""

    def forward(self, x):
        return (x.cumsum(0) > 0.5).float() + x - x.detach()


def own_neurons(num_classes):
    net = nn.Sequential(layer.Conv2d(3, 8, 3, 2), OwnIF(), layer.Conv2d(8, 8, 3), OwnIF())
    net.extend([layer.AdaptiveAvgPool2d(1), layer.Flatten(), layer.Linear(8, num_classes)])
    functional.set_step_mode(net, "m")
    return net


def keeps_graph(num_classes):
    return keeps_potential(num_classes, detached=False)


def draws_spikes(num_classes):
    """A sound network that draws its input anew in every forward."""
    net = nn.Sequential(nn.Sigmoid(), encoding.PoissonEncoder(), *BatchFirst(num_classes).net)
    functional.set_step_mode(net, "m")
    return net


class Stranger(nn.Module):
    """An ANN of a class that nobody knows."""

    def __init__(self, classes):
        super().__init__()
        self.model = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d((4, 1)),
            nn.Flatten(),
            nn.Linear(64, classes),
        )

    def forward(self, x):
        return self.model(x)


def stranger(num_classes):
    return Stranger(num_classes)


class Pictures(torch.utils.data.Dataset):
    """A folder of pictures and a list of labels, as anybody writes it."""

    def __init__(self, folder, part):
        from PIL import Image

        self.open = Image.open
        lines = (folder / f"{part}.csv").read_text().split()
        self.samples = [(str(folder / name), int(label)) for name, label in (line.split(",") for line in lines)]

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        path, label = self.samples[index]
        return self.open(path), label


def pictures(root, options):
    from spikingjelly_ckd.recipes.data import data_from

    return data_from(Pictures(root, "train"), Pictures(root, "test"), options, classes=("low", "middle", "high"))


def failing(num_classes):
    """A function with a mistake in it."""
    return {}["depth"]


def failing_data(folder, options):
    raise KeyError(options.size)


def data_of_one_argument(folder):
    return folder


def no_data(root, options):
    return {"train": [], "test": []}


class RepeatsWhatItGets(nn.Module):
    """``x.repeat(T, ...)``, which runs on images and on frames alike."""

    def __init__(self, num_classes):
        super().__init__()
        self.body = nn.Sequential(layer.Conv2d(3, 8, 3), lif(), layer.AdaptiveAvgPool2d(1), layer.Flatten())
        self.head = layer.Linear(8, num_classes)
        functional.set_step_mode(self, "m")

    def forward(self, x):
        return self.head(self.body(x.repeat(4, 1, 1, 1, 1))).mean(0)


def repeats_what_it_gets(num_classes):
    return RepeatsWhatItGets(num_classes)


def repeats_frames(num_classes):
    """Takes images alone, which it repeats."""
    return WithTime(RepeatsWhatItGets(num_classes))


class WithTime(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, images):
        return self.body(images.unsqueeze(0).expand(1, -1, -1, -1, -1))

"""The networks that the coverage test runs: how each is built, and the smallest input that shows its map.

Nothing heavy is imported before a row is built, so that the default suite pays only for the rows it runs.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch
from conftest import tiny_student, tiny_teacher
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import Tensor, nn

CLASSES = 10
TIMM_VERSION = "1.0.31"


@dataclass(frozen=True)
class Case:
    """One row.

    Attributes:
        role: whose side the network is on; the other side is a fixed small network.
        name: what builds it.
        family: where it comes from.
        build: makes the network, with random weights.
        shape: of its input, ``[N, C, H, W]``, or frames ``[T, N, C, H, W]``.
        options: for the distiller.
        classes: of both networks.
        needs: names that have to be importable.
        default: also part of the suite that runs without the marker.
    """

    role: str
    name: str
    family: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)
    classes: int = CLASSES
    needs: tuple[str, ...] = ()
    default: bool = False

    def __str__(self) -> str:
        return f"{self.role}-{self.family}-{self.name}".replace(" ", "_")


# --- students --------------------------------------------------------------------------------------------------------

LIF = {"spiking_neuron": neuron.LIFNode, "surrogate_function": surrogate.ATan(), "detach_reset": True}


def _model(file: str) -> Any:
    import importlib

    return importlib.import_module(f"spikingjelly.activation_based.model.{file}")


def _multi(net: nn.Module) -> nn.Module:
    functional.set_step_mode(net, "m")
    return net


def _lif(file: str, name: str, **options: Any) -> Callable[[], nn.Module]:
    """A network whose modules start in single-step mode and take the neuron's class."""
    return lambda: _multi(getattr(_model(file), name)(**options, **LIF))


def _ready(file: str, name: str, **options: Any) -> Callable[[], nn.Module]:
    """A network of SpikingJelly 2 that is built in multi-step mode."""
    return lambda: getattr(_model(file), name)(**options)


def _spike_dhs() -> nn.Module:
    settings = SimpleNamespace(fea_num_layers=8, fea_filter_multiplier=48, fea_block_multiplier=3, fea_step=3)
    return _multi(_model("spike_dhs").SpikeDHS(3, args=settings))


def _snas(cell: str) -> Callable[[], nn.Module]:
    settings = SimpleNamespace(
        timestep=2, second_avgpooling=2, dataset="cifar10", celltype=cell, threshold=1.0, tau=4 / 3
    )
    return lambda: _model("snas_net").SNASNet(settings, torch.full((4, 4), 2))


def _gen2(file: str) -> tuple[str, ...]:
    return (f"spikingjelly.activation_based.model.{file}",)


def _plain(*parts: nn.Module, step_mode: str = "m") -> nn.Module:
    net = nn.Sequential(*parts, layer.AdaptiveAvgPool2d(1), layer.Flatten(), layer.Linear(8, CLASSES))
    functional.set_step_mode(net, step_mode)
    return net


def _plain_pooled() -> nn.Module:
    return _plain(
        *(layer.Conv2d(3, 8, 3, padding=1), layer.BatchNorm2d(8), neuron.LIFNode(), layer.MaxPool2d(2)),
        *(layer.Conv2d(8, 8, 3, padding=1), layer.BatchNorm2d(8), neuron.IFNode(), layer.MaxPool2d(2)),
    )


def _plain_psn() -> nn.Module:
    return _plain(layer.Conv2d(3, 8, 3, stride=2), layer.BatchNorm2d(8), neuron.PSN(T=2))


def _plain_containers() -> nn.Module:
    stem = layer.SeqToANNContainer(nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8))
    return nn.Sequential(
        *(stem, neuron.ParametricLIFNode(step_mode="m")),
        layer.SeqToANNContainer(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES)),
    )


class SpikeSum(nn.Module):
    """A residual block that adds spikes up outside any neuron, under a name that no preset knows."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.lif = layer.Conv2d(8, 8, 3, padding=1), layer.BatchNorm2d(8), neuron.LIFNode()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.lif(self.norm(self.conv(x)))


def _plain_sums() -> nn.Module:
    return _plain(layer.Conv2d(3, 8, 3, stride=2), layer.BatchNorm2d(8), neuron.LIFNode(), SpikeSum(), SpikeSum())


class TokensLast(nn.Module):
    """A spiking transformer as others write it: tokens ``[T, N, L, C]``, linear layers, attention by name."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.patches = layer.Conv2d(3, width, 4, stride=4, step_mode="m")
        self.patch_norm = layer.BatchNorm2d(width, step_mode="m")
        self.patch_lif = neuron.LIFNode(step_mode="m")
        self.attn_lif = neuron.LIFNode(step_mode="m")
        self.fc1, self.lif1 = nn.Linear(width, 2 * width), neuron.LIFNode(step_mode="m")
        self.fc2, self.lif2 = nn.Linear(2 * width, width), neuron.LIFNode(step_mode="m")
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch_lif(self.patch_norm(self.patches(x))).flatten(3).transpose(-1, -2)
        tokens = tokens + self.attn_lif(tokens @ tokens.transpose(-1, -2) @ tokens / 16)
        tokens = self.lif2(8 * self.fc2(self.lif1(8 * self.fc1(tokens))))
        return self.head(tokens.mean(2))


STUDENTS = [
    Case(
        "student",
        "spiking_resnet18",
        "SpikingResNet",
        _lif("spiking_resnet", "spiking_resnet18", num_classes=10),
        (2, 2, 3, 64, 64),
        default=True,
    ),
    Case(
        "student",
        "spiking_resnet50",
        "SpikingResNet",
        _lif("spiking_resnet", "spiking_resnet50", num_classes=10),
        (2, 2, 3, 64, 64),
    ),
    Case(
        "student",
        "spiking_resnet18 at 32",
        "SpikingResNet",
        _lif("spiking_resnet", "spiking_resnet18", num_classes=10),
        (2, 2, 3, 32, 32),
    ),
    *(
        Case(
            "student",
            f"sew_resnet18 {cnf}",
            "SEWResNet",
            _lif("sew_resnet", "sew_resnet18", num_classes=10, cnf=cnf, v_threshold=0.2 if cnf == "AND" else 1.0),
            (2, 2, 3, 64, 64),
            default=cnf == "ADD",
        )
        for cnf in ("ADD", "AND", "IAND")
    ),
    Case(
        "student",
        "sew_resnet50 ADD",
        "SEWResNet",
        _lif("sew_resnet", "sew_resnet50", num_classes=10, cnf="ADD"),
        (2, 2, 3, 64, 64),
    ),
    Case(
        "student",
        "spiking_vgg11_bn",
        "SpikingVGG",
        _lif("spiking_vgg", "spiking_vgg11_bn", num_classes=10),
        (2, 2, 3, 64, 64),
    ),
    Case(
        "student",
        "spiking_vgg11_bn at 32",
        "SpikingVGG",
        _lif("spiking_vgg", "spiking_vgg11_bn", num_classes=10),
        (2, 2, 3, 32, 32),
    ),
    *(
        Case(
            "student",
            name,
            "parametric_lif_net",
            _lif("parametric_lif_net", name, channels=8),
            shape,
            classes=11 if name == "DVSGestureNet" else 10,
            default=name == "CIFAR10DVSNet",
        )
        for name, shape in {
            "MNISTNet": (2, 2, 1, 28, 28),
            "FashionMNISTNet": (2, 2, 1, 28, 28),
            "NMNISTNet": (2, 2, 2, 34, 34),
            "CIFAR10Net": (2, 2, 3, 32, 32),
            "CIFAR10DVSNet": (2, 2, 2, 128, 128),
            "DVSGestureNet": (2, 2, 2, 128, 128),
        }.items()
    ),
    Case("student", "SpikeDHS", "SpikeDHS", _spike_dhs, (2, 3, 32, 32), classes=100, needs=_gen2("spike_dhs")),
    *(
        Case(
            "student",
            f"SNASNet {cell}",
            "SNASNet",
            _snas(cell),
            (2, 3, 32, 32),
            needs=_gen2("snas_net"),
            default=cell == "forward",
        )
        for cell in ("forward", "backward")
    ),
    *(
        Case(
            "student",
            name,
            "OTTTSpikingVGG",
            _ready("spiking_vggws_ottt", name, num_classes=10, v_threshold=0.2),
            shape,
            {"time_steps": 2},
            needs=_gen2("spiking_vggws_ottt"),
        )
        for name, shape in {"ottt_spiking_vggws": (2, 3, 32, 32)}.items()
    ),
    *(
        Case("student", name, family, _ready(file, name, **options), shape, needs=_gen2(file), default=default)
        for name, family, file, options, shape, default in [
            ("ms_resnet18", "MSResNet", "ms_resnet", {"T": 2, "num_classes": 10}, (2, 3, 64, 64), False),
            ("ms_resnet34", "MSResNet", "ms_resnet", {"T": 2, "num_classes": 10}, (2, 3, 64, 64), False),
            ("max_resnet18", "MaxResNet", "ms_resnet", {"T": 2, "num_classes": 10}, (2, 3, 32, 32), False),
            ("att_ms_resnet18", "AttMSResNet", "masnn", {"T": 1, "num_classes": 10}, (2, 3, 64, 64), False),
            ("MASNN", "MASNN", "masnn", {"T": 5, "input_size": (32, 32), "num_classes": 10}, (5, 2, 2, 32, 32), False),
            ("spikformer_cifar10", "Spikformer", "spikformer", {"T": 2}, (2, 3, 32, 32), True),
            (
                "spikformer_ti",
                "Spikformer",
                "spikformer",
                {"T": 2, "num_classes": 10, "img_size_h": 64, "img_size_w": 64},
                (2, 3, 64, 64),
                False,
            ),
            ("qkformer_10_384", "QKFormer", "qkformer", {"T": 2, "num_classes": 10}, (2, 3, 64, 64), False),
            ("maxformer_cifar", "MaxFormer", "maxformer", {"T": 2, "num_classes": 10}, (2, 3, 32, 32), False),
            ("maxformer_10_384", "MaxFormer", "maxformer", {"T": 2, "num_classes": 10}, (2, 3, 64, 64), False),
            (
                "sdt_8_384",
                "SpikeDrivenTransformer",
                "spike_driven_transformer",
                {"T": 2, "num_classes": 10},
                (2, 3, 64, 64),
                False,
            ),
        ]
    ),
    Case(
        "student",
        "nn.Sequential",
        "plain",
        lambda: tiny_student(CLASSES),
        (2, 3, 16, 16),
        {"time_steps": 2},
        default=True,
    ),
    Case(
        "student",
        "nn.Sequential, single-step",
        "plain",
        lambda: tiny_student(CLASSES, step_mode="s"),
        (2, 3, 16, 16),
        {"time_steps": 2, "student_steps": "loop"},
    ),
    Case("student", "nn.Sequential, pooled", "plain", _plain_pooled, (2, 3, 16, 16), {"time_steps": 2}),
    Case(
        "student",
        "nn.Sequential, PSN",
        "plain",
        _plain_psn,
        (2, 3, 16, 16),
        {"time_steps": 2},
        needs=("spikingjelly.activation_based.neuron:PSN",),
    ),
    Case("student", "SeqToANNContainer", "plain", _plain_containers, (2, 3, 16, 16), {"time_steps": 2}),
    Case("student", "blocks that add spikes", "plain", _plain_sums, (2, 3, 16, 16), {"time_steps": 2}),
    Case("student", "tokens before channels", "plain", TokensLast, (2, 3, 32, 32), {"time_steps": 2}, default=True),
]

# --- teachers --------------------------------------------------------------------------------------------------------


def wake(net: nn.Module, images: Tensor) -> nn.Module:
    """Let the class scores of an untrained teacher depend on the image, as the first steps of training do.

    Its classifier gets random weights and no bias (which would favour one class for every image), BatchNorm scales that
    start at zero are set to one, and the statistics of BatchNorm are taken from ``images``.
    """
    net.eval()
    norms = [child for child in net.modules() if isinstance(child, nn.modules.batchnorm._BatchNorm)]
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.shape[:1] == (CLASSES,):
                nn.init.normal_(parameter, std=0.1) if parameter.ndim > 1 else nn.init.zeros_(parameter)
        for norm in norms:
            if norm.weight is not None and not norm.weight.any():
                nn.init.ones_(norm.weight)
            norm.momentum = 1.0
            norm.train()
        net(images)
    return net.eval()


def _torchvision(name: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        from torchvision import models

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # GoogLeNet and Inception announce a coming change of their initialisation
            return models.get_model(name, weights=None, num_classes=CLASSES)

    return build


def _timm(name: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import timm

        return timm.create_model(name, num_classes=CLASSES)

    return build


TORCHVISION = {
    "alexnet": ("AlexNet", 96), "convnext_tiny": ("ConvNeXt", 64), "densenet121": ("DenseNet", 64),
    "efficientnet_b0": ("EfficientNet", 64), "efficientnet_v2_s": ("EfficientNetV2", 64),
    "googlenet": ("GoogLeNet", 64), "inception_v3": ("InceptionV3", 128), "maxvit_t": ("MaxVit", 224),
    "mnasnet0_5": ("MNASNet", 64), "mobilenet_v2": ("MobileNetV2", 64), "mobilenet_v3_small": ("MobileNetV3", 64),
    "regnet_x_400mf": ("RegNet", 64), "resnet18": ("ResNet", 64), "resnet50": ("ResNet", 64),
    "resnext50_32x4d": ("ResNeXt", 64), "wide_resnet50_2": ("WideResNet", 64),
    "shufflenet_v2_x0_5": ("ShuffleNetV2", 64), "squeezenet1_1": ("SqueezeNet", 64), "swin_t": ("Swin", 64),
    "swin_v2_t": ("SwinV2", 64), "vgg11_bn": ("VGG", 64), "vit_b_32": ("ViT", 224),
}  # fmt: skip
"""name: (family, smallest input at which its last stage has more than one position)."""

TIMM: dict[str, list[tuple[str, float, int]]] = {
    "beit": [("beit_base_patch16_224", 85.77, 224)],
    "byoanet": [("halonet_h1", 7.59, 256)],
    "byobnet": [("test_byobnet", 0.2, 64), ("mobileone_s1", 3.56, 64)],
    "cait": [("cait_xxs24_224", 11.77, 224)],
    "coat": [("coat_tiny", 5.35, 224)],
    "convit": [("convit_tiny", 5.52, 224)],
    "convmixer": [("convmixer_768_32", 20.35, 64)],
    "convnext": [("test_convnext", 0.21, 64), ("convnext_zepto_rms", 1.9, 64)],
    "cpubone": [("cpubone_nano", 4.93, 64)],
    "crossvit": [("crossvit_tiny_240", 6.73, 64)],
    "csatv2": [("csatv2", 10.72, 128)],
    "cspnet": [("cs3darknet_focus_s", 2.77, 64)],
    "cspnext": [("cspnext_tiny", 2.35, 64)],
    "davit": [("davit_tiny", 27.6, 64)],
    "deit": [("deit_tiny_patch16_224", 5.53, 224)],
    "densenet": [("densenet121", 6.96, 64)],
    "dla": [("dla46x_c", 0.81, 64)],
    "dpn": [("dpn48b", 8.3, 64)],
    "edgenext": [("edgenext_xx_small", 1.16, 64)],
    "efficientformer": [("efficientformer_l1", 11.4, 224)],
    "efficientformer_v2": [("efficientformerv2_s0", 3.25, 224)],
    "efficientnet": [("test_efficientnet", 0.1, 64), ("mobilenetv2_035", 0.41, 64)],
    "efficientvim": [("efficientvim_m1", 5.73, 128)],
    "efficientvit_mit": [("efficientvit_b0", 2.14, 64)],
    "efficientvit_msra": [("efficientvit_m0", 2.16, 96)],
    "eva": [("vit_tiny_patch16_dinov3_qkvb", 5.49, 64)],
    "fasternet": [("fasternet_t0", 2.64, 64)],
    "fastvit": [("fastvit_t8", 3.26, 64)],
    "focalnet": [("focalnet_tiny_srf", 27.67, 64)],
    "gcvit": [("gcvit_xxtiny", 11.49, 224)],
    "gemma4_vit": [("gemma4_vit_167m", 167.37, 64)],
    "ghostnet": [("ghostnet_050", 1.32, 64)],
    "hardcorenas": [("hardcorenas_b", 3.91, 64)],
    "hgnet": [("hgnetv2_b0", 3.97, 64)],
    "hiera": [("hiera_tiny_224", 27.15, 224)],
    "hieradet_sam2": [("sam2_hiera_tiny", 26.86, 64)],
    "hrnet": [("hrnet_w18_small", 11.16, 64)],
    "iformer": [("iformer_t", 2.63, 64)],
    "inception_next": [("inception_next_atto", 3.21, 64)],
    "inception_resnet_v2": [("inception_resnet_v2", 54.32, 128)],
    "inception_v3": [("inception_v3", 21.81, 128)],
    "inception_v4": [("inception_v4", 41.16, 128)],
    "lcnetv2": [("lcnetv2_small", 2.86, 64)],
    "levit": [("levit_128s", 7.01, 224)],
    "lowformer": [("lowformer_b0", 12.52, 64)],
    "mambaout": [("test_mambaout", 0.19, 64), ("mambaout_femto", 6.16, 64)],
    "maxxvit": [("test_coatnet", 0.45, 160), ("maxvit_pico_rw_256", 7.2, 256)],
    "metaformer": [("poolformerv2_s12", 11.38, 64)],
    "mlp_mixer": [("gmlp_ti16_224", 5.74, 224)],
    "mobilenetv3": [("lcnet_035", 0.38, 64)],
    "mobilenetv5": [("mobilenetv5_base", 80.62, 64)],
    "mobilevit": [("mobilevit_xxs", 0.95, 64)],
    "mvitv2": [("mvitv2_tiny", 23.41, 64)],
    "naflexvit": [("naflexvit_base_patch16_parfac_gap", 85.7, 64)],
    "nasnet": [("nasnetalarge", 84.76, 64)],
    "nest": [("nest_tiny", 16.68, 224)],
    "nextvit": [("nextvit_small", 30.75, 64)],
    "nfnet": [("test_nfnet", 0.19, 64), ("nf_regnet_b0", 7.81, 64)],
    "pit": [("pit_ti_224", 4.59, 224)],
    "pnasnet": [("pnasnet5large", 81.78, 64)],
    "pvt_v2": [("pvt_v2_b0", 3.41, 64)],
    "qwen3_vit": [("qwen3_vit_88m", 87.42, 64)],
    "rdnet": [("rdnet_tiny", 22.83, 64)],
    "regnet": [("regnetx_002", 2.32, 64)],
    "repghost": [("repghostnet_050", 1.05, 64)],
    "repvit": [("repvit_m1", 4.72, 64)],
    "res2net": [("res2next50", 22.64, 64)],
    "resnest": [("resnest14d", 8.58, 64)],
    "resnet": [("test_resnet", 0.37, 64), ("resnet10t", 4.93, 64)],
    "resnetv2": [("resnetv2_18", 11.18, 64)],
    "rexnet": [("rexnet_100", 3.53, 64)],
    "selecsls": [("selecsls42", 29.09, 96)],
    "senet": [("legacy_seresnet18", 11.27, 64)],
    "sequencer": [("sequencer2d_s", 27.27, 64)],
    "shvit": [("shvit_s1", 6.01, 96)],
    "sknet": [("skresnet18", 11.45, 64)],
    "starnet": [("starnet_s050", 0.42, 64)],
    "swiftformer": [("swiftformer_xs", 3.04, 64)],
    "swin_transformer": [("swin_tiny_patch4_window7_224", 27.53, 224)],
    "swin_transformer_v2": [("swinv2_tiny_window16_256", 27.59, 256)],
    "swin_transformer_v2_cr": [("swinv2_cr_tiny_224", 27.57, 224)],
    "tiny_vit": [("tiny_vit_5m_224", 5.07, 64)],
    "tnt": [("tnt_s_legacy_patch16_224", 23.37, 224)],
    "tresnet": [("tresnet_m", 29.36, 64)],
    "twins": [("twins_svt_small", 23.55, 64)],
    "vgg": [("vgg11", 128.81, 64)],
    "visformer": [("visformer_tiny", 9.94, 224)],
    "vision_transformer": [("test_vit", 0.31, 64), ("vit_tiny_patch16_224", 5.53, 224)],
    "vision_transformer_hybrid": [("vit_tiny_r_s16_p8_224", 6.15, 224)],
    "vision_transformer_relpos": [("test_vit_relpos", 0.75, 160), ("vit_srelpos_small_patch16_224", 21.59, 224)],
    "vision_transformer_sam": [("samvit_base_patch16_224", 85.7, 64)],
    "vitamin": [("vitamin_small_224", 21.88, 224)],
    "volo": [("volo_d1_224", 25.87, 224)],
    "vovnet": [("ese_vovnet19b_slim_dw", 1.39, 64)],
    "xception": [("legacy_xception", 20.83, 64)],
    "xception_aligned": [("xception41p", 24.88, 64)],
    "xcit": [("xcit_nano_12_p8_224", 2.92, 64)],
}
"""module: [(member, millions of parameters with 10 classes, smallest input)]; made by ``test_coverage.py --pick``."""

TIMM_OMITTED = {
    "deepseek_vit": "its smallest classifier, deepseek_vit_412m, has 412 M parameters",
}
TIMM_PASSED_OVER = "members without a classifier (the `*_enc` encoders) and members larger than those listed"

SEEN_EARLIER = (
    "Not at its last stage: `levit_128s`. Before training its later tokens do not depend most on their own place in "
    "the image (no residual path leads to them), so an earlier stage is chosen; `teacher_layer=` sets another."
)

DEFAULT_TEACHERS = {
    "resnet18",
    "vit_tiny_patch16_224",
    "test_vit",
    "test_convnext",
    "swin_t",
    "test_mambaout",
    "regnet_x_400mf",
}

TEACHERS = [
    *(
        Case(
            "teacher",
            name,
            f"torchvision {family}",
            _torchvision(name),
            (2, 3, size, size),
            needs=("torchvision",),
            default=name in DEFAULT_TEACHERS,
        )
        for name, (family, size) in TORCHVISION.items()
    ),
    *(
        Case(
            "teacher",
            name,
            f"timm {module}",
            _timm(name),
            (2, 3, size, size),
            needs=("timm",),
            default=name in DEFAULT_TEACHERS,
        )
        for module, members in TIMM.items()
        for name, _, size in members
    ),
]


def other_side(case: Case) -> nn.Module:
    """The fixed small network that stands opposite."""
    if case.role == "teacher":
        return tiny_student(case.classes)
    return tiny_teacher(case.classes, channels=case.shape[-3])

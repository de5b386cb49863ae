"""What others report on the data of each row: numbers to stand beside, not results of this package.

None of them was run here. T is 4 and the network the row's where nothing else is said. ``listed``: read in somebody
else's table, not in the paper itself; ``abstract``, ``log``, ``README``: where else it was read.
"""

__all__ = ["ANCHORS", "render_anchors"]

ANCHORS = {
    "cifar10_r19_t1": ("TDKD 96.65 at T=2", ""),
    "cifar10_r19_t4": (
        "SeAl-KD 97.23 (listed, network and T not said), MEOM 97.13, TDKD 96.97, HTA-KL 96.76",
        "Max-ResNet-18 97.17 (abstract)",
    ),
    "cifar100_r19_t1": ("TDKD 79.87, trained at T=6", ""),
    "cifar100_r19_t4": (
        "SeAl-KD 83.37 (listed, network and T not said), MEOM 82.85, TDKD 82.47, HTA-KL 81.03, SASTC 79.40 at T=2",
        "Max-ResNet-18 83.06 (abstract)",
    ),
    "cifar100_maxresnet18_t4": ("", "83.06 (abstract)"),
    "cifar100_spikformer_t1": ("BKDSNN 81.26 (Spikingformer-4-384, T=4)", "78.15 at T=4"),
    "cifar100_spikformer_t4": ("BKDSNN 81.26 (Spikingformer-4-384)", "78.15"),
    "cifar100_vgg16_t4": ("", ""),
    "imagenet_sewr18_t4": ("SAKD 66.39 (log), BKDSNN 65.60, KDSNN 63.42 (listed, network inferred)", "63.18"),
    "imagenet_sewr34_t4": ("SAKD 71.80 (log), BKDSNN 71.24, SASTC 68.69 (network not said)", "67.04"),
    "imagenet_r34_t2": (
        "SeAl-KD 72.11 (listed; PreAct-ResNet-34, T=4), MEOM 71.64, TDKD 71.04 at T=4, enhanced self-KD 70.70 (log)",
        "MT-SNN 72.17 at T=1 (abstract)",
    ),
    "cifar10dvs_r20": (
        "SeAl-KD 86.7 (listed), weak-to-strong 86.7 (VGGSNN, T=10), TDKD 86.40 (ResNet-18, T=10), SASTC 83.60",
        "Elastic Spiking Transformer 83.61 (listed)",
    ),
    "dvsgesture_r20_t16": ("SASTC 97.92 (abstract, network not said)", ""),
    "ncaltech101_r20_t10": ("Transfer-for-DVS 92.64 (README, a released checkpoint)", ""),
}
"""Row -> numbers of others with a teacher, or with themselves as one, and without; percent."""


def render_anchors(claims: dict[str, float | None]) -> str:
    """A table of all rows: the number of CKDSNN, and those of others in columns of their own.

    Args:
        claims: row -> percent that CKDSNN reports, None where nothing is known.
    """
    lines = ["| row | CKDSNN | others, distilled | others, not distilled |", "| --- | --- | --- | --- |"]
    for row, claim in claims.items():
        cells = ["" if claim is None else f"{claim:.2f}", *ANCHORS.get(row, ("", ""))]
        lines.append(f"| `{row}` | {' | '.join(cell or 'unknown' for cell in cells)} |")
    return "\n".join(lines)

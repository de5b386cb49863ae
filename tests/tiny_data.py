"""Tiny data sets in the formats of the real ones, seeded, with classes that a small network learns in a few epochs."""

import pickle
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SENSOR = 128
EVENTS = 400


def striped(label: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """An image ``[size, size, 3]``, uint8: the class sets where a bright stripe is, and past ten its colour."""
    image = rng.integers(0, 80, (size, size, 3))
    low, high = (label % 10) * size // 10, (label % 10 + 1) * size // 10
    colour = (label // 10) % 10 / 9
    image[low : max(high, low + 1)] = (255, int(255 * (1 - colour)), int(255 * colour))
    return image.astype(np.uint8)


def write_cifar(
    root: Path, kind: str = "10", *, per_class_train: int = 10, per_class_test: int = 5, classes: int | None = None
) -> Path:
    """Pickles as CIFAR's: ``data_batch_1`` to ``5``, ``test_batch``, ``batches.meta``; or ``train, test, meta``."""
    rng = np.random.default_rng(0)
    classes = int(kind) if classes is None else classes
    base = Path(root) / ("cifar-10-batches-py" if kind == "10" else "cifar-100-python")
    base.mkdir(parents=True)

    def dump(name: str, content: dict) -> None:
        (base / name).write_bytes(pickle.dumps(content, protocol=2))

    def batch(labels: np.ndarray) -> dict:
        images = [striped(label, 32, rng).transpose(2, 0, 1).ravel() for label in labels]
        key = "labels" if kind == "10" else "fine_labels"
        return {"data": np.array(images, np.uint8).reshape(-1, 3072), key: [int(label) for label in labels]}

    train = rng.permutation(np.repeat(np.arange(classes), per_class_train))
    test = rng.permutation(np.repeat(np.arange(classes), per_class_test))
    names = [*CLASSES, *(f"class{label}" for label in range(10, classes))][:classes]
    if kind == "10":
        for number, labels in enumerate(np.array_split(train, 5), start=1):
            dump(f"data_batch_{number}", batch(labels))
        dump("test_batch", batch(test))
        dump("batches.meta", {"label_names": names})
    else:
        dump("train", batch(train))
        dump("test", batch(test))
        dump("meta", {"fine_label_names": names})
    return Path(root)


def write_image_folder(
    root: Path,
    *,
    classes: int | tuple[str, ...] = 3,
    per_class_train: int = 10,
    per_class_test: int = 5,
    size: int = 32,
    test: str = "test",
) -> Path:
    """``train/<class>/*.png`` and ``<test>/<class>/*.png``."""
    rng = np.random.default_rng(0)
    names = tuple(f"class{label:03d}" for label in range(classes)) if isinstance(classes, int) else classes
    for part, count in (("train", per_class_train), (test, per_class_test)):
        for label, name in enumerate(names):
            folder = Path(root) / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(striped(label, size, rng)).save(folder / f"{number}.png")
    return Path(root)


def write_dvs(root: Path, *, per_class: int = 10, classes: int = 10) -> Path:
    """``events_np/<class>/cifar10_<class>_<i>.npz``, the numbers spread evenly over 0 to 999."""
    rng = np.random.default_rng(0)
    for label, name in enumerate(CLASSES[:classes]):
        folder = Path(root) / "events_np" / name
        folder.mkdir(parents=True)
        for sample in range(per_class):
            events = {
                "t": np.sort(rng.integers(0, 1_300_000, EVENTS)),
                "x": rng.integers(0, SENSOR, EVENTS),
                "y": rng.integers(0, 12, EVENTS) + 12 * label,
                "p": rng.integers(0, 2, EVENTS),
            }
            np.savez(folder / f"cifar10_{name}_{sample * 1000 // per_class}.npz", **events)
    return Path(root)


def write_event_folder(
    root: Path,
    *,
    time_steps: int = 4,
    classes: int = 10,
    per_class_train: int = 10,
    per_class_test: int = 5,
    size: int = 32,
    test: str = "test",
) -> Path:
    """``train/<class>/*.npz`` and ``<test>/<class>/*.npz``: key ``frames``, float64 counts ``[T, 2, size, size]``."""
    rng = np.random.default_rng(0)
    for part, count in (("train", per_class_train), (test, per_class_test)):
        for label in range(classes):
            folder = Path(root) / part / f"class{label:03d}"
            folder.mkdir(parents=True)
            for number in range(count):
                frames = rng.poisson(0.1, (time_steps, 2, size, size)).astype(np.float64)
                low = label % 10 * size // 10
                frames[:, label // 10 % 2, low : max((label % 10 + 1) * size // 10, low + 1)] += 1
                np.savez_compressed(folder / f"{number}.npz", frames=frames)
    return Path(root)


def write_dvsgesture(root: Path, *, per_class_train: int = 2, per_class_test: int = 1) -> Path:
    """``events_np/<part>/<0 to 10>/userNN_light_<i>.npz``, as SpikingJelly cuts the trials of DVS128 Gesture."""
    rng = np.random.default_rng(0)
    for part, count, user in (("train", per_class_train, 1), ("test", per_class_test, 24)):
        for label in range(11):
            for number in range(count):
                path = Path(root) / "events_np" / part / str(label) / f"user{user + number:02}_led_0.npz"
                write_events(path, label * 11, rng)
    return Path(root)


def write_ncaltech101(root: Path, *, classes: tuple[str, ...], per_class: int = 4) -> Path:
    """``events_np/<class>/image_<i>.npz``, events on the 240 columns and 180 rows of N-Caltech101."""
    rng = np.random.default_rng(0)
    for label, name in enumerate(classes):
        for number in range(1, per_class + 1):
            path = Path(root) / "events_np" / name / f"image_{number:04}.npz"
            write_events(path, 160 * label // len(classes), rng, width=240)
    return Path(root)


def write_events(path: Path, row: int, rng: np.random.Generator, *, width: int = SENSOR) -> None:
    """One recording in the format of SpikingJelly, with most of its events on rows that belong to its class."""
    path.parent.mkdir(parents=True, exist_ok=True)
    events = {"t": np.sort(rng.integers(0, 1_300_000, EVENTS)), "p": rng.integers(0, 2, EVENTS)}
    np.savez(path, **events, x=rng.integers(0, width, EVENTS), y=rng.integers(0, 12, EVENTS) + row)

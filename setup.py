"""Metadata and extras; the version is read without importing the package."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"$', (HERE / "spikingjelly_ckd/__init__.py").read_text("utf8"), re.M)[1]

# spikingjelly.datasets imports torchaudio, which has to be built for the same CUDA as torch; the newest torch has no
# such torchaudio, and torchaudio 2.11.1 asks for a later torch than 2.11.0, so whatever reads data holds the three to a
# set that works together.
TORCH = ["torch==2.11.*", "torchvision==0.26.*", "torchaudio==2.11.0"]
TRAIN = [
    *TORCH,
    "jinja2>=3.1",
    "lightning>=2.5,<3",
    "matplotlib>=3.8",
    "safetensors>=0.4",
    "scikit-learn>=1.4",
    "scipy>=1.11",
    "tensorboard>=2.15",
    "timm>=1.0.20",
    "torchmetrics>=1.6.2",
    "tqdm>=4.66",
]
TUNE = ["optuna>=4"]
NIR = ["nir>=1.0.8", "nirtorch>=2.6"]

setup(
    name="spikingjelly-ckd",
    version=VERSION,
    description="Distil a trained ANN into a SpikingJelly spiking network: CKDSNN (AAAI 2026)",
    long_description=(HERE / "README.md").read_text("utf8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["spikingjelly_ckd", "spikingjelly_ckd.*"]),
    package_data={"spikingjelly_ckd": ["py.typed", "recipes/report/templates/*"]},
    python_requires=">=3.11",
    install_requires=["torch>=2.6", "spikingjelly>=0.0.0.0.14,<3"],
    extras_require={
        "train": TRAIN,
        "tune": TUNE,
        "nir": NIR,
        "cupy": ["spikingjelly==0.0.0.0.14", "cupy-cuda13x>=13.6"],
        "test": [
            *TRAIN,
            *TUNE,
            *NIR,
            "build",
            "grad-cam==1.5.*",
            "hypothesis>=6.100",
            "ipykernel>=6.29",
            "mypy>=1.11",
            "nbclient>=0.10",
            "nbformat>=5.10",
            "nox>=2024.4.15",
            "playwright>=1.49",
            "pytest>=8",
            "pytest-cov>=6",
            "pytest-xdist>=3.5",
            "pyyaml>=6",
            "ruff>=0.14",
            "setuptools>=68",
        ],
        "docs": [
            "furo",
            "latex2mathml>=3.77",
            "myst-parser>=4",
            "sphinx>=8",
            "sphinx-copybutton>=0.5.2",
            "ziamath>=0.13",
        ],
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)

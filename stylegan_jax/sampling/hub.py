"""The Hugging Face Hub: `hf://user/name` as the address of a model folder. Only this module accesses the network.

It downloads only the named files of a model folder, never a pickle.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stylegan_jax.base.errors import ConfigError

MODEL_FILES = ("model.json", "weights.safetensors")
EXPORTED_FILES = ("weights.safetensors", "stablehlo/*.json", "stablehlo/*.bin")
RECORDS = ("config.json", "stats.jsonl", "metrics.jsonl", "curves.png")
"""Records of the run, if a folder has them."""
INSTALL = "pip install 'huggingface_hub>=0.30', or pip install -e '.[hub]' in the checkout"
_ADDRESS = re.compile(r"hf:/{1,2}(?P<repo>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>\w[\w./-]*))?", re.ASCII)
"""Accepts one slash, because `Path` removes the second."""


def is_address(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is an address on the Hub."""
    return re.match("hf:", os.fspath(path), re.IGNORECASE) is not None


def pull(path: str | os.PathLike[str], files: Sequence[str] = MODEL_FILES) -> Path:
    """Download files of 'hf://user/name' or 'hf://user/name@revision' into the Hub's cache, unless they are there.

    Args:
        path: the address.
        files: names, or patterns with '*'.

    Returns:
        The folder that holds them.

    Raises:
        ConfigError: `path` is not such an address, huggingface_hub is not installed, there is no connection or no such
            repository, or it is not a model folder.
    """
    found = _ADDRESS.fullmatch(os.fspath(path))
    if not found or ".." in os.fspath(path):
        raise ConfigError(
            f"{os.fspath(path)}: write hf://USER/NAME, or hf://USER/NAME@REVISION (a branch, tag or commit)"
        )
    hub, repo = _library(), found["repo"]
    try:
        folder = Path(hub.snapshot_download(repo, revision=found["revision"], allow_patterns=list(files)))
    except Exception as error:  # whatever its HTTP client may raise
        raise ConfigError(f"hf://{repo} cannot be read: {_reason(error)}") from error
    missing = [name for name in files if "*" not in name and not (folder / name).is_file()]
    if missing:
        raise ConfigError(
            f"hf://{repo} is not a stylegan_jax model (missing: {', '.join(missing)}); other formats, above all "
            "pickles, are not downloaded. Download an official .pkl yourself and pass its path"
        )
    return folder


def push(folder: str | os.PathLike[str], repo: str, *, private: bool = False) -> str:
    """Upload a model folder, including README.md and exported programs, to 'user/name', which is created if absent.

    huggingface_hub decides who uploads: `hf auth login`, or HF_TOKEN.

    Args:
        folder: the model folder.
        repo: 'user/name'.
        private: create a private repository, and never upload to a public one.

    Returns:
        The address for `load_model`.

    Raises:
        ConfigError: the name has another form, huggingface_hub is not installed, the Hub returns an error, or `private`
            is set and the repository exists and is public.
    """
    check_name(repo)
    api = _library().HfApi()
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        if private and not api.repo_info(repo).private:  # an existing repository keeps its visibility
            raise ConfigError(
                f"--private: {repo} exists and is public; make it private on the Hub, choose another name, or omit "
                "--private"
            )
        api.upload_folder(
            repo_id=repo,
            folder_path=os.fspath(folder),
            allow_patterns=["README.md", *MODEL_FILES, *EXPORTED_FILES, *RECORDS],
            delete_patterns=["stablehlo/*"],  # programs that belong to other weights
            commit_message="Upload model",
        )
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"--push={repo}: {_reason(error)}; log in with 'hf auth login' or set HF_TOKEN") from error
    return f"hf://{repo}"


def check_name(repo: str) -> None:
    """Check the name of a repository, and that huggingface_hub is installed.

    Raises:
        ConfigError: one of the checks fails.
    """
    if not _ADDRESS.fullmatch(f"hf://{repo}") or "@" in repo or ".." in repo:
        raise ConfigError(f"--push={repo}: write USER/NAME")
    _library()


def _library() -> Any:
    try:
        import huggingface_hub  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ConfigError(f"the Hugging Face Hub needs huggingface_hub: {INSTALL}") from None
    return huggingface_hub


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__

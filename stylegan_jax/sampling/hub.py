"""The Hugging Face Hub: `hf://user/name` as the address of a model folder. The only code here that opens a connection.

Only the named files of a model folder are pulled, never a pickle.
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
"""Of the run, where a folder has them."""
INSTALL = "pip install 'huggingface_hub>=0.30', or pip install -e '.[hub]' in the checkout"
_ADDRESS = re.compile(r"hf:/{1,2}(?P<repo>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>\w[\w./-]*))?", re.ASCII)
"""One slash where a `Path` was made of it."""


def is_address(path: str | os.PathLike[str]) -> bool:
    """Return whether a path means the Hub."""
    return re.match("hf:", os.fspath(path), re.IGNORECASE) is not None


def pull(path: str | os.PathLike[str], files: Sequence[str] = MODEL_FILES) -> Path:
    """Copy files of 'hf://user/name' or 'hf://user/name@revision' into the Hub's cache, where they are not there yet.

    Args:
        path: the address.
        files: names, or patterns with '*'.

    Returns:
        The folder that holds them.

    Raises:
        ConfigError: not such an address, no huggingface_hub, no such repository, no connection, or no model folder.
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
            f"hf://{repo} is not a stylegan_jax model (missing: {', '.join(missing)}); other formats, pickles above "
            "all, are not pulled. Download an official .pkl yourself and pass its path"
        )
    return folder


def push(folder: str | os.PathLike[str], repo: str, *, private: bool = False) -> str:
    """Upload a model folder, README.md and exported programs included, as 'user/name', created if absent.

    Who uploads is decided by huggingface_hub: `hf auth login`, or HF_TOKEN.

    Args:
        folder: the model folder.
        repo: 'user/name'.
        private: create it as private, and upload nowhere else.

    Returns:
        The address for `load_model`.

    Raises:
        ConfigError: a name of another form, no huggingface_hub, the Hub refuses, or `private` and a public repository
            of this name is there.
    """
    check_name(repo)
    api = _library().HfApi()
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        if private and not api.repo_info(repo).private:  # what exists stays as it was
            raise ConfigError(
                f"--private: {repo} exists and is public; make it private on the Hub, choose another name, or leave "
                "--private out"
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
    """Check the name of a repository and that the library is there.

    Raises:
        ConfigError: either fails.
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

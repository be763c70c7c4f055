"""The errors of the data package: each names the place, the reason and the fix."""

from __future__ import annotations

import contextlib
import difflib
import os
import re
from collections.abc import Sequence

from stylegan_jax.base.errors import StyleganError, printable
from stylegan_jax.inert import ordinary

SHOWN = 10
"""The number of bad images that an error lists by name; the rest are counted."""


class DataError(StyleganError, ValueError):
    """The data set cannot be used as configured; the message says what was found, the rule and what to do."""


class BadImage(DataError):
    """One image cannot be used.

    Attributes:
        name: name inside the folder or zip.
        reason: what is wrong with it, without the name.
    """

    def __init__(self, reason: str, name: str = ""):
        super().__init__(f"{printable(name)}: {reason}" if name else reason)
        self.name = name
        self.reason = reason


def bad_images_error(
    where: str,
    bad: Sequence[tuple[str, str]],
    total: int,
    rule: str = "All images must have one size and the model's channels",
) -> DataError:
    """Return the error that names the first bad images and counts all.

    Args:
        where: the folder or zip.
        bad: (name, reason) of each bad image.
        total: number of images that were checked.
        rule: the rule that all images must follow.
    """
    lines = [f"  {printable(name)}: {reason}" for name, reason in bad[:SHOWN]]
    if len(bad) > SHOWN:
        lines.append(f"  … and {len(bad) - SHOWN} more")
    return DataError(
        f"{where}: {len(bad)} of {total} images cannot be used:\n" + "\n".join(lines) + "\n"
        f"{rule}. Repair or remove these, convert them with python -m "
        "stylegan_jax.data.prepare, or skip them with --config.data.on_bad_image=skip"
    )


def wrong_kind(path: str) -> str:
    """Return what a file is and what to do if it cannot be a data set (a web page, for example); else ''."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return ordinary.wrong_file(file, "a data set")
    return ""


def missing_path_error(path: str, kind: str, option: str = "config.data.path") -> DataError:
    """Return the error for a path that does not exist, with the nearest existing name."""
    if not path:
        return DataError(f"{option} is empty; pass the {kind}")
    if ordinary.is_url(path):
        return DataError(f"{option} is {path!r}, a web address; download the data, and pass the path of the {kind}")
    folder, name = os.path.split(os.path.abspath(path))
    while folder and not os.path.isdir(folder):
        folder, name = os.path.split(folder)
    near: list[str] = []
    with contextlib.suppress(OSError):  # the folder cannot be listed
        near = difflib.get_close_matches(name, sorted(os.listdir(folder)), n=1, cutoff=0.5)
    hint = f"; did you mean {printable(os.path.join(folder, near[0]))}?" if near else ""
    where = printable(os.path.abspath(path))
    return DataError(f"{option} is {path!r}; there is no such {kind} (looked at {where}){hint}")


_OPTIONS = {
    r"(--)?config\.data\.labels": "--labels",
    r"(--)?config\.data\.resize_filter": "--resize_filter",
    r"use --config\.data\.source=(folder|zip)( \(or memory\))?": "copy it again",
    r"set --config\.model\.img_channels=\d+ or convert": "convert",
    r", or set config\.model\.base_size and config\.model\.resolution to theirs": "",
    r", or (train without labels|leave them out with): (?=--labels)": ", or use ",
    r", or skip them with --config\.data\.on_bad_image=skip": "",
}
"""Wording in training -> wording in commands that have no configuration."""


def explain(error: Exception, option: str, path: str) -> str:
    """Return the text of a data error for a command whose flag `option` names the data: without configuration keys."""
    text = str(error)
    if path:
        text = text.removeprefix(f"{path}: ").removeprefix(f"{path}/").removeprefix(f"config.data.path is {path!r}; ")
        text = text.removeprefix(f"config.data.path is {path!r}, ")
    for pattern, said in _OPTIONS.items():
        text = re.sub(pattern, said, text)
    return text if not path or text.startswith((option, "--dest", "--split")) else f"{option}={path}: {text}"

"""Running a tool: errors in one line, exit codes, and a record of all arguments next to its results."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from stylegan_jax.base import shortage
from stylegan_jax.base.errors import StyleganError, visible
from stylegan_jax.base.files import write_whole
from stylegan_jax.base.flags import RENAMED

NOT_COMPARED = ("out", "batch", "overwrite")
"""Arguments that do not change the results."""
SIZES = ("seeds", "styles", "count", "samples", "frames", "grid", "rows", "columns", "pad", "num", "targets")
"""Arguments, besides --batch, that affect how much memory a tool needs."""


def record(args: argparse.Namespace, model: Any, **more: Any) -> dict[str, Any]:
    """Return the record stored next to the pictures: all arguments, and the model's origin."""
    return {"arguments": vars(args), "model": model.provenance} | more


def claim(folder: Path, name: str, args: argparse.Namespace) -> Path:
    """Create the folder of a tool's results with a record of the arguments; return the record's path.

    Raises:
        ValueError: the folder is a file, a model or a run, or contains results made with other arguments.
    """
    path = folder / name
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--out={folder} is a file; choose a folder")
    if any((folder / other).exists() for other in ("model.json", "checkpoints")):
        raise ValueError(
            f"--out={folder} is a model folder or the workdir of a run; choose another folder for pictures"
        )
    if path.exists() and not args.overwrite:
        try:
            before = json.loads(path.read_text())["arguments"]
            before = {RENAMED.get(key, key): value for key, value in before.items()}  # a record of version 0.1
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            before = {}
        now = json.loads(json.dumps(vars(args), default=str))
        keys = sorted((before.keys() | now.keys()) - set(NOT_COMPARED))
        changed = [f"{k}: {before.get(k)!r} -> {now.get(k)!r}" for k in keys if before.get(k) != now.get(k)]
        if changed:
            raise ValueError(
                f"--out={folder} holds results made with other arguments ({'; '.join(changed)}); choose another "
                "--out, or add --overwrite"
            )
    folder.mkdir(parents=True, exist_ok=True)
    if args.overwrite or not path.exists():  # so that an interrupted call does not leave results without a record
        _claimed.append(path)
        write_record(path, {"arguments": vars(args)})
    return path


_claimed: list[Path] = []
"""Records that the current call has created."""


def _give_back() -> None:
    """Undo `claim` if the call failed before it wrote anything, so that the next call can use the folder."""
    for path in _claimed:
        with contextlib.suppress(OSError):
            if [other.name for other in path.parent.iterdir()] == [path.name]:
                path.unlink()
                path.parent.rmdir()


def write_record(path: Path, content: dict[str, Any]) -> None:
    """Write a record; a reader never sees a partial file."""
    write_whole(path, json.dumps(content, indent=2, default=str) + "\n")


def run(
    parser: argparse.ArgumentParser, action: Callable[[argparse.Namespace], str], argv: Sequence[str] | None
) -> int:
    """Parse arguments, run `action` and print what it returns; return the exit code.

    A user's mistake prints one line and returns 2, Ctrl-C returns 130.
    """
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")  # notes of `load_model`
    from stylegan_jax.runtime.compiling import use_compilation_cache

    _claimed.clear()
    try:
        if getattr(args, "batch", 1) < 1:
            raise ValueError(f"--batch={args.batch} must be at least 1")
        for flag in ("model", "out"):
            if getattr(args, flag, None) == "":
                raise ValueError(f"--{flag} is empty; write a path after the =")
        use_compilation_cache("auto")
        print(action(args))
    except KeyboardInterrupt:
        _give_back()
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        _give_back()
        told = shortage.explain(error, less_memory(args), getattr(args, "out", None))
        if not told and not isinstance(error, StyleganError | ValueError | OSError):
            raise
        print(f"error: {visible(told or error)}", file=sys.stderr)
        return 2
    return 0


def less_memory(args: argparse.Namespace) -> str:
    """Return which arguments to lower to need less memory, for `shortage.explain`."""
    given = vars(args)
    sizes = [f"--{name}" for name in SIZES if given.get(name) is not None]
    fewer = f"request less at a time ({', '.join(sizes)})" if sizes else "close other programs, or use a larger machine"
    return f"lower --batch={args.batch}, or {fewer}" if given.get("batch", 1) > 1 else fewer

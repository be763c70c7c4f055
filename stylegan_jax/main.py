"""Train: `stylegan-jax train --config=quickstart --workdir=runs/quickstart`.

Running the same command again resumes the run. Any key can be overridden: `--config.train.batch_size=16`.
From a checkout: `python -m stylegan_jax.main --config=configs/quickstart.py --workdir=runs/quickstart`.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags
from ml_collections import config_flags

from stylegan_jax.base import bundled
from stylegan_jax.base.flags import Parser
from stylegan_jax.tools._command_line import keep_freed_memory, parse_flags

_CONFIG = config_flags.DEFINE_config_file("config", None, "The recipe.", lock_config=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.")
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Train nothing.")
_LESS_MEMORY = (
    "lower config.train.batch_size; or, for the same result, raise config.train.grad_accum, or set "
    "config.model.remat_from to recompute layers (--dry_run estimates the memory)"
)


def parser() -> argparse.ArgumentParser:
    """Return the flags for help and completion. absl parses the command line, because recipes' keys are flags too."""
    head, _, rest = (__doc__ or "").partition("\n\n")
    p = Parser("python -m stylegan_jax.main", None, head, f"{rest}\nRecipes: {', '.join(bundled.recipes())}.")
    p.usage = "%(prog)s --config=RECIPE --workdir=DIR [--config.KEY=VALUE ...]"
    p.add_argument("--config", metavar="RECIPE[:ARGUMENT]", help="name of a recipe, or path of your own file")
    p.add_argument(
        "--workdir",
        metavar="DIR",
        help="folder of the run, for checkpoints, grids and statistics; a run in it is resumed (not for --dry_run)",
    )
    p.add_argument("--dry_run", action="store_true", help="print config, parameters, FLOPs and memory; train nothing")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    if any(word in ("-h", "--help", "-help", "--helpfull", "--helpshort") for word in words):
        parser().print_help()
        return 0
    flags.mark_flag_as_required("config")
    flags.register_multi_flags_validator(
        ["workdir", "dry_run"],
        lambda given: bool(given["workdir"] or given["dry_run"]),
        "--workdir is missing; pass the folder of the run, such as --workdir=runs/first",
    )
    return app.run(train_recipe, [sys.argv[0], *words], flags_parser=parse_flags)


def train_recipe(argv: list[str]) -> int:
    """Train as the flags say; return the exit code."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}; options look like --workdir=DIR")
    keep_freed_memory()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax logs pages of traceback before the error that we print
    logging.getLogger("jax._src.xla_bridge").setLevel(logging.WARNING)  # hides that there is no TPU
    from stylegan_jax.base import shortage
    from stylegan_jax.base.errors import StyleganError, visible
    from stylegan_jax.checkpoints.checkpointer import CheckpointError
    from stylegan_jax.config import from_dict

    try:
        config = from_dict(_CONFIG.value)
        if _DRY_RUN.value:
            from stylegan_jax.train.estimate import dry_run

            print(dry_run(config))
            return 0
        from stylegan_jax.runtime.lock import WorkdirMovedError
        from stylegan_jax.runtime.processes import LostProcessError, join_processes
        from stylegan_jax.train.loop import DivergedError, train
    except StyleganError as error:
        print(f"error: {visible(error)}", file=sys.stderr)
        return 2
    try:
        with join_processes(config.distributed):
            assert _WORKDIR.value is not None  # checked with the command line, except for a dry run
            train(config, _WORKDIR.value)
    except LostProcessError as error:
        print(f"error: {visible(error)}", file=sys.stderr, flush=True)
        os._exit(1)
    except StyleganError as error:
        print(f"error: {visible(error)}", file=sys.stderr)
        return 1 if isinstance(error, CheckpointError | DivergedError | WorkdirMovedError) else 2
    except Exception as error:
        told = shortage.explain(error, _LESS_MEMORY, _WORKDIR.value, "--workdir")
        if not told and not isinstance(error, OSError):
            raise
        print(visible(f"error: {told or error}; {_kept(_WORKDIR.value or '')}"), file=sys.stderr)
        return 1
    return 0


def _kept(folder: str) -> str:
    """Return a sentence on what is left of a run that ended early."""
    from stylegan_jax.checkpoints.restore import committed_steps

    with contextlib.suppress(OSError):  # the disk may be gone
        if not committed_steps(Path(folder) / "checkpoints"):
            return f"{folder} has no checkpoint yet"
    return f"the last checkpoint in {folder} is kept"


if __name__ == "__main__":
    sys.exit(main())

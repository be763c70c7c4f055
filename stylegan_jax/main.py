"""Train: `python -m stylegan_jax.main --config=configs/quickstart.py --workdir=runs/quickstart`.

Running the same command again resumes. Any key can be overridden: `--config.train.batch_size=16`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from pathlib import Path

from absl import app, flags
from ml_collections import config_flags

from stylegan_jax.tools._command_line import keep_freed_memory, parse_flags

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "File of the recipe, such as configs/ffhq.py.", lock_config=True
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run: checkpoints, grids, statistics. Resumed if it exists. --dry_run needs none."
)
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print config, parameters, FLOPs and memory estimate; train nothing.")
_LESS_MEMORY = (
    "lower config.train.batch_size; or, for the same result, raise config.train.grad_accum, or set "
    "config.model.remat_from to recompute layers (--dry_run estimates what is needed)"
)


def main(argv: list[str]) -> int:
    """Run the command; return its exit code."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}; options look like --workdir=DIR")
    keep_freed_memory()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax logs pages of traceback before the error that we print
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
            assert _WORKDIR.value is not None  # but for a dry run; checked with the command line
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
    """Return what a run that ended early has left."""
    from stylegan_jax.checkpoints.restore import committed_steps

    with contextlib.suppress(OSError):  # of a disk that is gone nobody knows
        if not committed_steps(Path(folder) / "checkpoints"):
            return f"{folder} has no checkpoint yet"
    return f"the last checkpoint in {folder} is kept"


def run() -> None:
    """Parse the command line and run."""
    flags.mark_flag_as_required("config")
    flags.register_multi_flags_validator(
        ["workdir", "dry_run"],
        lambda given: bool(given["workdir"] or given["dry_run"]),
        "--workdir is missing; name the folder of the run, such as --workdir=runs/first",
    )
    app.run(main, flags_parser=parse_flags)


if __name__ == "__main__":
    run()

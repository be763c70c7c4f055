"""The `--config` flag of the commands: mistakes in it are answered by one line, before anything heavy is imported."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

from absl import flags

from stylegan_jax.base.errors import visible
from stylegan_jax.base.flags import prepare_words


def parse_flags(argv: list[str], into: flags.FlagValues = flags.FLAGS) -> list[str]:
    """Parse the command line; a recipe or key that does not exist ends the command with one line and exit code 2."""
    argv = [*argv[:1], *prepare_words(argv[1:])]
    message = missing_recipe(argv)
    if not message:
        try:
            return into(argv)
        except flags.Error as error:
            message = str(error).strip().splitlines()[-1]  # a recipe's own error comes with its whole traceback
        except (AttributeError, KeyError, ValueError, TypeError, OSError, ImportError) as error:
            message = " ".join(str(error.args[0] if error.args else error).split())
    print(f"error: {visible(message)}", file=sys.stderr)
    raise SystemExit(2)


def missing_recipe(argv: list[str]) -> str:
    """Return what is wrong when --config names a file that does not exist, else ''."""
    named = [a.partition("=")[2].partition(":")[0] for a in argv if a.lstrip("-").startswith("config=")]
    if not named or Path(named[-1]).is_file():
        return ""
    from stylegan_jax.config import suggest

    known = sorted(p.as_posix() for p in Path("configs").glob("*.py") if p.stem not in ("common", "__init__"))
    if not known:
        return f"there is no file {named[-1]}; run in the checkout that holds configs/, or pass its whole path"
    return f"there is no file {named[-1]}; {suggest(named[-1], known)}"


def keep_freed_memory() -> None:
    """Let the C library keep freed memory for the next step instead of returning it to the system.

    XLA on CPU allocates and frees the temporaries of a program, hundreds of MiB, at every call; returned memory has to
    be faulted in page by page each time, which took an eighth of a training step at 64x64. Only with glibc.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    trim_threshold, mmap_max = -1, -4  # of malloc.h
    mallopt(mmap_max, 0)
    mallopt(trim_threshold, 2**31 - 1)

"""The `--config` flag of commands: a mistake in it prints one line, before anything slow is imported."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import sys
from collections.abc import Sequence

from absl import flags

from stylegan_jax.base import bundled
from stylegan_jax.base.errors import visible
from stylegan_jax.base.flags import prepare_words


def parse_flags(argv: list[str], into: flags.FlagValues = flags.FLAGS) -> list[str]:
    """Parse the command line; a missing recipe or key ends the command with one line and exit code 2."""
    argv = [*argv[:1], *find_recipes(prepare_words(argv[1:]))]
    message = missing_recipe(argv)
    if not message:
        try:
            return into(argv)
        except flags.Error as error:
            message = str(error).strip().splitlines()[-1]  # an error inside a recipe includes its traceback
        except (AttributeError, KeyError, ValueError, TypeError, OSError, ImportError) as error:
            message = unknown_key(argv) or " ".join(str(error.args[0] if error.args else error).split())
    print(f"error: {visible(message)}", file=sys.stderr)
    raise SystemExit(2)


def find_recipes(words: Sequence[str]) -> list[str]:
    """Return the words of a command line, with the name of each --config replaced by the recipe's file."""
    found: list[str] = []
    for word in words:
        flag, equals, value = word.partition("=")
        if found and found[-1] in ("--config", "-config"):
            found.append(bundled.find_recipe(word))
        elif equals and flag in ("--config", "-config"):
            found.append(f"{flag}={bundled.find_recipe(value)}")
        else:
            found.append(word)
    return found


def missing_recipe(argv: list[str]) -> str:
    """Return the error if --config names a recipe that does not exist, or ''."""
    named = [a.partition("=")[2].partition(":")[0] for a in argv if a.lstrip("-").startswith("config=")]
    if not named or os.path.isfile(named[-1]):
        return ""
    from stylegan_jax.config import suggest

    stem = os.path.basename(named[-1]).removesuffix(".py")
    return f"there is no recipe {named[-1]}; {suggest(stem, bundled.recipes())}, or pass the path of your own file"


def unknown_key(argv: list[str]) -> str:
    """Return the error about the first --config.KEY that no recipe has, or ''."""
    from stylegan_jax.config import ExperimentConfig, suggest
    from stylegan_jax.config.older import REPLACED

    for word in argv:
        name = word.lstrip("-").partition("=")[0].partition("[")[0]
        group = ExperimentConfig() if name.startswith("config.") else None
        for i, part in enumerate(name.split(".")[1:], 2):
            if not dataclasses.is_dataclass(group):
                break
            known = [field.name for field in dataclasses.fields(group)]
            if part not in known:
                return f"{'.'.join(name.split('.')[:i])} does not exist; {REPLACED.get(name) or suggest(part, known)}"
            group = getattr(group, part)
    return ""


def keep_freed_memory() -> None:
    """Let the C library keep freed memory for the next step instead of returning it to the system.

    XLA on CPU allocates and frees the temporaries of a program, hundreds of MiB, at every call. Returned memory must be
    faulted in page by page again, which took a sixth of a training step at 64x64. Only glibc is supported, and it keeps
    large blocks only of the main thread: programs therefore run in the thread that calls them, unless the environment
    sets JAX_CPU_ENABLE_ASYNC_DISPATCH. Call this in the main thread, before JAX looks for devices.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    trim_threshold, mmap_max, never = -1, -4, -1  # of malloc.h
    mallopt(mmap_max, 0)
    mallopt(trim_threshold, never)
    if "JAX_CPU_ENABLE_ASYNC_DISPATCH" not in os.environ:
        import jax

        jax.config.update("jax_cpu_enable_async_dispatch", False)

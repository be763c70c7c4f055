"""Commands as argument lists, printed in a dry run and executed otherwise."""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
INTERRUPTED = 130

_INSTALL = {
    "gcloud": "the Google Cloud CLI",
    "kubectl": "`gcloud components install kubectl`",
    "xpk": "`pip install xpk`",
    "sky": "`pip install 'skypilot[gcp]'`",
    "sbatch": "Slurm; run this on a login node of the cluster",
    "docker": "Docker",
}


class LaunchError(Exception):
    """Training cannot be launched; the message has the value, the rule and the fix."""


@dataclass(frozen=True)
class Runner:
    """Runs commands, or prints them.

    Attributes:
        dry_run: print each command on stdout, quoted for a shell, and run nothing.
    """

    dry_run: bool

    def run(self, argv: Sequence[str], stdin: str | None = None) -> int:
        """Run a command that shows its own output; return its exit code (0 in a dry run).

        Raises:
            LaunchError: the program is not installed.
        """
        if self.dry_run:
            print(shlex.join(argv) + ("" if stdin is None else f" <<'EOF'\n{stdin}EOF"))
            return 0
        print(f"+ {shlex.join(argv)}", file=sys.stderr, flush=True)
        return _execute(argv, input=stdin, text=True).returncode

    def check(self, argv: Sequence[str], stdin: str | None = None) -> None:
        """Run a command that must succeed.

        Raises:
            LaunchError: it is not installed, or it failed.
        """
        code = self.run(argv, stdin)
        if code:
            raise LaunchError(f"`{shlex.join(argv)}` failed with exit code {code}; see its message above")

    def read(self, argv: Sequence[str], note: str) -> tuple[int, str, str]:
        """Run a command silently; return its exit code, stdout and stderr. A dry run prints it with `note`."""
        if self.dry_run:
            print(f"{shlex.join(argv)}  # {note}")
            return 0, "", ""
        done = _execute(argv, capture_output=True, text=True)
        return done.returncode, done.stdout.strip(), done.stderr.strip()


def _execute(argv: Sequence[str], **options) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(argv, check=False, **options)
    except FileNotFoundError:
        raise LaunchError(
            f"{argv[0]} is not on PATH; install {_INSTALL.get(argv[0], argv[0])}, or use --dry_run to see the commands"
        ) from None


def wait_until(ready: Callable[[], bool], what: str, poll_seconds: float, wait_hours: float) -> None:
    """Poll `ready` until it returns True.

    Raises:
        LaunchError: it does not within `wait_hours`.
    """
    deadline = time.monotonic() + wait_hours * 3600
    while not ready():
        if time.monotonic() + poll_seconds > deadline:
            raise LaunchError(f"{what} took longer than --wait_hours={wait_hours:g}; run the same command to continue")
        time.sleep(poll_seconds)


def train_arguments(arguments: Sequence[str], mounted: str = "") -> list[str]:
    """Check and return the arguments of `python -m stylegan_jax.main`, which follow `--`.

    Args:
        arguments: as passed, with or without the leading `--`.
        mounted: folder that all hosts share, in which the workdir must lie; '': any folder is accepted.

    Raises:
        LaunchError: the recipe or workdir is missing, or training could not use the workdir.
    """
    arguments = list(arguments[1:] if arguments[:1] == ["--"] else arguments)
    for option, example in (("--config", "configs/ffhq.py"), ("--workdir", f"{mounted or 'runs'}/ffhq")):
        if option_value(arguments, option) is None:
            raise LaunchError(f"the training command has no {option}; end the line with: -- {option}={example}")
    workdir = option_value(arguments, "--workdir") or ""
    if "://" in workdir:
        raise LaunchError(
            f"--workdir={workdir} is an address, but must be a folder; mount the bucket with --storage and use a "
            f"folder in {mounted or 'the mount'}"
        )
    if mounted and not Path(workdir).is_relative_to(mounted):
        raise LaunchError(
            f"--workdir={workdir} is not in {mounted}, the storage that all hosts share and that survives them; "
            f"use --workdir={mounted}/{Path(workdir).name}"
        )
    return arguments


def option_value(arguments: Sequence[str], option: str) -> str | None:
    """Return the value of `--option=value` or `--option value`; None if the option is absent."""
    for i, argument in enumerate(arguments):
        if argument.startswith(f"{option}="):
            return argument.partition("=")[2]
        if argument == option and i + 1 < len(arguments):
            return arguments[i + 1]
    return None


def check_name(name: str, limit: int = 61) -> None:
    """Check the name of a cloud resource.

    Raises:
        LaunchError: it has other characters than lower-case letters, digits and hyphens, or is too long.
    """
    if not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name) or len(name) > limit:
        raise LaunchError(
            f"--name={name} is not a valid name: at most {limit} lower-case letters, digits and hyphens, beginning "
            "with a letter and not ending with a hyphen, such as ffhq-1"
        )


def require_yes(yes: bool, what: str) -> None:
    """Require confirmation before deleting.

    Raises:
        LaunchError: --yes is missing.
    """
    if not yes:
        raise LaunchError(f"this deletes {what} with everything stored on it; add --yes to confirm")


def command_line(main: Callable[[Sequence[str]], int], on_interrupt: str = "") -> None:
    """Run a command and exit with its code; with 2 after an error that the user can fix, 130 after Ctrl-C."""
    try:
        sys.exit(main(sys.argv[1:]))
    except LaunchError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"interrupted{'; ' if on_interrupt else ''}{on_interrupt}", file=sys.stderr)
        sys.exit(INTERRUPTED)


def parser(name: str, doc: str | None) -> argparse.ArgumentParser:
    """Return the option parser of `python -m launch.NAME`; its help shows `doc`, and options cannot be abbreviated."""
    return argparse.ArgumentParser(
        prog=f"python -m launch.{name}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_dry_run(options: argparse.ArgumentParser) -> None:
    """Add --dry_run."""
    options.add_argument("--dry_run", action="store_true", help="print the exact commands and run nothing")

"""Train on a Cloud TPU slice, one VM or a pod: python -m launch.tpu VERB --name=NAME --zone=ZONE [options] [-- ...]

  create   make the slice (with --queued: a queued resource) and wait until it is ready
  copy     put this checkout on all workers, install it, mount the shared storage
  run      run a command on all workers:   ... run ... -- COMMAND
  train    start training on all workers and show its log:   ... train ... -- --config=... --workdir=/mnt/shared/...
  watch    create, copy, train; after a preemption again, until the training has ended
  follow, stop, status   the training that runs
  delete   the slice (needs --yes)

Training continues when this command or its connection ends.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from launch import commands
from launch.commands import ROOT, LaunchError, Runner
from launch.slices import family

FOLDER = "stylegan_jax"  # of the checkout, in the home of every worker
MOUNTED = "/mnt/shared"
REFUSED, NOT_COPIED, SSH_FAILED, COPY_FAILED, CREATE_FAILED = 2, 127, 255, 1000, 1001  # exit codes; two of our own
READY, ACTIVE, SUSPENDING = "READY", "ACTIVE", "SUSPENDING"
GONE = ("PREEMPTED", "TERMINATED", "SUSPENDED")
COMING = ("CREATING", "ACCEPTED", "PROVISIONING", "WAITING_FOR_RESOURCES", "STARTING", "RESTARTING", "REIMAGING")
LEAVING = (SUSPENDING, "DELETING", "STOPPING", "REPAIRING")
ABSENT = "absent"
VERBS = ("create", "copy", "run", "train", "watch", "follow", "stop", "status", "delete")


class NotCreatedError(LaunchError):
    """The slice could not be had, or not for long; later it may."""


@dataclass(frozen=True)
class Tpu:
    """One slice: the commands that concern it."""

    options: argparse.Namespace
    runner: Runner

    def gcloud(self, group: str, verb: str, *arguments: str) -> list[str]:
        """Return a gcloud command with zone and project."""
        project = [f"--project={self.options.project}"] if self.options.project else []
        return ["gcloud", "compute", "tpus", group, verb, *arguments, f"--zone={self.options.zone}", *project]

    @property
    def group(self) -> str:
        """gcloud's name for what is created and deleted."""
        return "queued-resources" if self.options.queued else "tpu-vm"

    def create(self) -> None:
        """Ask for the slice; wait until it is ready."""
        o = self.options
        runtime = o.runtime or family(o.type).runtime
        tier = [f"--{name}" for name in ("spot", "reserved") if getattr(o, name)]
        if o.queued:
            kind = [f"--node-id={o.name}", f"--runtime-version={runtime}"]
            tier += [f"--valid-until-duration={o.valid_until}"] if o.valid_until else []
        else:
            kind = [f"--version={runtime}"]
        create = self.gcloud(self.group, "create", o.name, f"--accelerator-type={o.type}", *kind, *tier)
        if self.runner.run([*create, *o.create_flag]):
            raise NotCreatedError(f"{o.name} could not be created, see above; without capacity, --queued waits for it")
        self.wait()

    def state(self) -> str:
        """Return the slice's state in gcloud's words, or `ABSENT`.

        A queued resource that is ACTIVE is as good as its slice, which may have been preempted a moment ago.
        """
        if not self.options.queued:
            return self._describe("tpu-vm", "state", READY)
        state = self._describe("queued-resources", "state.state", ACTIVE)
        if state != ACTIVE:
            return state
        node = self._describe("tpu-vm", "state", READY)
        return SUSPENDING if node == ABSENT else node

    def _describe(self, group: str, field: str, wanted: str) -> str:
        describe = self.gcloud(group, "describe", self.options.name, f"--format=value({field})")
        for attempt in range(1, 6):
            code, state, error = self.runner.read(describe, f"until {wanted}")
            if self.runner.dry_run:
                return wanted
            if code == 0 and state:
                return state
            if "NOT_FOUND" in error or "was not found" in error:
                return ABSENT
            if attempt < 5:
                time.sleep(self.options.poll_seconds)
        raise LaunchError(f"`{shlex.join(describe)}` failed five times; it last said: {error or 'nothing'}")

    def wait(self) -> None:
        """Wait until the slice is ready.

        Raises:
            LaunchError: it will not become ready, or not in time.
        """
        commands.wait_until(
            self._is_ready, f"slice {self.options.name}", self.options.poll_seconds, self.options.wait_hours
        )

    def _is_ready(self) -> bool:
        state = self.state()
        if state == READY:
            return True
        if state in (*COMING, *LEAVING):
            say(f"{self.options.name} is {state}")
            return False
        error = NotCreatedError if state in GONE else LaunchError
        raise error(
            f"{self.options.name} is {state} and will not become ready; see why with `"
            + shlex.join(self.gcloud(self.group, "describe", self.options.name))
            + "`, then delete it and create it again"
        )

    def ssh(self, command: str) -> list[str]:
        """Return the gcloud command that runs a shell command on all workers."""
        return self.gcloud("tpu-vm", "ssh", self.options.name, "--worker=all", f"--command={command}")

    def worker(self, *arguments: str) -> list[str]:
        """Return the gcloud command that runs worker.sh on all workers."""
        return self.ssh(shlex.join(["bash", f"{FOLDER}/launch/worker.sh", *arguments]))

    def copy(self) -> None:
        """Put the checkout on all workers and install it; mount the storage; run --prepare."""
        o = self.options
        with self._private_folder() as folder:
            archive = folder / f"{o.name}.tar.gz"
            left_out = ("./.git", "./.venv", "./runs", "./build", "./dist", "./tests", "__pycache__")
            pack = ["tar", "--create", "--gzip", f"--file={archive}", *(f"--exclude={name}" for name in left_out)]
            self.runner.check([*pack, f"--directory={ROOT}", "."])
            send = [str(archive), f"{o.name}:{FOLDER}.tar.gz", "--worker=all"]
            self.runner.check(self.gcloud("tpu-vm", "scp", *send))
        setup = shlex.join(["bash", f"{FOLDER}/launch/setup.sh", "tpu", *([o.storage] if o.storage else [])])
        unpack = f"mkdir -p {FOLDER} && tar -xzf {FOLDER}.tar.gz -C {FOLDER}"
        self.runner.check(self.ssh(f"{unpack} && {setup}"))
        if o.prepare:
            self.runner.check(self.ssh(o.prepare))

    @contextlib.contextmanager
    def _private_folder(self) -> Iterator[Path]:
        """Yield a new folder of a name that nobody can guess, and so prepare; a dry run names it by a pattern."""
        if self.runner.dry_run:
            yield Path(tempfile.gettempdir()) / f"{FOLDER}-XXXXXXXX"
            return
        with tempfile.TemporaryDirectory(prefix=f"{FOLDER}-") as folder:
            yield Path(folder)

    def train(self, arguments: Sequence[str]) -> int:
        """Start training on all workers and follow it; return its exit code."""
        self.runner.check(self.worker("start", "tpu", *arguments))
        return self.runner.run(self.worker("follow"))

    def watch(self, arguments: Sequence[str]) -> int:
        """Keep the training going until it ends; return 0.

        A slice that is gone is deleted and made again; a training that fails is started again. `max_failures` failures
        in a row, each within `fast_minutes` of its start, end the watch.

        Raises:
            LaunchError: it keeps failing, was refused as wrong, or the time is over.
        """
        if self.runner.dry_run:
            return self._show_watch(arguments)
        o, failures, copy, verb = self.options, 0, False, "ensure"
        deadline = time.monotonic() + o.max_hours * 3600
        while time.monotonic() < deadline:
            began = time.monotonic()
            try:
                copy = self._ensure_slice() or copy
                code = self._attempt(verb, arguments, copy)
            except NotCreatedError as error:
                say(str(error))
                code = CREATE_FAILED
            if code == 0:
                say(f"the training has ended; the slice {o.name} still costs: delete it with --yes")
                return 0
            if code != CREATE_FAILED and (state := self.state()) != READY:
                say(f"{o.name} is {state}")
                failures = 0
                continue
            if code == REFUSED:
                raise LaunchError("exit code 2: the arguments are wrong, and would fail again; see above")
            copy = code in (NOT_COPIED, COPY_FAILED)
            verb = "ensure" if copy or code in (SSH_FAILED, CREATE_FAILED) else "start"
            failures = failures + 1 if time.monotonic() - began < o.fast_minutes * 60 else 1
            say(f"exit code {code}: failure {failures} of {o.max_failures} in a row")
            if failures >= o.max_failures:
                raise LaunchError(
                    f"{failures} failures in a row, each within --fast_minutes={o.fast_minutes:g} of its start; see "
                    f"above, and ~/.stylegan_jax/log on the workers. If the slice {o.name} exists, it costs"
                )
            time.sleep(o.poll_seconds)
        raise LaunchError(f"--max_hours={o.max_hours:g} are over; training continues; the same command follows it")

    def _attempt(self, verb: str, arguments: Sequence[str], copy: bool) -> int:
        """Copy if asked to, start the training or find it running, follow it; return the exit code."""
        if copy:
            try:
                self.copy()
            except LaunchError as error:  # the slice may have gone meanwhile: the caller looks
                say(str(error))
                return COPY_FAILED
        code = self.runner.run(self.worker(verb, "tpu", *arguments))
        return code or self.runner.run(self.worker("follow"))

    def _ensure_slice(self) -> bool:
        """Bring the slice up; return whether it is new."""
        state = self.state()
        if state in (*LEAVING, *COMING):
            commands.wait_until(
                lambda: self.state() not in (*LEAVING, *COMING),
                self.options.name,
                self.options.poll_seconds,
                self.options.wait_hours,
            )
            state = self.state()
        if state == READY:
            return False
        if state in GONE:
            say(f"{self.options.name} is {state}; making it again")
            self.delete()
        elif state != ABSENT:
            raise LaunchError(
                f"{self.options.name} is {state}, which is not a preemption; delete or start it by hand and watch again"
            )
        self.create()
        return True

    def _show_watch(self, arguments: Sequence[str]) -> int:
        self.create()
        self.copy()
        self.train(arguments)
        print(f"# on {', '.join(GONE)}: the following, then everything from the top again")
        self.delete()
        print("# after another failure: start and follow again")
        return 0

    def delete(self) -> None:
        """Delete the slice, or the queued resource and its slice."""
        force = ["--force"] if self.options.queued else []
        self.runner.check(self.gcloud(self.group, "delete", self.options.name, *force, "--quiet"))


def say(text: str) -> None:
    """Tell the user, apart from the output of commands."""
    print(f"launch: {text}", file=sys.stderr, flush=True)


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return the checked options and what follows `--`."""
    argv = list(argv)
    cut = argv.index("--") if "--" in argv else len(argv)
    parser = commands.parser("tpu", __doc__)
    parser.add_argument("verb", choices=VERBS)
    parser.add_argument("--name", required=True, help="name of the slice")
    parser.add_argument("--zone", required=True, help="such as us-west4-a")
    parser.add_argument("--project", help="default: gcloud's own setting")
    parser.add_argument("--type", help="slice, such as v5litepod-64 (64 chips) or v5p-256 (256 cores: 128 chips)")
    parser.add_argument("--runtime", help="image of the VMs; default: by --type")
    parser.add_argument("--queued", action="store_true", help="through a queued resource of the same name")
    parser.add_argument("--valid_until", help="with --queued: give up after, such as 6h")
    parser.add_argument("--spot", action="store_true", help="cheaper, and may be preempted at any time")
    parser.add_argument("--reserved", action="store_true", help="from a reservation")
    parser.add_argument("--create_flag", action="append", default=[], metavar="FLAG", help="one more flag for create")
    parser.add_argument("--storage", help=f"gs://BUCKET or HOST:/EXPORT, mounted on {MOUNTED} of every worker")
    parser.add_argument("--prepare", help="shell command on all workers after the installation, such as a copy of data")
    parser.add_argument("--poll_seconds", type=float, default=30, help="between two looks at the state")
    parser.add_argument("--wait_hours", type=float, default=24, help="for a slice to become ready")
    parser.add_argument("--max_hours", type=float, default=24 * 30, help="watch: in all")
    parser.add_argument("--max_failures", type=int, default=3, help="watch: fast failures in a row")
    parser.add_argument("--fast_minutes", type=float, default=15, help="watch: a failure within this is a fast one")
    parser.add_argument("--yes", action="store_true", help="delete: really")
    commands.add_dry_run(parser)
    options = parser.parse_args(argv[:cut])
    check(options)
    return options, argv[cut + 1 :]


def check(o: argparse.Namespace) -> None:
    """Check options against each other.

    Raises:
        LaunchError: value, rule, fix.
    """
    commands.check_name(o.name)
    if not re.fullmatch(r"[a-z]+-[a-z]+[0-9]+-[a-z]", o.zone):
        raise LaunchError(f"--zone={o.zone} is not a zone; zones look like us-west4-a (a region is not enough)")
    if o.verb in ("create", "watch"):
        if not o.type:
            raise LaunchError("--type is missing; name the slice to create, such as --type=v5litepod-64")
        family(o.type)
    if o.verb == "watch" and not (o.storage or o.prepare):
        raise LaunchError(
            f"--storage is missing: a new slice has only what {MOUNTED} brings; pass gs://BUCKET or HOST:/EXPORT, or "
            f"mount it yourself with --prepare"
        )
    if o.spot and o.reserved:
        raise LaunchError(
            "--spot and --reserved exclude each other: spot capacity is what reservations leave; choose one"
        )
    if o.valid_until and not o.queued:
        raise LaunchError(f"--valid_until={o.valid_until} is for queued resources; add --queued")
    if o.storage and not re.fullmatch(r"gs://[a-z0-9][-_.a-z0-9]+/?|[^\s/:]+:/\S*", o.storage):
        raise LaunchError(f"--storage={o.storage} is neither a bucket, gs://NAME, nor an NFS export, HOST:/PATH")
    for name in ("poll_seconds", "wait_hours", "max_hours", "max_failures", "fast_minutes"):
        if getattr(o, name) < 0 or (name == "max_failures" and o.max_failures < 1):
            raise LaunchError(f"--{name}={getattr(o, name):g} is too small; use the default, or a positive number")


def main(argv: Sequence[str]) -> int:
    """Run the command line; return its exit code."""
    o, rest = parse(argv)
    tpu = Tpu(o, Runner(o.dry_run))
    if o.verb not in ("run", "train", "watch") and rest:
        raise LaunchError(f"{o.verb} takes nothing after --, and got {shlex.join(rest)}")
    if o.verb in ("train", "watch"):
        rest = commands.train_arguments(rest, MOUNTED)
        return tpu.train(rest) if o.verb == "train" else tpu.watch(rest)
    if o.verb == "run":
        if not rest:
            raise LaunchError("run has nothing to run; end the line with: -- COMMAND")
        return tpu.runner.run(tpu.ssh(shlex.join(rest)))
    if o.verb == "status":
        tpu.runner.check(tpu.gcloud(tpu.group, "describe", o.name))
        return tpu.runner.run(tpu.worker("status"))
    if o.verb in ("follow", "stop"):
        return tpu.runner.run(tpu.worker(o.verb))
    if o.verb == "delete":
        commands.require_yes(o.yes, f"the slice {o.name} in {o.zone}")
    {"create": tpu.create, "copy": tpu.copy, "delete": tpu.delete}[o.verb]()
    return 0


if __name__ == "__main__":
    commands.command_line(main, "the training on the workers goes on; `follow` shows it again, `stop` ends it")

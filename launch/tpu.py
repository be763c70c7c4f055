"""Train on a Cloud TPU slice, one VM or a pod: python -m launch.tpu VERB --name=NAME --zone=ZONE [options] [-- ...]

  create   create the slice (with --queued: a queued resource) and wait until it is ready
  copy     copy this checkout to all workers, install it, mount the shared storage
  run      run a command on all workers:   ... run ... -- COMMAND
  train    start training on all workers and show its log:   ... train ... -- --config=... --workdir=/mnt/shared/...
  watch    create, copy and train, and again after each preemption, until training has finished
  follow, stop, status   show its log, stop it, show its state
  delete   delete the slice (needs --yes)

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

FOLDER = "stylegan_jax"  # the checkout's folder in every worker's home
MOUNTED = "/mnt/shared"
REFUSED, NOT_COPIED, SSH_FAILED, COPY_FAILED, CREATE_FAILED = 2, 127, 255, 1000, 1001  # exit codes; two of our own
READY, ACTIVE, SUSPENDING = "READY", "ACTIVE", "SUSPENDING"
GONE = ("PREEMPTED", "TERMINATED", "SUSPENDED")
COMING = ("CREATING", "ACCEPTED", "PROVISIONING", "WAITING_FOR_RESOURCES", "STARTING", "RESTARTING", "REIMAGING")
LEAVING = (SUSPENDING, "DELETING", "STOPPING", "REPAIRING")
ABSENT = "absent"
VERBS = ("create", "copy", "run", "train", "watch", "follow", "stop", "status", "delete")


class NotCreatedError(LaunchError):
    """The slice could not be created, or is gone already; a later attempt may succeed."""


@dataclass(frozen=True)
class Tpu:
    """The commands for one slice."""

    options: argparse.Namespace
    runner: Runner

    def gcloud(self, group: str, verb: str, *arguments: str) -> list[str]:
        """Return a gcloud command with zone and project."""
        project = [f"--project={self.options.project}"] if self.options.project else []
        return ["gcloud", "compute", "tpus", group, verb, *arguments, f"--zone={self.options.zone}", *project]

    @property
    def group(self) -> str:
        """gcloud's name of the resource to create and delete."""
        return "queued-resources" if self.options.queued else "tpu-vm"

    def create(self) -> None:
        """Create the slice and wait until it is ready."""
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

        For an ACTIVE queued resource it is the state of its slice, which may just have been preempted.
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
            LaunchError: it will not become ready, or does not in time.
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
        """Copy the checkout to all workers, install it, mount the storage, and run --prepare."""
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
        """Yield a new folder with an unpredictable name, so that nobody can tamper with it; a pattern in a dry run."""
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
        """Keep training running until it has finished; return 0.

        A slice that is gone is deleted and created again, and a training that fails is started again, until
        `max_failures` in a row have failed within `fast_minutes` of their start.

        Raises:
            LaunchError: training keeps failing, its arguments are wrong, or `max_hours` are over.
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
        """Copy if `copy`, start training unless it runs, and follow it; return the exit code."""
        if copy:
            try:
                self.copy()
            except LaunchError as error:  # the slice may be gone; the caller checks
                say(str(error))
                return COPY_FAILED
        code = self.runner.run(self.worker(verb, "tpu", *arguments))
        return code or self.runner.run(self.worker("follow"))

    def _ensure_slice(self) -> bool:
        """Create the slice unless it is ready; return whether it is new."""
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
    """Print a message to the user on stderr."""
    print(f"launch: {text}", file=sys.stderr, flush=True)


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return (checked options, the arguments after `--`)."""
    argv = list(argv)
    cut = argv.index("--") if "--" in argv else len(argv)
    parser = commands.parser("tpu", __doc__)
    parser.add_argument("verb", choices=VERBS)
    parser.add_argument("--name", required=True, help="name of the slice")
    parser.add_argument("--zone", required=True, help="such as us-west4-a")
    parser.add_argument("--project", help="default: gcloud's own setting")
    parser.add_argument("--type", help="slice, such as v5litepod-64 (64 chips) or v5p-256 (256 cores: 128 chips)")
    parser.add_argument("--runtime", help="image of the VMs; default: by --type")
    parser.add_argument("--queued", action="store_true", help="use a queued resource of the same name")
    parser.add_argument("--valid_until", help="with --queued: give up after this time, such as 6h")
    parser.add_argument("--spot", action="store_true", help="use cheaper capacity that may be preempted at any time")
    parser.add_argument("--reserved", action="store_true", help="use a reservation")
    parser.add_argument("--create_flag", action="append", default=[], metavar="FLAG", help="one more flag for create")
    parser.add_argument("--storage", help=f"gs://BUCKET or HOST:/EXPORT, mounted on {MOUNTED} of every worker")
    parser.add_argument("--prepare", help="shell command to run on all workers after installing, such as copying data")
    parser.add_argument("--poll_seconds", type=float, default=30, help="seconds between two checks of the state")
    parser.add_argument("--wait_hours", type=float, default=24, help="longest wait for a slice to become ready")
    parser.add_argument("--max_hours", type=float, default=24 * 30, help="watch: longest time in all")
    parser.add_argument("--max_failures", type=int, default=3, help="watch: end after this many fast failures in a row")
    parser.add_argument("--fast_minutes", type=float, default=15, help="watch: a failure within this time is fast")
    parser.add_argument("--yes", action="store_true", help="delete: confirm")
    commands.add_dry_run(parser)
    options = parser.parse_args(argv[:cut])
    check(options)
    return options, argv[cut + 1 :]


def check(o: argparse.Namespace) -> None:
    """Check the options.

    Raises:
        LaunchError: an option is wrong, missing, or does not fit another.
    """
    commands.check_name(o.name)
    if not re.fullmatch(r"[a-z]+-[a-z]+[0-9]+-[a-z]", o.zone):
        raise LaunchError(f"--zone={o.zone} is not a zone; zones look like us-west4-a (a region is not enough)")
    if o.verb in ("create", "watch"):
        if not o.type:
            raise LaunchError("--type is missing; pass the slice to create, such as --type=v5litepod-64")
        family(o.type)
    if o.verb == "watch" and not (o.storage or o.prepare):
        raise LaunchError(
            f"--storage is missing, without which a new slice has no data and no checkpoints in {MOUNTED}; pass "
            "gs://BUCKET or HOST:/EXPORT, or mount it yourself with --prepare"
        )
    if o.spot and o.reserved:
        raise LaunchError("--spot and --reserved exclude each other, because spot capacity is unreserved; choose one")
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
        raise LaunchError(f"{o.verb} takes no arguments after --, but got {shlex.join(rest)}; remove them")
    if o.verb in ("train", "watch"):
        rest = commands.train_arguments(rest, MOUNTED)
        return tpu.train(rest) if o.verb == "train" else tpu.watch(rest)
    if o.verb == "run":
        if not rest:
            raise LaunchError("run has no command to run; end the line with: -- COMMAND")
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
    commands.command_line(main, "training on the workers continues; `follow` shows its log again, `stop` ends it")

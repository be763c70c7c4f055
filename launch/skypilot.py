"""Train through SkyPilot: python -m launch.skypilot VERB --name=NAME [options] [-- ...]

launch   start a managed job from launch/skypilot/train.yaml, which restarts after preemptions:
         ... launch --name=ffhq --accelerators=tpu-v5litepod-8 --bucket=BUCKET -- --config=... --workdir=/mnt/shared/...
status, logs
delete   delete the job and its machines (needs --yes); the bucket is kept
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from launch import commands
from launch.commands import ROOT, LaunchError, Runner
from launch.slices import FAMILIES

MOUNTED = "/mnt/shared"
TASK = ROOT / "launch" / "skypilot" / "train.yaml"


def main(argv: Sequence[str]) -> int:
    """Run the command line; return its exit code."""
    argv = list(argv)
    cut = argv.index("--") if "--" in argv else len(argv)
    rest = argv[cut + 1 :]
    parser = commands.parser("skypilot", __doc__)
    parser.add_argument("verb", choices=("launch", "status", "logs", "delete"))
    parser.add_argument("--name", required=True, help="name of the job")
    parser.add_argument("--accelerators", help="such as tpu-v5litepod-8, tpu-v5p-256 or H100:8")
    parser.add_argument("--bucket", help=f"existing bucket, mounted on {MOUNTED}")
    parser.add_argument("--nodes", type=int, default=1, help="number of GPU nodes; a TPU pod counts as one")
    parser.add_argument("--infra", help="cloud and region, such as gcp/us-west4; default: the cheapest")
    parser.add_argument("--spot", action=commands.argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--yes", action="store_true", help="delete: confirm")
    commands.add_dry_run(parser)
    o = parser.parse_args(argv[:cut])
    commands.check_name(o.name)
    runner = Runner(o.dry_run)
    if o.verb == "launch":
        runner.check(launch(o, commands.train_arguments(rest, MOUNTED)))
        return 0
    if rest:
        raise LaunchError(f"{o.verb} takes no arguments after --, but got {shlex.join(rest)}; remove them")
    if o.verb == "delete":
        commands.require_yes(o.yes, f"the job {o.name} and its machines")
        return runner.run(["sky", "jobs", "cancel", f"--name={o.name}", "--yes"])
    return runner.run(["sky", "jobs", "queue"] if o.verb == "status" else ["sky", "jobs", "logs", f"--name={o.name}"])


def launch(o: commands.argparse.Namespace, arguments: Sequence[str]) -> list[str]:
    """Return the command that starts the job.

    Raises:
        LaunchError: an option is missing or wrong.
    """
    if not o.accelerators:
        raise LaunchError("--accelerators is missing; pass a type such as tpu-v5litepod-8, tpu-v5p-256 or H100:8")
    if not re.fullmatch(r"[A-Za-z0-9-]+(:[1-9][0-9]*)?", o.accelerators):
        raise LaunchError(f"--accelerators={o.accelerators} is not NAME or NAME:COUNT, such as H100:8")
    if not re.fullmatch(r"[a-z0-9][-_.a-z0-9]+", o.bucket or ""):
        raise LaunchError(
            f"--bucket={o.bucket or ''} is not the name of a bucket; pass one without gs://, so that checkpoints "
            "survive the machines"
        )
    tpu = o.accelerators.startswith("tpu-")
    if tpu and o.accelerators.split("-")[1] not in FAMILIES:
        raise LaunchError(
            f"--accelerators={o.accelerators}: known slices are " + ", ".join(f"tpu-{f}-N" for f in FAMILIES)
        )
    if o.nodes < 1 or (tpu and o.nodes > 1):
        raise LaunchError(f"--nodes={o.nodes} must be at least 1, and 1 for a TPU, whose slice includes its hosts")
    command = ["sky", "jobs", "launch", f"--name={o.name}", f"--gpus={o.accelerators}", f"--num-nodes={o.nodes}"]
    command += ["--use-spot" if o.spot else "--no-use-spot", *([f"--infra={o.infra}"] if o.infra else [])]
    command += [f"--env=TRAIN={shlex.join(arguments)}", f"--env=BUCKET={o.bucket}"]
    return [*command, f"--env=EXTRA={'tpu' if tpu else 'cuda'}", "--yes", "--detach-run", str(TASK)]


if __name__ == "__main__":
    commands.command_line(main)

"""Train on a Slurm cluster of GPUs: python -m launch.slurm [options] -- --config=... --workdir=/shared/...

Submits launch/slurm/train.sbatch from this checkout, which must lie on a file system that all nodes share. Python is
$PYTHON, else that of the active environment or of ~/venv. Before its time limit and after a preemption, the job is
queued again, and resumes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from launch import commands
from launch.commands import ROOT, LaunchError, Runner


def main(argv: Sequence[str]) -> int:
    """Run the command line; return its exit code."""
    argv = list(argv)
    cut = argv.index("--") if "--" in argv else len(argv)
    parser = commands.parser("slurm", __doc__)
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--gpus", type=int, default=8, help="GPUs per node, each with its own process")
    parser.add_argument("--cpus", type=int, default=8, help="CPUs per GPU, for decoding images")
    parser.add_argument("--time", default="24:00:00", help="time limit, after which the job is queued again")
    parser.add_argument("--name", default="stylegan_jax", help="name of the job")
    parser.add_argument("--partition", help="default: the cluster's")
    parser.add_argument("--account", help="default: yours")
    parser.add_argument("--sbatch_flag", action="append", default=[], metavar="FLAG", help="one more flag for sbatch")
    commands.add_dry_run(parser)
    o = parser.parse_args(argv[:cut])
    arguments = commands.train_arguments(argv[cut + 1 :])
    for name in ("nodes", "gpus", "cpus"):
        if getattr(o, name) < 1:
            raise LaunchError(f"--{name}={getattr(o, name)} must be at least 1")
    if not re.fullmatch(r"\d+|(\d+-)?\d+(:\d\d){0,2}", o.time):
        raise LaunchError(f"--time={o.time} is not a Slurm time; write minutes, HH:MM:SS or D-HH:MM:SS")
    submit = ["sbatch", f"--job-name={o.name}", f"--nodes={o.nodes}", f"--ntasks-per-node={o.gpus}"]
    submit += [f"--gpus-per-node={o.gpus}", f"--cpus-per-task={o.cpus}", f"--time={o.time}", f"--chdir={ROOT}"]
    submit += [f"--{name}={getattr(o, name)}" for name in ("partition", "account") if getattr(o, name)]
    Runner(o.dry_run).check([*submit, *o.sbatch_flag, str(ROOT / "launch" / "slurm" / "train.sbatch"), *arguments])
    return 0


if __name__ == "__main__":
    commands.command_line(main)

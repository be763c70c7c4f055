"""Train on the GPUs of this machine: python -m launch.gpu_node [options] -- --config=... --workdir=runs/...

One process uses all GPUs of --devices. On several machines without a scheduler, run the same command on each, with the
address of the first and --process_id=0, 1, ...:
  ... --coordinator=10.0.0.1:8476 --num_processes=2 --process_id=0 -- --config=... --workdir=/shared/...
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

from launch import commands
from launch.commands import ROOT, LaunchError, Runner

FINISHED, REFUSED, ASKED_TO_STOP = 0, 2, 143


def main(argv: Sequence[str]) -> int:
    """Run the command line; return the training's exit code."""
    argv = list(argv)
    cut = argv.index("--") if "--" in argv else len(argv)
    parser = commands.parser("gpu_node", __doc__)
    parser.add_argument("--devices", help="GPUs to use, such as 0,1,2,3; default: all")
    parser.add_argument("--flags", default="gpu", help="preset of launch/flags")
    parser.add_argument("--coordinator", help="several machines: HOST:PORT of the first")
    parser.add_argument("--num_processes", type=int, help="several machines: their number")
    parser.add_argument("--process_id", type=int, help="several machines: number of this one, from 0")
    parser.add_argument("--restarts", type=int, default=0, help="restart at most N times, a minute after a crash")
    commands.add_dry_run(parser)
    o = parser.parse_args(argv[:cut])
    arguments = commands.train_arguments(argv[cut + 1 :])
    presets = sorted(path.stem for path in (ROOT / "launch" / "flags").glob("*.sh"))
    if o.flags not in presets:
        raise LaunchError(f"--flags={o.flags} is not a preset of launch/flags; known: {', '.join(presets)}")
    if o.devices and not re.fullmatch(r"\d+(,\d+)*", o.devices):
        raise LaunchError(f"--devices={o.devices} is not a list of numbers, such as 0,1,2,3")
    if o.restarts < 0:
        raise LaunchError(f"--restarts={o.restarts} must be at least 0")
    visible = ["env", f"CUDA_VISIBLE_DEVICES={o.devices}"] if o.devices else []
    worker = ["bash", str(ROOT / "launch" / "worker.sh"), "exec", o.flags]
    command = [*visible, *worker, *arguments, *distributed(o.coordinator, o.num_processes, o.process_id)]
    code = Runner(o.dry_run).run(command)
    for again in range(1, o.restarts + 1):
        if code in (FINISHED, REFUSED, ASKED_TO_STOP):
            break
        print(f"launch: exit code {code}; restart {again} of {o.restarts} in a minute", flush=True)
        time.sleep(60)
        code = Runner(o.dry_run).run(command)
    return code


def distributed(coordinator: str | None, num_processes: int | None, process_id: int | None) -> list[str]:
    """Return the training's arguments for one of several machines; [] if all three are None.

    Raises:
        LaunchError: one is missing or wrong.
    """
    given = {"coordinator": coordinator, "num_processes": num_processes, "process_id": process_id}
    if all(value is None for value in given.values()):
        return []
    missing = [f"--{name}" for name, value in given.items() if value is None]
    if missing:
        raise LaunchError(
            f"{' and '.join(missing)} missing: several machines need --coordinator=HOST:PORT of the first one, "
            "--num_processes, and --process_id from 0 on each; a single machine needs none of them"
        )
    if not re.fullmatch(r"[^\s:]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}", coordinator or ""):
        raise LaunchError(f"--coordinator={coordinator} is not HOST:PORT, such as 10.0.0.1:8476")
    if num_processes is None or process_id is None or not 0 <= process_id < num_processes:
        raise LaunchError(
            f"--process_id={process_id} must be from 0 to --num_processes - 1 = {(num_processes or 0) - 1}"
        )
    return [f"--config.distributed.{name}={value}" for name, value in given.items()]


if __name__ == "__main__":
    commands.command_line(main)

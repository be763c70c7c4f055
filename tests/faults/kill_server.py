"""Kills a program again and again, and reports how it came through.

The program is a function that does some work in a directory and, run again, continues it. Importing JAX takes seconds,
so this process imports once, starts no JAX backend, and forks a child per run; each child is killed with SIGKILL at a
random time after it has reported itself ready. Run as a script, as forking is unsafe in a process that has used JAX.

    python tests/faults/kill_server.py <module>:<function>[,<function>…] <directory> --kills 15 --seed 0 --longest 0.5

`function(directory, ready)` calls `ready()` when killing may begin; it ends when the work is done. It works in
`FUNCTION/killed` inside the directory and first, undisturbed, in `FUNCTION/straight` for comparison. The report is one
line of JSON per function: kills, runs, checks, and codes (those of the runs that were not killed by us, the straight
one first).
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pathlib
import random
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

Program = Callable[[pathlib.Path, Callable[[], None]], Any]

_READY_S = 60.0


def run_child(program: Program, directory: pathlib.Path, ready_fd: int) -> int:
    """Run the program in the forked child; return its exit code."""
    try:
        program(directory, lambda: _report(ready_fd))
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _report(ready_fd: int) -> None:
    os.write(ready_fd, b"r")


def run_once(program: Program, directory: pathlib.Path, delay: float | None) -> int | None:
    """Fork one run and kill it `delay` seconds after it is ready (None: let it end).

    Returns:
        The run's exit code, or None if it was killed.

    Raises:
        TimeoutError: the run neither got ready nor ended.
    """
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(readable)
        os._exit(run_child(program, directory, writable))
    os.close(writable)
    try:
        if delay is not None:
            # Either the report or, when the child has ended, the end of the file.
            if not select.select([readable], [], [], _READY_S)[0]:
                raise TimeoutError(f"the program was not ready within {_READY_S} s")
            if os.read(readable, 1):
                time.sleep(delay)
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        child = 0
    finally:
        if child:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        os.close(readable)
    return None if os.WIFSIGNALED(status) and delay is not None else os.waitstatus_to_exitcode(status)


def kill_and_rerun(
    program: Program, directory: pathlib.Path, *, kills: int, seed: int, longest: float, check: Program | None = None
) -> dict[str, Any]:
    """Kill up to `kills` runs, then let the last one end.

    Args:
        program: the work.
        directory: where it works; is made.
        kills: how many runs to kill at most.
        seed: of the random times.
        longest: seconds after being ready, at most.
        check: called in the parent after each kill; what it returns is listed in the report.
    """
    rng = random.Random(seed)
    report: dict[str, Any] = {"kills": 0, "runs": 0, "codes": [], "checks": []}
    directory.mkdir()
    while True:
        delay = rng.uniform(0.0, longest) if report["kills"] < kills else None
        code = run_once(program, directory, delay)
        report["runs"] += 1
        if code is not None:
            report["codes"].append(code)
            return report
        report["kills"] += 1
        if check is not None:
            report["checks"].append(check(directory, lambda: None))


def main() -> None:
    """Run as a script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="module:function,…; module:check, if it exists, is called after each kill")
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--kills", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=float, default=0.5)
    arguments = parser.parse_args()
    sys.path.insert(0, os.fspath(pathlib.Path(__file__).parent))
    module_name, functions = arguments.program.split(":")
    module = importlib.import_module(module_name)
    for name in functions.split(","):
        program, straight = getattr(module, name), arguments.directory / name / "straight"
        straight.mkdir(parents=True)
        code = run_once(program, straight, None)
        report = kill_and_rerun(
            program,
            arguments.directory / name / "killed",
            kills=arguments.kills,
            seed=arguments.seed,
            longest=arguments.longest,
            check=getattr(module, "check", None),
        )
        print(json.dumps(report | {"codes": [code, *report["codes"]]}), flush=True)


if __name__ == "__main__":
    main()

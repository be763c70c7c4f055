"""Kills a program again and again, and reports how it came through.

The program is a function that does some work in a directory and, run again, continues it. Importing JAX takes seconds,
so this process imports once, starts no JAX backend, and forks a child per run; each child is killed with SIGKILL at a
random time after it has told that it has come to a stage. Run as a script, as forking is unsafe in a process that has
used JAX.

    python tests/faults/kill_server.py <module>:<function>[,<function>…] <directory> --kills 15 --seed 0 --longest 0.5

`function(directory, reached)` calls `reached(stage)` when it comes to a stage, as often as it does; it ends when the
work is done. `module.STAGES[function]` maps the stages to how many times of one run may be waited for, and the longest
time until the kill; without it there is one stage, '', and --longest. All three are drawn for every kill, and the child
finds the stage in the variable KILL_STAGE. The function works in `FUNCTION/straight` inside the directory first,
undisturbed, and then in `FUNCTION/killed0`, `killed1`, …: a new one where a run has ended before its kill.
`module.check(directory)`, if there is one, is called after each kill. The report is one line of JSON per function:
kills (by stage) and checks (a list per directory). A run that fails ends the series.
"""

from __future__ import annotations

import argparse
import collections
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
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Program = Callable[[pathlib.Path, Callable[[str], None]], Any]

_READY_S = 600.0


class Kill(NamedTuple):
    """A kill: which time of what stage, and how many seconds later."""

    stage: str
    time: int
    delay: float


def run_child(program: Program, directory: pathlib.Path, kill: Kill | None, ready_fd: int) -> int:
    """Run the program in the forked child; return its exit code."""
    times: collections.Counter[str] = collections.Counter()

    def reached(stage: str) -> None:
        times[stage] += 1
        if kill is not None and (stage, times[stage]) == (kill.stage, kill.time):
            os.write(ready_fd, b"r")

    if kill is not None:
        os.environ["KILL_STAGE"] = kill.stage
    try:
        program(directory, reached)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def run_once(program: Program, directory: pathlib.Path, kill: Kill | None) -> int | None:
    """Fork one run and kill it (None: let it end).

    Returns:
        The run's exit code, or None if it was killed.

    Raises:
        TimeoutError: the run neither came to the stage nor ended.
    """
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(readable)
        os._exit(run_child(program, directory, kill, writable))
    os.close(writable)
    try:
        if kill is not None:
            # Either the report or, when the child has ended, the end of the file.
            if not select.select([readable], [], [], _READY_S)[0]:
                raise TimeoutError(f"the program did not come to {kill.stage!r} within {_READY_S} s")
            if os.read(readable, 1):
                time.sleep(kill.delay)
                os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        child = 0
    finally:
        if child:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        os.close(readable)
    return None if os.WIFSIGNALED(status) and kill is not None else os.waitstatus_to_exitcode(status)


def kill_often(
    program: Program,
    directory: pathlib.Path,
    *,
    kills: int,
    rng: random.Random,
    stages: Mapping[str, tuple[int, float]],
    check: Callable[[pathlib.Path], Any] | None = None,
) -> dict[str, Any]:
    """Run undisturbed, then kill so many runs, and let the last one of each directory end.

    Args:
        program: the work.
        directory: the work's own directories are made there.
        kills: how many runs to kill.
        rng: of the random times.
        stages: of each, which time at most, and how many seconds later at most.
        check: called after each kill; what it returns is listed in the report.
    """
    straight = directory / "straight"
    straight.mkdir(parents=True)
    if code := run_once(program, straight, None):
        raise RuntimeError(f"the run in {straight} ended with exit code {code}")
    checks, killed = [], collections.Counter()
    while killed.total() < kills:
        if len(checks) > kills + 10:
            raise RuntimeError(f"{len(checks)} runs ended before their kill, with {killed.total()} kills")
        place = directory / f"killed{len(checks)}"
        place.mkdir()
        checks.append([])
        code = None
        while code is None:
            kill = None
            if killed.total() < kills:
                stage = rng.choice(list(stages))
                most, longest = stages[stage]
                kill = Kill(stage, rng.randint(1, most), rng.uniform(0.0, longest))
            code = run_once(program, place, kill)
            if code:
                raise RuntimeError(f"a run in {place} ended with exit code {code}")
            if code is None and kill is not None:
                killed[kill.stage] += 1
                checks[-1].append(check(place) if check else None)
                print(
                    f"{place}: {tuple(kill)}, {checks[-1][-1]}, {killed.total()}/{kills}", file=sys.stderr, flush=True
                )
    return {"kills": dict(killed), "checks": checks}


def main() -> None:
    """Run as a script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="module:function,…")
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--kills", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=float, default=0.5)
    arguments = parser.parse_args()
    here = pathlib.Path(__file__).parent
    sys.path[:0] = [os.fspath(path) for path in (here, here.parent, here.parents[1])]
    module_name, functions = arguments.program.split(":")
    module = importlib.import_module(module_name)
    for name in functions.split(","):
        report = kill_often(
            getattr(module, name),
            arguments.directory / name,
            kills=arguments.kills,
            rng=random.Random(arguments.seed),
            stages=getattr(module, "STAGES", {}).get(name, {"": (1, arguments.longest)}),
            check=getattr(module, "check", None),
        )
        print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()

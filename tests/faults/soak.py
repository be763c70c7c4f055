"""Trains the tiny recipe for hours with metrics, grids, checkpoints and TensorBoard, and watches the process.

    python tests/faults/soak.py FOLDER --hours 2        # trains in FOLDER/run, ends with the summary
    python tests/faults/soak.py FOLDER --summary        # of a soak that has ended, or that still runs

FOLDER/soak.csv gets a row every few seconds from the first report on: memory (resident, and in use: freed memory is
kept), open files, threads, CPU seconds, images shown, and the load of the machine, without which images per second say
little. The summary compares an early part (after the first tenth, which fills caches) with the last fifth and names
what grew or fell; the exit code is 1 then. Linux only; standard library only.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
COLUMNS = ("seconds", "nimg", "rss_mib", "used_mib", "files", "threads", "cpu_seconds", "load")
GROWTH, SLOWER = 0.05, 0.1
"""How much more memory, and how many fewer images per CPU second, the last part may have."""

Row = dict[str, float]


def train_command(workdir: Path, options: Sequence[str]) -> list[str]:
    """Return the command that trains until it is stopped: ticks of 256 steps, a grid every 4, a checkpoint every 8."""
    own = {"train.total_kimg": 1e6, "log.tick_kimg": 2.048, "log.checkpoint_ticks": 8, "log.grid_ticks": 4}
    own |= {"log.trackers": ("tensorboard",), "log.progress_bar": False, "log.keep_best": "metric/fid40"}
    own |= {"eval.metrics": "fid5k,pr50k3", "eval.num_images": 40, "eval.batch": 8, "eval.ticks": 8}
    command = [sys.executable, os.fspath(HERE / "soak_main.py"), f"--config={HERE.parents[1]}/configs/tiny.py"]
    return [*command, f"--workdir={workdir}", *(f"--config.{k}={v}" for k, v in own.items()), *options]


def measure(pid: int, workdir: Path, began: float) -> Row:
    """Return a row of the CSV: how a process is, and how far its run has come."""
    proc = Path("/proc", str(pid))
    stat = (proc / "stat").read_text().rsplit(")", 1)[1].split()
    return {
        "seconds": round(time.monotonic() - began, 2),
        "nimg": images_shown(workdir / "stats.jsonl"),
        "rss_mib": round(int(stat[21]) * os.sysconf("SC_PAGE_SIZE") / 2**20, 2),
        "used_mib": float(used.read_text()) if (used := workdir.with_name("used_mib")).exists() else 0.0,
        "files": len(list((proc / "fd").iterdir())),
        "threads": int(stat[17]),
        "cpu_seconds": (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK"),
        "load": os.getloadavg()[0],
    }


def images_shown(path: Path) -> int:
    """Return `nimg` of the last whole row of a stats.jsonl; 0 before there is one."""
    try:
        with path.open("rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - 65536, 0))
            rows = file.read().split(b"\n")[:-1]  # what follows the last newline is being written
    except FileNotFoundError:
        return 0
    return json.loads(rows[-1])["nimg"] if rows else 0


def soak(folder: Path, seconds: float, every: float, options: Sequence[str] = ()) -> int:
    """Train and watch; return the exit code of the training."""
    folder.mkdir(parents=True, exist_ok=True)
    workdir = folder / "run"
    environment = os.environ | {"SOAK_USED": os.fspath(folder / "used_mib")}
    with (folder / "soak.csv").open("w", newline="") as file, (folder / "soak.log").open("w") as log:
        writer: csv.DictWriter[str] = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        process = subprocess.Popen(train_command(workdir, options), stdout=log, stderr=log, env=environment)
        try:
            while process.poll() is None and not images_shown(workdir / "stats.jsonl"):
                time.sleep(0.1)
            began = time.monotonic()
            while process.poll() is None and time.monotonic() - began < seconds:
                writer.writerow(measure(process.pid, workdir, began))
                file.flush()
                time.sleep(every)
            process.send_signal(signal.SIGTERM)
            return process.wait(timeout=300)
        finally:
            process.kill()
            process.wait()


def read(path: Path) -> list[Row]:
    """Return the rows of a CSV; the last, which may be half written, only if it is whole."""
    with path.open(newline="") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file) if None not in row.values()]


def summarise(rows: Sequence[Row]) -> dict[str, Any]:
    """Return figures of an early and the last part, as [early, late], and the list of what is not as it should be.

    Of files and threads, the least of each part counts: a save opens and closes some, and what is never closed stays.
    """
    count = len(rows)
    parts = rows[count // 10 : count // 10 + max(count // 5, 2)], rows[-max(count // 5, 2) :]
    if count < 10:
        return {"hours": 0.0, "problems": [f"{count} rows are too few"]}

    def both(figure: Any) -> list[float]:
        return [round(figure(part), 2) for part in parts]

    def median(name: str) -> list[float]:
        return both(lambda part: statistics.median(row[name] for row in part))

    def least(name: str) -> list[float]:
        return both(lambda part: min(row[name] for row in part))

    def speed(per: str) -> list[float]:
        return both(lambda part: (part[-1]["nimg"] - part[0]["nimg"]) / max(part[-1][per] - part[0][per], 1e-9))

    efficiency = speed("cpu_seconds")
    figures = {name: median(name) for name in ("rss_mib", "used_mib")}
    figures |= {name: least(name) for name in ("files", "threads")}
    figures |= {"img_per_cpu_second": efficiency, "img_per_second": speed("seconds"), "load": median("load")}
    problems = []
    for name, growth in {"files": 0.0, "threads": 0.0, "rss_mib": GROWTH, "used_mib": GROWTH}.items():
        early, late = figures[name]
        if late > early * (1 + growth):
            problems.append(f"{name} grew from {early:g} to {late:g}")
    if efficiency[1] < efficiency[0] * (1 - SLOWER):
        problems.append(f"images per CPU second fell from {efficiency[0]:g} to {efficiency[1]:g}")
    hours = round((rows[-1]["seconds"] - rows[0]["seconds"]) / 3600, 3)
    return {"hours": hours, "images": int(rows[-1]["nimg"]), **figures, "problems": problems}


def main() -> int:
    """Run as a script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--every", type=float, default=10.0, help="seconds between rows")
    parser.add_argument("--summary", action="store_true", help="train nothing; summarise FOLDER/soak.csv")
    parser.add_argument("options", nargs="*", help="after --: more options of the training command")
    arguments = parser.parse_args()
    code = 0
    if not arguments.summary:
        code = soak(arguments.folder, arguments.hours * 3600, arguments.every, arguments.options)
    summary = summarise(read(arguments.folder / "soak.csv"))
    if code:
        summary["problems"].append(f"the training ended with exit code {code}; see {arguments.folder}/soak.log")
    print(json.dumps(summary))
    return 1 if summary["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())

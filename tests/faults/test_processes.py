"""The training command as two processes on one machine: equal to one process, stopped by a signal, a process lost."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import json_rows

ROOT = Path(__file__).parents[2]
TOY = Path(__file__).with_name("toy_main.py")
BATCH = 8


class Command:
    """The training command on `count` processes with `devices` devices each; of the toy, or of the tiny StyleGAN2."""

    def __init__(self, workdir: Path, count: int, devices: int, steps: int, toy: bool = True):
        with socket.socket() as probe:
            probe.bind(("localhost", 0))
            self.address = f"localhost:{probe.getsockname()[1]}"
        self.count, self.workdir = count, workdir
        self.program = [os.fspath(TOY)] if toy else ["-m", "stylegan_jax.main"]
        self.environment = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}",
            "PYTHONPATH": os.fspath(ROOT),
            "PYTHONUNBUFFERED": "1",
        }
        own = {"train.batch_size": BATCH, "train.total_kimg": steps * BATCH / 1000}
        own |= {"log.tick_kimg": 4 * BATCH / 1000, "log.trackers": (), "model.compute_dtype": "float32"}
        own |= {"loss.pl_weight": 0.0, "loss.d_reg_interval": 4}  # three programs to compile
        self.arguments = [f"--config.{key}={value}" for key, value in own.items()]

    @contextlib.contextmanager
    def running(self, *each: tuple[str, ...], **distributed: int) -> Iterator[list[subprocess.Popen]]:
        """Start it; `each` has more arguments for every process."""
        command = [sys.executable, *self.program, f"--config={ROOT}/configs/tiny.py"]
        command += [f"--workdir={self.workdir}", *self.arguments]
        command += [f"--config.distributed.{key}={value}" for key, value in distributed.items()]
        processes = []
        for number in range(self.count):
            own = list(each[number]) if each else []
            if self.count > 1:
                where = {"coordinator": self.address, "num_processes": self.count, "process_id": number}
                own += [f"--config.distributed.{key}={value}" for key, value in where.items()]
            with self._out(number).open("w") as out:
                processes.append(
                    subprocess.Popen([*command, *own], env=self.environment, stdout=out, stderr=subprocess.STDOUT)
                )
        try:
            yield processes
        finally:
            for process in processes:
                process.kill()
                process.wait()

    def _out(self, number: int) -> Path:
        return self.workdir.parent / f"{self.workdir.name}.out{number}"

    def output(self, number: int = 0) -> str:
        return self._out(number).read_text()

    def wait_for(self, text: str, seconds: float = 120) -> None:
        end = time.monotonic() + seconds
        while text not in self.output():
            assert time.monotonic() < end, self.output()
            time.sleep(0.1)

    def finish(self, processes: list[subprocess.Popen], seconds: float = 120) -> list[int]:
        return [process.wait(timeout=seconds) for process in processes]

    def run(self) -> None:
        with self.running() as processes:
            codes = self.finish(processes)
        assert codes == [0] * self.count, [self.output(n) for n in range(self.count)]

    def means(self) -> list[dict[str, float]]:
        return [row["mean"] for row in json_rows(self.workdir / "stats.jsonl")]


@pytest.mark.slow
def test_two_processes_train_as_one_does_and_each_resumes_the_other(tmp_path):
    one, two = (Command(tmp_path / f"{n}", n, 4 // n, 12, toy=False) for n in (1, 2))
    one.run()
    two.run()
    assert len(one.means()) == len(two.means()) == 3
    Command(tmp_path / "1", 2, 2, 16, toy=False).run()
    Command(tmp_path / "2", 1, 4, 16, toy=False).run()
    assert len(one.means()) == 4
    for a, b in zip(one.means(), two.means(), strict=True):
        for name, value in a.items():
            assert b[name] == pytest.approx(value, rel=1e-5, abs=1e-6), name
    assert "resuming from step 12" in Command(tmp_path / "2", 1, 4, 16, toy=False).output()
    assert "tick" not in Command(tmp_path / "1", 2, 2, 16, toy=False).output(1)  # process 0 alone tells


@pytest.mark.slow
def test_a_signal_to_one_process_stops_and_saves_all(tmp_path):
    command = Command(tmp_path / "run", 2, 2, 100_000)
    with command.running() as processes:
        command.wait_for("first step done")
        processes[1].send_signal(signal.SIGUSR1)
        assert command.finish(processes, 60) == [0, 0]
    saved = re.search(r"saved step (\d+); run again to continue", command.output())
    steps = [int(p.name) for p in (tmp_path / "run" / "checkpoints").iterdir() if p.name.isdigit()]
    assert saved and max(steps) == int(saved[1])  # one of a full tick may lie before it


@pytest.mark.slow
def test_the_loss_of_a_process_ends_the_run_with_a_clear_message(tmp_path):
    command = Command(tmp_path / "run", 2, 2, 100_000)
    with command.running(heartbeat_s=10) as processes:
        command.wait_for("first step done")
        processes[1].kill()
        start = time.monotonic()
        codes = command.finish(processes, 60)
    assert codes[0] not in (0, None) and codes[1] == -signal.SIGKILL
    assert time.monotonic() - start < 30
    command.wait_for("another process of this run died", 10)
    command.wait_for("run the same command on every host", 10)


@pytest.mark.slow
@pytest.mark.parametrize("hung", [1, pytest.param(0, marks=pytest.mark.nightly)])
def test_a_process_that_hangs_ends_the_run_of_the_others_and_then_its_own(tmp_path, hung):
    """Stopped, as by a debugger or a machine without memory; process 0 is the one that the others report to."""
    command = Command(tmp_path / "run", 2, 2, 100_000)
    with command.running(heartbeat_s=10) as processes:
        command.wait_for("first step done")
        processes[hung].send_signal(signal.SIGSTOP)
        assert processes[1 - hung].wait(timeout=60) not in (0, None)
        processes[hung].send_signal(signal.SIGCONT)
        assert processes[hung].wait(timeout=60) not in (0, None)  # it may not go on alone
        end = time.monotonic() + 10
        while "another process of this run died" not in command.output(1 - hung):
            assert time.monotonic() < end, command.output(1 - hung)


@pytest.mark.slow
def test_two_processes_start_from_another_model_as_one_does(tmp_path):
    Command(tmp_path / "source", 1, 4, 4).run()
    one, two = (Command(tmp_path / f"{n}", n, 4 // n, 4) for n in (1, 2))
    for command in (one, two):
        command.arguments.append(f"--config.train.init_from={tmp_path / 'source'}")
        command.run()
    assert two.means()[0] == pytest.approx(one.means()[0], rel=1e-5, abs=1e-6)


REFUSED = {
    "a key": (
        ((), ("--config.train.g_lr=0.003",)),
        "process 1 was not started like process 0:\n  config.train.g_lr: 0.002 there, 0.003 here",
    ),
    "the folder": ((("--workdir={}/a",), ("--workdir={}/b",)), "b of process 1 is not the folder of process 0"),
    "devices": (
        (("--config.train.num_devices=2",),) * 2,
        "config.train.num_devices is 2; a run of several processes (2) uses all of their devices (4); use 0",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSED)
def test_processes_that_do_not_fit_are_refused(tmp_path, name):
    each, text = REFUSED[name]
    command = Command(tmp_path / "run", 2, 2, 100)
    with command.running(*(tuple(a.format(tmp_path) for a in own) for own in each)) as processes:
        assert command.finish(processes, 60) == [2, 2]
    assert text in command.output(1)
    assert name == "devices" or "process 1 could not start" in command.output(0)

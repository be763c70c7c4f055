"""What runs on the workers: worker.sh, setup.sh, train.sbatch, with a stub for the training."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORKER = ROOT / "launch" / "worker.sh"
# Stands for `python -m stylegan_jax.main`: notes its arguments, then saves and ends with 0 when asked to stop.
TRAINING = """#!/bin/bash
trap 'echo saved; exit 0' TERM USR1
printf '%s\\0' "$@" >{folder}/argv
env >{folder}/part
echo up
mv {folder}/part {folder}/environment
if [ -e {folder}/code ]; then exit "$(cat {folder}/code)"; fi
for i in $(seq 500); do sleep 0.02; done
exit 9
"""


@pytest.fixture
def training(tmp_path, monkeypatch):
    program = tmp_path / "training"
    program.write_text(TRAINING.format(folder=shlex.quote(str(tmp_path))))
    program.chmod(0o755)
    monkeypatch.setenv("PYTHON", str(program))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("STYLEGAN_JAX_JOB", str(tmp_path / "job"))
    monkeypatch.setenv("STYLEGAN_JAX_GRACE", "5")
    yield tmp_path
    subprocess.run(["bash", WORKER, "stop"], capture_output=True, check=True)


def worker(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", WORKER, *arguments], capture_output=True, text=True, timeout=30)


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} did not come"
        time.sleep(0.01)


def ends_with(folder: Path, code: int) -> None:
    (folder / "code").write_text(str(code))


@pytest.mark.parametrize("code", [0, 1, 2])
def test_exec_keeps_arguments_flags_and_exit_code(training, code):
    ends_with(training, code)
    tricky = ["--config=a b.py", '--workdir=it\'s "x"', "--config.name=$HOME `id` *;\n"]
    assert worker("exec", "tpu", *tricky).returncode == code
    assert (training / "argv").read_text().split("\0")[:-1] == ["-m", "stylegan_jax.main", *tricky]
    assert "LIBTPU_INIT_ARGS=--xla_tpu" in (training / "environment").read_text()


@pytest.mark.parametrize("name", ["TERM", "USR1"])
def test_a_run_asked_to_stop_saves_and_does_not_count_as_finished(training, name):
    running = subprocess.Popen(["bash", WORKER, "exec", "cpu"], stdout=subprocess.PIPE, text=True)
    wait_for(training / "environment")
    running.send_signal(signal.Signals[f"SIG{name}"])
    out, _ = running.communicate(timeout=30)
    assert out.split() == ["up", "saved"] and running.returncode == 143


def test_start_outlives_its_connection_and_can_be_followed(training):
    began = worker("start", "tpu", "--config=x")
    assert began.returncode == 0 and "started" in began.stdout
    wait_for(training / "environment")
    assert "running" in worker("status").stdout
    assert "runs already" in worker("ensure", "tpu", "--config=x").stdout
    follow = subprocess.Popen(["bash", WORKER, "follow"], stdout=subprocess.PIPE, text=True)
    time.sleep(0.1)
    assert worker("stop").returncode == 0
    out, _ = follow.communicate(timeout=30)
    assert follow.returncode == 143 and "saved" in out
    assert "ended with exit code 143" in worker("status").stdout


def test_another_start_replaces_the_one_that_runs(training):
    worker("start", "tpu", "--config=x")
    wait_for(training / "environment")
    (training / "environment").unlink()
    ends_with(training, 0)
    assert "started" in worker("ensure", "tpu", "--config=y").stdout
    assert worker("follow").returncode == 0
    assert (training / "argv").read_text().split("\0")[2] == "--config=y"


def test_a_training_killed_outright_is_told_from_one_that_ended(training):
    worker("start", "tpu")
    wait_for(training / "environment")
    os.killpg(int((training / "job" / "pid").read_text()), signal.SIGKILL)
    assert worker("follow").returncode == 137


def test_bad_use(training):
    assert worker("follow").returncode == 3
    assert "commands: exec start ensure follow stop status" in worker("strat").stderr
    no_preset = worker("exec", "fast")
    assert no_preset.returncode == 2 and "presets: cpu fake8 gpu gpu_deterministic tpu" in no_preset.stderr


def set_up(stubs, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (home / "venv" / "bin").mkdir(parents=True, exist_ok=True)
    stubs.install("sudo", "uv", "gcsfuse", "mount.nfs", "curl", "lsb_release", "apt-get")
    environment = os.environ | {"HOME": str(home), "STYLEGAN_JAX_MOUNT": str(home / "shared")}
    (home / "venv" / "bin" / "python").write_text("#!/bin/sh\necho Python 3.12\n")
    (home / "venv" / "bin" / "python").chmod(0o755)
    return subprocess.run(
        ["bash", ROOT / "launch" / "setup.sh", *arguments], env=environment, capture_output=True, text=True
    )


def test_setup_mounts_a_bucket_and_installs(stubs, tmp_path):
    done = set_up(stubs, tmp_path, "tpu", "gs://my-bucket")
    assert done.returncode == 0 and "Python 3.12" in done.stdout, done.stderr
    calls = stubs.calls()
    assert ["gcsfuse", "--implicit-dirs", "my-bucket", str(tmp_path / "shared")] in calls
    python = str(tmp_path / "venv" / "bin" / "python")
    assert calls[-1] == ["uv", "pip", "install", "--quiet", "--python", python, "-e", ".[tpu]"]


def test_setup_mounts_an_nfs_export(stubs, tmp_path):
    stubs.install("mountpoint")
    stubs.reply(mountpoint=[(1, "", ""), (0, "", "")])
    (tmp_path / "shared").mkdir()
    done = set_up(stubs, tmp_path, "cpu", "10.0.0.2:/share")
    assert done.returncode == 0, done.stderr
    assert ["sudo", "mount", "-t", "nfs", "10.0.0.2:/share", str(tmp_path / "shared")] in stubs.calls()
    assert stubs.calls()[-1][-2:] == ["-e", "."]


def test_setup_refuses_other_storage(stubs, tmp_path):
    done = set_up(stubs, tmp_path, "tpu", "my-bucket")
    assert done.returncode == 2 and "neither gs://BUCKET nor HOST:/EXPORT" in done.stderr


@pytest.mark.parametrize(("code", "queued_again"), [(0, False), (1, False), (143, True)])
def test_slurm_queues_again_only_what_was_asked_to_stop(stubs, code, queued_again):
    stubs.install("srun", "scontrol")
    stubs.reply(srun=[(code, "", "")])
    environment = os.environ | {"SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "4"}
    script = ROOT / "launch" / "slurm" / "train.sbatch"
    done = subprocess.run(["bash", script, "--config=a b"], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == code
    assert stubs.calls()[0][2:] == ["bash", "launch/worker.sh", "exec", "gpu", "--config=a b"]
    assert (["scontrol", "requeue", "7"] in stubs.calls()) == queued_again


def test_slurm_needs_the_checkout(stubs, tmp_path):
    script = ROOT / "launch" / "slurm" / "train.sbatch"
    done = subprocess.run(["bash", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and "is not the checkout; run sbatch there" in done.stderr

"""What must not be launched: refused with value, rule and fix, before any command runs."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys

import pytest

from launch.commands import ROOT, LaunchError

WHO = ["--name=ffhq", "--zone=us-west4-a"]
TRAIN = ["--", "--config=configs/ffhq.py", "--workdir=/mnt/shared/ffhq"]
WATCH = ["watch", *WHO, "--type=v4-8", "--storage=gs://bb"]
APPLY = ["apply", "--name=a", "--image=i", "--storage=gs://bb", "--type=v5litepod-16"]
SKY = ["launch", "--name=a", "--accelerators=H100:8", "--bucket=bb"]
BAD = [
    ("tpu", ["create", "--name=Mine", "--zone=us-west4-a"], "--name=Mine is not a valid name.*such as ffhq-1"),
    ("tpu", ["create", "--name=ffhq", "--zone=us-west4"], "--zone=us-west4 is not a zone; zones look like us-west4-a"),
    ("tpu", ["create", *WHO], "--type is missing; .*--type=v5litepod-64"),
    ("tpu", ["create", *WHO, "--type=v5e-64"], "name for v5e slices is v5litepod-64"),
    ("tpu", ["create", *WHO, "--type=v9-8"], "--type=v9-8 is not a known slice; known: v2-N, v3-N"),
    ("tpu", ["create", *WHO, "--type=v5p"], "--type=v5p is not a slice; write generation and size"),
    ("tpu", ["create", *WHO, "--type=v4-8", "--spot", "--reserved"], "--spot and --reserved exclude each other"),
    ("tpu", ["create", *WHO, "--type=v4-8", "--valid_until=6h"], "is for queued resources; add --queued"),
    ("tpu", ["copy", *WHO, "--storage=my-bucket"], "--storage=my-bucket is neither a bucket, gs://NAME, nor"),
    ("tpu", ["delete", *WHO], "deletes the slice ffhq in us-west4-a .*add --yes"),
    ("tpu", ["run", *WHO], "no command to run; end the line with: -- COMMAND"),
    ("tpu", ["status", *WHO, "--", "x"], "status takes no arguments after --, but got x"),
    ("tpu", ["train", *WHO], "no --config; end the line with: -- --config=configs/ffhq.py"),
    ("tpu", ["train", *WHO, "--", "--config=configs/ffhq.py"], "no --workdir; .*--workdir=/mnt/shared/ffhq"),
    ("tpu", ["train", *WHO, *TRAIN[:2], "--workdir=gs://b/run"], "gs://b/run is an address, but must be a folder"),
    (
        "tpu",
        ["train", *WHO, *TRAIN[:2], "--workdir=runs/a"],
        "runs/a is not in /mnt/shared.*use --workdir=/mnt/shared/a",
    ),
    ("tpu", ["watch", *WHO, *TRAIN], "--type is missing"),
    (
        "tpu",
        ["watch", *WHO, "--type=v4-8", *TRAIN],
        "--storage is missing, without which a new slice has no data",
    ),
    ("tpu", [*WATCH, "--max_failures=0", *TRAIN], "--max_failures=0 is too small"),
    ("gke", ["delete", "--name=a"], "deletes the JobSet a .*add --yes"),
    ("gke", ["apply", "--name=a", *TRAIN], "--image is missing; build it"),
    ("gke", [*APPLY[:3], "--type=v5litepod-16", *TRAIN], "--storage is missing; pass what all pods share"),
    ("gke", [*APPLY, "--type=v5litepod-24", *TRAIN], "is not a slice on GKE; known: v5litepod-1, v5litepod-4"),
    ("gke", [*APPLY, "--type=v3-8", *TRAIN], "known: none of v3"),
    ("gke", [*APPLY, "--spot", "--reservation=r", *TRAIN], "--spot and --reservation exclude each other"),
    ("gke", ["xpk", "--name=a", "--image=i", "--type=v4-8", *TRAIN], "--cluster is missing; .*xpk cluster create"),
    ("gke", ["status", "--name=" + "a" * 41], "at most 40"),
    ("skypilot", [*SKY[:3], *TRAIN], "--bucket= is not the name of a bucket"),
    ("skypilot", [*SKY[:2], "--bucket=bb", *TRAIN], "--accelerators is missing; pass a type"),
    ("skypilot", [*SKY, "--accelerators=tpu-v5e-8", *TRAIN], "known slices are tpu-v2-N"),
    (
        "skypilot",
        [*SKY, "--accelerators=tpu-v6e-8", "--nodes=2", *TRAIN],
        "--nodes=2 must be at least 1, and 1 for a TPU",
    ),
    ("skypilot", ["delete", "--name=a"], "add --yes"),
    ("slurm", ["--nodes=0", *TRAIN], "--nodes=0 must be at least 1"),
    ("slurm", ["--time=soon", *TRAIN], "--time=soon is not a Slurm time"),
    ("slurm", [], "no --config"),
    ("gpu_node", ["--num_processes=2", "--process_id=0", *TRAIN], "--coordinator missing: .*--coordinator=HOST:PORT"),
    ("gpu_node", ["--coordinator=h:1", *TRAIN], "--num_processes and --process_id missing"),
    ("gpu_node", ["--coordinator=h", "--num_processes=2", "--process_id=0", *TRAIN], "h is not HOST:PORT"),
    ("gpu_node", ["--coordinator=h:1", "--num_processes=2", "--process_id=2", *TRAIN], "must be from 0 to .* = 1"),
    ("gpu_node", ["--flags=fast", *TRAIN], "not a preset of launch/flags; known: cpu, fake8, gpu"),
    ("gpu_node", ["--devices=a", *TRAIN], "--devices=a is not a list of numbers"),
    ("docker", ["push", "--on=tpu"], "names no registry"),
    ("docker", ["build", "--on=cpu", "--image=X y"], "not the name of an image"),
    ("docker", ["run", "--on=cpu", *TRAIN[:2], "--workdir=runs/a"], "is not in /mnt/shared"),
]


@pytest.mark.parametrize(("launcher", "argv", "message"), BAD, ids=lambda part: str(part)[:40])
def test_refused(launcher, argv, message, stubs):
    with pytest.raises(LaunchError, match=message):
        importlib.import_module(f"launch.{launcher}").main(argv)
    assert stubs.calls() == []


@pytest.mark.parametrize(
    ("launcher", "argv", "message"),
    [
        ("tpu", ["create", "--zone=us-west4-a"], "required: --name"),
        ("tpu", ["create", "--name=ffhq"], "required: --zone"),
        ("tpu", ["crate", *WHO], "invalid choice: 'crate'.*create"),
        ("tpu", ["create", *WHO, "--spto"], "unrecognized arguments: --spto"),
        ("gke", ["apply"], "required: --name"),
    ],
)
def test_refused_by_the_parser(launcher, argv, message, stubs, capsys):
    with pytest.raises(SystemExit) as end:
        importlib.import_module(f"launch.{launcher}").main(argv)
    assert end.value.code == 2 and re.search(message, capsys.readouterr().err)
    assert stubs.calls() == []


def test_exit_code_and_message_of_the_command(tmp_path):
    command = [sys.executable, "-m", "launch.tpu", "delete", *WHO]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("error: this deletes the slice ffhq")


def test_a_program_that_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LaunchError, match="gcloud is not on PATH; install the Google Cloud CLI, or use --dry_run"):
        importlib.import_module("launch.tpu").main(["create", *WHO, "--type=v4-8"])

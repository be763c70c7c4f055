"""The files that other programs read: YAML, Dockerfiles, shell."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from launch import gke
from launch.commands import ROOT

LAUNCH = ROOT / "launch"
SHELL = sorted([*LAUNCH.rglob("*.sh"), *LAUNCH.rglob("*.sbatch")])
TRICKY = ["--config=configs/ffhq.py", '--workdir=/mnt/shared/it\'s "a": {run}', "--config.name=$(HOME) #\n- x"]
APPLY = ["apply", "--name=ffhq", "--image=me/i:tpu", "--grace_seconds=90", "--max_restarts=7"]


def jobset(*options: str) -> dict:
    o, arguments = gke.parse([*APPLY, *options, "--", *TRICKY])
    return yaml.safe_load(gke.jobset(o, arguments))


def test_jobset_has_one_pod_per_host_and_restarts_as_a_whole():
    made = jobset("--type=v5litepod-64", "--storage=gs://my-bucket", "--spot")
    job = made["spec"]["replicatedJobs"][0]["template"]["spec"]
    pod = job["template"]["spec"]
    assert made["kind"] == "JobSet" and made["metadata"]["name"] == "ffhq"
    assert made["spec"]["failurePolicy"]["maxRestarts"] == 7
    assert job["parallelism"] == job["completions"] == 16 and job["backoffLimit"] == 0
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
        "cloud.google.com/gke-tpu-topology": "8x8",
        "cloud.google.com/gke-spot": "true",
    }
    container = pod["containers"][0]
    assert container["resources"]["limits"] == {"google.com/tpu": 4} and container["image"] == "me/i:tpu"
    assert pod["terminationGracePeriodSeconds"] == 90
    assert pod["volumes"][0]["csi"]["volumeAttributes"]["bucketName"] == "my-bucket"
    assert job["template"]["metadata"]["annotations"]["gke-gcsfuse/volumes"] == "true"
    assert container["volumeMounts"] == [{"name": pod["volumes"][0]["name"], "mountPath": gke.MOUNTED}]


def test_jobset_takes_any_argument_as_it_is():
    job = jobset("--type=v4-8", "--storage=claim")["spec"]["replicatedJobs"][0]["template"]["spec"]
    pod = job["template"]["spec"]
    expanded = [argument.replace("$$(", "$(") for argument in pod["containers"][0]["args"]]  # as Kubernetes does
    assert expanded == TRICKY
    assert pod["volumes"] == [{"name": "shared", "persistentVolumeClaim": {"claimName": "claim"}}]
    assert job["template"]["metadata"]["annotations"]["gke-gcsfuse/volumes"] == "false"


def test_jobset_fails_for_good_only_on_a_refused_configuration():
    made = jobset("--type=v4-8", "--storage=claim")
    rule = made["spec"]["replicatedJobs"][0]["template"]["spec"]["podFailurePolicy"]["rules"][0]
    assert rule["action"] == "FailJob" and rule["onExitCodes"]["values"] == [2]
    assert made["spec"]["failurePolicy"]["rules"] == [
        {"action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}
    ]


@pytest.mark.parametrize(
    ("extra", "nodes", "added"),
    [
        ("tpu", 1, []),
        ("tpu", 4, []),  # hosts of one slice, which find each other
        ("cuda", 1, []),
        ("cuda", 2, ["coordinator=10.0.0.1:8476", "num_processes=2", "process_id=1"]),
    ],
)
def test_skypilot_runs_the_training_with_its_arguments(stubs, extra, nodes, added):
    task = yaml.safe_load((LAUNCH / "skypilot" / "train.yaml").read_text())
    assert task["resources"]["job_recovery"]["recover_on_exit_codes"] == [143]
    assert task["setup"] == 'bash launch/setup.sh "$EXTRA"' and "/mnt/shared" in task["file_mounts"]
    stubs.install("bash")
    told = {"TRAIN": shlex.join(TRICKY), "EXTRA": extra, "SKYPILOT_NUM_NODES": str(nodes)}
    told |= {"SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2", "SKYPILOT_NODE_RANK": "1"}
    subprocess.run(["/bin/bash", "-c", task["run"]], env=os.environ | told, check=True)
    preset = "tpu" if extra == "tpu" else "gpu"
    expected = [*TRICKY, *(f"--config.distributed.{a}" for a in added)]
    assert stubs.calls() == [["bash", "launch/worker.sh", "exec", preset, *expected]]


@pytest.mark.parametrize(
    ("on", "extra", "preset"), [("cpu", ".", "cpu"), ("cuda", ".[cuda]", "gpu"), ("tpu", ".[tpu]", "tpu")]
)
def test_images_install_as_the_readme_says_and_run_without_root(on, extra, preset):
    lines = (LAUNCH / "docker" / f"{on}.Dockerfile").read_text().splitlines()
    words = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    install = next(shlex.split(rest) for word, rest in words if word == "RUN" and "pip" in rest)
    assert install[:2] == ["pip", "install"] and install[install.index("-e") + 1] == extra
    readme = (ROOT / "README.md").read_text()
    assert f"pip install -e {extra}" in readme or f"'{extra}'" in readme
    order = [word for word, _ in words]
    assert [rest for word, rest in words if word == "USER"] == ["trainer"]
    assert order.index("RUN") < order.index("COPY") < order.index("USER") < order.index("ENTRYPOINT")
    assert words[-1] == ["ENTRYPOINT", f'["bash", "launch/worker.sh", "exec", "{preset}"]']
    assert (LAUNCH / "flags" / f"{preset}.sh").is_file()


def test_images_leave_out_what_they_do_not_need_and_keep_the_rest():
    left_out = (ROOT / ".dockerignore").read_text().split()
    assert {".git", "runs", "tests"} <= set(left_out)
    assert not {"configs", "launch", "datasets", "stylegan_jax", "setup.py", "README.md"} & set(left_out)


@pytest.mark.parametrize("path", SHELL, ids=lambda path: path.name)
def test_shell_parses(path):
    assert subprocess.run(["bash", "-n", path], capture_output=True, text=True).stderr == ""


def test_shellcheck_finds_nothing():
    beside = Path(sys.executable).with_name("shellcheck")
    program = str(beside) if beside.exists() else shutil.which("shellcheck")
    assert program, "shellcheck is not installed; `pip install '.[test]'` brings it"
    run_script = yaml.safe_load((LAUNCH / "skypilot" / "train.yaml").read_text())["run"]
    done = subprocess.run([program, "--shell=bash", *SHELL], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    done = subprocess.run([program, "--shell=bash", "-"], input=run_script, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_launchers_need_the_standard_library_only():
    for path in LAUNCH.rglob("*.py"):
        modules = re.findall(r"^(?:from|import) ([a-z_]+)", path.read_text(), re.MULTILINE)
        assert set(modules) - {"launch", *sys.stdlib_module_names, "__future__"} == set(), path

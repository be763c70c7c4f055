"""Train on a TPU slice of a GKE cluster: python -m launch.gke VERB --name=NAME [options] [-- ...]

  apply    create a JobSet from launch/gke/jobset.yaml:   ... apply ... -- --config=... --workdir=/mnt/shared/...
  xpk      the same through xpk, on a cluster created by xpk:   ... xpk --cluster=... -- --config=...
  status, logs
  delete   delete the JobSet (needs --yes); the storage is kept

The cluster is kubectl's current context. Build the image with `python -m launch.docker build --on=tpu`. After a
preemption or failure, the cluster starts training again, up to --max_restarts times in all, and it resumes.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import string
from collections.abc import Sequence

from launch import commands
from launch.commands import ROOT, LaunchError, Runner
from launch.slices import gke_slice

MOUNTED = "/mnt/shared"
VERBS = ("apply", "xpk", "status", "logs", "delete")
WORKER = ["bash", "launch/worker.sh", "exec", "tpu"]


def jobset(o: argparse.Namespace, arguments: Sequence[str]) -> str:
    """Return the JobSet as YAML.

    Raises:
        LaunchError: an option is missing or wrong.
    """
    _require(o, "image", "type", "storage")
    kind = gke_slice(o.type)
    selector = {
        "cloud.google.com/gke-tpu-accelerator": kind.selector,
        "cloud.google.com/gke-tpu-topology": kind.topology,
    }
    if o.spot:
        selector["cloud.google.com/gke-spot"] = "true"
    if o.reservation:
        selector["cloud.google.com/reservation-name"] = o.reservation
    bucket = o.storage.removeprefix("gs://").rstrip("/") if o.storage.startswith("gs://") else ""
    csi = {
        "driver": "gcsfuse.csi.storage.gke.io",
        "volumeAttributes": {"bucketName": bucket, "mountOptions": "implicit-dirs"},
    }
    values = {
        "name": o.name,
        "max_restarts": o.max_restarts,
        "hosts": kind.hosts,
        "chips_per_host": kind.chips_per_host,
        "uses_bucket": "true" if bucket else "false",
        "grace_seconds": o.grace_seconds,
        "service_account": o.service_account,
        "selector": selector,
        "image": o.image,
        "arguments": [argument.replace("$(", "$$(") for argument in arguments],  # Kubernetes would look up $(NAME)
        "volume": {"name": "shared"}
        | ({"csi": csi} if bucket else {"persistentVolumeClaim": {"claimName": o.storage}}),
    }
    template = (ROOT / "launch" / "gke" / "jobset.yaml").read_text(encoding="utf-8")
    body = template[template.index("apiVersion:") :]  # skips the comment on the template
    return string.Template(body).substitute({name: json.dumps(value) for name, value in values.items()})


def xpk(o: argparse.Namespace, arguments: Sequence[str]) -> list[str]:
    """Return the xpk command.

    Raises:
        LaunchError: an option is missing or wrong.
    """
    _require(o, "image", "type", "cluster", "zone")
    gke_slice(o.type)
    create = ["xpk", "workload", "create", f"--cluster={o.cluster}", f"--workload={o.name}", f"--tpu-type={o.type}"]
    create += ["--num-slices=1", f"--docker-image={o.image}", f"--max-restarts={o.max_restarts}"]
    create += [f"--termination-grace-period-seconds={o.grace_seconds}", f"--zone={o.zone}"]
    create += [f"--project={o.project}"] if o.project else []
    create += ["--spot"] if o.spot else []
    create += [f"--reservation={o.reservation}"] if o.reservation else []
    create += [f"--storage={o.storage}"] if o.storage else []
    return [*create, f"--command={shlex.join([*WORKER, *arguments])}"]


def _require(o: argparse.Namespace, *names: str) -> None:
    why = {
        "image": "build it with launch.docker, and pass its name, such as us-docker.pkg.dev/ME/REPO/stylegan_jax:tpu",
        "type": "pass the slice, such as v5litepod-16",
        "storage": "pass what all pods share, gs://BUCKET or the name of a claim; local disks end with their pods",
        "cluster": "pass the name of a cluster created by `xpk cluster create`",
        "zone": "pass the cluster's zone, such as us-west4-a",
    }
    for name in names:
        if not getattr(o, name):
            raise LaunchError(f"--{name} is missing; {why[name]}")


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return (checked options, the arguments after `--`).

    Raises:
        LaunchError: an option is wrong.
    """
    argv = list(argv)
    cut = argv.index("--") if "--" in argv else len(argv)
    parser = commands.parser("gke", __doc__)
    parser.add_argument("verb", choices=VERBS)
    parser.add_argument("--name", required=True, help="name of the JobSet or workload")
    parser.add_argument("--type", help="slice, such as v5litepod-64 (64 chips) or v5p-256 (256 cores: 128 chips)")
    parser.add_argument("--image", help="container image")
    parser.add_argument("--storage", help=f"gs://BUCKET, or a ReadWriteMany claim, mounted on {MOUNTED}")
    parser.add_argument("--service_account", default="default", help="Kubernetes account that may write to the bucket")
    parser.add_argument("--spot", action="store_true", help="use nodes that may be preempted")
    parser.add_argument("--reservation", help="name of a reservation")
    parser.add_argument("--max_restarts", type=int, default=100, help="restarts after preemptions and failures, in all")
    parser.add_argument("--grace_seconds", type=int, default=120, help="seconds between SIGTERM and SIGKILL")
    parser.add_argument("--namespace", default="default", help="Kubernetes namespace")
    parser.add_argument("--cluster", help="xpk: name of the cluster")
    parser.add_argument("--zone", help="xpk: zone of the cluster")
    parser.add_argument("--project", help="xpk: project of the cluster")
    parser.add_argument("--yes", action="store_true", help="delete: confirm")
    commands.add_dry_run(parser)
    o = parser.parse_args(argv[:cut])
    commands.check_name(o.name, 40)  # names of pods and their hosts are longer, and limited to 63
    if o.spot and o.reservation:
        raise LaunchError("--spot and --reservation exclude each other: spot capacity is unreserved; choose one")
    if o.storage and not re.fullmatch(r"gs://[a-z0-9][-_.a-z0-9]+/?|[a-z0-9][-.a-z0-9]*", o.storage):
        raise LaunchError(f"--storage={o.storage} is neither a bucket, gs://NAME, nor the name of a claim")
    if o.max_restarts < 0 or o.grace_seconds < 1:
        raise LaunchError("--max_restarts must be at least 0, --grace_seconds at least 1")
    return o, argv[cut + 1 :]


def main(argv: Sequence[str]) -> int:
    """Run the command line; return its exit code."""
    o, rest = parse(argv)
    runner, kubectl = Runner(o.dry_run), ["kubectl", f"--namespace={o.namespace}"]
    if o.verb in ("apply", "xpk"):
        arguments = commands.train_arguments(rest, MOUNTED if o.verb == "apply" else "")
        if o.verb == "xpk":
            runner.check(xpk(o, arguments))
        else:
            runner.check([*kubectl, "apply", "--filename=-"], stdin=jobset(o, arguments))
        return 0
    if rest:
        raise LaunchError(f"{o.verb} takes no arguments after --, but got {shlex.join(rest)}; remove them")
    if o.verb == "status":
        runner.check([*kubectl, "get", "jobset", o.name])
        return runner.run(
            [*kubectl, "get", "pods", f"--selector=jobset.sigs.k8s.io/jobset-name={o.name}", "--output=wide"]
        )
    if o.verb == "logs":
        first = f"jobset.sigs.k8s.io/jobset-name={o.name},batch.kubernetes.io/job-completion-index=0"
        return runner.run([*kubectl, "logs", "--follow", f"--selector={first}", "--container=train", "--tail=100"])
    commands.require_yes(o.yes, f"the JobSet {o.name}")
    runner.check([*kubectl, "delete", "jobset", o.name])
    return 0


if __name__ == "__main__":
    commands.command_line(main)

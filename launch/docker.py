"""Container images with the package: python -m launch.docker VERB --on=cpu|cuda|tpu [options] [-- ...]

build    build the image from launch/docker/ON.Dockerfile
push     push it to its registry, for GKE
run      train in it on this machine:   ... run --on=cuda -- --config=... --workdir=/mnt/shared/...
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from launch import commands
from launch.commands import ROOT, LaunchError, Runner

MOUNTED = "/mnt/shared"
DEVICES = {
    "cpu": [],
    "cuda": ["--gpus=all", "--ipc=host"],  # NCCL communicates through shared memory
    "tpu": ["--privileged", "--network=host"],  # the TPU's device files, and the other hosts
}


def main(argv: Sequence[str]) -> int:
    """Run the command line; return its exit code."""
    argv = list(argv)
    cut = argv.index("--") if "--" in argv else len(argv)
    rest = argv[cut + 1 :]
    parser = commands.parser("docker", __doc__)
    parser.add_argument("verb", choices=("build", "push", "run"))
    parser.add_argument("--on", required=True, choices=sorted(DEVICES))
    parser.add_argument("--image", help="name of the image; default: stylegan_jax:ON")
    parser.add_argument("--storage", default="runs", help=f"run: folder on this machine to mount as {MOUNTED}")
    commands.add_dry_run(parser)
    o = parser.parse_args(argv[:cut])
    image, runner = o.image or f"stylegan_jax:{o.on}", Runner(o.dry_run)
    if not re.fullmatch(r"[a-z0-9][-_./:@a-zA-Z0-9]*", image):
        raise LaunchError(
            f"--image={image} is not the name of an image; names look like us-docker.pkg.dev/me/repo/stylegan_jax:tpu"
        )
    if o.verb != "run" and rest:
        raise LaunchError(f"{o.verb} takes no arguments after --; remove them")
    if o.verb == "build":
        file = ROOT / "launch" / "docker" / f"{o.on}.Dockerfile"
        runner.check(["docker", "build", f"--file={file}", f"--tag={image}", str(ROOT)])
    elif o.verb == "push":
        if "/" not in image:
            raise LaunchError(f"--image={image} names no registry; use one such as us-docker.pkg.dev/me/repo/{image}")
        runner.check(["docker", "push", image])
    else:
        arguments = commands.train_arguments(rest, MOUNTED)
        folder = Path(o.storage).expanduser().resolve()
        mount = ["--mount", f"type=bind,source={folder},target={MOUNTED}"]
        user = [f"--user={os.getuid()}:{os.getgid()}"]  # so that its files belong to the caller
        if not o.dry_run:
            folder.mkdir(parents=True, exist_ok=True)
        return runner.run(["docker", "run", "--rm", "--init", *DEVICES[o.on], *user, *mount, image, *arguments])
    return 0


if __name__ == "__main__":
    commands.command_line(main)

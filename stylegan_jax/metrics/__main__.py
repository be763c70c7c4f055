"""Compute metrics: `python -m stylegan_jax.metrics --model=PATH --data=PATH --metrics=fid50k_full,pr50k3_full`.

Each result is a line of JSON. `--data2` instead of `--model` evaluates a second set of images. docs/metrics.md defines
every metric.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from stylegan_jax.base import shortage
from stylegan_jax.base.errors import StyleganError, visible
from stylegan_jax.base.flags import Parser
from stylegan_jax.metrics import attributes
from stylegan_jax.metrics.definitions import METRICS, OUTPUTS, UNIFORM, Chosen, choose, paths_of, split
from stylegan_jax.metrics.errors import MetricError

if TYPE_CHECKING:
    import numpy as np

    from stylegan_jax.models import GanSpec
    from stylegan_jax.sampling.model import LoadedModel

log = logging.getLogger(__name__)

MAX_BATCH = 65536
MAX_IMAGES = 10_000_000
"""Limit of --num_images, because features are kept in memory."""


def parser() -> argparse.ArgumentParser:
    """Return the command's arguments."""
    p = Parser(
        prog="python -m stylegan_jax.metrics",
        description="Compute metrics of a model, or of a set of images, against real images; a line of JSON each.",
        epilog=f"metrics: {', '.join(METRICS)}",
    )
    p.add_argument(
        "--metrics", required=True, metavar="NAME,…", help="what to compute; see the list below and docs/metrics.md"
    )
    p.add_argument(
        "--model", metavar="PATH", help="workdir of a run, model folder, demo, hf://user/name, or official .pkl"
    )
    p.add_argument("--data2", default="", metavar="PATH", help="images to evaluate instead of a model's")
    p.add_argument("--out", metavar="FILE", help="append the lines of JSON to this file too")
    p.add_argument(
        "--channels", type=int, choices=(1, 3), default=3, help="channels of the images, without --model (default: 3)"
    )
    p.add_argument("--step", type=int, help="checkpoint of a run (default: the newest)")
    add_options(p)
    return p


def add_options(p: argparse._ActionsContainer) -> None:
    """Add the options that say how a model is evaluated."""
    p.add_argument("--data", default="", metavar="PATH", help=_DATA)
    p.add_argument(
        "--num_images",
        type=int,
        default=0,
        metavar="N",
        help="evaluate N images (or clips), and draw as many reals; changes the printed name",
    )
    nets = sorted({net for group in OUTPUTS.values() for net in group})
    text = f"use other feature networks: {', '.join(nets)}; changes the printed name"
    p.add_argument("--features", default="", metavar="NET,…", help=text)
    text = "weights of the feature network: a path, or NET=PATH,… for several"
    p.add_argument("--features_path", default="", metavar="PATH", help=text)
    text = "attribute classifiers for ls, a file that tools.attributes wrote; changes the printed name"
    p.add_argument("--classifiers", default="", metavar="FILE", help=text)
    p.add_argument("--psi", type=float, default=1.0, help="truncation psi; all but 1 (none) change the printed name")
    text = "truncate towards the nearest of these, made by tools.centroids; needs --psi, and changes the printed name"
    p.add_argument("--centroids", default="", metavar="FILE", help=text)
    text = (
        "classes of generated images: as frequent as in the data, or uniform as in StyleGAN-XL, which changes the "
        "printed name"
    )
    p.add_argument("--classes", choices=("data", UNIFORM), default="data", help=text)
    text = "count mirrored copies as reals where the definition allows it (default: as the run was trained)"
    p.add_argument("--mirror", action=argparse.BooleanOptionalAction, default=None, help=text)
    p.add_argument("--labels", choices=("none", "file", "subfolders"), help="labels of --data (default: if needed)")
    p.add_argument(
        "--resize_filter", choices=("box", "lanczos"), help="for images of another size (default: the run's)"
    )
    p.add_argument("--seed", type=int, default=0, help="seed of latents, labels and subsets (default: 0)")
    p.add_argument("--batch", type=int, default=16, help="images, or frames of clips, per device (default: 16)")
    p.add_argument("--num_devices", type=int, default=0, help="use only the first N devices (default: all)")
    text = (
        "folder of real statistics and unfinished passes, or 'off' (default: $STYLEGAN_JAX_METRICS_CACHE or ~/.cache)"
    )
    p.add_argument("--cache", default="auto", metavar="DIR", help=text)


_DATA = "real images or videos: folder, zip, npy, npz, tfds:NAME (default: the data of the run)"


def check(args: argparse.Namespace) -> list[Chosen]:
    """Return the chosen metrics.

    Raises:
        MetricError: arguments that do not fit together.
    """
    if not 1 <= args.batch <= MAX_BATCH or args.num_images < 0:
        raise MetricError(
            f"--batch={args.batch} and --num_images={args.num_images}; a batch is 1 to {MAX_BATCH}, and --num_images "
            "is at least 1 (0: as the metric defines)"
        )
    if args.num_images > MAX_IMAGES:
        raise MetricError(f"--num_images={args.num_images}; at most {MAX_IMAGES} in one evaluation")
    if args.num_devices < 0:
        raise MetricError(f"--num_devices={args.num_devices}; use a number from 1, or 0 for all devices")
    if not abs(args.psi) < 1e38:
        raise MetricError(f"--psi={args.psi}; use a number such as 1 (no truncation) or 0.7")
    if not 0 <= args.seed < 1 << 32:
        raise MetricError(f"--seed={args.seed}; use 0 to {(1 << 32) - 1}")
    if bool(args.model) == bool(args.data2):
        raise MetricError("pass exactly one of --model and --data2")
    if args.data2 and args.centroids:
        raise MetricError(f"--centroids={args.centroids} applies only to generated images; omit it with --data2")
    if args.data2 and args.psi != 1:
        raise MetricError(f"--psi={args.psi:g} applies only to generated images; omit it with --data2")
    if args.data2 and args.classes != "data":
        raise MetricError(f"--classes={args.classes} applies only to generated images; omit it with --data2")
    own = attributes.load(args.classifiers).name if args.classifiers else ""
    options = {"centroids": args.centroids, "classifiers": own}
    return choose(split(args.metrics), split(args.features), args.num_images, args.psi, args.classes, **options)


def evaluate(
    args: argparse.Namespace, chosen: Sequence[Chosen], stack: contextlib.ExitStack, models: Sequence[LoadedModel] = ()
) -> Iterator[dict[str, Any]]:
    """Load everything, compute, and yield the records as they come.

    Args:
        args: arguments of the command.
        chosen: the metrics.
        stack: closes the data.
        models: averages of the run at --model, to evaluate one after the other instead of its own; they share its data
            and all programs.
    """
    from stylegan_jax.base import trees
    from stylegan_jax.config import ConfigError
    from stylegan_jax.data import DataError
    from stylegan_jax.metrics import fakes, opening, report
    from stylegan_jax.metrics.evaluate import Evaluation
    from stylegan_jax.metrics.images import Extractor, Images, make_images
    from stylegan_jax.metrics.store import Store, default_folder
    from stylegan_jax.runtime.compiling import use_compilation_cache
    from stylegan_jax.runtime.mesh import make_layout
    from stylegan_jax.sampling.load import load_model

    use_compilation_cache("auto")
    layout = make_layout(args.num_devices)
    models = models or ([load_model(args.model, args.step)] if args.model else [])
    model = models[0] if models else None
    if model is not None and not model.is_grown:
        raise MetricError(
            f"--model={args.model}: at step {model.provenance['step']} the model is still growing (height "
            f"{model.gan.spec.image_shape[0]} of {model.config.image_shape[0]}); evaluate a later checkpoint"
        )
    if model is not None:
        for c in chosen:
            fakes.check_kind(c, model.gan)
    towards = _read_centroids(args.centroids, model.gan.spec) if model is not None and args.centroids else None
    nets = _load_networks(args, chosen)
    videos = any(c.metric.clip for c in chosen) or (model is not None and model.gan.draw_at is not None)
    shape, run = (None, None) if model is None else (model.gan.spec.image_shape, opening.run_data(args.model))

    def images(option: str, path: str, labelled: bool) -> Images:
        try:
            data = opening.data_config(path, run, videos=videos)
            labels = args.labels or ("file" if data.labels == "none" else data.labels) if labelled else "none"
            data = dataclasses.replace(data, labels=labels, resize_filter=args.resize_filter or data.resize_filter)
            source = opening.open_images(data, shape, args.channels)
            stack.callback(source.close)
            for line in source.info().notes:
                print(f"{option}: {line}", file=sys.stderr)
            flips = {None: (data.xflip, data.yflip), True: (True, data.yflip), False: (False, False)}[args.mirror]
            return make_images(source, flips)
        except (ConfigError, DataError) as error:
            raise opening.explain(error, option, path) from error

    labelled = model is not None and model.gan.spec.label_dim > 0
    needed = labelled or any(c.metric.real for c in chosen)
    reals = images("--data", args.data, labelled) if needed and (args.data or run) else None
    about: dict[str, Any] = {"data": None if reals is None else report.describe(reals, args.data)}
    if model is None:
        subject = images("--data2", args.data2, False)
        about["evaluated"] = report.describe(subject, args.data2)
        sizes = [x.source.info().image_shape[:2] for x in (subject, reals) if x is not None]
        if len(set(sizes)) > 1:
            log.warning(
                "images of --data2 are %sx%s, of --data %sx%s; both are compared as stored",
                *sizes[0][::-1],
                *sizes[1][::-1],
            )
    else:
        labels = reals.source if reals is not None and labelled else None
        subject = fakes.make_generator(model.config, model.gan, labels, args.psi, args.seed, {}, args.classes)
    about |= {"psi": args.psi, "seed": args.seed} | report.machine()
    store = Store({"auto": default_folder(), "off": None}.get(args.cache, args.cache))
    extractor = Extractor(nets, layout, args.batch * layout.shards)
    for each in models or [None]:
        variables = None
        if each is not None and isinstance(subject, fakes.Generator):
            variables = {**each.g_ema, "w_avg": each.w_avg}
            identity = {"digest": trees.digest_of(variables, dataclasses.asdict(each.config))}
            about["model"] = {"path": args.model, **identity, "provenance": each.provenance}
            if towards is not None:
                variables["centroids"] = towards
                about["centroids"] = {"path": args.centroids, "digest": trees.digest_of({"centroids": towards}, {})}
                identity |= {"centroids": about["centroids"]["digest"]}
            subject, variables = subject._replace(identity=identity), layout.place(variables)
        for result in Evaluation(chosen, subject, reals, nets, extractor, store, seed=args.seed).run(variables):
            yield report.record(result, nets, about)


def _read_centroids(path: str, spec: GanSpec) -> np.ndarray:
    """Return the centroids float32[m, w] of a file.

    Raises:
        MetricError: the file has no centroids, or those of another model.
    """
    from stylegan_jax.sampling import centroids

    try:
        return centroids.read(path, spec, f"--centroids={path}")
    except ValueError as error:
        raise MetricError(str(error)) from None


def _load_networks(args: argparse.Namespace, chosen: Sequence[Chosen]) -> dict[str, Any]:
    """Return the metrics' feature networks by name, including the one that --classifiers adds."""
    from stylegan_jax.metrics import detectors

    own = attributes.load(args.classifiers) if args.classifiers else None
    names = sorted({own.net if own and c.net == own.name else c.net for c in chosen if c.net})
    nets = detectors.load(names, paths_of(args.features_path, names))
    return nets if own is None else nets | {own.name: attributes.as_network(own, nets[own.net])}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    args = parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")  # as the tools: notes about models are no warnings
    logging.getLogger("absl").setLevel(logging.ERROR)
    try:
        chosen = check(args)
    except StyleganError as error:
        print(f"error: {visible(error)}", file=sys.stderr)
        return 2
    try:
        with contextlib.ExitStack() as stack:
            out = stack.enter_context(open(args.out, "a", encoding="utf-8")) if args.out else None
            for row in evaluate(args, chosen, stack):
                print(json.dumps(row, allow_nan=False), flush=True)
                if out is not None:
                    print(json.dumps(row, allow_nan=False), file=out, flush=True)
    except KeyboardInterrupt:
        print("interrupted: the same command continues from the stored pass", file=sys.stderr)
        return 130
    except Exception as error:
        told = shortage.explain(error, f"lower --batch={args.batch} or --num_images", args.out)
        if not told and not isinstance(error, StyleganError | OSError):
            raise
        text = str(told or error).replace("config.train.num_devices is ", "--num_devices=")
        print(f"error: {visible(text)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Export a model: `python -m stylegan_jax.tools.export --model=DIR --out=DIR --license=apache-2.0`.

It writes a model folder with a model card (README.md) and the generator as StableHLO programs for CPU, CUDA and TPU,
and uploads it with `--push=USER/NAME`. `--to=onnx` writes ONNX files instead, `--to=web` a page that runs in a browser.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stylegan_jax.base.flags import Parser
from stylegan_jax.tools import _inputs as inputs, _runner as runner

if TYPE_CHECKING:
    from stylegan_jax.sampling.model import LoadedModel


PLAIN, FILES = ("stablehlo",), ("onnx", "web")
RUN = ("records", "metrics", "recipe", "commit")
ONLY = dict.fromkeys(("platforms", "precision", "whole", "push", "private", "address", *RUN), PLAIN)
ONLY |= {"half": FILES, "runtime": ("web",)}
"""{flag: the kinds of export that have it}, if not all do."""


def parser() -> argparse.ArgumentParser:
    """Return the tool's arguments."""
    p = Parser(prog="python -m stylegan_jax.tools.export", description=(__doc__ or "").split("\n")[0])
    inputs.add_model(p)
    p.add_argument("--out", required=True, help="folder to write")
    p.add_argument("--overwrite", action="store_true", help="replace a folder that this tool wrote")
    p.add_argument(
        "--to",
        choices=("stablehlo", "onnx", "web"),
        default="stablehlo",
        help="stablehlo: a model folder with programs (default). onnx: ONNX files. web: a page for any static host",
    )
    p.add_argument(
        "--platforms", default="cpu,cuda,tpu", help="platforms of the programs; none: no programs (default: all)"
    )
    p.add_argument("--noise", choices=("const", "none"), default="const", help="noise of the programs (default: const)")
    p.add_argument(
        "--precision",
        choices=("model", "float32"),
        default="model",
        help="precision of the programs; model: as the model computes on the platform (default)",
    )
    p.add_argument("--half", action="store_true", help="store weights in float16 (onnx, web)")
    p.add_argument(
        "--runtime",
        default=None,
        metavar="PATH",
        help="for web: the npm package onnxruntime-web, a folder or the archive of `npm pack` (default: node_modules)",
    )
    p.add_argument("--whole", action="store_true", help="include G and D, to continue training from it")
    p.add_argument(
        "--records", action="store_true", help="include the settings, reports and learning curves of the run"
    )
    p.add_argument(
        "--metrics", default="", metavar="FILE", help="file of `metrics --out` with metrics of the run's checkpoints"
    )
    p.add_argument(
        "--recipe",
        default="",
        help="recipe that repeats the run, for the card; its settings are compared with the run's",
    )
    p.add_argument("--commit", default="", metavar="SHA", help="commit that trained the run, if it recorded none")
    p.add_argument("--address", default="", help="address in the card's example (default: that of --push, or --out)")
    p.add_argument("--name", default="", help="title of the card (default: the name of --push or of the folder)")
    p.add_argument("--license", default="", help="licence of the weights, as the Hub writes it, such as apache-2.0")
    p.add_argument("--push", default="", metavar="USER/NAME", help="upload to the Hugging Face Hub")
    p.add_argument(
        "--private", action="store_true", help="--push creates a private repository, and never uploads to a public one"
    )
    return p


def choose_platforms(text: str) -> list[str]:
    """Return the platforms in 'cpu,cuda'; [] for 'none'.

    Raises:
        ValueError: a platform is unknown.
    """
    from stylegan_jax.config import suggest
    from stylegan_jax.sampling.programs import PLATFORMS

    chosen = [] if text == "none" else list(dict.fromkeys(text.split(",")))
    for name in chosen:
        if name not in PLATFORMS:
            raise ValueError(f"--platforms={text}: {suggest(name, [*PLATFORMS, 'none'])}")
    return chosen


def check(args: argparse.Namespace) -> None:
    """Check the arguments that do not depend on the model.

    Raises:
        ValueError: the licence is not an identifier, the upload cannot work, or a flag belongs to another kind of
            export.
    """
    from stylegan_jax.sampling import hub

    defaults = parser().parse_args(["--model=x", "--out=x"])
    for flag, kinds in ONLY.items():
        if args.to not in kinds and getattr(args, flag) != getattr(defaults, flag):
            raise ValueError(f"--{flag} is for --to={' and --to='.join(kinds)}, not for --to={args.to}; leave it out")
    if args.license and not re.fullmatch(r"[A-Za-z0-9.-]+", args.license):
        raise ValueError(f"--license={args.license}: write an identifier of the Hub, such as apache-2.0, mit or other")
    if args.push and not args.license:
        raise ValueError("--push needs --license=…, the licence of the weights, such as apache-2.0, mit or other")
    if args.private and not args.push:
        raise ValueError("--private has no effect without --push=USER/NAME; add that, or leave it out")
    if args.push:
        hub.check_name(args.push)


def act(args: argparse.Namespace) -> str:
    """Write, upload; return the sentence to print."""
    from stylegan_jax.sampling import hub
    from stylegan_jax.sampling.export import export_model
    from stylegan_jax.sampling.load import load_model, name_classes

    check(args)
    platforms = choose_platforms(args.platforms)
    model = name_classes(load_model(args.model, args.step, whole=args.whole))
    if args.to != "stablehlo":
        return write_files(args, model)
    facts = describe_run(args, model)
    try:
        export_model(
            model,
            args.out,
            platforms=platforms,
            noise=args.noise,
            precision=args.precision,
            whole=args.whole,
            overwrite=args.overwrite,
            name=args.name or args.push.partition("/")[2],
            address=args.address or (f"hf://{args.push}" if args.push else ""),
            licence=args.license,
            facts=facts,
            records=args.records,
            evaluated=Path(args.metrics) if args.metrics else None,
        )
    except ValueError as error:
        raise ValueError(f"--model={args.model}: {error}") from None
    made = f"model folder{f', programs for {chr(44).join(platforms)},' if platforms else ''} in {args.out}"
    if args.push:
        made += f"; uploaded: load_model('{hub.push(args.out, args.push, private=args.private)}')"
    return made


def describe_run(args: argparse.Namespace, model: LoadedModel) -> dict[str, Any]:
    """Return where the model comes from, with the facts that flags add.

    Raises:
        ValueError: a flag describes a run and the model is not from one, the file has no metrics of it, or the recipe
            has other settings.
    """
    from stylegan_jax.checkpoints.restore import read_meta
    from stylegan_jax.sampling import card, curves, run_records

    run = model.provenance.get("workdir")
    for flag in RUN:
        if getattr(args, flag) and run is None:
            raise ValueError(
                f"--{flag} describes a run, and --model={args.model} is not the workdir of one; leave it out"
            )
    evaluated = Path(args.metrics) if args.metrics else None
    if evaluated is not None and not curves.metric_rows(evaluated, Path(str(run))):
        raise ValueError(f"--metrics={args.metrics} has no metrics of checkpoints of --model={args.model}")
    facts = card.provenance(model, evaluated)
    if args.recipe:
        config = read_meta(str(run), model.provenance["step"])["config"]
        facts |= {"recipe": args.recipe, "command": run_records.check_recipe(args.recipe, config)}
    if args.commit:
        if not re.fullmatch(r"[0-9a-f]{7,40}", args.commit):
            raise ValueError(f"--commit={args.commit}: write 7 to 40 hexadecimal digits")
        facts["versions"] = {"commit": args.commit} | facts["versions"]
    return facts


def write_files(args: argparse.Namespace, model: LoadedModel) -> str:
    """Write ONNX files or a page; return the sentence to print."""
    from stylegan_jax.sampling import onnx_files, web_page

    shared = {"noise": args.noise, "half": args.half, "overwrite": args.overwrite}
    shared |= {"name": args.name, "licence": args.license}
    if args.to == "onnx":
        onnx_files.write_onnx(model, args.out, **shared)
        return (
            f"map.onnx, synthesize.onnx, sample.onnx and {onnx_files.DESCRIPTION}, which describes them, in {args.out}"
        )
    web_page.write_web(model, args.out, runtime=args.runtime, **shared)
    return f"a page in {args.out}; see it with: python -m http.server --bind=127.0.0.1 --directory={args.out}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    return runner.run(parser(), act, argv)


if __name__ == "__main__":
    sys.exit(main())

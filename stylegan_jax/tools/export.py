"""Export a model: `python -m stylegan_jax.tools.export --model=DIR --out=DIR --license=apache-2.0`.

Writes a model folder with a model card (README.md) and the generator as StableHLO programs for CPU, CUDA and TPU, and
uploads it (`--push=USER/NAME`).
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stylegan_jax.base.flags import Parser
from stylegan_jax.tools import _inputs as inputs, _runner as runner

CODE = """Without the code of this project, by JAX and safetensors alone; the folder `stablehlo` has one program per
function and platform, and `export.json` lists their inputs and outputs:

```python
import json, pathlib
import numpy as np
from jax import export
from safetensors.numpy import load_file

folder = pathlib.Path(".")  # of this file
known = json.loads((folder / "stablehlo/export.json").read_text())["functions"]["sample"]
program = export.deserialize(bytearray((folder / "stablehlo/sample.{platform}.bin").read_bytes()))
weights = load_file(folder / "weights.safetensors")
z = np.random.RandomState(0).randn(4, {z_dim}).astype(np.float32)  # any number of latents
psi = np.full({num_ws}, 0.7, np.float32)  # truncation of every style slot
pixels = program.call({{name: weights[name] for name in known["weights"]}}, z, {label}psi)  # uint8 [4, h, w, c]
```"""


def parser() -> argparse.ArgumentParser:
    """Return the tool's arguments."""
    p = Parser(prog="python -m stylegan_jax.tools.export", description=(__doc__ or "").split("\n")[0])
    inputs.add_model(p)
    p.add_argument("--out", required=True, help="folder to write")
    p.add_argument("--overwrite", action="store_true", help="replace a folder that this tool wrote")
    p.add_argument("--platforms", default="cpu,cuda,tpu", help="of the programs; none: no programs (default: all)")
    p.add_argument("--noise", choices=("const", "none"), default="const", help="of the programs (default: const)")
    p.add_argument(
        "--precision",
        choices=("model", "float32"),
        default="model",
        help="of the programs. model: what the model is drawn with on that platform (default)",
    )
    p.add_argument("--whole", action="store_true", help="also G and D, to train on from it")
    p.add_argument("--name", default="", help="title of the card (default: the name of --push or of the folder)")
    p.add_argument("--license", default="", help="of the weights, as the Hub writes it, such as apache-2.0")
    p.add_argument("--push", default="", metavar="USER/NAME", help="upload to the Hugging Face Hub")
    p.add_argument(
        "--private", action="store_true", help="--push creates a private repository, and uploads to no public one"
    )
    return p


def choose_platforms(text: str) -> list[str]:
    """Return the platforms of 'cpu,cuda'; none of 'none'.

    Raises:
        ValueError: one that is not known.
    """
    from stylegan_jax.config import suggest
    from stylegan_jax.sampling.programs import PLATFORMS

    chosen = [] if text == "none" else list(dict.fromkeys(text.split(",")))
    for name in chosen:
        if name not in PLATFORMS:
            raise ValueError(f"--platforms={text}: {suggest(name, [*PLATFORMS, 'none'])}")
    return chosen


def check(args: argparse.Namespace) -> None:
    """Check what needs no model.

    Raises:
        ValueError: a license that is no identifier, or an upload that cannot work.
    """
    from stylegan_jax.sampling import hub

    if args.license and not re.fullmatch(r"[A-Za-z0-9.-]+", args.license):
        raise ValueError(f"--license={args.license}: write an identifier of the Hub, such as apache-2.0, mit or other")
    if args.push and not args.license:
        raise ValueError("--push needs --license=…, the licence of the weights, such as apache-2.0, mit or other")
    if args.private and not args.push:
        raise ValueError("--private does nothing without --push=USER/NAME")
    if args.push:
        hub.check_name(args.push)


def networks(model: Any, whole: bool) -> dict[str, Any]:
    """Return the networks as a model folder holds them.

    Raises:
        ValueError: `whole`, and one is not there.
    """
    found = {"g_ema": {**model.g_ema, "w_avg": model.w_avg}}
    if whole:
        if model.g is None or model.d is None:
            missing = [name for name, net in (("G", model.g), ("D", model.d)) if net is None]
            raise ValueError(
                f"--whole: --model holds no {' and no '.join(missing)}; leave --whole out, or pass the workdir of a run"
            )
        found |= {"g": {**model.g, "w_avg": model.w_avg}, "d": model.d}
    return found


def example(model: Any, platforms: Sequence[str]) -> str:
    """Return the part of the card on the programs; '' without."""
    spec = model.gan.spec
    if not platforms:
        return ""
    label = f"np.eye({spec.label_dim}, dtype=np.float32)[[0] * 4], " if spec.label_dim else ""
    return CODE.format(platform=platforms[0], z_dim=spec.z_dim, num_ws=spec.num_ws, label=label)


def act(args: argparse.Namespace) -> str:
    """Write, upload; return the sentence to print."""
    from stylegan_jax import models
    from stylegan_jax.convert import folder as folders
    from stylegan_jax.sampling import card, hub, programs
    from stylegan_jax.sampling.load import load_model

    check(args)
    platforms = choose_platforms(args.platforms)
    model = load_model(args.model, args.step, whole=args.whole)
    if not model.is_grown:
        raise ValueError(
            f"--model={args.model}: at step {model.provenance['step']} the model is still growing (height "
            f"{model.gan.spec.image_shape[0]} of {model.config.image_shape[0]}); export a later checkpoint"
        )
    nets, facts = networks(model, args.whole), card.provenance(model, args.model)
    model = model.replace(provenance=facts)
    name = args.name or args.push.partition("/")[2] or Path(args.out).resolve().name
    address = f"hf://{args.push}" if args.push else os.fspath(Path(args.out).name)
    text = card.write_card(
        model, facts, name=name, address=address, licence=args.license, programs=example(model, platforms)
    )
    with folders.new_folder(args.out, overwrite=args.overwrite) as fresh:
        config = dataclasses.asdict(model.config)
        folders.fill_model_folder(fresh, args.out, config, nets, facts)
        (fresh / "README.md").write_text(text, encoding="utf-8")
        if platforms:
            if args.precision != "model":
                config = dataclasses.replace(model.config, compute_dtype=args.precision)
                model = model.replace(config=config, gan=models.build(config))
            (fresh / folders.PROGRAMS).mkdir()
            digest = folders.sha256_file(fresh / folders.WEIGHTS_FILE)
            programs.write_programs(fresh / folders.PROGRAMS, model, platforms, args.noise, digest)
    made = f"model folder{f', programs for {chr(44).join(platforms)},' if platforms else ''} in {args.out}"
    if args.push:
        made += f"; uploaded: load_model('{hub.push(args.out, args.push, private=args.private)}')"
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    return runner.run(parser(), act, argv)


if __name__ == "__main__":
    sys.exit(main())

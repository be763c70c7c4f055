"""Blend two generators: `python -m stylegan_jax.tools.blend --model=A --other=B --swap_from=b16 --out=DIR`.

One model should be fine-tuned from the other. The tool combines coarse layers of one with fine layers of the other
(`--swap_from`), or interpolates all weights (`--amount=0.5`) or each part (`--amounts=b4:0,b8:0.5,b16:1`), and writes a
model folder.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from stylegan_jax.base.flags import Parser
from stylegan_jax.tools import _inputs as inputs, _runner as runner


def parser() -> argparse.ArgumentParser:
    """Return the tool's arguments."""
    p = Parser(prog="python -m stylegan_jax.tools.blend", description=(__doc__ or "").split("\n")[0])
    inputs.add_model(p)
    p.add_argument("--other", required=True, metavar="MODEL", help="the second model, of the same shape")
    p.add_argument("--amount", type=float, default=None, help="share of the other model in every part, such as 0.5")
    text = "take this synthesis layer and all finer ones from the other model, such as b32, or L6 of StyleGAN3"
    p.add_argument("--swap_from", default="", metavar="LAYER", help=text)
    p.add_argument("--amounts", default="", metavar="PART:X,…", help="share of the other model in some parts")
    p.add_argument("--out", required=True, help="model folder to write")
    p.add_argument("--overwrite", action="store_true", help="replace a folder that this tool wrote")
    return p


def read_amounts(args: argparse.Namespace, known: Sequence[str]) -> dict[str, float]:
    """Return the share of the other model by part.

    Args:
        args: arguments of the command.
        known: the parts, 'mapping' first, then layers from coarse to fine.

    Raises:
        ValueError: not exactly one of the three flags is passed, or its value has another form.
    """
    given = [flag for flag in ("amount", "swap_from", "amounts") if getattr(args, flag) not in (None, "")]
    if len(given) != 1:
        raise ValueError("pass exactly one of --amount=0.5, --swap_from=LAYER and --amounts=PART:X,…")
    if args.amount is not None:
        return {name: float(args.amount) for name in known}
    if args.swap_from:
        from stylegan_jax.config import suggest

        layers = [name for name in known if name != "mapping"]
        if args.swap_from not in layers:
            raise ValueError(
                f"--swap_from={args.swap_from}: this model has no such layer; {suggest(args.swap_from, layers)}"
            )
        return dict.fromkeys(layers[layers.index(args.swap_from) :], 1.0)
    found: dict[str, float] = {}
    for text in args.amounts.split(","):
        name, _, share = text.partition(":")
        try:
            found[name] = float(share)
        except ValueError:
            raise ValueError(f"--amounts={args.amounts}: {text!r} is not PART:SHARE, such as b16:0.5") from None
    return found


def act(args: argparse.Namespace) -> str:
    """Blend and write; return the sentence to print."""
    from stylegan_jax.convert.folder import check_replaceable
    from stylegan_jax.sampling.blending import blend, parts
    from stylegan_jax.sampling.export import export_model
    from stylegan_jax.sampling.load import load_model

    check_replaceable(args.out, args.overwrite)
    model = load_model(args.model, args.step)
    amounts = read_amounts(args, parts(model))
    export_model(blend(model, load_model(args.other), amounts), args.out, platforms=(), overwrite=args.overwrite)
    taken = ", ".join(f"{name} {share:g}" for name, share in amounts.items())
    return f"model folder in {args.out}; share of {args.other}: {taken}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    return runner.run(parser(), act, argv)


if __name__ == "__main__":
    sys.exit(main())

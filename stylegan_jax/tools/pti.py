"""Tune a generator to an image: `python -m stylegan_jax.tools.pti --model=DIR --projected=projected/face --out=tuned`.

Pivotal tuning (Roich et al. 2021) fixes the projected style, and trains the synthesis network until its image of that
style is the target. `--projected` is the folder of one image that `project` wrote, or of several. The tool writes for
each a model folder, which every tool and `load_model` can open, and a PNG with target, projection and tuned image side
by side; the latter two are drawn with constant noise.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stylegan_jax.base.flags import Parser
from stylegan_jax.sampling import projections
from stylegan_jax.tools import _inputs as inputs, _runner as runner

NETS = ("vgg16", "alexnet")


def parser() -> argparse.ArgumentParser:
    """Return the tool's arguments."""
    head = (__doc__ or "").split("\n")[0]
    p = Parser(prog="python -m stylegan_jax.tools.pti", description=head)
    inputs.add_model(p)
    inputs.add_output(p, "folder for one model folder and one PNG per image, and pti.json")
    p.add_argument("--projected", required=True, metavar="DIR", help="--out of `project`, or the folder of one image")
    p.add_argument("--steps", type=int, default=350, help="largest number of steps of Adam (default: %(default)s)")
    p.add_argument("--rate", type=float, default=3e-4, help="learning rate (default: %(default)s)")
    p.add_argument("--enough", type=float, default=0.0, help="LPIPS at which to stop early (default: 0, never)")
    p.add_argument(
        "--locality",
        type=float,
        help="weight of a term that preserves the images of other styles (default: none; StyleGAN-XL: 10)",
    )
    p.add_argument(
        "--net",
        choices=NETS,
        default="vgg16",
        help="LPIPS features; published: alexnet, --enough=0.06 at full size (here shorter side at most 256)",
    )
    p.add_argument("--features", metavar="FILE", help="their weights (default: the cache, or a package)")
    return p


def find_folders(text: str) -> list[Path]:
    """Return the folder of each projected image.

    Raises:
        ValueError: there is none.
    """
    path = Path(text)
    if (path / projections.PROJECTION).is_file():
        return [path]
    folders = [file.parent for file in projections.find_projections(path) if file.parent.parent == path]
    if not folders:
        raise ValueError(
            f"--projected={text} contains no {projections.PROJECTION}; pass a folder that the project tool wrote"
        )
    return folders


def start_of(model: Any, folder: Path, noise: dict[str, np.ndarray], weights: str) -> Any:
    """Return the model with a projection's noise maps; `weights` is the digest of the model's weights.

    Raises:
        ValueError: the projection was made with other weights, or its maps do not fit.
    """
    from stylegan_jax.sampling import projector

    try:
        before = json.loads((folder.resolve().parent / "project.json").read_text())["weights"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        before = weights  # unknown
    if before != weights:
        raise ValueError(
            f"--projected: {folder} was projected with another model; pass that as --model, or project again"
        )
    try:
        return projector.with_noise(model, noise)
    except ValueError as error:
        raise ValueError(f"--projected: {folder} was not projected with this model: {error}") from None


def as_projected(model: Any, folder: Path) -> Any:
    """Return the model that `project` used for an image; for a video model, that of its frames.

    Raises:
        ValueError: it is a video model, and no record says at which time and with which motion.
    """
    if model.gan.draw_at is None:
        return model
    try:
        taken = json.loads((folder.resolve().parent / "project.json").read_text())["still"]
        label = None if taken["label"] is None else np.asarray(taken["label"], np.float32)
        return model.still(float(taken["time"]), int(taken["motion_seed"]), label)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f"--projected: no project.json next to {folder} says at which time and with which motion of this video "
            f"model it was projected ({type(error).__name__}); project again"
        ) from None


def check_replaceable(out: Path, names: list[str], overwrite: bool) -> None:
    """Check that writing into `out` replaces only results of earlier calls.

    Args:
        out: the folder.
        names: names of the images.
        overwrite: whether this tool wrote the folder, or --overwrite was passed.

    Raises:
        ValueError: it would replace another picture. BadCheckpointError: it would replace another folder.
    """
    from stylegan_jax.convert import folder as folders

    for name in names:
        folders.check_replaceable(out / name, overwrite)
        picture = out / f"{name}.png"
        if picture.is_dir() or (picture.exists() and not overwrite):
            raise ValueError(f"{picture} exists already; choose another --out, or pass --overwrite")


def act(args: argparse.Namespace) -> str:
    """Tune and save; return the sentence to print."""
    from stylegan_jax.features import load_features
    from stylegan_jax.sampling import projector, tuner
    from stylegan_jax.sampling.load import load_model

    if args.steps < 1 or not 0 < args.rate < np.inf:
        raise ValueError(f"--steps={args.steps} --rate={args.rate}: both must be greater than 0")
    if not 0 <= args.enough < np.inf:
        raise ValueError(f"--enough={args.enough} must be a number from 0")
    if not 0 <= (args.locality or 0) < np.inf:
        raise ValueError(f"--locality={args.locality} must be a number from 0")
    folders = find_folders(args.projected)
    model = as_projected(load_model(args.model, args.step), folders[0])
    given = [projections.read(folder, model.gan.spec) for folder in folders]
    weights = projector.digest(model)
    starts = [start_of(model, folder, one.noise, weights) for folder, one in zip(folders, given, strict=True)]
    net = load_features(f"{args.net}_lpips", args.features)
    out, names = Path(args.out), [folder.resolve().name for folder in folders]
    check_replaceable(out, names, args.overwrite or (out / "pti.json").exists())
    path, table, told = runner.claim(out, "pti.json", args), {}, []
    facts = provenance(model, args)
    options = {
        "steps": args.steps,
        "rate": args.rate,
        "enough": args.enough,
        "locality": args.locality or 0.0,
        "net": net,
    }
    for name, one, start in zip(names, given, starts, strict=True):
        tuned = tuner.tune(start, one.target, one.ws, mask=one.mask, **options)
        save(out, name, one, start, tuned, facts)
        start_lpips = float(tuned.losses[0])
        table[name] = {"start": start_lpips, "end": tuned.lpips, "steps": len(tuned.losses)}
        told.append(f"{name} {start_lpips:.4f} -> {tuned.lpips:.4f}")
        runner.write_record(path, runner.record(args, model, lpips=table, features=net.source))
    return f"LPIPS {', '.join(told)}; in {args.out}"


def provenance(model: Any, args: argparse.Namespace) -> dict[str, Any]:
    """Return the origin of the tuned models, without folders of this machine or metrics of the untuned model."""
    from stylegan_jax.sampling import card

    tuned = {"steps": args.steps, "rate": args.rate, "enough": args.enough, "net": args.net}
    tuned |= {"locality": args.locality} if args.locality else {}
    facts = {key: value for key, value in card.provenance(model).items() if key != "metrics"}
    return facts | {"label_kind": model.label_kind, "tuned": tuned}


def save(out: Path, name: str, one: projections.Projected, start: Any, tuned: Any, facts: dict[str, Any]) -> None:
    """Write a tuned model's folder and picture; `start` is the model before tuning."""
    import dataclasses

    from stylegan_jax.base import images
    from stylegan_jax.convert import write_model_folder

    g_ema = tuned.model.g_ema | {"w_avg": np.asarray(tuned.model.w_avg)}
    about = facts | {"tuned": facts["tuned"] | {"taken": len(tuned.losses), "lpips": tuned.lpips}}
    config = dataclasses.asdict(tuned.model.config)
    write_model_folder(out / name, config, {"g_ema": g_ema}, about, overwrite=True)  # see `check_replaceable`
    before = start.synthesize(one.ws[None], chunk=1)[0]
    shown = np.stack([one.target, images.to_pixels(before), images.to_pixels(tuned.image)])
    images.save_png(out / f"{name}.png", images.make_grid(shown, 3))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    return runner.run(parser(), act, argv)


if __name__ == "__main__":
    sys.exit(main())

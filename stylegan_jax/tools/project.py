"""Find the styles of images: `python -m stylegan_jax.tools.project --model=DIR --targets=face.png,other.jpg --out=DIR`.

This is the projector of StyleGAN2 (section 5.2, appendix D) with VGG16's LPIPS and the published schedules, in W, or in
W+ with `--plus`. Images are centre-cropped to the model's aspect ratio and resized with Lanczos; transparency becomes
white. Each has a folder with target.png, proj.png, a video of the optimisation and projected_w.npz ('w' [1, slots, w],
and the noise maps by path), which `edit --styles` and `pti` take.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stylegan_jax.base import arrays
from stylegan_jax.base.flags import Parser, split_paths
from stylegan_jax.sampling import projections
from stylegan_jax.tools import _inputs as inputs, _runner as runner

FPS = 30


def parser() -> argparse.ArgumentParser:
    """Return the tool's arguments."""
    head = (__doc__ or "").split("\n")[0]
    p = Parser(prog="python -m stylegan_jax.tools.project", description=head)
    inputs.add_model(p)
    inputs.add_labels(p, "class of all targets, or one each, numbers or names, such as 3, flags, or 0,0,2")
    inputs.add_still(p)
    inputs.add_output(p, "folder for one folder per image, and project.json")
    p.add_argument("--targets", required=True, metavar="FILES", help="images with commas between, or a folder of them")
    p.add_argument(
        "--masks", metavar="FILES", help="white where a target counts; one per target, in a folder by the target's name"
    )
    p.add_argument("--steps", type=int, default=1000, help="steps of Adam (default: %(default)s, as published)")
    p.add_argument("--plus", action="store_true", help="a style per slot (W+): closer to the target, harder to edit")
    p.add_argument(
        "--noise",
        choices=("fit", "const"),
        default="fit",
        help="fit: optimise noise maps too, from random ones, as published (default); const: keep the model's own",
    )
    p.add_argument("--seed", type=int, default=303, help="seed of noise and random moves (default: %(default)s)")
    p.add_argument("--features", metavar="FILE", help="VGG16 LPIPS weights (default: the cache, or a package)")
    p.add_argument(
        "--video",
        choices=("auto", "mp4", "webp", "gif", "none"),
        default="auto",
        help="video of the optimisation next to the target; auto: .mp4 if PyAV is installed, or .webp (default)",
    )
    p.add_argument("--frames", type=int, default=120, help=f"frames of the video, {FPS}/s (default: %(default)s)")
    p.add_argument("--batch", type=int, default=8, help="images at once, which determines the memory (default: 8)")
    return p


def find_files(flag: str, text: str) -> list[Path]:
    """Return the image files of a folder, sorted, or of a list.

    Raises:
        ValueError: there are none, or one does not exist.
    """
    from stylegan_jax.data.contents import pictures_in

    if os.path.isdir(text):  # Path.is_dir raises an error for a long list
        found = pictures_in(text)
        if not found:
            raise ValueError(f"{flag}={text} is a folder without images")
        return [Path(text, name) for name in found]
    files = [Path(part) for part in split_paths(text)]
    for file in files:
        if not os.path.isfile(file):
            raise ValueError(f"{flag}: {file} is not a file; pass image files with commas between, or a folder")
    return files


def name_folders(files: Sequence[Path]) -> list[str]:
    """Return the name of each target's folder: that of the file without its ending.

    Raises:
        ValueError: two targets have the same name.
    """
    names = [file.stem for file in files]
    if len(set(names)) < len(names):
        twice = max(names, key=names.count)
        raise ValueError(f"--targets: two files are called {twice}, so they would share a folder; rename one")
    return names


def find_masks(text: str, names: Sequence[str]) -> list[Path]:
    """Return the mask of each target: from a list in its order, from a folder by the target's name.

    Raises:
        ValueError: a file is missing, the number of masks differs, or two masks have the same name.
    """
    files = find_files("--masks", text)
    if not os.path.isdir(text):
        if len(files) != len(names):
            raise ValueError(f"--masks={text}: {len(files)} masks for {len(names)} targets; pass one each")
        return files
    own = [[file for file in files if file.stem == name] for name in names]
    for name, found in zip(names, own, strict=True):
        if len(found) != 1:
            have = ", ".join(file.name for file in found) or "none"
            raise ValueError(f"--masks={text}: the target {name} needs exactly one mask of its name, and has {have}")
    return [found[0] for found in own]


def video_ending(args: argparse.Namespace) -> str:
    """Return the ending of the video, which can be written here; '' for no video.

    Raises:
        ValueError: it needs a package that is not installed.
    """
    from stylegan_jax.tools import _video_file as video_file

    if args.video == "none" or not args.frames:
        return ""
    ending = video_file.default_ending() if args.video == "auto" else f".{args.video}"
    video_file.check_ending(ending, f"--video={args.video}")
    return ending


def choose_labels(model: Any, args: argparse.Namespace, count: int) -> np.ndarray | None:
    """Return labels float32[count, k], one per target; None for a model without labels.

    Raises:
        ValueError: there is neither one class nor one per target; see also `inputs.labels`.
    """
    found = inputs.labels(model, args)
    if len(found) not in (1, count):
        raise ValueError(f"--class={args.classes}: {len(found)} classes for {count} targets; pass one, or one each")
    return np.broadcast_to(found, (count, found.shape[1])) if found.shape[1] else None


def act(args: argparse.Namespace) -> str:
    """Project; return the sentence to print."""
    from stylegan_jax.features import load_features
    from stylegan_jax.sampling import projector
    from stylegan_jax.sampling.load import load_model

    for flag, value, least in (("--steps", args.steps, 1), ("--frames", args.frames, 0)):
        if value < least:
            raise ValueError(f"{flag}={value} must be at least {least}")
    files = find_files("--targets", args.targets)
    names, ending = name_folders(files), video_ending(args)
    masked = find_masks(args.masks, names) if args.masks else []
    loaded = load_model(args.model, args.step)
    model = inputs.as_images(loaded, args)
    shape = model.gan.spec.image_shape
    targets = projector.read_images(files, shape)
    masks = projector.read_images(masked, (*shape[:2], 1))[..., 0] if masked else None
    weights = projector.check_masks(None if masks is None else masks / np.float32(255), targets.shape[:3])
    label = choose_labels(model, args, len(files))
    net = load_features("vgg16_lpips", args.features)
    path = runner.claim(Path(args.out), "project.json", args)
    found = projector.parts(
        model,
        targets,
        masks=weights,
        label=label,
        steps=args.steps,
        plus=args.plus,
        noise=args.noise,
        seed=args.seed,
        net=net,
        frames=args.frames if ending else 0,
        batch=args.batch,
    )
    table: dict[str, dict[str, float]] = {}
    about: dict[str, Any] = {"lpips": table, "features": net.source, "weights": projector.digest(model)}
    if model is not loaded:  # for `pti`
        chosen = inputs.one_label(loaded, args)
        about["still"] = {
            "time": args.time or 0.0,
            "motion_seed": args.motion_seed or 0,
            "label": None if chosen is None else chosen.tolist(),
        }
    runner.write_record(path, runner.record(args, model, **about))
    for part in found:  # write each part when it is ready: it saves memory, and an interruption costs little
        for i, (start, end) in enumerate(zip(part.start_lpips.tolist(), part.lpips.tolist(), strict=True)):
            n = len(table)
            write(Path(args.out) / names[n], part, i, targets[n], None if masks is None else masks[n], ending)
            table[names[n]] = {"start": start, "end": end}
        runner.write_record(path, runner.record(args, model, **about))
    told = ", ".join(f"{name} {row['start']:.4f} -> {row['end']:.4f}" for name, row in table.items())
    return f"LPIPS {told}; in {args.out}"


def write(folder: Path, found: Any, i: int, target: np.ndarray, mask: np.ndarray | None, ending: str) -> None:
    """Write the folder of image i of a `projector.Projection`; target and mask are uint8[h, w, c] and uint8[h, w]."""
    from stylegan_jax.base import images
    from stylegan_jax.tools import _video_file as video_file

    folder.mkdir(exist_ok=True)
    images.save_png(folder / "target.png", target)
    images.save_png(folder / "proj.png", images.to_pixels(found.images[i]))
    for name in ("mask.png", *(f"proj{other}" for other in video_file.ENDINGS)):  # of an earlier call
        (folder / name).unlink(missing_ok=True)
    if mask is not None:
        images.save_png(folder / "mask.png", mask[..., None])
    noise = {path: x[i] for path, x in found.noise.items()}
    arrays.write_npz(folder / projections.PROJECTION, w=found.ws[i : i + 1], **noise)
    if ending:
        pairs = (np.concatenate([target, frame], axis=1) for frame in found.frames[:, i])
        video_file.write(folder / f"proj{ending}", pairs, FPS)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    return runner.run(parser(), act, argv)


if __name__ == "__main__":
    sys.exit(main())

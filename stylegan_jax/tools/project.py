"""Find the styles of images: `python -m stylegan_jax.tools.project --run=DIR --targets=face.png,other.jpg --out=DIR`.

The projector of StyleGAN2 (section 5.2, appendix D): LPIPS on VGG16, published schedules; W, or W+ with `--plus`.
Images are cropped at the centre to the model's aspect ratio and resized by Lanczos; transparency becomes white. All
of them are optimised at once. Each gets a folder with target.png, proj.png and projected_w.npz ('w' [1, slots, w]; the
noise maps beside it), which `edit --styles` and `pti` take.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stylegan_jax.tools import inputs, runner

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


def parser() -> argparse.ArgumentParser:
    """Return the tool's arguments."""
    head = (__doc__ or "").split("\n")[0]
    p = argparse.ArgumentParser(prog="python -m stylegan_jax.tools.project", description=head)
    inputs.add_arguments(p, psi=False)
    inputs.add_output(p, "folder for one folder per image, and project.json")
    p.add_argument(
        "--targets", required=True, metavar="FILES", help="images with commas between, or a folder of images"
    )
    p.add_argument("--masks", metavar="FILES", help="white where a target counts, in the order of the targets")
    p.add_argument("--steps", type=int, default=1000, help="of Adam (default: %(default)s, as published)")
    p.add_argument("--plus", action="store_true", help="a style per slot (W+): closer to the target, worse to edit")
    p.add_argument("--seed", type=int, default=303, help="of noise and random moves (default: %(default)s)")
    p.add_argument(
        "--features", metavar="FILE", help="VGG16 LPIPS weights (default: the cache or an installed package)"
    )
    p.add_argument("--video", choices=("none", "mp4", "webp", "gif"), default="none", help="of the way there")
    return p


def find_files(flag: str, text: str) -> list[Path]:
    """Return the image files of a folder, sorted, or of a list.

    Raises:
        ValueError: none, or one that does not exist.
    """
    path = Path(text)
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.suffix.lower() in ENDINGS)
        if not files:
            raise ValueError(f"{flag}={text} is a folder without images ({', '.join(ENDINGS)})")
        return files
    files = [Path(part) for part in text.split(",")]
    for file in files:
        if not file.is_file():
            raise ValueError(f"{flag}: {file} does not exist; give image files with commas between, or a folder")
    return files


def read(files: Sequence[Path], shape: tuple[int, int, int]) -> np.ndarray:
    """Return uint8[n, h, w, c] of image files, cropped at the centre and resized to the shape.

    Raises:
        ValueError: a file that is no image.
    """
    import io

    from PIL import Image

    from stylegan_jax.data.prepare.convert import BadImage, Recipe, make

    h, w, c = shape
    recipe, found = Recipe(channels=c, resolution=(w, h), transform="center-crop"), []
    for file in files:
        try:
            pixels = np.asarray(Image.open(io.BytesIO(make(file.read_bytes(), recipe).png)))
        except BadImage as error:
            raise ValueError(f"{file}: {error}") from None
        found.append(pixels.reshape(shape))
    return np.stack(found)


def act(args: argparse.Namespace) -> str:
    """Project; return the sentence to print."""
    from stylegan_jax.load import load_model
    from stylegan_jax.models.features import FeatureError, load_features
    from stylegan_jax.tools import projector

    if args.steps < 1:
        raise ValueError(f"--steps={args.steps} must be at least 1")
    files = find_files("--targets", args.targets)
    masked = find_files("--masks", args.masks) if args.masks else []
    if masked and len(masked) != len(files):
        raise ValueError(f"{len(masked)} masks for {len(files)} targets; give one each")
    names = [file.stem for file in files]
    if len(set(names)) < len(names):
        raise ValueError(f"--targets: two files are called {max(names, key=names.count)}; their folders would be one")
    model = load_model(args.run, args.step)
    shape = model.gan.spec.image_shape
    targets = read(files, shape)
    masks = read(masked, (*shape[:2], 1)).astype(np.float32) / 255 if masked else None
    label = inputs.one_label(model, args)
    try:
        net = load_features("vgg16_lpips", args.features)
    except FeatureError as error:
        raise ValueError(str(error)) from None
    out = Path(args.out)
    path = runner.claim(out, "project.json", args)
    options = {"masks": masks, "label": label, "steps": args.steps, "plus": args.plus, "seed": args.seed}
    states = projector.project(model, net, targets, **options)
    fit, distance, frames = follow(model, states, args)
    write(out, names, model, fit, targets, frames, args)
    found = {name: float(d) for name, d in zip(names, distance, strict=True)}
    runner.write_record(path, runner.record(args, model, lpips=found, features=net.source))
    return f"LPIPS {', '.join(f'{name} {d:.4f}' for name, d in found.items())}; in {out}"


def follow(model: Any, states: Any, args: argparse.Namespace) -> tuple[Any, np.ndarray, list[np.ndarray]]:
    """Return (the last fit, its distances, float32 images of the way there if a video is wanted)."""
    from stylegan_jax.tools import projector

    frames: list[np.ndarray] = []
    last: tuple[Any, np.ndarray] = (None, np.zeros(0))
    total = -(-args.steps // projector.STEPS_PER_CALL)
    for last in runner.progress(states, total, f"{projector.STEPS_PER_CALL} steps"):
        if args.video != "none":
            frames.append(projector.images_of(model, last[0]))
    return *last, frames


def write(
    out: Path, names: list[str], model: Any, fit: Any, targets: np.ndarray, frames: list, args: argparse.Namespace
) -> None:
    """Write the folder of each image."""
    from stylegan_jax import images
    from stylegan_jax.tools import projector, video_file

    pixels = images.to_pixels(projector.images_of(model, fit))
    for i, name in enumerate(names):
        folder = out / name
        folder.mkdir(exist_ok=True)
        images.save_png(folder / "target.png", targets[i])
        images.save_png(folder / "proj.png", pixels[i])
        w = np.broadcast_to(fit.w[i : i + 1], (1, model.gan.spec.num_ws, model.gan.spec.w_dim))
        np.savez(folder / "projected_w.npz", w=w, **{path: np.asarray(x[i]) for path, x in fit.noise.items()})
        if frames:
            pair = (np.concatenate([targets[i], images.to_pixels(frame[i])], axis=1) for frame in frames)
            video_file.write(video_file.choose(folder / f"proj.{args.video}", 30), pair, 30)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    return runner.run(parser(), act, argv)


if __name__ == "__main__":
    sys.exit(main())

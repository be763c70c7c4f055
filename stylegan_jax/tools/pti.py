"""Tune a generator to an image: `python -m stylegan_jax.tools.pti --run=DIR --projected=projected/face --out=tuned`.

Pivotal tuning (Roich et al. 2021): the projected style is held, and the synthesis network is trained until its picture
there is the target: squared difference plus LPIPS (AlexNet), Adam at 3e-4, at most 350 steps, until LPIPS is 0.06. The
result is a model folder; drawing the projected style with constant noise gives the picture.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stylegan_jax.tools import inputs, runner

STEPS_PER_CALL = 5


def parser() -> argparse.ArgumentParser:
    """Return the tool's arguments."""
    head = (__doc__ or "").split("\n")[0]
    p = argparse.ArgumentParser(prog="python -m stylegan_jax.tools.pti", description=head)
    inputs.add_model(p)
    p.add_argument("--out", required=True, help="model folder to make")
    p.add_argument("--overwrite", action="store_true", help="replace a model folder")
    p.add_argument("--projected", required=True, metavar="DIR", help="of one image: target.png and projected_w.npz")
    p.add_argument("--steps", type=int, default=350, help="of Adam, at most (default: %(default)s)")
    p.add_argument("--rate", type=float, default=3e-4, help="learning rate (default: %(default)s)")
    p.add_argument("--enough", type=float, default=0.06, help="LPIPS at which it ends (default: %(default)s)")
    p.add_argument("--features", metavar="FILE", help="AlexNet LPIPS weights (default: the cache or a package)")
    return p


def read(folder: Path, spec: Any) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Return (target uint8[h, w, c], ws float32[1, l, w], noise maps by path) of a projection.

    Raises:
        ValueError: a file that is missing or of another model.
    """
    from PIL import Image

    from stylegan_jax import trained

    try:
        with Image.open(folder / "target.png") as image:
            target = np.asarray(image).reshape(spec.image_shape)
        with np.load(folder / "projected_w.npz", allow_pickle=False) as file:
            noise = {name: file[name] for name in file.files if name != "w"}
            ws = trained.as_styles(file["w"], spec)
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"--projected={folder} is no projection with this model: {error}") from None
    return target, ws[:1], noise


def tune(
    model: Any, net: Any, target: np.ndarray, ws: np.ndarray, noise: dict[str, np.ndarray], steps: int, rate: float
) -> Iterator[tuple[Any, np.ndarray]]:
    """Train the synthesis network; yields as it goes.

    Args:
        model: the generator.
        net: LPIPS features, `load_features('alexnet_lpips')`.
        target: uint8[h, w, c].
        ws: float32[1, l, w], the pivot.
        noise: maps that replace the model's own, by path; may be empty.
        steps: of Adam.
        rate: learning rate.

    Yields:
        (generator variables, LPIPS float32[k] before each of the last k steps).
    """
    import jax
    import jax.numpy as jnp
    import optax

    from stylegan_jax.tools import projector

    start = jax.device_put(projector.with_noise(model, model.g_ema, noise) if noise else model.g_ema)
    trained = start["params"]["synthesis"]
    wanted = jnp.asarray(target, jnp.float32)[None] / 127.5 - 1
    mask = jnp.ones((*wanted.shape[:3], 1))
    adam = optax.adam(rate)

    def loss(synthesis, g, params):
        g = g | {"params": g["params"] | {"synthesis": synthesis}}
        image = model.gan.synthesize(g, ws, noise="const")
        features = lambda x: net.apply(params, projector.shown(x, mask), ("lpips",))["lpips"]
        distance = jnp.square(features(image) - features(wanted)).sum()
        return jnp.mean(jnp.square(image - wanted)) + distance, distance

    @jax.jit
    def run(synthesis, state, g, params):
        def one_step(carry, _):
            synthesis, state = carry
            gradient, distance = jax.grad(loss, has_aux=True)(synthesis, g, params)
            updates, state = adam.update(gradient, state)
            return (optax.apply_updates(synthesis, updates), state), distance

        return jax.lax.scan(one_step, (synthesis, state), length=STEPS_PER_CALL)

    state = adam.init(trained)
    for _ in range(-(-steps // STEPS_PER_CALL)):
        (trained, state), distances = run(trained, state, start, net.params)
        yield start | {"params": start["params"] | {"synthesis": trained}}, jax.device_get(distances)


def act(args: argparse.Namespace) -> str:
    """Tune and save; return the sentence to print."""
    import jax

    from stylegan_jax.convert import write_model_folder
    from stylegan_jax.load import load_model
    from stylegan_jax.models.features import FeatureError, load_features

    if args.steps < 1 or not 0 < args.rate < np.inf:
        raise ValueError(f"--steps={args.steps} --rate={args.rate}: both must be greater than 0")
    if Path(args.out).exists() and not args.overwrite:
        raise ValueError(f"--out={args.out} exists; choose another, or add --overwrite")
    model = load_model(args.run, args.step)
    target, ws, noise = read(Path(args.projected), model.gan.spec)
    try:
        net = load_features("alexnet_lpips", args.features)
    except FeatureError as error:
        raise ValueError(str(error)) from None
    distances: list[float] = []
    variables = model.g_ema
    states = tune(model, net, target, ws, noise, args.steps, args.rate)
    for tuned, some in runner.progress(states, -(-args.steps // STEPS_PER_CALL), f"{STEPS_PER_CALL} steps"):
        variables = tuned
        distances += some.tolist()
        if distances[-1] <= args.enough:
            break
    about = runner.record(args, model, lpips=distances, features=net.source)
    g_ema = jax.device_get(variables) | {"w_avg": np.asarray(model.w_avg)}
    write_model_folder(args.out, dataclasses.asdict(model.config), {"g_ema": g_ema}, about, overwrite=args.overwrite)
    return f"LPIPS {distances[0]:.4f} -> {distances[-1]:.4f} in {len(distances)} steps; model folder {args.out}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    return runner.run(parser(), act, argv)


if __name__ == "__main__":
    sys.exit(main())

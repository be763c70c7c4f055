"""Train the official StyleGAN2 and ours from the same weights with the same random draws, and compare step by step.

Not a test, and nothing of the package imports it; what it needs, and the networks, losses, sizes and images, are those
of `official_learning`. Our side writes its initial weights, in the official layout, and everything that its phases
draw: latents, second latents and slots of style mixing, and the noise of path lengths. The official side starts from
these weights and takes these draws instead of its own. Noise inputs are off. The third side is the official one
from weights that differ by 1e-7 of their values: how far it departs from the official one is what rounding does.

    python tests/peers/official_learning.py prepare --out=learning --every=10
    python tests/peers/official_steps.py ours --out=steps --images=learning
    python tests/peers/official_steps.py official --out=steps --images=learning --repo=../stylegan3
    python tests/peers/official_steps.py official --out=steps --images=learning --repo=../stylegan3 --perturb=1e-7
    python tests/peers/official_steps.py compare --out=steps
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import official_learning as learning

PHASES = {"Gmain": "g_main", "Greg": "g_reg", "Dmain": "d_main"}
"""The phases that draw, by their official names."""


def arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("ours", "official", "compare"))
    parser.add_argument("--out", type=Path, required=True, help="folder of weights, draws and reports")
    parser.add_argument("--images", type=Path, help="--out of official_learning.py prepare")
    parser.add_argument("--repo", default="", help="of official: a checkout of NVlabs/stylegan3")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--iterations", type=int, default=16)
    parser.add_argument("--perturb", type=float, default=0.0, help="of official: relative change of the weights")
    return parser.parse_args()


def train_ours(a: argparse.Namespace) -> None:
    """Write weights and draws, and train."""
    import jax
    import jax.numpy as jnp

    from stylegan_jax import models
    from stylegan_jax.base import rng
    from stylegan_jax.convert import official_state_dicts
    from stylegan_jax.runtime.mesh import make_layout
    from stylegan_jax.sampling.curves import read_rows
    from stylegan_jax.train import programs
    from stylegan_jax.train.loop import train
    from stylegan_jax.train.tasks import make_task

    a.out.mkdir(parents=True, exist_ok=True)
    batch = learning.SETTINGS["batch"]
    given = argparse.Namespace(out=a.images, no_noise=True, seed=a.seed)
    config = learning.our_config(given, json.loads((a.images / "plan.json").read_text()) | {"every": batch / 1000})
    never = 10**6
    log = dataclasses.replace(config.log, checkpoint_ticks=never, grid_ticks=never, keep_every_kimg=0.0)
    train_config = dataclasses.replace(config.train, total_kimg=a.iterations * batch / 1000)
    config = dataclasses.replace(config, log=log, train=train_config)
    layout, root = make_layout(1), rng.root(a.seed)
    nets = jax.device_get(programs.create_state(make_task(config, layout), layout, root, {}).nets)
    w_avg = np.zeros(config.model.w_dim, np.float32)
    states = official_state_dicts(dataclasses.asdict(config.model), {"g": nets["g"] | {"w_avg": w_avg}, "d": nets["d"]})
    named = {f"{net}/{name}": x for net, arrays in states.items() for name, x in arrays.items()}
    np.savez(a.out / "weights.npz", **named)
    gan, drawn = models.build(config.model), dict[str, Any]()
    for step in range(a.iterations):
        for phase, every, shrink in (("g_main", 1, 1), ("g_reg", learning.G_EVERY, 2), ("d_main", 1, 1)):
            if step % every:
                continue
            n, start = batch // shrink, f"{phase}/{step}/"
            draw, mix, _ = jax.random.split(rng.stream(root, phase, step), 3)
            z = np.asarray(gan.draw_inputs(draw, 2 * n, jnp.zeros((2 * n, 0)))["z"])
            take, where = np.asarray(jax.random.uniform(mix, (2,)))
            slots = gan.spec.num_ws
            cutoff = 1 + int(where * (slots - 1)) if take < config.loss.style_mixing_prob else slots
            drawn |= {f"{start}z": z[:n], f"{start}mixed": z[n:], f"{start}cutoff": cutoff}
            if phase == "g_reg":
                shape = (n, *gan.spec.sample["image"])
                drawn[f"{start}noise"] = np.asarray(rng.normal(rng.stream(root, "g_reg/image", step), shape))
    np.savez(a.out / "draws.npz", **drawn)
    shutil.rmtree(a.out / "run", ignore_errors=True)
    train(config, a.out / "run")
    rows = [{"nimg": row["nimg"], "mean": row["mean"]} for row in read_rows(a.out / "run" / "stats.jsonl")]
    (a.out / "ours.json").write_text(json.dumps(rows))


def train_official(a: argparse.Namespace) -> None:
    """Train the official side from our weights with our draws."""
    import torch

    torch.set_num_threads(1)
    given = argparse.Namespace(repo=a.repo, no_noise=True)
    training = learning.Official(given, learning.load_official(given))
    weights, drawn = dict(np.load(a.out / "weights.npz")), dict(np.load(a.out / "draws.npz"))
    random = np.random.default_rng(0)
    moved = {key: (x * (1 + a.perturb * random.standard_normal(x.shape))).astype(x.dtype) for key, x in weights.items()}
    for name, net in (("G", training.nets["g"]), ("D", training.nets["d"])):
        named = {key.partition("/")[2]: torch.from_numpy(x) for key, x in moved.items() if key.startswith(f"{name}/")}
        net.load_state_dict(named, strict=True)
    loss, accumulate, randn_like, now = training.loss, training.loss.accumulate_gradients, torch.randn_like, {}

    def run_g(z: Any, c: Any, update_emas: bool = False) -> tuple[Any, Any]:
        ws, cutoff = loss.G.mapping(z, c, update_emas=update_emas), int(now["cutoff"])
        other = loss.G.mapping(torch.from_numpy(now["mixed"]), c, update_emas=False)
        ws = torch.cat([ws[:, :cutoff], other[:, cutoff:]], dim=1)
        return loss.G.synthesis(ws, update_emas=update_emas), ws

    def with_draws(phase: str, gen_z: Any, **rest: Any) -> None:
        if phase in PHASES:
            start = f"{PHASES[phase]}/{training.done}/"
            now.update({key.removeprefix(start): drawn[key] for key in drawn if key.startswith(start)})
            z = torch.from_numpy(now["z"])
            gen_z = torch.cat([z] * (len(gen_z) // len(z)))  # path lengths take the first part
        accumulate(phase=phase, gen_z=gen_z, **rest)

    def noise_of(x: Any) -> Any:
        return torch.from_numpy(now["noise"].transpose(0, 3, 1, 2).copy()) if x.ndim == 4 else randn_like(x)

    loss.run_G, loss.accumulate_gradients, torch.randn_like = run_g, with_draws, noise_of
    reals, shown = np.load(a.images / "reals.npy"), np.load(a.images / f"order-{a.seed}.npy")
    rows, batch = [], learning.SETTINGS["batch"]
    for step in range(a.iterations):
        training.iteration(reals[shown[step * batch : (step + 1) * batch]])
        rows.append(training.recorder.row(training.nimg))
    (a.out / f"{'perturbed' if a.perturb else 'official'}.json").write_text(json.dumps(rows))


def compare(a: argparse.Namespace) -> None:
    """Print the official scores, and how far ours and the perturbed ones are from them, as a table."""
    sides = [json.loads((a.out / f"{side}.json").read_text()) for side in ("official", "ours", "perturbed")]
    terms = ("scores/real", "scores/fake")
    print("| iteration |", " | ".join(f"{term} | ours, difference | perturbed, difference" for term in terms), "|")
    print("|---" * (1 + 3 * len(terms)) + "|")
    for step, rows in enumerate(zip(*sides, strict=True)):
        values = [[row["mean"][term] for row in rows] for term in terms]
        cells = [f"{first:.4f} | {ours - first:+.1e} | {other - first:+.1e}" for first, ours, other in values]
        print("|", step, "|", " | ".join(cells), "|")


if __name__ == "__main__":
    given = arguments()
    {"ours": train_ours, "official": train_official, "compare": compare}[given.step](given)

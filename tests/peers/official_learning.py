"""Train the official PyTorch StyleGAN2 and ours side by side, and measure how both learn.

Not a test, and nothing of the package imports it. The official side needs PyTorch (`pip install torch==2.13.0 numpy
pillow scipy requests`, no other part of this project) and a checkout of NVlabs/stylegan3 outside of this repository,
whose networks and loss it calls; the other steps need this package with the extra `features`.

Both sides see the same images in the same order, in batches of 16, with the same sizes and hyperparameters
(`SETTINGS`); initial weights, latents, noise and style mixing are drawn by each side's own generator. After every 10
thousand images, each draws 2,000 images from its averaged generator, with random noise, and our metrics compare both
with the same reals. Every step can be stopped, and the same command continues it.

    python tests/peers/official_learning.py prepare --out=learning --every=10         # reals.npy, order-SEED.npy
    python tests/peers/official_learning.py official --out=learning --seed=0 --repo=../stylegan3
    python tests/peers/official_learning.py ours --out=learning --seed=0
    python tests/peers/official_learning.py measure --out=learning --json=docs/figures/official_learning.json
    python docs/figures/official_learning.py docs/figures/official_learning.json docs/images/official_learning.png

The whole comparison: 40 thousand images, seeds 0 to 4, with and without noise inputs, each side on a core of its own.

    for seed in 0 1 2 3 4; do for noise in '' --no_noise; do
      common="--out=learning --seed=$seed $noise"
      taskset -c 0 python tests/peers/official_learning.py official $common --repo=../stylegan3 &
      taskset -c 1 python tests/peers/official_learning.py ours $common
      wait
    done; done

A rehearsal: `prepare --images=300 --kimg=1 --every=0.5`, and `--num=100` for the other steps.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import importlib.metadata
import json
import operator
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

METRIC = "fid50k_full"

SETTINGS = {
    "resolution": 32,
    "z_dim": 128,
    "mapping_layers": 2,
    "channel_base": 1024,
    "channel_max": 64,
    "conv_clamp": 256.0,
    "batch": 16,
    "lr": 0.0025,
    "r1_gamma": 0.5,
    "pl_weight": 2.0,
    "mixing": 0.9,
    "ema_kimg": 1.0,
    "ema_rampup": 0.05,
    "w_avg_beta": 0.995,
}
G_EVERY, D_EVERY = 4, 16
"""Iterations between regularisations."""
PHASES = (("Gmain", "g", 1), ("Greg", "g", G_EVERY), ("Dmain", "d", 1), ("Dreg", "d", D_EVERY))
NAMES = {
    ("Gmain", "Loss/G/loss"): "loss/g_adversarial",
    ("Greg", "Loss/G/reg"): "loss/g_path_length",
    ("Dmain", "Loss/D/loss"): "loss/d_adversarial",
    ("Dreg", "Loss/D/reg"): "loss/d_penalty",
    ("Dmain", "Loss/scores/fake"): "scores/fake",
    ("Dmain", "Loss/scores/real"): "scores/real",
}
"""What the official loss reports in a phase: our name of it."""
LATENTS = 1_000_000
"""Plus the seed: seed of the latents that are drawn from to measure."""


def arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["prepare", "official", "ours", "measure"])
    parser.add_argument("--out", required=True, type=Path, help="folder of the comparison")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no_noise", action="store_true", help="networks without noise inputs")
    parser.add_argument("--repo", help="of official: checkout of NVlabs/stylegan3")
    parser.add_argument("--threads", type=int, default=1, help="of official: CPU threads")
    parser.add_argument("--data", default="datasets/emoji64.zip", help="of prepare")
    parser.add_argument("--images", type=int, default=0, help="of prepare: evenly spread images of the data; 0: all")
    parser.add_argument("--seeds", type=int, default=5, help="of prepare: 0 to this, exclusive")
    parser.add_argument("--kimg", type=float, default=40.0, help="of prepare: thousands of images to show")
    parser.add_argument("--every", type=float, default=5.0, help="of prepare: thousands of images between measurements")
    parser.add_argument("--num", type=int, default=2000, help="images to measure")
    parser.add_argument("--json", type=Path, help="of measure: where the result goes")
    return parser.parse_args()


def prepare(a: argparse.Namespace) -> None:
    """Write the images as training sees them, and the order in which each seed shows them."""
    from stylegan_jax import data
    from stylegan_jax.config import DataConfig
    from stylegan_jax.data.order import order

    a.out.mkdir(parents=True, exist_ok=True)
    size = SETTINGS["resolution"]
    source = data.open_source(DataConfig(source="zip", path=a.data, cache="off"), (size, size, 3))
    count = source.info().num_images
    chosen = np.linspace(0, count - 1, min(a.images or count, count)).astype(np.int64)
    np.save(a.out / "reals.npy", source.gather(chosen))
    source.close()
    total = -(-int(1000 * a.kimg) // SETTINGS["batch"]) * SETTINGS["batch"]
    for seed in range(a.seeds):
        np.save(a.out / f"order-{seed}.npy", order(seed, np.arange(total), len(chosen))[0])
    plan = {"kimg": a.kimg, "every": a.every, "seeds": a.seeds, "images": len(chosen), "settings": SETTINGS}
    (a.out / "plan.json").write_text(json.dumps(plan, indent=2))


def read_plan(a: argparse.Namespace) -> dict[str, Any]:
    """Return what was prepared."""
    plan = json.loads((a.out / "plan.json").read_text())
    if plan["settings"] != SETTINGS:
        raise SystemExit(f"{a.out} was prepared with other settings; use another --out")
    return plan


def folder_of(a: argparse.Namespace) -> Path:
    """Return where a side of a seed keeps its files."""
    folder = a.out / f"{a.step}-{'plain' if a.no_noise else 'noise'}-{a.seed}"
    folder.mkdir(exist_ok=True)
    return folder


def latents(a: argparse.Namespace) -> np.ndarray:
    """Return float32[num, z]."""
    rows = np.random.RandomState(LATENTS + a.seed).randn(a.num, SETTINGS["z_dim"])
    return rows.astype(np.float32)


def store(folder: Path, nimg: int, pixels: np.ndarray, strengths: dict[str, float]) -> None:
    """Write what was drawn, uint8[n, h, w, c], and the strengths of the noise inputs, after so many images."""
    (folder / f"strengths-{nimg:06d}.json").write_text(json.dumps(strengths))
    np.save(folder / "part.npy", pixels)
    (folder / "part.npy").rename(folder / f"samples-{nimg:06d}.npy")


class Recorder:
    """Stands in for the official statistics: means per phase and name since the last row."""

    def __init__(self) -> None:
        self.phase, self.sums = "", dict[str, list[float]]()

    def report(self, name: str, value: Any) -> Any:
        """Take what the official loss reports."""
        ours = NAMES.get((self.phase, name))
        if ours:
            total, count = self.sums.setdefault(ours, [0.0, 0])
            self.sums[ours] = [total + float(value.detach().sum()), count + value.numel()]
        return value

    def row(self, nimg: int) -> dict[str, Any]:
        """Return the means, and begin again."""
        sums, self.sums = self.sums, {}
        return {"nimg": nimg, "mean": {name: total / count for name, (total, count) in sums.items()}}


def load_official(a: argparse.Namespace) -> dict[str, Any]:
    """Return the modules of the official code by name."""
    if not a.repo:
        raise SystemExit("--repo is missing: a checkout of NVlabs/stylegan3")
    sys.path.insert(0, a.repo)
    try:
        importlib.import_module("pkg_resources")
    except ImportError:  # which newer versions of setuptools lack; one function of it is called
        version = lambda text: tuple(map(int, re.findall(r"\d+", text)[:3]))
        sys.modules["pkg_resources"] = types.SimpleNamespace(parse_version=version)  # pyright: ignore[reportArgumentType]
    names = ("training.networks_stylegan2", "training.loss", "torch_utils.misc")
    return {name.rpartition(".")[2]: importlib.import_module(name) for name in names}


class Official:
    """The official networks and loss, trained as the official loop does, on one CPU."""

    def __init__(self, a: argparse.Namespace, modules: dict[str, Any]):
        import torch

        s, self.torch = SETTINGS, torch
        sizes = {"img_resolution": s["resolution"], "img_channels": 3, "c_dim": 0, "num_fp16_res": 0}
        sizes |= {key: s[key] for key in ("channel_base", "channel_max", "conv_clamp")}
        mapping = {"num_layers": s["mapping_layers"], "w_avg_beta": s["w_avg_beta"]}
        latent = {"z_dim": s["z_dim"], "w_dim": s["z_dim"], "mapping_kwargs": mapping, "use_noise": not a.no_noise}
        nets = modules["networks_stylegan2"]
        g = nets.Generator(**latent, **sizes, fused_modconv_default="inference_only")
        self.nets = {"g": g, "d": nets.Discriminator(**sizes, epilogue_kwargs={"mbstd_group_size": 4})}
        for net in self.nets.values():
            net.train().requires_grad_(False)
        self.nets["g_ema"] = copy.deepcopy(g).eval()
        self.recorder = modules["loss"].training_stats = Recorder()
        options = {"style_mixing_prob": s["mixing"], "pl_weight": s["pl_weight"], "pl_no_weight_grad": True}
        device = torch.device("cpu")
        self.loss = modules["loss"].StyleGAN2Loss(device, g, self.nets["d"], r1_gamma=s["r1_gamma"], **options)
        self.clean, self.done = modules["misc"].nan_to_num, 0
        self.optimizers = {}
        for name, every in (("g", G_EVERY), ("d", D_EVERY)):
            c = every / (every + 1)
            rates = {"lr": s["lr"] * c, "betas": (0.0**c, 0.99**c), "eps": 1e-8}
            self.optimizers[name] = torch.optim.Adam(self.nets[name].parameters(), **rates)

    @property
    def nimg(self) -> int:
        """Images shown."""
        return self.done * SETTINGS["batch"]

    def iteration(self, pixels: np.ndarray) -> None:
        """Train on a batch uint8[n, h, w, c]."""
        torch, batch = self.torch, len(pixels)
        reals = torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()).float() / 127.5 - 1
        none = torch.zeros([batch, 0])
        for phase, name, every in (
            ("Gmain", "g", 1),
            ("Greg", "g", G_EVERY),
            ("Dmain", "d", 1),
            ("Dreg", "d", D_EVERY),
        ):
            z = torch.randn([batch, SETTINGS["z_dim"]])
            if self.done % every:
                continue
            net, adam, self.recorder.phase = self.nets[name], self.optimizers[name], phase
            adam.zero_grad(set_to_none=True)
            net.requires_grad_(True)
            given = {"real_img": reals, "real_c": none, "gen_z": z, "gen_c": none}
            self.loss.accumulate_gradients(phase=phase, gain=every, cur_nimg=self.nimg, **given)
            net.requires_grad_(False)
            for parameter in net.parameters():
                if parameter.grad is not None:
                    self.clean(parameter.grad, nan=0, posinf=1e5, neginf=-1e5, out=parameter.grad)
            adam.step()
        length = min(SETTINGS["ema_kimg"] * 1000, self.nimg * SETTINGS["ema_rampup"])
        beta = 0.5 ** (batch / max(length, 1e-8))
        for mean, now in zip(self.nets["g_ema"].parameters(), self.nets["g"].parameters(), strict=True):
            mean.copy_(now.lerp(mean, beta))
        for mean, now in zip(self.nets["g_ema"].buffers(), self.nets["g"].buffers(), strict=True):
            mean.copy_(now)
        self.done += 1

    def state(self) -> dict[str, Any]:
        """Return all that a later start needs."""
        trees = {f"net_{name}": net.state_dict() for name, net in self.nets.items()}
        trees |= {f"adam_{name}": adam.state_dict() for name, adam in self.optimizers.items()}
        return trees | {"pl_mean": self.loss.pl_mean, "random": self.torch.get_rng_state(), "done": self.done}

    def restore(self, state: dict[str, Any]) -> None:
        """Take what `state` returned."""
        for name, net in self.nets.items():
            net.load_state_dict(state[f"net_{name}"])
        for name, adam in self.optimizers.items():
            adam.load_state_dict(state[f"adam_{name}"])
        self.loss.pl_mean.copy_(state["pl_mean"])
        self.torch.set_rng_state(state["random"])
        self.done = state["done"]

    def draw(self, z: np.ndarray) -> np.ndarray:
        """Return uint8[n, h, w, c] of the averaged generator; training's random numbers stay as they are."""
        torch, found = self.torch, []
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(0)
            for rows in torch.from_numpy(z).split(50):
                image = self.nets["g_ema"](rows, torch.zeros([len(rows), 0]), noise_mode="random")
                found.append((image * 127.5 + 128).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy())
        return np.concatenate(found)

    def strengths(self) -> dict[str, float]:
        """Return the learned strengths of the noise inputs by layer."""
        layers = self.nets["g_ema"].named_parameters()
        return {name: float(x) for name, x in layers if name.endswith("noise_strength")}


def train_official(a: argparse.Namespace) -> None:
    """Train the official side of one seed."""
    import torch

    plan, folder = read_plan(a), folder_of(a)
    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    training = Official(a, load_official(a))
    reals, shown = np.load(a.out / "reals.npy"), np.load(a.out / f"order-{a.seed}.npy")
    rows: list[dict[str, Any]] = []
    if (folder / "state.pt").exists():
        saved = torch.load(folder / "state.pt", weights_only=True)
        rows = saved.pop("rows")
        training.restore(saved)
    batch = SETTINGS["batch"]
    while training.nimg < len(shown):
        before = training.nimg
        training.iteration(reals[shown[before : before + batch]])
        now = training.nimg
        if now // 1000 > before // 1000 or now >= len(shown):
            rows.append(training.recorder.row(now))
            print(now, {name: round(value, 4) for name, value in rows[-1]["mean"].items()}, flush=True)
        every = 1000 * plan["every"]
        if now // every > before // every or now >= len(shown):
            store(folder, now, training.draw(latents(a)), training.strengths())
            torch.save(training.state() | {"rows": rows}, folder / "state.part")
            (folder / "state.part").rename(folder / "state.pt")
            versions = {"torch": torch.__version__, "python": sys.version.split()[0]}
            (folder / "stats.json").write_text(json.dumps({"rows": rows, "versions": versions}))


def our_config(a: argparse.Namespace, plan: dict[str, Any]) -> Any:
    """Return the configuration of our side."""
    from stylegan_jax.config import from_dict
    from stylegan_jax.configs import common

    s, c = SETTINGS, common.get_config()
    c.name = "official_learning"
    c.model.update(
        {key: s[key] for key in ("resolution", "mapping_layers", "channel_base", "channel_max", "conv_clamp")}
    )
    c.model.z_dim = c.model.w_dim = s["z_dim"]
    c.model.label_dim, c.model.mbstd_group, c.model.use_noise = 0, 4, not a.no_noise
    c.data.source, c.data.path = "memory", str(a.out / "reals.npy")
    c.loss.r1_gamma, c.loss.pl_weight, c.loss.style_mixing_prob = s["r1_gamma"], s["pl_weight"], s["mixing"]
    c.loss.g_reg_interval, c.loss.d_reg_interval = G_EVERY, D_EVERY
    c.train.batch_size, c.train.total_kimg, c.train.seed = s["batch"], plan["kimg"], a.seed
    c.train.g_lr = c.train.d_lr = s["lr"]
    c.train.ema_kimg, c.train.ema_rampup, c.train.w_avg_beta = s["ema_kimg"], s["ema_rampup"], s["w_avg_beta"]
    c.log.trackers, c.log.progress_bar = (), False
    c.log.tick_kimg = min(1.0, plan["every"])
    c.log.checkpoint_ticks = c.log.grid_ticks = max(1, round(plan["every"] / c.log.tick_kimg))
    c.log.keep_every_kimg = plan["every"]
    return from_dict(c)


def train_ours(a: argparse.Namespace) -> None:
    """Train our side of one seed, and draw from its checkpoints."""
    from stylegan_jax import load_model
    from stylegan_jax.base import images
    from stylegan_jax.base.trees import named_leaves
    from stylegan_jax.checkpoints.restore import committed_steps
    from stylegan_jax.sampling.curves import read_rows
    from stylegan_jax.train.loop import train

    plan, folder = read_plan(a), folder_of(a)
    run = folder / "run"
    train(our_config(a, plan), run)
    for step in committed_steps(run / "checkpoints"):
        model = load_model(run, step)
        nimg = model.provenance["nimg"]
        if (folder / f"samples-{nimg:06d}.npy").exists():
            continue
        drawn = model.synthesize(model.map(latents(a)), noise="random", chunk=50)
        leaves = named_leaves(model.g_ema["params"])
        strengths = {name: float(x) for name, x in leaves.items() if name.endswith("noise_strength")}
        store(folder, nimg, images.to_pixels(drawn), strengths)
    rows = [{"nimg": row["nimg"], "mean": row["mean"]} for row in read_rows(run / "stats.jsonl")]
    versions = {name: importlib.metadata.version(name) for name in ("jax", "stylegan_jax")}
    (folder / "stats.json").write_text(json.dumps({"rows": rows, "versions": versions}))


def measure(a: argparse.Namespace) -> None:
    """Compare what all sides drew with the reals, and write everything that is known as one JSON.

    Runs that the JSON already has and that are not in `out`, as those of another machine, stay in it.
    """
    plan, path = read_plan(a), a.json or a.out / "result.json"
    known = json.loads(path.read_text()) if path.exists() else {"plan": plan, "runs": []}
    if known["plan"] != plan:
        raise SystemExit(f"{path} is of another plan, {known['plan']} instead of {plan}; choose another --json")
    runs = []
    for folder in sorted(path for path in a.out.glob("*-*-*") if (path / "stats.json").exists()):
        side, kind, seed = folder.name.split("-")
        points = list(measured(a, folder, min(a.num, plan["images"])))
        stats = json.loads((folder / "stats.json").read_text())
        runs.append({"side": side, "noise": kind == "noise", "seed": int(seed), "points": points, **stats})
    which = operator.itemgetter("side", "noise", "seed")
    mine = {which(run) for run in runs}
    runs = sorted([run for run in known["runs"] if which(run) not in mine] + runs, key=which)
    head = json.dumps({"plan": plan, "num": min(a.num, plan["images"])})
    lines = ",\n".join(json.dumps(shortened(run)) for run in runs)
    path.write_text(f'{head[:-1]}, "runs": [\n{lines}\n]}}\n')


def shortened(data: Any) -> Any:
    """Return JSON data with six significant digits in its floats."""
    if isinstance(data, dict):
        return {key: shortened(value) for key, value in data.items()}
    if isinstance(data, list):
        return [shortened(value) for value in data]
    return float(f"{data:.6g}") if isinstance(data, float) else data


def measured(a: argparse.Namespace, folder: Path, num: int) -> Iterator[dict[str, Any]]:
    """Yield the Fréchet distance of every set of samples in a folder, with its interval, at its number of images."""
    from stylegan_jax.metrics import __main__ as metrics

    for path in sorted(folder.glob("samples-*.npy")):
        record = path.with_suffix(f".{METRIC}.jsonl")
        if not record.exists():
            words = [f"--data={a.out / 'reals.npy'}", f"--data2={path}", f"--num_images={num}", "--num_devices=1"]
            words += [f"--metrics={METRIC}", "--features=efficientnet_lite0", f"--out={record}.part"]
            if metrics.main(words):
                raise SystemExit(f"{path} could not be measured")
            Path(f"{record}.part").rename(record)
        row, nimg = json.loads(record.read_text().splitlines()[-1]), int(path.stem.partition("-")[2])
        strengths = json.loads((folder / f"strengths-{nimg:06d}.json").read_text())
        yield {"nimg": nimg, "strengths": strengths} | {key: row[key] for key in ("metric", "value", "interval")}


if __name__ == "__main__":
    given = arguments()
    {"prepare": prepare, "official": train_official, "ours": train_ours, "measure": measure}[given.step](given)

"""Time the official PyTorch code as `stylegan_jax.tools.benchmark` times ours: training with its cadence, sampling.

Not a test, and nothing of the package imports it. It needs PyTorch (`pip install -e '.[peers]'`, or the build for your
GPU) and a checkout of NVlabs/stylegan3, whose classes it calls:

    python tests/peers/official_speed.py --repo=../stylegan3 --arch=stylegan2 --resolution=256 --batch=32 \
        --channel-base=16384 --lowp=4 --json=official.json

On a GPU its CUDA extensions are compiled first, or found where PyTorch keeps them: `extensions_seconds` of the record;
--what=extensions does only that. --arch=r3gan needs a checkout of brownvc/R3GAN instead, and measures its published
network for 64x64, or with --widths another. An iteration runs the four phases of the official loop at their
intervals: latents, gradient, removal of NaN, Adam; then the generator's average moves. The images are one batch in
memory. docs/performance.md says how to compare fairly.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import importlib.util
import json
import re
import statistics
import sys
import time
import types
from typing import Any

import torch

ALIAS_FREE = {"stylegan3-t": {}, "stylegan3-r": {"conv_kernel": 1, "use_radial_filters": True}}


def arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repo", required=True, help="checkout of NVlabs/stylegan3")
    parser.add_argument("--arch", default="stylegan2", choices=["stylegan2", *ALIAS_FREE, "r3gan"])
    parser.add_argument("--what", default="all", choices=["all", "extensions"])
    parser.add_argument(
        "--widths", default="768,768,768,768,384", help="of r3gan: channels from 4x4 up, multiples of 8"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8, help="images per iteration")
    parser.add_argument("--channel-base", type=int, default=32768)
    parser.add_argument("--channel-max", type=int, default=512)
    parser.add_argument("--mapping-layers", type=int, default=8, help="2 for StyleGAN3")
    parser.add_argument("--lowp", type=int, default=0, help="resolutions in float16: 4 as published, 0 for none")
    parser.add_argument("--gamma", type=float, default=1.0)
    parser.add_argument("--iterations", type=int, default=32, help="per repeat; whole cycles are multiples of 16")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sample", default="8,32", help="batches of sampling, with constant noise")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0: PyTorch's choice")
    parser.add_argument("--json")
    return parser.parse_args()


def networks(a: argparse.Namespace) -> tuple[Any, Any]:
    """Return the official generator and discriminator."""
    sizes = {"channel_base": a.channel_base, "channel_max": a.channel_max}
    common = {"c_dim": 0, "img_resolution": a.resolution, "img_channels": 3, "num_fp16_res": a.lowp}
    common["conv_clamp"] = 256 if a.lowp else None
    latent = {"z_dim": 512, "w_dim": 512, "mapping_kwargs": {"num_layers": a.mapping_layers}}
    two = importlib.import_module("training.networks_stylegan2")
    if a.arch == "stylegan2":
        g = two.Generator(**latent, **common, **sizes, fused_modconv_default="inference_only")
    else:
        three = importlib.import_module("training.networks_stylegan3")
        own = {**sizes, **ALIAS_FREE[a.arch]}
        if a.arch == "stylegan3-r":
            own = {key: 2 * value if key in sizes else value for key, value in own.items()}
        g = three.Generator(**latent, **own, **{**common, "conv_clamp": 256})
    d = two.Discriminator(**common, **sizes, epilogue_kwargs={"mbstd_group_size": 4})
    return g, d


def stand_in() -> None:
    """Give the official code the one function of `pkg_resources` that it uses, which recent setuptools lack."""
    if importlib.util.find_spec("pkg_resources") is None:
        version = lambda text: tuple(int(n) for n in re.findall(r"\d+", text)[:3])
        sys.modules["pkg_resources"] = types.SimpleNamespace(parse_version=version)  # pyright: ignore[reportArgumentType]


def operations(*names: str) -> list[Any]:
    """Return those of the modules of `torch_utils.ops` that the checkout has."""
    paths = [f"torch_utils.ops.{name}" for name in names]
    return [importlib.import_module(path) for path in paths if importlib.util.find_spec(path)]


def compile_extensions() -> float:
    """Compile the CUDA extensions that the checkout has, or load them; return the seconds."""
    start = time.perf_counter()
    for module in operations("bias_act", "upfirdn2d", "filtered_lrelu"):
        module._init()
    return time.perf_counter() - start


class Training:
    """One iteration after another, with the time that each phase took."""

    z_dim = 512

    def __init__(self, a: argparse.Namespace, device: torch.device):
        self.a, self.device, self.done = a, device, 0
        g, d = (net.train().requires_grad_(False).to(device) for net in networks(a))
        self.g, self.d, self.average = g, d, copy.deepcopy(g).eval()
        alias_free = a.arch != "stylegan2"
        regularised = {} if alias_free else {"style_mixing_prob": 0.9, "pl_weight": 2, "pl_no_weight_grad": True}
        loss = importlib.import_module("training.loss").StyleGAN2Loss
        self.loss = loss(device=device, G=g, D=d, r1_gamma=a.gamma, **regularised)
        self.clean = importlib.import_module("torch_utils.misc").nan_to_num
        self.phases: list[tuple[str, Any, Any, int]] = []
        lazy = {"D": 16} if alias_free else {"G": 4, "D": 16}
        for name, net in (("G", g), ("D", d)):
            every = lazy.get(name)
            c = every / (every + 1) if every else 1.0
            rate = 0.0025 if alias_free and name == "G" else 0.002
            adam = torch.optim.Adam(net.parameters(), lr=rate * c, betas=(0.0**c, 0.99**c), eps=1e-8)
            parts = [("main", 1), ("reg", every)] if every else [("both", 1)]
            self.phases += [(name + part, net, adam, interval) for part, interval in parts]
        self.images = torch.randint(256, (a.batch, 3, a.resolution, a.resolution), dtype=torch.uint8, device=device)
        self.labels = torch.zeros([a.batch, 0], device=device)
        self.seconds: dict[str, list[float]] = {name: [] for name, *_ in self.phases}

    def iteration(self, timed: bool = False) -> None:
        """Train on one batch; `timed` waits for the device after each phase."""
        reals = self.images.float() / 127.5 - 1
        for name, net, adam, every in self.phases:
            if self.done % every:
                continue
            start = time.perf_counter()
            z = torch.randn([self.a.batch, 512], device=self.device)
            adam.zero_grad(set_to_none=True)
            net.requires_grad_(True)
            self.loss.accumulate_gradients(
                phase=name, real_img=reals, real_c=self.labels, gen_z=z, gen_c=self.labels, gain=every, cur_nimg=10**6
            )
            net.requires_grad_(False)
            for parameter in net.parameters():
                if parameter.grad is not None:
                    self.clean(parameter.grad, nan=0, posinf=1e5, neginf=-1e5, out=parameter.grad)
            adam.step()
            if timed:
                self.wait()
                self.seconds[name].append(time.perf_counter() - start)
        self.move_average()
        self.done += 1

    def move_average(self) -> None:
        """Move the averaged generator towards the present one."""
        with torch.no_grad():
            decay = 0.5 ** (self.a.batch / 10_000)
            for mean, now in zip(self.average.parameters(), self.g.parameters(), strict=True):
                mean.lerp_(now, 1 - decay)
            for mean, now in zip(self.average.buffers(), self.g.buffers(), strict=True):
                mean.copy_(now)

    def wait(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def rates(self) -> list[float]:
        """Return the images per second of each repeat; an iteration with every phase must have run."""
        self.done, found = 0, []
        for _ in range(self.a.repeats):
            self.wait()
            start = time.perf_counter()
            for _ in range(self.a.iterations):
                self.iteration()
            self.wait()
            found.append(self.a.iterations * self.a.batch / (time.perf_counter() - start))
        self.done = 0
        for _ in range(17):
            self.iteration(timed=True)
        return found

    def labels_of(self, batch: int) -> torch.Tensor | None:
        """Return labels of no classes."""
        return torch.zeros([batch, 0], device=self.device)

    def sampling(self, batch: int) -> list[float]:
        """Return the images per second of sampling, per repeat."""
        z, c = torch.randn([batch, self.z_dim], device=self.device), self.labels_of(batch)
        noise = {"noise_mode": "const"} if self.a.arch == "stylegan2" else {}
        calls, found = max(3, 96 // batch), []
        with torch.no_grad():
            for _ in range(3):
                self.average(z, c, **noise)
            for _ in range(self.a.repeats):
                self.wait()
                start = time.perf_counter()
                for _ in range(calls):
                    self.average(z, c, **noise)
                self.wait()
                found.append(calls * batch / (time.perf_counter() - start))
        return found


class R3Training(Training):
    """The same for R3GAN: the discriminator first, both penalties in every iteration, no augmentation."""

    z_dim = 64

    def __init__(self, a: argparse.Namespace, device: torch.device):
        self.a, self.device, self.done = a, device, 0
        r3gan = importlib.import_module("R3GAN.Networks")
        widths = [int(n) for n in a.widths.split(",")]
        sizes = (widths, [n // 8 for n in widths], [2] * len(widths))
        g = r3gan.Generator(self.z_dim, *sizes, ExpansionFactor=2)
        d = r3gan.Discriminator(*(part[::-1] for part in sizes), ExpansionFactor=2)
        for stages in (list(g.MainLayers)[-a.lowp :], list(d.MainLayers)[: a.lowp]) if a.lowp else ():
            for stage in stages:
                stage.DataType = torch.bfloat16
        self.g, self.d = (net.train().requires_grad_(False).to(device) for net in (g, d))
        self.average = copy.deepcopy(self.g).eval()
        self.loss = importlib.import_module("R3GAN.Trainer").AdversarialTraining(self.g, self.d)
        adam = lambda net: torch.optim.Adam(net.parameters(), lr=2e-4, betas=(0.0, 0.9), eps=1e-8)
        self.phases = [("D", self.d, adam(self.d), 1), ("G", self.g, adam(self.g), 1)]
        self.images = torch.randint(256, (a.batch, 3, a.resolution, a.resolution), dtype=torch.uint8, device=device)
        self.seconds = {name: [] for name, *_ in self.phases}

    def iteration(self, timed: bool = False) -> None:
        """Train on one batch; `timed` waits for the device after each phase."""
        reals = self.images.float() / 127.5 - 1
        for name, net, adam, _ in self.phases:
            start = time.perf_counter()
            z = torch.randn([self.a.batch, self.z_dim], device=self.device)
            adam.zero_grad(set_to_none=True)
            net.requires_grad_(True)
            if name == "D":
                self.loss.AccumulateDiscriminatorGradients(z, reals, None, self.a.gamma)
            else:
                self.loss.AccumulateGeneratorGradients(z, reals, None)
            net.requires_grad_(False)
            adam.step()
            if timed:
                self.wait()
                self.seconds[name].append(time.perf_counter() - start)
        self.move_average()
        self.done += 1

    def labels_of(self, batch: int) -> None:
        """Return None: R3GAN's networks without classes take no label."""


def main() -> None:
    """Measure, print, write the JSON."""
    a = arguments()
    sys.path.insert(0, a.repo)
    stand_in()
    torch.manual_seed(0)
    if a.threads:
        torch.set_num_threads(a.threads)
    device = torch.device(a.device)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # as the official loops do
    extensions = compile_extensions() if device.type == "cuda" else 0.0
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"
    record: dict[str, Any] = {
        "device": name,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "settings": vars(a),
    }
    record["extensions_seconds"] = extensions
    if a.what == "all":
        measure(a, device, record)
    print(json.dumps(record, indent=2))
    if a.json:
        with open(a.json, "w") as out:
            json.dump(record, out, indent=2)


def measure(a: argparse.Namespace, device: torch.device, record: dict[str, Any]) -> None:
    """Add the measurements to the record."""
    start = time.perf_counter()
    for module in operations("conv2d_gradfix", "grid_sample_gradfix"):
        module.enabled = True  # as the official loops do
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    training = (R3Training if a.arch == "r3gan" else Training)(a, device)
    for _ in range(3):
        training.iteration()
    training.wait()
    record["warmup_seconds"] = time.perf_counter() - start
    record["parameters"] = [sum(p.numel() for p in net.parameters()) for net in (training.g, training.d)]
    record["train_img_per_sec"] = training.rates()
    record["ms"] = {phase: 1000 * statistics.median(times) for phase, times in training.seconds.items()}
    if device.type == "cuda":
        record["train_peak_mib"] = torch.cuda.max_memory_allocated(device) / 2**20
    record["sample_img_per_sec"] = {n: training.sampling(int(n)) for n in a.sample.split(",")}


if __name__ == "__main__":
    main()

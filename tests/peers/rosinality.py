"""Make tests/fixtures/rosinality: a tiny network by rosinality/stylegan2-pytorch (MIT), its file and its images.

    python tests/peers/rosinality.py --repo=../stylegan2-pytorch --out=tests/fixtures/rosinality

Not a test, and nothing of the package imports it. It needs PyTorch and a checkout (made with commit 1376b90 and PyTorch
2.13 on CPU). Channels are the official classes' but narrower, and nothing starts at zero. The CUDA extensions, which a
CPU does not use, are not compiled.
"""

from __future__ import annotations

import argparse
import sys
import types
from pathlib import Path

import numpy as np
import torch
import torch.utils.cpp_extension


def main() -> None:
    """Write rosinality16.pt and rosinality16.npz."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repo", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    args = parser.parse_args()
    torch.utils.cpp_extension.load = lambda *args, **kwargs: None
    sys.path.insert(0, str(args.repo))
    source = (args.repo / "model.py").read_text()
    for size, channels in ((4, 16), (8, 16), (16, 8)):
        source = source.replace(f" {size}: 512,", f" {size}: {channels},")
    module = types.ModuleType("model")
    exec(compile(source, "model.py", "exec"), module.__dict__)
    torch.manual_seed(3)
    g = module.Generator(16, 12, 3).eval()
    with torch.no_grad():
        for name, value in g.named_parameters():
            if name.endswith(("bias", "noise.weight")):
                value.add_(0.2 * torch.randn(value.shape))
        mean, z = g.mean_latent(2000), torch.randn(2, 12)
        image, _ = g([z], randomize_noise=False)
        truncated, _ = g([z], randomize_noise=False, truncation=0.6, truncation_latent=mean)
        w = g.style(z)
    torch.save(
        {"g_ema": g.state_dict(), "latent_avg": mean[0].clone(), "args": {"size": 16}}, args.out / "rosinality16.pt"
    )
    arrays = {"z": z, "w": w, "image": image, "truncated": truncated}
    np.savez_compressed(args.out / "rosinality16.npz", **{name: x.numpy() for name, x in arrays.items()})


if __name__ == "__main__":
    main()

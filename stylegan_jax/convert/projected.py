"""The names of the projected discriminator in StyleGAN-XL's files: one group of arrays per frozen network.

The frozen networks themselves are also in those files, but not in our trees; see `backbones`. The random projections
after them are part of the discriminator's state. Counters of batches exist only in official files, and have no effect.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable

import numpy as np

from stylegan_jax.config import ModelConfig
from stylegan_jax.convert.errors import BadCheckpointError
from stylegan_jax.convert.pickles import OfficialNet
from stylegan_jax.convert.tables import LAYOUTS, Fixed, Layout, Names, Path

BACKBONES = {"tf_efficientnet_lite0": "efficientnet_lite0", "deit_base_distilled_patch16_224": "deit_base"}
"""{official name of a frozen network: ours}."""
OFFICIAL = {ours: theirs for theirs, ours in BACKBONES.items()}
INSIDE = {
    ("conv", "weight"): "main.0.weight_orig",
    ("conv", "bias"): "main.0.bias",
    ("norm", "weight"): "main.1.weight",
    ("norm", "bias"): "main.1.bias",
    ("u",): "main.0.weight_u",
    ("v",): "main.0.weight_v",
    ("mean",): "main.1.running_mean",
    ("var",): "main.1.running_var",
}
"""Arrays of a block of a small discriminator."""
LAST = {"weight": "weight_orig", "u": "weight_u", "v": "weight_v"}
"""Arrays of its last convolution."""
PROJECTIONS = {
    "readout": "pretrained.layer{next}.3",
    "resize": "pretrained.layer{next}.4",
    "ccm": "scratch.layer{k}_ccm",
    "csm": "scratch.layer{k}_csm.out_conv",
}
VECTOR = Layout(
    lambda x: x.reshape(-1, 4, 4).transpose(1, 2, 0),
    lambda x: x.transpose(2, 0, 1).reshape(-1),
    lambda s: (s[0] * s[1] * s[2],),
)
"""The right singular vector of a 4x4 kernel."""
TRANSPOSED = Layout(
    lambda x: x.transpose(2, 3, 0, 1), lambda x: x.transpose(2, 3, 0, 1), lambda s: (s[2], s[3], s[0], s[1])
)
"""The kernel of a transposed convolution."""


def is_projected(net: OfficialNet) -> bool:
    """Return whether a discriminator in a file is projected."""
    return any(name.startswith("feature_networks.") for name in net.tensors)


def is_split(net: OfficialNet) -> bool:
    """Return whether a discriminator is projected, with or without its frozen networks."""
    return any(name.startswith(("feature_networks.", "discriminators.")) for name in net.tensors)


def renamed(net: OfficialNet) -> OfficialNet:
    """Return a discriminator without the suffixes _0, _1 that early files append to the names of frozen networks.

    Raises:
        BadCheckpointError: a frozen network is not one of `BACKBONES`.
    """

    def rename(name: str) -> str:
        group, _, rest = name.partition(".")
        backbone, _, rest = rest.partition(".")
        if group not in ("feature_networks", "discriminators"):
            return name
        known = backbone if backbone in BACKBONES else re.sub(r"_\d$", "", backbone)
        if known not in BACKBONES:
            raise BadCheckpointError("", f"its frozen network is {backbone!r:.80}; known are {', '.join(BACKBONES)}")
        return f"{group}.{known}.{rest}"

    parts = [{rename(name): value for name, value in part.items()} for part in (net.params, net.buffers)]
    if sum(map(len, parts)) != len(net.tensors):
        raise BadCheckpointError("", "it has the same frozen network twice")
    return dataclasses.replace(net, params=parts[0], buffers=parts[1])


def discriminator(config: ModelConfig, paths: Iterable[Path]) -> Names:
    """Return the names of a projected discriminator with leaves at these paths."""
    paths = tuple(paths)
    blocks: dict[Path, int] = {}
    for _, backbone, part, name, *_ in (path for path in paths if path[0] == "batch_stats"):
        if name.startswith("block"):
            blocks[backbone, part] = max(blocks.get((backbone, part), 0), int(name.removeprefix("block")) + 1)
    place = lambda path: f"discriminators.{OFFICIAL[path[1]]}.mini_discs.{path[2].removeprefix('head')}"

    def official(path: Path) -> str:
        if path[0] == "buffers":
            kind, k = path[2][:-1], int(path[2][-1])
            layer = PROJECTIONS[kind].format(k=k, next=k + 1)
            return f"feature_networks.{OFFICIAL[path[1]]}.{layer}.{path[3]}"
        name, rest = path[3], path[4:]
        if name == "out":
            last = "cls" if config.label_dim else f"main.{blocks.get(path[1:3], 0)}"
            return f"{place(path)}.{last}.{LAST[rest[0]]}"
        inside = f"main.{name.removeprefix('block')}.{INSIDE[rest]}" if rest in INSIDE else f"{name}.{rest[0]}"
        return f"{place(path)}.{inside}"

    exceptions = {path: VECTOR for path in paths if path[0] == "batch_stats" and path[-1] == "v"}
    exceptions |= {path: LAYOUTS["same"] for path in paths if path[-2:] == ("embed", "weight")}
    growing = [path for path in paths if path[0] == "buffers" and path[2] in ("resize0", "resize1")]
    exceptions |= {path: TRANSPOSED for path in growing if path[-1] == "weight"}
    count = Fixed(np.zeros((), np.int64), "a counter", is_free=True)
    means = [path for path in paths if path[-1] == "mean"]
    fixed = {official(path).replace("running_mean", "num_batches_tracked"): count for path in means}
    return Names(official, exceptions=exceptions, fixed=fixed)

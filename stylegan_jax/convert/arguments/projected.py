"""The arguments of projected discriminators in official files, inferred from the shapes of their arrays."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from stylegan_jax.config.arch.projected import NAME, ProjectedConfig, seen_size
from stylegan_jax.convert.arguments.shared import DEFAULTS, check_arguments
from stylegan_jax.convert.errors import BadCheckpointError
from stylegan_jax.convert.pickles import OfficialNet
from stylegan_jax.convert.projected import BACKBONES, OFFICIAL

CMAP = 64
"""Size of the mapped label unless a configuration sets it."""
WIDTHS = ProjectedConfig().widths
"""Published channels at nominal sizes 4, 8, …, 1024."""


def discriminator_arguments(net: OfficialNet) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (model configuration keys, notes) of a projected discriminator.

    Args:
        net: as `backbones.split` returns it.

    Returns:
        The keys that it determines, and how its frozen networks compare with the weights available here. Of labels, the
        arrays show only whether there are any: the key 'has_labels', which no configuration has.

    Raises:
        BadCheckpointError: it has no small discriminators.
    """
    shapes = {name: value.shape for name, value in net.tensors.items()}
    found = [m for name in shapes if (m := re.match(r"discriminators\.([^.]+)\.mini_discs\.(\d)\.", name))]
    backbones = list(dict.fromkeys(m[1] for m in found))
    if not backbones:
        raise BadCheckpointError("", "it has frozen networks but no small discriminators")
    first = f"discriminators.{backbones[0]}.mini_discs"
    scratch = f"feature_networks.{backbones[0]}.scratch"
    ccm = [shapes.get(f"{scratch}.layer{k}_ccm.weight") for k in (0, 3)]
    has_scales = f"{scratch}.layer0_csm.out_conv.weight" in shapes
    own: dict[str, Any] = {
        "backbones": [BACKBONES[name] for name in backbones],
        "heads": 1 + max(int(m[2]) for m in found),
        "projections": 2 if has_scales else int(ccm[0] is not None),
    }
    if ccm[0] and ccm[1]:
        own |= {"channels": ccm[0][0], "expand": ccm[1][0] != ccm[0][0]}
    own["widths"] = _widths(shapes, f"{first}.0")
    table, last = shapes.get(f"{first}.0.embed.weight"), shapes.get(f"{first}.0.cls.weight_orig")
    out: dict[str, Any] = {"d_arch": NAME, "has_labels": table is not None}
    if table and len(table) == 2 and last:
        own |= {"embed_rows": table[0], "embed_dim": table[1]}
        out["cmap_dim"] = 0 if last[0] == CMAP else last[0]
    notes = {name: net.attributes.get(f"feature_networks.{name}", {}).get("pretrained") for name in backbones}
    return out | {"projected": DEFAULTS["projected"] | own}, notes


def official_kwargs(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the constructor arguments of the official discriminator for a full model configuration."""
    own = arguments["projected"]
    return {
        "backbones": [OFFICIAL.get(name, name) for name in own["backbones"]],
        "interp224": seen_size(check_arguments(arguments), is_transformer=False) is not None,
        "proj_type": own["projections"],
        "cout": own["channels"],
        "expand": own["expand"],
        "num_discs": own["heads"],
        "cond": arguments["label_dim"] > 0,
    }


def _widths(shapes: dict[str, tuple[int, ...]], head: str) -> list[int]:
    """Return the widths at nominal sizes; a small discriminator has those from its first size down to 8."""
    down: list[int] = []
    while (block := shapes.get(f"{head}.main.{len(down)}.main.0.weight_orig")) and len(down) < 8:
        down.append(block[0])
    return [*WIDTHS[:1], *down[::-1], *WIDTHS[1 + len(down) :]]

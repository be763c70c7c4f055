"""From an official file to our trees, and from our trees to official state dicts."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stylegan_jax.convert import stylegan1, stylegan2, stylegan3
from stylegan_jax.convert.arguments import stylegan1 as arguments1, stylegan2 as arguments2, stylegan3 as arguments3
from stylegan_jax.convert.arguments.shared import check_arguments, merge_arguments
from stylegan_jax.convert.errors import BadCheckpointError
from stylegan_jax.convert.pickles import NET_NAMES, OfficialNet, OfficialPickle, read_official_pickle
from stylegan_jax.convert.tables import Table, export_net, import_net, make_table, network_tree, paths_of

OURS = {"G_ema": "g_ema", "G": "g", "D": "d"}
NAMES = {"stylegan1": stylegan1, "stylegan2": stylegan2, "stylegan3": stylegan3}
"""What the official files of an architecture call its arrays."""
ARGUMENTS = {"stylegan1": arguments1, "stylegan2": arguments2, "stylegan3": arguments3}
"""With which arguments its official networks were built."""
EXPORTABLE = ("stylegan2", "stylegan3")
"""Architectures with official networks in PyTorch."""


def check_net_name(net: str) -> None:
    """Raise BadCheckpointError unless `net` is one of ours."""
    if net not in OURS.values():
        raise BadCheckpointError("", f"unknown network {net!r:.40}; known are {', '.join(sorted(OURS.values()))}")


def net_table(config: Mapping[str, Any], net: str, *, with_fixed: bool = True) -> Table:
    """Return the table of a network.

    Args:
        config: a full model configuration.
        net: 'g', 'g_ema' or 'd'.
        with_fixed: list the official arrays that follow from the configuration too.

    Raises:
        BadCheckpointError: unknown network, or a configuration of none.
    """
    check_net_name(net)
    model, names = check_arguments(config), NAMES[config["arch"]]
    tree = network_tree(model, net)
    rules = names.discriminator if net == "d" else names.generator
    return make_table(tree, rules(model, paths_of(tree)), with_fixed=with_fixed)


def net_kwargs(config: Mapping[str, Any], net: str, w_avg_beta: float = 0.998) -> dict[str, Any]:
    """Return the constructor arguments of the official network; arguments as for `net_table`."""
    return ARGUMENTS[config["arch"]].official_kwargs(config, net, w_avg_beta)


def detect_architecture(official: OfficialPickle) -> str:
    """Return 'stylegan1', 'stylegan2', 'stylegan3', 'stylegan_xl', 'stylegan_v' or 'unknown', from the array names."""
    if official.kind == "tf":
        return "stylegan1" if any(net.version < 4 for net in official.nets.values()) else "stylegan2"
    names = {name for net in official.nets.values() for name in net.tensors}
    if any(name.startswith(("mapping.embed_proj.", "feature_networks.")) for name in names):
        return "stylegan_xl"
    if any("motion_encoder." in name for name in names):
        return "stylegan_v"
    if any(name.startswith("synthesis.input.") for name in names):
        return "stylegan3"
    return "stylegan2" if any(name.startswith(("synthesis.b4.", "b4.")) for name in names) else "unknown"


def convert_pickle(
    path: str | os.PathLike[str], nets: Sequence[str] = NET_NAMES
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Convert an official .pkl file to our parameter trees, without running anything in it.

    Args:
        path: the .pkl file.
        nets: which of 'G', 'D', 'G_ema' to convert; those that the file lacks are left out.

    Returns:
        (model configuration, {'g_ema' | 'g' | 'd': tree}, provenance). A generator tree is
        {'params', 'buffers', 'w_avg'} ('buffers' only with noise), a discriminator tree {'params'}; all float32.

    Raises:
        BadCheckpointError: unreadable, of an architecture that is not available, or not what its arguments say.
    """
    official = read_official_pickle(path, nets)
    if not official.nets:
        raise BadCheckpointError(path, f"has none of the networks {', '.join(nets)}")
    try:
        arch = detect_architecture(official)
        if arch not in NAMES:
            raise BadCheckpointError(path, f"architecture {arch} is not available yet; known are {', '.join(NAMES)}")
        config, notes = _arguments(official, arch)
        provenance = _provenance(path, official, notes)
        trees = {OURS[name]: _import(name, official, config) for name in OURS if name in official.nets}
    except BadCheckpointError as error:
        raise error if error.path else BadCheckpointError(path, error.reason) from None
    return config, trees, provenance


def official_state_dicts(config: Mapping[str, Any], nets: Mapping[str, Any]) -> dict[str, dict[str, np.ndarray]]:
    """Return our trees as official PyTorch state dicts, FIR buffers included.

    Args:
        config: model configuration.
        nets: {'g_ema' | 'g' | 'd': tree}.

    Returns:
        {'G_ema' | 'G' | 'D': {official name: float32 array}}.

    Raises:
        BadCheckpointError: a tree does not fit the configuration, or the architecture is not available.
    """
    if config.get("arch") not in EXPORTABLE:
        raise BadCheckpointError(
            "", f"architecture {config.get('arch')!r} has no official PyTorch networks; {', '.join(EXPORTABLE)} have"
        )
    check_arguments(config)
    if list(config["base_size"]) != [4, 4]:
        raise BadCheckpointError("", f"base_size is {config['base_size']}; official networks start at 4x4")
    official = {ours: name for name, ours in OURS.items()}
    if config["grows"]:
        raise BadCheckpointError("", "grows is True; no official network in PyTorch has an RGB layer per resolution")
    tables = {net: net_table(config, net) for net in nets}
    return {official[net]: export_net(nets[net], tables[net]) for net in nets}


def _arguments(official: OfficialPickle, arch: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Translate TensorFlow networks in place, and return (model configuration, notes)."""
    rules = ARGUMENTS[arch]
    parts: dict[str, dict[str, Any]] = {}
    notes: dict[str, Any] = {}
    for name, net in official.nets.items():
        if official.kind == "tf":
            net = official.nets[name] = NAMES[arch].from_tensorflow(net, name)
        found, note = rules.discriminator_arguments(net) if name == "D" else rules.generator_arguments(net)
        notes[name] = note
        kind = "D" if name == "D" else "G"
        if parts.setdefault(kind, found) != found:
            raise BadCheckpointError("", "G and G_ema were built with different arguments; convert one with --nets")
    return merge_arguments(parts.get("G"), parts.get("D")), notes


def _import(name: str, official: OfficialPickle, config: Mapping[str, Any]) -> dict[str, Any]:
    net: OfficialNet = official.nets[name]
    table = net_table(config, OURS[name], with_fixed=official.kind == "torch")
    tensors = net.tensors
    net.params.clear()
    net.buffers.clear()
    try:
        return import_net(tensors, table)
    except BadCheckpointError as error:
        raise BadCheckpointError("", f"{name}: {error.reason}") from None


def _provenance(path: str | os.PathLike[str], official: OfficialPickle, notes: dict[str, Any]) -> dict[str, Any]:
    """Where the weights come from, as JSON-ready data without dates or folders."""
    return {
        "source": Path(path).name,
        "sha256": sha256_file(path),
        "era": official.kind,
        "nets": {
            name: {
                "class": net.class_name,
                "version": net.version,
                "dtypes": sorted({str(x.dtype) for x in net.tensors.values()}),
                "notes": {k: v for k, v in notes[name].items() if isinstance(v, str | int | float | bool | type(None))},
            }
            for name, net in official.nets.items()
        },
    }


def sha256_file(path: str | os.PathLike[str]) -> str:
    """Return the hex SHA-256 of a file."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BadCheckpointError(path, f"cannot be read: {error.strerror or error}") from None

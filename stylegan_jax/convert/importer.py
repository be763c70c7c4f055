"""Converting official files to our trees, and our trees to official state dicts."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stylegan_jax.config.arch import projected as projected_config
from stylegan_jax.convert import (
    backbones,
    projected,
    r3gan,
    rosinality,
    stylegan1,
    stylegan2,
    stylegan3,
    stylegan_v,
    stylegan_xl,
)
from stylegan_jax.convert.arguments import (
    projected as arguments_projected,
    r3gan as arguments_r3gan,
    stylegan1 as arguments1,
    stylegan2 as arguments2,
    stylegan3 as arguments3,
    stylegan_v as arguments_v,
    stylegan_xl as arguments_xl,
)
from stylegan_jax.convert.arguments.shared import check_arguments, merge_arguments
from stylegan_jax.convert.errors import BadCheckpointError
from stylegan_jax.convert.pickles import NET_NAMES, OfficialNet, OfficialPickle, read_official_pickle
from stylegan_jax.convert.tables import Table, check_net, export_net, import_net, make_table, network_tree, paths_of
from stylegan_jax.inert.plain import DAMAGE
from stylegan_jax.inert.stream import show

OURS = {"G_ema": "g_ema", "G": "g", "D": "d"}
NAMES = {
    "stylegan1": stylegan1,
    "stylegan2": stylegan2,
    "stylegan3": stylegan3,
    "stylegan_xl": stylegan_xl,
    "r3gan": r3gan,
    "stylegan_v": stylegan_v,
}
"""Modules with the names of an architecture's arrays in official files."""
ARGUMENTS = {
    "stylegan1": arguments1,
    "stylegan2": arguments2,
    "stylegan3": arguments3,
    "stylegan_xl": arguments_xl,
    "r3gan": arguments_r3gan,
    "stylegan_v": arguments_v,
}
"""Modules with the constructor arguments of its official networks."""
EXPORTABLE = ("stylegan2", "stylegan3", "stylegan_xl", "r3gan", "stylegan_v")
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
        with_fixed: also list the official arrays that follow from the configuration.

    Raises:
        BadCheckpointError: the network is unknown, or no network has this configuration.
    """
    check_net_name(net)
    model, names = check_arguments(config), NAMES[config["arch"]]
    tree = network_tree(model, net)
    rules = names.discriminator if net == "d" else names.generator
    if net == "d" and model.d_arch == projected_config.NAME:
        rules = projected.discriminator
    return make_table(tree, rules(model, paths_of(tree)), with_fixed=with_fixed)


def net_kwargs(config: Mapping[str, Any], net: str, w_avg_beta: float = 0.998) -> dict[str, Any]:
    """Return the constructor arguments of the official network; see `net_table` for the arguments."""
    if net == "d" and config["d_arch"] == projected_config.NAME:
        return arguments_projected.official_kwargs(config)
    return ARGUMENTS[config["arch"]].official_kwargs(config, net, w_avg_beta)


def detect_architecture(official: OfficialPickle) -> str:
    """Return the name of the architecture, a key of `NAMES` or 'unknown', from the array names.

    If there is a generator, its names decide, because forks add discriminators of their own.
    """
    if official.kind == "tf":
        return "stylegan1" if any(net.version < 4 for net in official.nets.values()) else "stylegan2"
    nets = [net for name, net in official.nets.items() if name != "D"] or list(official.nets.values())
    names = {name for net in nets for name in net.tensors}
    has_table = {"mapping.embed.weight", "synthesis.input.weight"} <= names and "mapping.embed.bias" not in names
    if has_table or any(name.startswith(("mapping.embed_proj.", "feature_networks.")) for name in names):
        return "stylegan_xl"
    if any(name.startswith("Model.MainLayers.") for name in names):
        return "r3gan"
    theirs = any(
        "motion_encoder." in name or name.startswith(("synthesis.b4.input.", "time_encoder.")) for name in names
    )
    if theirs or any(map(arguments_v.is_discriminator, nets)):
        return "stylegan_v"
    if any(name.startswith("synthesis.input.") for name in names):
        return "stylegan3"
    is_known = any(map(rosinality.is_generator, (net.tensors for net in nets)))
    return "stylegan2" if is_known or any(name.startswith(("synthesis.b4.", "b4.")) for name in names) else "unknown"


def convert_pickle(
    path: str | os.PathLike[str],
    nets: Sequence[str] = NET_NAMES,
    *,
    first: bool = False,
    optional: Sequence[str] = (),
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Convert another code base's network file to our parameter trees, without executing anything in it.

    Args:
        path: the file, as `read_official_pickle` reads it.
        nets: which of 'G', 'D', 'G_ema' to convert; those that the file lacks are skipped.
        first: convert only the first of `nets` that the file has.
        optional: those of `nets` that are skipped, and named in the provenance, if they are of another kind.

    Returns:
        (model configuration, {'g_ema' | 'g' | 'd': tree}, provenance). A generator tree is
        {'params', 'buffers', 'w_avg'} ('buffers' only with noise), a discriminator tree {'params'}; all float32.

    Raises:
        BadCheckpointError: the file is unreadable, its architecture is unknown, or its arrays do not match its
            arguments or are not finite.
    """
    official = read_official_pickle(path, nets, first=first)
    if not official.nets:
        raise BadCheckpointError(path, f"has none of the networks {', '.join(nets)}" + _drawless(nets))
    left: dict[str, str] = {}
    try:
        arch = detect_architecture(official)
        if arch not in ARGUMENTS:
            known = ", ".join(ARGUMENTS)
            raise BadCheckpointError(path, f"{_classes(official)}: the architecture is {arch}; known are {known}")
        while True:
            try:
                config, notes, tables = _fit(official, arch)
                break
            except _Unfit as error:
                if error.net not in optional or not set(official.nets) - {error.net, "D"}:
                    raise BadCheckpointError(path, _advice(official, error)) from None
                left[OURS[error.net]] = f"{official.nets.pop(error.net).class_name}: {error.reason}"
        provenance = _provenance(path, official, notes, left)
        trees = {OURS[name]: _import(official.nets[name], tables[name]) for name in OURS if name in official.nets}
    except DAMAGE as error:
        reason = f"damaged, or hostile ({type(error).__name__}: {str(error)[:200]})"
        raise BadCheckpointError(path, reason) from None
    return config, trees, provenance


def _drawless(nets: Sequence[str]) -> str:
    return "" if "D" in nets else "; a discriminator alone draws nothing"


class _Unfit(BadCheckpointError):
    """A network in a file is not one of ours; `net` is 'G', 'D' or 'G_ema'."""

    def __init__(self, net: str, reason: str):
        super().__init__("", reason)
        self.net = net


def _fit(official: OfficialPickle, arch: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]], dict[str, Table]]:
    """Return (model configuration, notes and tables by network), checked; networks of `official` are renamed in place.

    Raises:
        _Unfit: a network is of another kind; the error names it.
    """
    parts: dict[str, dict[str, Any]] = {}
    notes: dict[str, dict[str, Any]] = {}
    for name in sorted(official.nets, key=list(OURS).index):
        with _naming(name):
            net = official.nets[name] = _renamed(name, official.nets[name], official.kind, arch)
            if name == "D":
                rules = arguments_projected if projected.is_split(net) else ARGUMENTS[arch]
                found, notes[name] = rules.discriminator_arguments(net)
            else:
                found, notes[name] = ARGUMENTS[arch].generator_arguments(net)
            if parts.setdefault("D" if name == "D" else "G", found) != found:
                raise BadCheckpointError("", "it was built with other arguments than G_ema")
    with _naming("D" if "D" in parts else next(iter(official.nets))):
        config = merge_arguments(parts.get("G"), parts.get("D"))
    tables = {}
    for name, net in official.nets.items():
        with _naming(name):
            tables[name] = net_table(config, OURS[name], with_fixed=net.has_filters)
            check_net(net.tensors, tables[name])
    return config, notes, tables


def _renamed(name: str, net: OfficialNet, kind: str, arch: str) -> OfficialNet:
    """Return a network as the official PyTorch code would have written it, or TensorFlow's if there is no other."""
    if net.is_renamed:
        return net
    if kind == "tf":
        net = NAMES[arch].from_tensorflow(net, name)
    elif name == "D" and projected.is_projected(net):
        net = backbones.split(projected.renamed(net))
    elif arch == "r3gan":
        net = net if name == "D" else arguments_r3gan.with_mean(net)
    elif name != "D" and rosinality.is_generator(net.tensors):
        net = rosinality.generator(net)
    elif name == "D" and not any(key.startswith("b4.") for key in net.tensors):
        raise BadCheckpointError("", f"it is not a discriminator of {arch}")
    elif kind == "state" and arch != "stylegan_v":
        net = rosinality.official_state(net)
    return dataclasses.replace(net, is_renamed=True)


@contextlib.contextmanager
def _naming(net: str) -> Iterator[None]:
    """Add the name of the network to an error."""
    try:
        yield
    except BadCheckpointError as error:
        raise _Unfit(net, error.reason) from None


def _advice(official: OfficialPickle, error: _Unfit) -> str:
    """Return the text of an error about one network: its class, and how to convert the others."""
    names = [name for name in official.nets if name != error.net]
    others = ",".join(OURS[name] for name in names if error.net == "D" or name == "G_ema")
    label = f"{error.net} ({show(official.nets[error.net].class_name)})"
    return f"{label}: {error.reason}" + (f"; convert the others with --nets={others}" if others else "")


def _classes(official: OfficialPickle) -> str:
    return ", ".join(f"{name} is a {show(net.class_name)}" for name, net in official.nets.items())


def official_state_dicts(config: Mapping[str, Any], nets: Mapping[str, Any]) -> dict[str, dict[str, np.ndarray]]:
    """Return our trees as official PyTorch state dicts, FIR buffers included.

    Args:
        config: model configuration.
        nets: {'g_ema' | 'g' | 'd': tree}.

    Returns:
        {'G_ema' | 'G' | 'D': {official name: float32 array}}.

    Raises:
        BadCheckpointError: a tree does not fit the configuration, or no official PyTorch network has it.
    """
    if config.get("arch") not in EXPORTABLE:
        raise BadCheckpointError(
            "",
            f"architecture {config.get('arch')!r} has no official PyTorch network; only {', '.join(EXPORTABLE)} do",
        )
    check_arguments(config)
    if list(config["base_size"]) != [4, 4]:
        raise BadCheckpointError("", f"base_size is {config['base_size']}; official networks start at 4x4")
    official = {ours: name for name, ours in OURS.items()}
    if config["arch"] in ("stylegan3", "stylegan_xl") and (config["mapping_embed_dim"] or config["mapping_layer_dim"]):
        raise BadCheckpointError(
            "", f"mapping_embed_dim or mapping_layer_dim is set; the official {config['arch']} has neither"
        )
    if config["grows"]:
        raise BadCheckpointError("", "grows is True; no official network in PyTorch has an RGB layer per resolution")
    tables = {net: net_table(config, net) for net in nets}
    made = {official[net]: export_net(nets[net], tables[net]) for net in nets}
    if config["arch"] == "r3gan":  # official files do not store the mean input
        made = {name: {k: x for k, x in arrays.items() if k != r3gan.W_AVG} for name, arrays in made.items()}
    return made


def _import(net: OfficialNet, table: Table) -> dict[str, Any]:
    tensors = net.tensors
    net.params.clear()
    net.buffers.clear()
    return import_net(tensors, table)


def _provenance(
    path: str | os.PathLike[str], official: OfficialPickle, notes: dict[str, Any], left: dict[str, str]
) -> dict[str, Any]:
    """Return where the weights come from, as JSON-ready data without dates or folders."""
    return {
        "source": Path(path).name,
        "sha256": sha256_file(path),
        "era": official.kind,
        "nets": {
            name: {
                "class": net.class_name,
                "version": net.version,
                "dtypes": sorted({str(x.dtype) for x in net.tensors.values()}),
                "notes": {k: v for k, v in notes[name].items() if isinstance(v, str | int | float | bool | None)},
            }
            for name, net in official.nets.items()
        },
        **({"note": official.note} if official.note else {}),
        **({"left_out": left} if left else {}),
        **({"dropped": dict(list(official.dropped.items())[:20])} if official.dropped else {}),
    }


def sha256_file(path: str | os.PathLike[str]) -> str:
    """Return the hex SHA-256 of a file."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BadCheckpointError(path, f"cannot be read: {error.strerror or error}") from None

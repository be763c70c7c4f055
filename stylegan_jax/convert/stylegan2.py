"""Names, shapes and layouts of StyleGAN2, ours and the official ones: one table per network, used in both directions.

Ours: dense [in, out], convolution HWIO without any flip, constant [4, 4, c], the discriminator's first dense layer fed
by h·w·c. Official (PyTorch): [out, in], OIHW, [c, 4, 4], c·h·w. FIR buffers exist only in official files; they follow
from the arguments, are compared on import and made again on export.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from stylegan_jax.base.trees import flatten, put
from stylegan_jax.convert.errors import BadCheckpointError

DEFAULT_FIR = (1, 3, 3, 1)


class Slot(NamedTuple):
    """One official array: `where` it goes in our tree, official `shape`, and `layout`.

    A FIR buffer goes nowhere: it has the value `fixed`, which `name` describes in an error.
    """

    where: tuple[str, ...] | None
    shape: tuple[int, ...]
    layout: str
    fixed: np.ndarray | None = None
    name: str = ""


class Layout(NamedTuple):
    """How an official array becomes ours, and back; `shape` maps the official shape to ours."""

    to_ours: Callable[[np.ndarray], np.ndarray]
    to_official: Callable[[np.ndarray], np.ndarray]
    shape: Callable[[Any], tuple[int, ...]]


def _flat_to_ours(x: np.ndarray) -> np.ndarray:
    out, features = x.shape
    return x.reshape(out, features // 16, 4, 4).transpose(2, 3, 1, 0).reshape(features, out)


def _flat_to_official(x: np.ndarray) -> np.ndarray:
    features, out = x.shape
    return x.reshape(4, 4, features // 16, out).transpose(3, 2, 0, 1).reshape(out, features)


LAYOUTS = {
    "same": Layout(lambda x: x, lambda x: x, lambda s: s),
    "dense": Layout(lambda x: x.T, lambda x: x.T, lambda s: s[::-1]),
    "conv": Layout(
        lambda x: x.transpose(2, 3, 1, 0), lambda x: x.transpose(3, 2, 0, 1), lambda s: (*s[2:], s[1], s[0])
    ),
    "const": Layout(lambda x: x.transpose(1, 2, 0), lambda x: x.transpose(2, 0, 1), lambda s: (*s[1:], s[0])),
    "flat": Layout(_flat_to_ours, _flat_to_official, lambda s: s[::-1]),
    "tf_const": Layout(
        lambda x: x[0].transpose(1, 2, 0), lambda x: x.transpose(2, 0, 1)[None], lambda s: (*s[2:], s[1])
    ),
    "tf_map": Layout(lambda x: x[0, 0], lambda x: x[None, None], lambda s: s[2:]),
    "tf_flat": Layout(lambda x: _flat_to_ours(x.T), lambda x: _flat_to_official(x).T, lambda s: s),
    "tf_unflat": Layout(lambda x: _flat_to_ours(x).T, lambda x: _flat_to_official(x.T), lambda s: s),
}


def fir(taps: tuple[float, ...]) -> np.ndarray:
    """Return the official FIR buffer of `taps`: float32, sum 1, an outer product below 8 taps."""
    f = np.asarray(taps, np.float32)
    if f.size < 8:
        f = np.outer(f, f)
    return f / f.sum()


def channels(arguments: Mapping[str, Any], resolution: int) -> int:
    """Return the number of channels at `resolution` (SG2-ADA App. C)."""
    return min(arguments["channel_base"] // resolution, arguments["channel_max"])


def resolutions(arguments: Mapping[str, Any]) -> list[int]:
    """Return the block resolutions, 4 first."""
    return [2**i for i in range(2, int(math.log2(arguments["resolution"])) + 1)]


class Table:
    """Collects slots.

    Args:
        with_fir: list FIR buffers too.
        ours: official names of modules that are called otherwise here.
    """

    def __init__(self, with_fir: bool, ours: Mapping[str, str] | None = None):
        self.slots: dict[str, Slot] = {}
        self.with_fir = with_fir
        self.ours = ours or {}

    def add(self, name: str, shape: tuple[int, ...], layout: str, group: str = "params") -> None:
        """Add an array of a group of variables."""
        parts = (self.ours.get(part, part) for part in name.split("."))
        self.slots[name] = Slot((group, *parts), shape, layout)

    def add_w_avg(self, w_dim: int) -> None:
        self.slots["mapping.w_avg"] = Slot(("w_avg",), (w_dim,), "same")

    def add_fixed(self, name: str, value: np.ndarray, described: str) -> None:
        """Add a buffer that follows from the arguments."""
        if self.with_fir:
            self.slots[name] = Slot(None, value.shape, "same", value, described)

    def add_fir(self, name: str, taps: tuple[float, ...] = DEFAULT_FIR) -> None:
        self.add_fixed(f"{name}.resample_filter", fir(taps), f"the filter {list(taps)} that the arguments name")

    def dense(self, name: str, fan_in: int, fan_out: int, layout: str = "dense") -> None:
        self.add(f"{name}.weight", (fan_out, fan_in), layout)
        self.add(f"{name}.bias", (fan_out,), "same")

    def conv(self, name: str, kernel: int, fan_in: int, fan_out: int, *, bias: bool = True) -> None:
        self.add(f"{name}.weight", (fan_out, fan_in, kernel, kernel), "conv")
        if bias:
            self.add(f"{name}.bias", (fan_out,), "same")

    def mapping(self, label_dim: int, z_dim: int, embed_dim: int, widths: list[int]) -> None:
        """Add the label embedding and one dense layer per entry of `widths`."""
        fan_in = z_dim
        if label_dim:
            self.dense("mapping.embed", label_dim, embed_dim)
            fan_in += embed_dim
        for i, width in enumerate(widths):
            self.dense(f"mapping.fc{i}", fan_in, width)
            fan_in = width


def generator_slots(arguments: Mapping[str, Any], *, with_fir: bool = True) -> dict[str, Slot]:
    """Return the table of a generator.

    Args:
        arguments: model configuration keys.
        with_fir: list the FIR buffers too.

    Returns:
        Official state-dict name -> Slot.
    """
    a, table, taps = arguments, Table(with_fir), tuple(arguments["resample_filter"])
    w_dim, layers = a["w_dim"], a["mapping_layers"]
    widths = [a["mapping_layer_dim"] or w_dim] * (layers - 1) + [w_dim] * (layers > 0)
    table.mapping(a["label_dim"], a["z_dim"], a["mapping_embed_dim"] or w_dim, widths)
    table.add_w_avg(w_dim)
    for r in resolutions(a):
        block, out = f"synthesis.b{r}", channels(a, r)
        table.add_fir(block, taps)
        if r == 4:
            table.add(f"{block}.const", (out, 4, 4), "const")
        else:
            fan_in = channels(a, r // 2)
            _styled_conv(table, a, f"{block}.conv0", r, fan_in, out)
            table.add_fir(f"{block}.conv0", taps)
            if a["g_arch"] == "resnet":
                table.conv(f"{block}.skip", 1, fan_in, out, bias=False)
                table.add_fir(f"{block}.skip", taps)
        _styled_conv(table, a, f"{block}.conv1", r, out, out)
        table.add_fir(f"{block}.conv1")
        if a["g_arch"] == "skip" or r == a["resolution"]:
            table.conv(f"{block}.torgb", 1, out, a["img_channels"])
            table.dense(f"{block}.torgb.affine", a["w_dim"], out)
    return table.slots


def _styled_conv(table: Table, a: Mapping[str, Any], name: str, r: int, fan_in: int, fan_out: int) -> None:
    table.conv(name, 3, fan_in, fan_out)
    table.dense(f"{name}.affine", a["w_dim"], fan_in)
    if a["use_noise"]:
        table.add(f"{name}.noise_strength", (), "same")
        table.add(f"{name}.noise_const", (r, r), "same", "buffers")


def cmap_dim(arguments: Mapping[str, Any]) -> int:
    """Return the size of the mapped label; 0 without labels."""
    return (arguments["cmap_dim"] or channels(arguments, 4)) if arguments["label_dim"] else 0


def discriminator_slots(arguments: Mapping[str, Any], *, with_fir: bool = True) -> dict[str, Slot]:
    """Return the table of a discriminator; arguments and result as for `generator_slots`."""
    a, table, taps = arguments, Table(with_fir), tuple(arguments["resample_filter"])
    for r in reversed(resolutions(a)[1:]):
        block, fan_in, out = f"b{r}", channels(a, r), channels(a, r // 2)
        table.add_fir(block, taps)
        if a["d_arch"] == "skip" or r == a["resolution"]:
            table.conv(f"{block}.fromrgb", 1, a["img_channels"], fan_in)
            table.add_fir(f"{block}.fromrgb")
        table.conv(f"{block}.conv0", 3, fan_in, fan_in)
        table.add_fir(f"{block}.conv0")
        table.conv(f"{block}.conv1", 3, fan_in, out)
        table.add_fir(f"{block}.conv1", taps)
        if a["d_arch"] == "resnet":
            table.conv(f"{block}.skip", 1, fan_in, out, bias=False)
            table.add_fir(f"{block}.skip", taps)
    c = channels(a, 4)
    if a["label_dim"]:
        table.mapping(a["label_dim"], 0, cmap_dim(a), [cmap_dim(a)] * a["d_mapping_layers"])
    if a["d_arch"] == "skip":
        table.conv("b4.fromrgb", 1, a["img_channels"], c)
        table.add_fir("b4.fromrgb")
    table.conv("b4.conv", 3, c + a["mbstd_channels"], c)
    table.add_fir("b4.conv")
    table.dense("b4.fc", 16 * c, c, "flat")
    table.dense("b4.out", c, cmap_dim(a) or 1)
    return table.slots


def import_net(tensors: dict[str, np.ndarray], slots: Mapping[str, Slot]) -> dict[str, Any]:
    """Rearrange official arrays into our tree.

    Args:
        tensors: official name -> array; emptied on the way, so that memory is held only once.
        slots: the table.

    Returns:
        {'params': …[, 'buffers': …][, 'w_avg': float32[w]]}, float32, C-contiguous, owning their memory.

    Raises:
        BadCheckpointError: a name is missing or left over, a shape is wrong, or a filter differs from the arguments.
    """
    _check_names(set(tensors), set(slots))
    _check_shapes({name: tensors[name].shape for name in slots}, {name: slot.shape for name, slot in slots.items()})
    tree: dict[str, Any] = {}
    for name, slot in slots.items():
        value = np.asarray(tensors.pop(name), np.float32)
        if slot.where is None:
            _check_fixed(name, value, slot)
        else:
            _put(tree, slot.where, np.array(LAYOUTS[slot.layout].to_ours(value), np.float32, order="C"))
    return tree


def export_net(tree: Mapping[str, Any], slots: Mapping[str, Slot]) -> dict[str, np.ndarray]:
    """Rearrange our tree into official arrays; the inverse of `import_net`.

    Args:
        tree: {'params': …[, 'buffers': …][, 'w_avg': …]}.
        slots: the table.

    Returns:
        Official name -> float32 array, C-contiguous, FIR buffers included when the table lists them.

    Raises:
        BadCheckpointError: a name is missing or left over, or a shape is wrong.
    """
    check_tree(tree, slots)
    flat = flatten(tree)
    out = {}
    for name, slot in slots.items():
        if slot.where is None:
            assert slot.fixed is not None
            out[name] = np.array(slot.fixed)
        else:
            value = np.asarray(flat["/".join(slot.where)], np.float32)
            out[name] = np.array(LAYOUTS[slot.layout].to_official(value), np.float32, order="C")
    return out


def check_tree(tree: Mapping[str, Any], slots: Mapping[str, Slot]) -> None:
    """Check that `tree` has exactly the arrays of the table.

    Raises:
        BadCheckpointError: listing what is missing, left over or of the wrong shape.
    """
    want = {"/".join(slot.where): slot for slot in slots.values() if slot.where is not None}
    flat = flatten(tree)
    _check_names(set(flat), set(want))
    shapes = {name: LAYOUTS[slot.layout].shape(slot.shape) for name, slot in want.items()}
    _check_shapes({name: np.shape(flat[name]) for name in want}, shapes)


def _put(tree: dict[str, Any], where: tuple[str, ...], value: Any) -> None:
    try:
        put(tree, where, value)
    except ValueError as error:
        raise BadCheckpointError("", str(error)) from None


def _listing(items: list[str]) -> str:
    return ", ".join(items[:8]) + (f" and {len(items) - 8} more" if len(items) > 8 else "")


def _check_names(have: set[str], want: set[str]) -> None:
    problems = []
    if want - have:
        problems.append(f"missing: {_listing(sorted(want - have))}")
    if have - want:
        problems.append(f"not part of this network: {_listing(sorted(have - want))}")
    if problems:
        raise BadCheckpointError("", "; ".join(problems))


def _check_shapes(have: Mapping[str, tuple[int, ...]], want: Mapping[str, tuple[int, ...]]) -> None:
    wrong = [f"{k} is {list(have[k])}, expected {list(want[k])}" for k in want if tuple(have[k]) != tuple(want[k])]
    if wrong:
        raise BadCheckpointError("", f"shapes do not fit the arguments: {_listing(wrong)}")


def _check_fixed(name: str, value: np.ndarray, slot: Slot) -> None:
    assert slot.fixed is not None
    if not np.allclose(value, slot.fixed, rtol=1e-5, atol=1e-6 if value.dtype == np.float32 else 1e-3):
        raise BadCheckpointError("", f"{name} is not {slot.name}")

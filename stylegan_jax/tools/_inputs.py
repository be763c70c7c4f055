"""What the drawing tools share: their arguments, and seeds, slots, labels and transforms made of them. No JAX."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np

from stylegan_jax.base import files

_FLAGS = {"classes": "class"}
"""Names of arguments: how they are written, where that differs."""


def add_arguments(p: argparse.ArgumentParser, psi: bool = True) -> None:
    """Add which model to draw from, and how."""
    add_model(p)
    if psi:
        p.add_argument("--psi", type=float, default=1.0, help="truncation: 1 none, 0 the average image (default: 1)")
    p.add_argument("--cutoff", type=int, default=None, help="truncate only the first so many style slots")
    add_labels(p, "class or classes from 0, as 3, 0-4, 1,7, or all")
    p.add_argument("--batch", type=int, default=8, help="images per call (default: 8)")


def add_labels(p: argparse.ArgumentParser, classes: str) -> None:
    """Add which labels to draw with; `classes` is the help of --class."""
    p.add_argument("--class", default=None, dest="classes", metavar="K,…", help=classes)
    p.add_argument("--label", default=None, metavar="X,Y,…", help="label as numbers, for multi-hot and vector labels")


def add_model(p: argparse.ArgumentParser) -> None:
    """Add which model it is."""
    p.add_argument("--model", required=True, help="workdir of a run, model folder, hf://user/name, or official .pkl")
    p.add_argument("--step", type=int, default=None, help="checkpoint of a run (default: the newest)")


def add_output(p: argparse.ArgumentParser, what: str) -> None:
    """Add where the pictures go."""
    p.add_argument("--out", required=True, help=f"{what}; created if absent")
    p.add_argument("--overwrite", action="store_true", help="also where --out was made with other arguments")


def parse_seeds(text: str) -> list[int]:
    """Return the seeds of '0-15', '3', '1,5,8-10'.

    Raises:
        ValueError: not of that form, negative, or a range that runs backwards.
    """
    return parse_numbers("--seeds", text, 2**32, "seed")


def parse_numbers(flag: str, text: str, below: int, what: str) -> list[int]:
    """Return the whole numbers of '0-15', '3', '1,5,8-10'.

    Raises:
        ValueError: not of that form, negative, too large, or a range that runs backwards.
    """
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise ValueError(f"{flag}={text!r}: {part!r} is not a {what} or a range; write 7, 0-15 or 1,5,8-10")
        ends = int(first), int(last if dash else first)
        if ends[1] < ends[0]:
            raise ValueError(f"{flag}={text!r}: the range {part!r} runs backwards; write {last}-{first}")
        if ends[1] >= below:
            raise ValueError(f"{flag}={text!r}: {ends[1]} is too large; each {what} is below {below}")
        found += range(ends[0], ends[1] + 1)
    return found


def parse_floats(flag: str, text: str) -> list[float]:
    """Return the numbers of '0,0.5,1'.

    Raises:
        ValueError: not finite numbers with commas between.
    """
    try:
        found = [float(x) for x in text.split(",")]
    except ValueError:
        found = [np.nan]
    if not np.isfinite(found).all():
        raise ValueError(f"{flag}={text}: write numbers with commas, such as {flag}=0,0.5,1")
    return found


def read_styles(path: str, spec: Any) -> np.ndarray:
    """Return ws float32[n, l, w] of the array 'w' of --styles.

    Raises:
        ValueError: no such file, or styles of another model.
    """
    from stylegan_jax.sampling import model as trained

    return trained.as_styles(files.read_npz("--styles", path, ("w",))[0], spec)


def count_styles(path: str) -> int:
    """Return how many styles --styles holds, before a model is there to compare them with.

    Raises:
        ValueError: no such file, or no list of styles.
    """
    (w,) = files.read_npz("--styles", path, ("w",))
    if w.ndim not in (2, 3):
        raise ValueError(f"--styles={path}: 'w' has the shape {w.shape}; give styles [n, w] or [n, slots, w]")
    return len(w)


def refuse_unused(parser: argparse.ArgumentParser, args: argparse.Namespace, names: Sequence[str], where: str) -> None:
    """Check that arguments have their defaults.

    Args:
        parser: has the defaults.
        args: what it parsed.
        names: of the arguments that have no effect.
        where: ends the sentence 'has no effect …'.

    Raises:
        ValueError: one has another value.
    """
    for name in names:
        value = getattr(args, name)
        if value != parser.get_default(name):
            raise ValueError(f"--{_FLAGS.get(name, name)}={value} has no effect {where}; leave it out")


def parse_layers(text: str, model: Any) -> list[int]:
    """Return the style slots of 'coarse', 'middle', 'fine', 'all', or of numbers such as '0-3,7'.

    Coarse slots are those of images up to 8x8, middle ones up to 32x32, fine ones the rest, as in the StyleGAN paper
    (section 3.1); where a model's layers have no resolutions of their own (StyleGAN3), thirds.

    Raises:
        ValueError: neither a name nor slots of this model.
    """
    num_ws = model.gan.spec.num_ws
    by_resolution = model.config.arch != "stylegan3"  # two slots each, from 4x4 on
    ends = (min(4, num_ws), min(8, num_ws)) if by_resolution else (num_ws // 3, 2 * num_ws // 3)
    named = {"coarse": (0, ends[0]), "middle": ends, "fine": (ends[1], num_ws), "all": (0, num_ws)}
    found: list[int] = []
    for part in text.split(","):
        if part in named:
            slots = list(range(*named[part]))
            if not slots:
                raise ValueError(f"--layers={text}: this model has no {part} slots; it has {num_ws} in all")
            found += slots
        elif part and not part[0].isdigit():
            raise ValueError(f"--layers={text}: {part!r} is not known; write {', '.join(named)}, or slots as 0-3,7")
        else:
            found += parse_numbers("--layers", part, num_ws, "style slot")
    return sorted(set(found))


def labels(model: Any, args: argparse.Namespace) -> np.ndarray:
    """Return the labels that the arguments ask for, float32[m, k], one row per class; errors as `make_label`."""
    spec = model.gan.spec
    if args.classes is None:
        return make_label(spec.label_dim, model.label_kind, None, args.label)[None]
    if not spec.label_dim:
        raise ValueError(f"--class={args.classes}: this model has no labels; leave it out")
    if args.classes == "all":
        chosen = list(range(spec.label_dim))
    else:
        chosen = parse_numbers("--class", args.classes, 2**31, "class")
    return np.stack([make_label(spec.label_dim, model.label_kind, c, args.label) for c in chosen])


def one_label(model: Any, args: argparse.Namespace) -> np.ndarray | None:
    """Return the single label float32[k] that the arguments ask for; None without labels.

    Raises:
        ValueError: several classes; see also `make_label`.
    """
    found = labels(model, args)
    if len(found) > 1:
        raise ValueError(f"--class={args.classes}: this tool draws one class at a time; choose one")
    return found[0] if found.shape[1] else None


def make_label(label_dim: int, kind: str, class_index: int | None, numbers: str | None) -> np.ndarray:
    """Return the label float32[label_dim] that the arguments ask for; of a class, its one-hot vector.

    Args:
        label_dim: length of the model's labels.
        kind: what labels it was trained with (`SourceInfo.label_kind`); '' when unknown.
        class_index: --class.
        numbers: --label, separated by commas.

    Raises:
        ValueError: a label for a model without, none for one with, both ways at once, or one that does not fit.
    """
    given = f"--class={class_index}" if numbers is None else f"--label={numbers}"
    as_numbers = (
        f"give all {label_dim} numbers, as --label={','.join(['0'] * min(label_dim, 4))}{',…' * (label_dim > 4)}"
    )
    if class_index is None and numbers is None:
        if label_dim:
            choose = as_numbers if kind in ("multi-hot", "vectors") else f"choose one with --class=0 … {label_dim - 1}"
            raise ValueError(f"this model draws by label; {choose}")
        return np.zeros(0, np.float32)
    if label_dim == 0:
        raise ValueError(f"{given}: this model has no labels; leave it out")
    if numbers is None:
        if kind == "vectors":
            raise ValueError(f"{given}: the labels of this model are vectors, not classes; {as_numbers}")
        assert class_index is not None
        if not 0 <= class_index < label_dim:
            raise ValueError(f"{given}: this model has the classes 0 to {label_dim - 1}; choose one")
        return (np.arange(label_dim) == class_index).astype(np.float32)
    if class_index is not None:
        raise ValueError(f"--class={class_index} {given}: give one of them")
    try:
        label = np.array([float(x) for x in numbers.split(",")], np.float32)
    except ValueError:
        label = np.zeros(0, np.float32)
    if label.shape != (label_dim,) or not np.isfinite(label).all():
        raise ValueError(f"{given}: the labels of this model have {label_dim} entries; {as_numbers}")
    return label


def make_transform(x: float, y: float, degrees: float, aspect: float) -> np.ndarray:
    """Return the float32[3, 3] for `Gan.with_transform` that turns the picture and then moves it.

    Args:
        x: to the right, as a share of the width.
        y: down, as a share of the height.
        degrees: counter-clockwise about the centre.
        aspect: width / height.
    """
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    moved = np.array([[cos, sin, x * aspect], [-sin, cos, y], [0, 0, 1]])
    return np.linalg.inv(moved).astype(np.float32)


def transformable(model: Any, what: str) -> Any:
    """Return `with_transform` of a `LoadedModel`.

    Raises:
        ValueError: the architecture has none; `what` says which argument wants it.
    """
    if model.gan.with_transform is None:
        raise ValueError(f"{what}: arch {model.config.arch!r} draws on a fixed grid; use a model such as stylegan3")
    return model.gan.with_transform

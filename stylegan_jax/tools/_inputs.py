"""The common arguments of drawing tools, parsed to seeds, slots, styles and labels. No JAX."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from stylegan_jax.base.flags import number

_FLAGS = {"classes": "class"}
"""{name of an argument: its flag}, if they differ."""
STYLES = "styles instead of seeds: .npz or .npy of [n, w] or [n, slots, w], folders of projections; several with commas"
"""Help text of --styles."""
MAX_NUMBERS = 10_000_000
"""Limit of the numbers that a flag such as --seeds lists."""


def add_arguments(p: argparse.ArgumentParser, psi: bool = True, batch: bool = True) -> None:
    """Add the arguments for the model and for drawing."""
    add_model(p)
    if psi:
        p.add_argument("--psi", type=float, default=1.0, help="truncation: 1: none, 0: the average image (default: 1)")
    p.add_argument("--cutoff", type=int, default=None, help="truncate only the first CUTOFF style slots (default: all)")
    p.add_argument(
        "--centroids",
        metavar="FILE",
        help="truncate towards the nearest of these, which `centroids` wrote, instead of the mean",
    )
    add_labels(p, "class or classes, numbers from 0 or names, such as 3, 0-4, 1,7, flags, or all")
    if batch:
        p.add_argument("--batch", type=int, default=8, help="images per call (default: 8)")


def add_labels(p: argparse.ArgumentParser, classes: str) -> None:
    """Add the arguments for labels; `classes` is the help of --class."""
    p.add_argument("--class", default=None, dest="classes", metavar="K,…", help=classes)
    p.add_argument("--label", default=None, metavar="X,Y,…", help="label as numbers, for multi-hot and vector labels")


def add_model(p: argparse.ArgumentParser, default: str | None = None) -> None:
    """Add the arguments that select the model."""
    ends = f" (default: {default})" if default else ""
    p.add_argument(
        "--model",
        required=default is None,
        default=default,
        help=f"workdir of a run, model folder, demo, hf://user/name, or official .pkl{ends}",
    )
    p.add_argument("--step", type=int, default=None, help="checkpoint of a run (default: the newest)")


def add_still(p: argparse.ArgumentParser, motion: str = "0") -> None:
    """Add the arguments for the frames of a video model; `motion` is the default of --motion_seed."""
    p.add_argument("--time", type=float, default=None, help="for a video model: the time of its frames (default: 0)")
    p.add_argument(
        "--motion_seed", type=int, default=None, help=f"for a video model: the motion of its frames (default: {motion})"
    )


def load(args: argparse.Namespace) -> Any:
    """Return the `LoadedModel` of --model, with the centroids of --centroids.

    Raises:
        ValueError: the centroids do not fit; BadCheckpointError and others: as `load_model`.
    """
    from stylegan_jax.sampling import centroids
    from stylegan_jax.sampling.load import load_model

    model = load_model(args.model, args.step)
    if args.centroids is None:
        return model
    given = f"--centroids={args.centroids}"
    return model.replace(centroids=centroids.read(args.centroids, model.gan.spec, given))


def add_output(p: argparse.ArgumentParser, what: str) -> None:
    """Add the arguments for the output folder."""
    p.add_argument("--out", required=True, help=f"{what}; created if absent")
    p.add_argument("--overwrite", action="store_true", help="replace an --out that was made with other arguments")


def parse_seeds(text: str) -> list[int]:
    """Return the seeds of '0-15', '3', '1,5,8-10'.

    Raises:
        ValueError: the text has another form, or contains a negative number or a reversed range.
    """
    return parse_numbers("--seeds", text, 2**32, "seed")


def parse_numbers(flag: str, text: str, below: int, what: str) -> list[int]:
    """Return the whole numbers of '0-15', '3', '1,5,8-10'.

    Raises:
        ValueError: the text has another form, or contains a negative or too large number or a reversed range.
    """
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not _is_digits(first) or (dash and not _is_digits(last)):
            raise ValueError(f"{flag}={text!r}: {part!r} is not a {what} or a range; write 7, 0-15 or 1,5,8-10")
        if max(len(first), len(last)) > 20:
            raise ValueError(f"{flag}: {max(first, last, key=len)[:20]}… is too large; each {what} is below {below}")
        ends = int(first), int(last if dash else first)
        if ends[1] < ends[0]:
            raise ValueError(f"{flag}={text!r}: the range {part!r} runs backwards; write {last}-{first}")
        if ends[1] >= below:
            raise ValueError(f"{flag}={text!r}: {ends[1]} is too large; each {what} is below {below}")
        if (count := len(found) + ends[1] - ends[0] + 1) > MAX_NUMBERS:
            raise ValueError(f"{flag}={text!r} lists {count} or more; at most {MAX_NUMBERS} per call")
        found += range(ends[0], ends[1] + 1)
    return found


def _is_digits(text: str) -> bool:
    """Return whether a text is ASCII digits; `str.isdigit` also accepts superscripts and other alphabets."""
    return text.isascii() and text.isdecimal()


def parse_floats(flag: str, text: str) -> list[float]:
    """Return the numbers of '0,0.5,1'.

    Raises:
        ValueError: they are not finite float32 numbers separated by commas.
    """
    try:
        found = [number(x) for x in text.split(",")]
    except argparse.ArgumentTypeError:
        found = [np.nan]
    if not (np.abs(found) <= np.finfo(np.float32).max).all():
        raise ValueError(f"{flag}={text}: write numbers with commas, such as {flag}=0,0.5,1")
    return found


def chunk(args: argparse.Namespace, count: int) -> int:
    """Return how many of `count` images to draw per call: --batch, or all if there are fewer."""
    return max(1, min(args.batch, count))


def read_styles(path: str, spec: Any) -> np.ndarray:
    """Return ws float32[n, l, w] of --styles; see `sampling.styles.read` for formats and errors."""
    from stylegan_jax.sampling import styles

    return styles.read("--styles", path, spec)


def check_unused(parser: argparse.ArgumentParser, args: argparse.Namespace, names: Sequence[str], where: str) -> None:
    """Check that arguments have their defaults.

    Args:
        parser: provides the defaults.
        args: the parsed arguments.
        names: names of the arguments that have no effect.
        where: ends the sentence 'has no effect …'.

    Raises:
        ValueError: an argument has another value.
    """
    for name in names:
        value = getattr(args, name)
        if value != parser.get_default(name):
            raise ValueError(f"--{_FLAGS.get(name, name)}={value} has no effect {where}; leave it out")


def parse_layers(text: str, model: Any) -> list[int]:
    """Return the style slots of 'coarse', 'middle', 'fine', 'all' (`styles.slot_groups`), or of numbers like '0-3,7'.

    Raises:
        ValueError: it is neither a name nor slots of this model.
    """
    from stylegan_jax.sampling.styles import slot_groups

    num_ws, named = model.gan.spec.num_ws, slot_groups(model)
    found: list[int] = []
    for part in text.split(","):
        if part in named:
            if not named[part]:
                raise ValueError(f"--layers={text}: this model has no {part} slots; it has {num_ws} in all")
            found += named[part]
        elif part and not part[0].isdecimal():
            raise ValueError(f"--layers={text}: {part!r} is not known; write {', '.join(named)}, or slots like 0-3,7")
        else:
            found += parse_numbers("--layers", part, num_ws, "style slot")
    return sorted(set(found))


def parse_classes(text: str, label_names: Sequence[str]) -> list[int | str]:
    """Return the classes of --class: numbers, and as they were written names, which `find_class` looks up.

    A text that is the whole name of a class is that class, even if the name contains commas.

    Raises:
        ValueError: a number is too large, or a range is reversed.
    """
    found: list[int | str] = []
    for part in [text] if text in label_names else text.split(","):
        is_number = re.fullmatch(r"[-0-9]*", part) is not None
        found += parse_numbers("--class", part, 2**31, "class") if is_number else [part.strip()]
    return found


def labels(model: Any, args: argparse.Namespace) -> np.ndarray:
    """Return the labels selected by the arguments, float32[m, k], one row per class.

    Raises:
        ValueError: a label is passed to a model without labels, missing for a model with labels, passed in both ways,
            or does not fit.
    """
    from stylegan_jax.sampling.labels import as_labels, one_hot

    dim, kind, known = model.gan.spec.label_dim, model.label_kind, model.label_names
    if args.classes is not None and args.label is not None:
        raise ValueError(f"--class={args.classes} --label={args.label}: pass only one of them")
    if args.classes is not None:
        chosen = range(dim) if args.classes == "all" else parse_classes(args.classes, known)
        return one_hot(chosen, dim, kind, known, given=f"--class={args.classes}", numbers="--label")
    try:
        numbers = None if args.label is None else np.array(parse_floats("--label", args.label), np.float32)
    except ValueError:
        numbers = np.zeros(0, np.float32)  # which fits no model
    return as_labels(numbers, 1, dim, kind, known, given=f"--label={args.label}", names=("--class", "--label"))


def one_label(model: Any, args: argparse.Namespace) -> np.ndarray | None:
    """Return the single label float32[k] selected by the arguments; None without labels.

    Raises:
        ValueError: there are several classes; see also `labels`.
    """
    found = labels(model, args)
    if len(found) > 1:
        raise ValueError(f"--class={args.classes}: this tool draws one class at a time; choose one")
    return found[0] if found.shape[1] else None


def check_label_unused(parser: argparse.ArgumentParser, args: argparse.Namespace, model: Any) -> None:
    """Check that --class and --label are unused with --styles, unless motion depends on them (`as_images`).

    Raises:
        ValueError: one is used.
    """
    if model.gan.draw_at is None:
        check_unused(parser, args, ("classes", "label"), "with --styles")


def as_images(model: Any, args: argparse.Namespace, own: bool = False) -> Any:
    """Return an image model unchanged, and a video model as the model of its frames at --time (`LoadedModel.still`).

    Args:
        model: a `LoadedModel`.
        args: with `add_still`, and `add_labels` for models with labels.
        own: whether each picture has the motion of its own seed (or of --motion_seed) and its own label; if not, all
            have that of --motion_seed, by default 0, and of the single label.

    Raises:
        ValueError: an argument has no effect on images, a time or seed is out of range, or there is not exactly one
            label.
    """
    given = {"--time": args.time, "--motion_seed": args.motion_seed}
    if model.gan.draw_at is None:
        for flag, value in given.items():
            if value is not None:
                raise ValueError(f"{flag}={value}: arch {model.config.arch!r} draws images, without time; leave it out")
        return model
    time, seed = args.time or 0.0, args.motion_seed
    if not 0 <= time < np.inf:
        raise ValueError(f"--time={time:g} must be a number of frames from 0")
    if seed is not None and not 0 <= seed < 2**32:
        raise ValueError(f"--motion_seed={seed} must be from 0 to {2**32 - 1}")
    return model.still(time, seed) if own else model.still(time, seed or 0, one_label(model, args))


def check_moves(model: Any, what: str) -> None:
    """Check that a `LoadedModel` can translate and rotate its output; `what` is the argument that needs this.

    Raises:
        ValueError: it cannot.
    """
    try:
        model.check_moves()
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from None

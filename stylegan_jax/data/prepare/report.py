"""The report on what was done: lines for the user, and dataset.json and meta.json next to the images."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
import os
import platform
import shlex
from typing import Any

import numpy as np
import PIL

import stylegan_jax
from stylegan_jax.data import images
from stylegan_jax.data.contents import META_NAME
from stylegan_jax.data.errors import printable
from stylegan_jax.data.labels import Labels, describe, from_array
from stylegan_jax.data.prepare import write
from stylegan_jax.data.prepare.examples import Label
from stylegan_jax.data.prepare.options import OF_VIDEOS, Options

_REASONS, _NAMES = 20, 5  # how many of each the summary shows
_LEAST_VIDEO = 32  # smallest height for which the recipe of videos has settings


@dataclasses.dataclass
class Report:
    """The record of what was done.

    Attributes:
        kind: kind of the source, see `Examples`.
        name: name of the source.
        channels: channels of the images.
        looked_at: number of examples read, good or bad.
        size: (height, width) of the images.
        written: (member, name in the source, SHA-256 of the member) of each image.
        labels: label of each written image; either all are None or none is.
        label_names: class names, empty if unknown.
        classes: number of classes in the source; 0 if unknown, or if labels are not class numbers.
        notes: lines about skipped files, and warnings.
        brightest: the largest value of all images with 16 bits per channel; None if there are none.
        skipped: (name, reason) of each skipped image.
        duplicates: (name, name of the first with the same pixels) of each duplicate.
        changes: what was changed -> in how many images.
        unit: the word for an example, 'image' or 'video'. For videos, `written` has the name of the folder, the name in
            the source (for a chunk `name[start:stop]`), and the SHA-256 of its frames' SHA-256s.
        root: the folder that contains the videos, with a final '/', or ''.
        frames: number of frames of each written video.
        rates: frames per second of each video that was read, from the times in the file.
        variable: names of videos whose frame rate changes.
        rest: number of frames dropped because they were too few for a chunk.
    """

    kind: str
    name: str
    channels: int
    looked_at: int = 0
    size: tuple[int, int] = (0, 0)
    written: list[tuple[str, str, str]] = dataclasses.field(default_factory=list)
    labels: list[Label] = dataclasses.field(default_factory=list)
    label_names: tuple[str, ...] = ()
    classes: int = 0
    notes: list[str] = dataclasses.field(default_factory=list)
    brightest: int | None = None
    skipped: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    duplicates: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    changes: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    unit: str = "image"
    root: str = ""
    frames: list[int] = dataclasses.field(default_factory=list)
    rates: list[float] = dataclasses.field(default_factory=list)
    variable: list[str] = dataclasses.field(default_factory=list)
    rest: int = 0

    def note_brightest(self, value: int | None) -> None:
        """Record the largest value of another image."""
        if value is not None:
            self.brightest = max(value, self.brightest or 0)

    def warnings(self, depth: int, fps: float | None = None) -> list[str]:
        """Return lines about classes and skipped files, and warnings; `depth` and `fps` are the options."""
        labels = self.training_labels()
        lines = list(self.notes)
        if labels is not None:
            counts = [*labels.counts, *[0] * (self.classes - len(labels.counts))] if labels.counts else []
            lines = [
                *describe(labels.kind, counts, self.label_names, len(self.written), self.unit),
                *lines,
                *labels.notes,
            ]
        if depth == 16 and self.brightest is not None:
            lines += images.dark_warning(self.brightest)
        elif depth != 16 and self.brightest is None:
            lines.append(f"note: no image has 16 bits per channel; --depth={depth} changed nothing")
        return lines + self._about_rates(fps)

    def _about_rates(self, fps: float | None) -> list[str]:
        """Return lines about frame rates and dropped frames; `fps` is the option."""
        lines = []
        if self.rest:
            lines.append(f"skipped: {self.rest} frames at the end of videos, too few for a chunk")
        if fps is None and self.variable:
            shown = ", ".join(map(printable, self.variable[:_NAMES])) + " …" * (len(self.variable) > _NAMES)
            lines.append(
                f"warning: the frame rate changes inside {len(self.variable)} videos ({shown}), whose frames were "
                "written as stored; --fps=25, for example, makes time uniform"
            )
        if fps is None and self.rates and not self.rate(None):
            lines.append(
                f"warning: {min(self.rates):.4g} to {max(self.rates):.4g} frames per second; --fps makes them equal"
            )
        if fps is not None and self.rates and fps > 1.01 * min(self.rates):
            lines.append(
                f"note: --fps={fps:g} is more than the {min(self.rates):.4g} of some videos; frames are repeated"
            )
        return lines

    def rate(self, fps: float | None) -> float | None:
        """Return the frames per second of all videos: the option `fps`, or their rate if they agree to 1%, else
        None."""
        if fps is not None or not self.rates or max(self.rates) > 1.01 * min(self.rates):
            return fps
        return round(sum(self.rates) / len(self.rates), 2)

    def training_labels(self) -> Labels | None:
        """Return the labels as training will read them; None if there are none.

        Raises:
            DataError: class numbers or vectors are out of range.
        """
        if not self.labels or self.labels[0] is None:
            return None
        is_class = isinstance(self.labels[0], int)
        values = np.array(self.labels, np.int64 if is_class else np.float64)
        return from_array(values, len(values), self.name, self.label_names if is_class else ())


def labels_json(report: Report) -> bytes:
    """Return dataset.json as the official tools write it, with `label_names` if they are known."""
    tree: dict[str, Any] = {"labels": None}
    if report.training_labels() is not None:
        pairs = zip(report.written, report.labels, strict=True)
        tree["labels"] = [
            [member, label] for i, ((name, _, _), label) in enumerate(pairs) for member in _members(report, name, i)
        ]
        if report.label_names:
            tree["label_names"] = list(report.label_names)
    return json.dumps(tree).encode()


def meta_json(options: Options, report: Report) -> bytes:
    """Return meta.json: origin of the images, how they were made and what was skipped, without times and paths."""
    labels = report.training_labels()
    asked = dataclasses.asdict(options)
    for key in ("source", "dest", "strict", "overwrite", "workers"):  # these do not affect what is written
        del asked[key]
    counts = {
        "looked_at": report.looked_at,
        "written": len(report.written),
        "skipped": len(report.skipped),
        "duplicates": len(report.duplicates),
    }
    tree = {
        "format": write.FORMAT,
        "format_version": 1,
        "source": {"kind": report.kind, "name": report.name},
        "options": asked,
        "image_shape": [*report.size, report.channels],
        "labels": {"kind": labels.kind, "length": labels.dim} if labels else {"kind": "none", "length": 0},
        "counts": counts,
        "changes": dict(sorted(report.changes.items())),
        "notes": report.warnings(options.depth, options.fps),
        "versions": {
            "stylegan_jax": stylegan_jax.__version__,
            "pillow": PIL.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        f"sha256_of_{report.unit}s": hashlib.sha256("".join(sha for _, _, sha in report.written).encode()).hexdigest(),
        "skipped": report.skipped,
        "duplicates": report.duplicates,
        "images": report.written,
    }
    if report.unit == "video":
        del tree["images"]
        counts["frames"] = sum(report.frames)
        tree["fps"] = report.rate(options.fps)
        tree["videos"] = [[*known, length] for known, length in zip(report.written, report.frames, strict=True)]
    else:
        for key in ("content", *OF_VIDEOS):
            del asked[key]
    return json.dumps(tree).encode()


def summary(options: Options, report: Report, seconds: float) -> list[str]:
    """Return the lines printed at the end; `seconds` is how long it took."""
    labels = report.training_labels()
    height, width = report.size
    what = "no labels" if labels is None else f"labels: {labels.kind} of length {labels.dim}"
    of = f"{len(report.written)} {report.unit}s of {width}x{height}"
    if report.unit == "video":
        ends = f"{min(report.frames)}" + f" to {max(report.frames)}" * (min(report.frames) < max(report.frames))
        of = f"{len(report.written)} videos of {ends} frames, together {sum(report.frames)} of {width}x{height}"
    lines = [
        f"{printable(options.dest)}: {of}, {report.channels} channels, {what}",
        f"{report.looked_at} {report.unit}{'s' * (report.looked_at != 1)} looked at in {seconds:.1f} s "
        f"({(sum(report.frames) or report.looked_at) / seconds:.0f} {'frames ' * bool(report.frames)}per second)",
    ]
    lines += [f"changed: {n} x {change}" for change, n in report.changes.most_common()]
    lines += report.warnings(options.depth, options.fps)
    lines += left_out(report.skipped)
    if report.duplicates:
        did = "dropped" if options.duplicates == "drop" else "kept; --duplicates=drop removes them"
        name, first = (printable(n) for n in report.duplicates[0])
        lines.append(
            f"same pixels as an earlier {report.unit}: {len(report.duplicates)} ({did}), such as {name} = {first}"
        )
    return [*lines, _next_step(options, report, labels)]


def left_out(skipped: list[tuple[str, str]]) -> list[str]:
    """Return lines that list bad images by reason."""
    if not skipped:
        return []
    by_reason = collections.defaultdict(list)
    for name, reason in skipped:
        by_reason[reason].append(printable(name))
    lines = [f"skipped: {len(skipped)} ({META_NAME} lists all)"]
    for reason, names in sorted(by_reason.items(), key=lambda item: (-len(item[1]), item[0]))[:_REASONS]:
        more = f" … and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
        lines.append(f"  {len(names)} x {reason}: {', '.join(names[:_NAMES])}{more}")
    if len(by_reason) > _REASONS:
        lines.append(f"  … and {len(by_reason) - _REASONS} more reasons")
    return lines


def width_x_height(size: tuple[int, int]) -> str:
    """Return '64x48' of (height, width)."""
    return f"{size[1]}x{size[0]}"


def _members(report: Report, name: str, index: int) -> list[str]:
    """Return the names of an example's images in the set."""
    return [f"{name}/{write.frame_name(i)}" for i in range(report.frames[index])] if report.frames else [name]


def _next_step(options: Options, report: Report, labels: Labels | None) -> str:
    height, width = report.size
    if height != width or height & (height - 1):
        return (
            f"note: {width}x{height} is not a square power of two; set config.model.base_size accordingly, or use "
            "--resolution and --transform"
        )
    kind = "zip" if write.is_zip(options.dest) else "folder"
    dest = options.dest  # quoted for a shell, even if the terminal cannot show it
    quoted = shlex.quote(dest) if dest.isprintable() else "$" + repr(os.fsencode(dest))[1:]
    recipe, flags = f"auto.py:{height}", f"--config.data.source={kind} --config.data.path={quoted}"
    if report.unit == "video":
        if height < _LEAST_VIDEO:
            return (
                f"note: {width}x{height} is below {_LEAST_VIDEO}x{_LEAST_VIDEO}, the smallest for which "
                f"configs/stylegan_v.py has settings; use --resolution={_LEAST_VIDEO} or more"
            )
        recipe, flags = f"stylegan_v.py:{height}", f"--config.data.path={quoted}"
        if rate := report.rate(options.fps):
            flags += f" --config.data.fps={rate:g}"
    flags += " --config.data.labels=file" * (labels is not None)
    flags += f" --config.model.img_channels={report.channels}" * (report.channels != 3)
    return f"train: python -m stylegan_jax.main --config=configs/{recipe} --workdir=runs/mine {flags}"

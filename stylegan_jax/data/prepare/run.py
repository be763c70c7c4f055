"""Convert a source to a written set: images are converted in threads and written in the order of the source."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from PIL import Image

from stylegan_jax.base.flags import expand_home
from stylegan_jax.data.contents import JSON_NAME, META_NAME
from stylegan_jax.data.errors import BadImage, DataError, explain
from stylegan_jax.data.prepare import convert, video_run, write
from stylegan_jax.data.prepare.examples import Example, Examples
from stylegan_jax.data.prepare.options import Options, check_options, recipe_of
from stylegan_jax.data.prepare.parallel import run_in_order
from stylegan_jax.data.prepare.report import Report, labels_json, left_out, meta_json, width_x_height
from stylegan_jax.data.prepare.sources import open_examples

Progress = Callable[[Iterable[Any], int], Iterable[Any]]


def prepare(options: Options, progress: Progress = lambda results, expected: results) -> Report:
    """Write the set that `options` describe.

    Args:
        options: see `Options`.
        progress: (results, expected number; 0: unknown, as for frames of videos) -> results, to show a progress bar.

    Raises:
        DataError: the set cannot be made; nothing was written.
    """
    options = dataclasses.replace(options, source=expand_home(options.source), dest=expand_home(options.dest))
    check_options(options)
    write.check_dest(options.dest, options.source, options.overwrite)
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, options.max_megapixels << 20
    try:
        return _prepare(options, progress)
    except DataError as error:
        raise DataError(explain(error, "--source", options.source)) from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _prepare(options: Options, progress: Progress) -> Report:
    examples = open_examples(options)
    try:
        report = Report(examples.kind, examples.name, options.channels or examples.channels)
        report.label_names, report.looked_at = examples.label_names, len(examples.bad)
        report.classes, report.notes = examples.classes, examples.notes
        report.skipped += examples.bad
        report.root = write.root_of_videos(options.dest) if examples.videos is not None else ""
        report.unit = "image" if examples.videos is None else "video"
        with write.open_writer(options.dest) as writer:
            if examples.videos is None:
                _write_images(options, examples, report, writer, progress)
            else:
                video_run.write_videos(options, examples, report, writer, progress)
            _check(options, report)
            writer.add(report.root + JSON_NAME, labels_json(report))
            writer.add(report.root + META_NAME, meta_json(options, report))
            writer.finish()
    except OSError as error:
        raise DataError(f"--dest={options.dest}: {error.strerror or error}; nothing was written") from error
    finally:
        examples.close()
    return report


def _write_images(
    options: Options, examples: Examples, report: Report, writer: write.Writer, progress: Progress
) -> None:
    """Convert and write the images, and fill in the report."""
    recipe = recipe_of(options, report.channels)
    expected = min(examples.count, options.max_images or examples.count)
    results = run_in_order(lambda example: _make(example, recipe), examples.examples, options.workers)
    first_of: dict[str, str] = {}
    try:
        for example, made in progress(results, expected):
            report.looked_at += 1
            reason = made if isinstance(made, str) else _misfit(example, made, examples.labelled, report)
            if reason or isinstance(made, str):
                report.skipped.append((example.name, reason))
                continue
            if made.sha256 in first_of:
                report.duplicates.append((example.name, first_of[made.sha256]))
                if options.duplicates == "drop":
                    continue
            first_of.setdefault(made.sha256, example.name)
            name = write.member_name(len(report.written))
            if not (options.strict and report.skipped):  # if so, the rest is only checked, to list all bad images
                writer.add(name, made.png)
            report.size = made.size
            report.changes.update(made.changes)
            report.note_brightest(made.brightest)
            report.written.append((name, example.name, made.sha256))
            report.labels.append(example.label)
            if len(report.written) == options.max_images:
                break
    finally:
        results.close()


def _make(example: Example, recipe: convert.Recipe) -> convert.Made | str:
    """Return the finished image, or why it is bad."""
    try:
        return convert.make(example.load(), recipe)
    except BadImage as error:
        return error.reason
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"


def _misfit(example: Example, made: convert.Made, labelled: bool, report: Report) -> str:
    """Return why a readable image does not belong in the set; '' if it does."""
    if labelled and example.label is None:
        return "no label"
    if report.written and made.size != report.size:
        return f"{width_x_height(made.size)} pixels, not {width_x_height(report.size)} like the first"
    return ""


def _check(options: Options, report: Report) -> None:
    """Check that the set may be put in place.

    Raises:
        DataError: no image is left, some are bad with `strict`, or most differ in size from the first.
    """
    of = f"{options.source}: {len(report.skipped)} of {report.looked_at} {report.unit}s cannot be used"
    others = sum(reason.endswith("like the first") for _, reason in report.skipped)
    if not report.written:
        why = f"{of}; none is left"
    elif options.strict and report.skipped:
        why = f"{of}; repair or remove these, or leave out --strict"
    elif others > len(report.written):
        why = (
            f"{options.source}: {report.unit}s of many sizes, most not {width_x_height(report.size)} like the first; "
            "set --resolution"
        )
    else:
        return
    raise DataError("\n".join([f"{why}. Nothing was written", *left_out(report.skipped)[1:]]))

"""From a source to a written set: images are made in threads and written in the order of the source."""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from PIL import Image

from stylegan_jax.base.flags import expand_home
from stylegan_jax.data.contents import JSON_NAME, META_NAME
from stylegan_jax.data.errors import BadImage, DataError, explain
from stylegan_jax.data.prepare import convert, write
from stylegan_jax.data.prepare.examples import Example, Examples
from stylegan_jax.data.prepare.options import Options, check_options
from stylegan_jax.data.prepare.report import Report, labels_json, left_out, meta_json
from stylegan_jax.data.prepare.sources import open_examples

T = TypeVar("T")
R = TypeVar("R")
Results = Iterable[tuple[Example, convert.Made | str]]
Progress = Callable[[Results, int], Results]

_CHUNK = 4  # images per thread task


def prepare(options: Options, progress: Progress = lambda results, expected: results) -> Report:
    """Write the set that `options` describe.

    Args:
        options: see `Options`.
        progress: wraps the results, given how many are expected; for a progress bar.

    Raises:
        DataError: nothing was written; the text says why.
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
        with write.open_writer(options.dest) as writer:
            _write_images(options, examples, report, writer, progress)
            _check(options, report)
            writer.add(JSON_NAME, labels_json(report))
            writer.add(META_NAME, meta_json(options, report))
            writer.finish()
    except OSError as error:
        raise DataError(f"--dest={options.dest}: {error.strerror or error}; nothing was written") from error
    finally:
        examples.close()
    return report


def _write_images(
    options: Options, examples: Examples, report: Report, writer: write.Writer, progress: Progress
) -> None:
    """Make and write the images; the report is filled in."""
    recipe = convert.Recipe(
        report.channels,
        options.alpha,
        options.resolution,
        options.transform,
        options.resize_filter,
        options.depth,
        options.max_megapixels << 20,
    )
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
            if not (options.strict and report.skipped):  # then the rest is only looked at, to name all that is bad
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
    """Return why a readable image does not belong into the set; '' when it does."""
    if labelled and example.label is None:
        return "no label"
    if report.written and made.size != report.size:
        return f"{_wxh(made.size)} pixels, not {_wxh(report.size)} like the first"
    return ""


def _wxh(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"


def _check(options: Options, report: Report) -> None:
    """Refuse what should not be put in place.

    Raises:
        DataError: no image is left, bad ones with `strict`, or most images have another size than the first.
    """
    of = f"{options.source}: {len(report.skipped)} of {report.looked_at} images cannot be used"
    others = sum(reason.endswith("like the first") for _, reason in report.skipped)
    if not report.written:
        why = f"{of}; none is left"
    elif options.strict and report.skipped:
        why = f"{of}; repair or remove these, or leave out --strict"
    elif others > len(report.written):
        why = f"{options.source}: images of many sizes, most not {_wxh(report.size)} like the first; set --resolution"
    else:
        return
    raise DataError("\n".join([f"{why}. Nothing was written", *left_out(report.skipped)[1:]]))


def run_in_order(work: Callable[[T], R], items: Iterable[T], workers: int) -> Generator[tuple[T, R]]:
    """Yield (item, work(item)) in the order of the items; work runs in threads, a few chunks ahead."""
    pool = ThreadPoolExecutor(workers)
    waiting: collections.deque[tuple[list[T], Future[list[R]]]] = collections.deque()
    source = iter(items)
    try:
        while True:
            while len(waiting) <= workers and (chunk := list(itertools.islice(source, _CHUNK))):
                waiting.append((chunk, pool.submit(lambda chunk=chunk: [work(item) for item in chunk])))
            if not waiting:
                return
            chunk, future = waiting.popleft()
            yield from zip(chunk, future.result(), strict=True)
    finally:
        pool.shutdown(cancel_futures=True)

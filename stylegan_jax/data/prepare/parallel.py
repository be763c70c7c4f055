"""Process a stream of items in threads, with only a few of them in memory."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def run_in_order(
    work: Callable[[T], R], items: Iterable[T], workers: int, chunk_size: int = 4
) -> Generator[tuple[T, R]]:
    """Yield (item, work(item)) in the order of the items; each thread works one chunk ahead."""
    pool = ThreadPoolExecutor(workers)
    waiting: collections.deque[tuple[list[T], Future[list[R]]]] = collections.deque()
    source = iter(items)
    try:
        while True:
            while len(waiting) <= workers and (chunk := list(itertools.islice(source, chunk_size))):
                waiting.append((chunk, pool.submit(lambda chunk=chunk: [work(item) for item in chunk])))
            if not waiting:
                return
            chunk, future = waiting.popleft()
            yield from zip(chunk, future.result(), strict=True)
    finally:
        pool.shutdown(cancel_futures=True)

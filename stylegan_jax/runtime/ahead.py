"""Prepare the next level of a run in the background while the current one trains."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Made = TypeVar("Made")


class Ahead(Generic[Made]):
    """Makes numbered things, each once, in a thread. As a context manager, it waits at exit for an unfinished one.

    Args:
        make: number -> thing.
        count: numbers are 0 to count - 1.
    """

    def __init__(self, make: Callable[[int], Made], count: int):
        self._make, self._count = make, count
        self._made: dict[int, Future[Made]] = {}
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="ahead")

    def start(self, number: int) -> None:
        """Begin to make a thing, unless it has been started or its number does not exist."""
        if number < self._count and number not in self._made:
            self._made[number] = self._pool.submit(self._make, number)

    def get(self, number: int) -> Made:
        """Wait for a thing and return it; raise the error that making it raised."""
        self.start(number)
        return self._made[number].result()

    def drop_below(self, number: int) -> None:
        """Forget things with smaller numbers, to free memory."""
        for done in [n for n in self._made if n < number]:
            del self._made[done]

    def __enter__(self) -> Ahead[Made]:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)

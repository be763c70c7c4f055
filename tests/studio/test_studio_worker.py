"""The thread that owns the model: the newest wish wins, sessions take turns, jobs give way and can be cancelled."""

from __future__ import annotations

import threading
import time

import pytest

from stylegan_jax.studio import worker as workers
from stylegan_jax.studio.worker import Busy, Stale, Worker


@pytest.fixture
def worker():
    found = Worker()
    yield found
    found.close()


def hold(worker):
    """Occupy the thread; return what lets it go."""
    begun, go = threading.Event(), threading.Event()
    future = worker.ask("other", "hold", 0, lambda check: (begun.set(), go.wait(10)))
    assert begun.wait(10)
    return go, future


def test_of_many_wishes_the_first_and_the_last_are_granted(worker):
    go, _ = hold(worker)
    drawn = []
    futures = [worker.ask("a", "picture", i, lambda check, i=i: drawn.append(i) or i) for i in range(1000)]
    assert worker.waiting() == 1  # no queue
    go.set()
    assert futures[-1].result(10) == 999 and drawn == [999]
    assert all(isinstance(future.exception(10), Stale) for future in futures[:-1])


def test_a_wish_that_is_being_drawn_stops_at_its_next_check(worker):
    begun, go, steps = threading.Event(), threading.Event(), []

    def sheet(check):
        for i in range(100):
            check()
            steps.append(i)
            begun.set()
            assert go.wait(10)

    old = worker.ask("a", "sheet", 0, sheet)
    assert begun.wait(10)
    new = worker.ask("a", "sheet", 1, lambda check: "new")
    go.set()
    assert new.result(10) == "new" and isinstance(old.exception(10), Stale) and steps == [0]


def test_lanes_and_sessions_take_turns_in_the_order_of_their_first_wish(worker):
    go, _ = hold(worker)
    drawn = []
    ask = lambda session, lane, number: worker.ask(
        session, lane, number, lambda check: drawn.append((session, lane, number))
    )
    ask("a", "x", 0), ask("b", "x", 0), ask("a", "y", 0)
    ask("a", "x", 1)  # takes the place of the one before
    last = ask("b", "y", 0)
    late = ask("a", "x", 0)  # overtaken on its way
    go.set()
    last.result(10)
    assert drawn == [("a", "x", 1), ("b", "x", 0), ("a", "y", 0), ("b", "y", 0)]
    assert isinstance(late.exception(10), Stale)


def test_an_error_is_the_answer_and_the_thread_lives_on(worker):
    def fail(check):
        raise ValueError("no such layer")

    with pytest.raises(ValueError, match="no such layer"):
        worker.ask("a", "x", 0, fail).result(10)
    assert worker.ask("a", "x", 1, lambda check: 7).result(10) == 7


def steps(count):
    def work(job):
        for i in range(count):
            job.tick(i + 1, count, 1.0 / (i + 1), lambda i=i: b"%d" % i)
            time.sleep(0.001)
        return {"count": count}

    return work


def until(job, *states):
    end = time.monotonic() + 10
    while job.state not in states:
        assert time.monotonic() < end, job.state
        time.sleep(0.001)


def test_a_job_gives_way_to_wishes_between_two_steps(worker, monkeypatch):
    monkeypatch.setattr(workers, "PREVIEW_SECONDS", 0.0)
    job = worker.start("a", "a projection", steps(100_000))
    until(job, "running")
    before = job.step
    assert worker.ask("b", "x", 0, lambda check: job.state).result(10) == "running"
    assert job.step >= before
    worker.cancel(job)
    until(job, "cancelled")
    told = job.told()
    assert told["preview"] > 0 and told["loss"] == 1.0 / told["step"] and len(told["losses"]) <= 400
    assert worker.ask("b", "x", 1, lambda check: 1).result(10) == 1


def test_one_job_of_a_session_at_a_time_and_others_wait(worker):
    first = worker.start("a", "a projection", steps(100_000))
    until(first, "running")
    with pytest.raises(Busy, match="a projection is running in this page"):
        worker.start("a", "a film", steps(1))
    second = worker.start("b", "a film", steps(3))
    third = worker.start("c", "a film", steps(3))
    assert second.state == "waiting" and (worker.ahead(second), worker.ahead(third)) == (1, 2)
    worker.cancel(third)
    assert third.state == "cancelled"
    worker.cancel(first)
    until(second, "done")
    assert second.told()["result"] == {"count": 3} and third.step == 0


def test_a_failed_job_says_why():
    worker = Worker(lambda error: f"told: {error}")

    def work(job):
        raise ValueError("no weights")

    job = worker.start("a", "tuning", work)
    until(job, "failed")
    assert job.told()["error"] == "told: no weights"
    assert worker.job("b", job.id) is None and worker.job("a", job.id) is job
    worker.close()


def test_a_session_that_ends_is_forgotten(worker):
    job = worker.start("a", "a projection", steps(100_000))
    until(job, "running")
    worker.forget("a")
    until(job, "cancelled")
    go, _ = hold(worker)
    future = worker.ask("a", "x", 5, lambda check: 1)
    worker.forget("a")
    assert isinstance(future.exception(10), Stale)
    again = worker.ask("a", "x", 0, lambda check: 2)
    go.set()
    assert again.result(10) == 2


def test_a_closed_worker_grants_nothing():
    worker = Worker()
    worker.close()
    assert isinstance(worker.ask("a", "x", 0, lambda check: 1).exception(1), Stale)

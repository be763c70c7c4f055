"""Stopping on request."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from stylegan_jax.runtime.signals import StopSignal


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1"])
def test_a_signal_is_a_request(name: str, capfd: pytest.CaptureFixture[str]):
    with StopSignal() as stop:
        assert stop.requested is None
        assert not stop.agreed()
        send(signal.Signals[name])
        assert stop.requested == name
        assert stop.agreed()
    assert f"{name}: finishing this step" in capfd.readouterr().err


def test_a_second_interrupt_quits_at_once():
    with StopSignal() as stop:
        send(signal.SIGTERM)
        send(signal.SIGTERM)
        send(signal.SIGINT)  # the first interrupt, though not the first signal
        assert stop.requested == "SIGTERM"
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_former_handlers_come_back():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)}
    with pytest.raises(ZeroDivisionError), StopSignal():
        assert all(signal.getsignal(number) != handler for number, handler in before.items())
        raise ZeroDivisionError
    assert {number: signal.getsignal(number) for number in before} == before


def test_outside_the_main_thread_nothing_is_installed():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def run() -> None:
        with StopSignal() as stop:
            seen.append((signal.getsignal(signal.SIGTERM), stop.requested))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [(before, None)]

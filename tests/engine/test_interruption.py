"""What asks a run to save; runs that are asked are in tests/e2e/test_interrupted.py."""

import os
import signal
import threading

import jax
import numpy as np
import pytest

from handjax.engine import interruption
from handjax.engine.interruption import KEY, NOTHING, SAVE, STOP, Interrupted, Interruption


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_a_signal_asks_to_stop(name):
    number, before = getattr(signal, name), signal.getsignal(signal.SIGTERM)
    with Interruption() as asked:
        assert asked.asked() == NOTHING
        os.kill(os.getpid(), number)
        assert asked.asked() == STOP and asked.signal == name
        with pytest.raises(Interrupted):
            asked.end_evaluation()
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_signal_that_comes_again_ends_at_once():
    """But not the same one, passed on by two at once."""
    now, died = [0.0], []
    with pytest.MonkeyPatch.context() as patch, Interruption(clock=lambda: now[0]) as asked:
        for seconds in (0.0, 1.0, 3.0):
            now[0] = seconds
            if seconds > 2:
                patch.setattr(interruption.os, "kill", lambda *sent: died.append(sent))
                assert asked._handle(signal.SIGTERM, None) is None
            else:
                signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert died == [(os.getpid(), signal.SIGTERM)]


def test_another_thread_handles_no_signals():
    failed = []

    def enter():
        try:
            with Interruption():
                pass
        except ValueError as error:
            failed.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert not failed


def test_the_clock_asks_to_save():
    now = [0.0]
    asked = Interruption(save_minutes=2.0, clock=lambda: now[0])
    now[0] = 119.0
    assert asked.asked() == NOTHING
    now[0] = 120.0
    assert asked.asked() == SAVE
    asked.saved()
    assert asked.asked() == NOTHING
    now[0] = 1e9
    assert Interruption(0.0, clock=lambda: now[0]).asked() == NOTHING
    asked.end_evaluation()  # it does not interrupt an evaluation


def test_alone_nothing_is_sent():
    asked = Interruption()
    assert asked.send(4) == {} and asked.received({"loss": 1.0}) == NOTHING


def test_one_of_several_asks_all(monkeypatch):
    monkeypatch.setattr(interruption, "_several", lambda: True)
    one, other = Interruption(), Interruption()
    one.signal = "SIGTERM"
    sent = np.concatenate([asked.send(2)[KEY] for asked in (other, one)])
    step = jax.jit(interruption.exchanging(lambda state, batch: (state, dict(batch))))
    _, terms = step(0, {"x": 1.0, KEY: sent})
    assert set(terms) == {"x", KEY}
    assert other.received(jax.tree.map(float, terms)) == STOP
    assert one.received({}) == NOTHING  # it waits until all know

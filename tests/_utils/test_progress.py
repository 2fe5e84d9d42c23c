"""Bars come with work that lasts, and leave nothing behind that a thread or a fork would wait for."""

import threading

import pytest

from xsbert._utils import progress
from xsbert._utils.cached_property import cached_property
from xsbert._utils.progress import Progress, tick, watching


@pytest.fixture
def clock(monkeypatch):
    """Seconds that a test lets pass, for tqdm as well."""
    now = [1000.0]
    monkeypatch.setattr("time.time", lambda: now[0])
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    return now


def test_quick_work_makes_no_bar(monkeypatch, clock):
    monkeypatch.setattr(progress, "tqdm", lambda **how: pytest.fail("a bar was made"))
    with Progress(100, "texts", show=None) as bar:
        for _ in range(100):
            clock[0] += 0.019
            bar.update()
    with Progress(2, "texts", show=False) as bar:
        clock[0] += 10
        bar.update(2)
    assert bar.n == 2
    with Progress(0, "texts", show=True):
        pass


def test_long_work_shows_what_is_left_from_its_beginning(clock, capsys):
    with Progress(100, "texts", show=None, unit="text") as bar:
        bar.note("the fifth")
        for _ in range(5):
            clock[0] += 1
            bar.update()
        shown = capsys.readouterr().err.split("\r")
    for part in ("5/100", "00:05<01:35", "1.00text/s", "the fifth"):
        assert part in shown[-1]


def test_a_bar_that_is_asked_for_comes_at_once(clock, capsys):
    with Progress(10, "rows", show=True, initial=4, leave=True) as bar:
        assert "rows:  40%" in capsys.readouterr().err
        clock[0] += 1
        bar.update(6)
    assert "10/10" in capsys.readouterr().err


def test_a_cached_property_of_one_object_does_not_wait_for_that_of_another():
    """That of functools did before Python 3.12."""

    class Slow:
        def __init__(self, compute):
            self.compute = compute

        @cached_property
        def found(self):
            return self.compute()

    begun, other_is_there = threading.Event(), threading.Event()
    waiting = Slow(lambda: (begun.set(), other_is_there.wait(20))[1])
    thread = threading.Thread(target=lambda: waiting.found)
    thread.start()
    assert begun.wait(20)
    quick = Slow(lambda: "there")
    assert quick.found == "there"
    other_is_there.set()
    thread.join()
    assert waiting.found is True


def test_a_watcher_sees_each_step_and_can_end_the_work():
    seen = []

    def watch(work):
        seen.append(None if work is None else (work.description, work.n, work.total, work.ended))
        if len(seen) == 5:
            raise KeyError("enough")

    with watching(watch), Progress(2, "texts", show=False) as bar:
        bar.update()
        tick()
    assert seen == [("texts", 0, 2, False), ("texts", 1, 2, False), None, ("texts", 1, 2, True)]
    with pytest.raises(KeyError, match="enough"), watching(watch), Progress(2, "texts", show=False):
        pass
    # Nobody watches any more, nor in other threads.
    tick()
    with Progress(1, "texts", show=False) as bar:
        bar.update()
    with watching(watch):
        thread = threading.Thread(target=tick)
        thread.start()
        thread.join()
    assert len(seen) == 5

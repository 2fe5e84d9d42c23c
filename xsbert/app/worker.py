"""Requests run one after the other in one thread, report their progress, and can be stopped."""

from __future__ import annotations

import secrets
import time
import warnings
from collections import deque
from dataclasses import dataclass, field
from threading import Condition, Thread
from typing import Any

from .._utils.progress import Progress, watching
from ..attribution.attribution import Attribution
from ..ranking.ranking import Ranking
from .models import Models
from .tasks import Task, explain

__all__ = ["BusyError", "Job", "Worker"]

MOST_WAITING = 64
MOST_KEPT = 16
"""Finished requests that are kept for their pages, pictures and comparisons: those that were used last."""


class BusyError(RuntimeError):
    """Too many requests are waiting."""


class _StoppedError(Exception):
    """The request was stopped."""


@dataclass(eq=False)
class Job:
    """A request, from its arrival to its result."""

    task: Task
    id: str = field(default_factory=lambda: secrets.token_urlsafe(9))
    state: str = "waiting"
    """``"waiting"``, ``"running"``, ``"done"``, ``"failed"`` or ``"stopped"``."""
    work: str = ""
    """What is being done."""
    fraction: float = 0.0
    """How much of it is done, from 0 to 1."""
    started: float | None = None
    ended: float | None = None
    error: str = ""
    notes: list[str] = field(default_factory=list)
    result: Attribution | Ranking | None = None
    stop_asked: bool = False
    step_began: float = 0.0
    """When the current work began."""
    _works: list[Progress] = field(default_factory=list)

    @property
    def over(self) -> bool:
        """Whether there is nothing more to wait for."""
        return self.state in ("done", "failed", "stopped")

    def step(self, work: str, done: float, total: float) -> None:
        """Report progress.

        Raises:
            _StoppedError: The request was stopped.
        """
        fraction = done / total if total else 0.0
        if work != self.work or fraction < self.fraction:
            self.step_began = time.monotonic()
        self.work, self.fraction = work, fraction
        if self.stop_asked:
            raise _StoppedError

    def watch(self, work: Progress | None) -> None:
        """Report the progress of the outermost work, with the fraction of the step of it that is being done.

        Raises:
            _StoppedError: The request was stopped.
        """
        if self.stop_asked:
            raise _StoppedError
        if work is None:
            return
        self._works = [each for each in self._works if each is not work and not each.ended]
        if not work.ended:
            self._works.append(work)
        done, of = 0.0, 1.0
        for each in self._works:
            done += of * min(1.0, each.n / each.total) if each.total else 0.0
            of /= each.total or 1
        if self._works:
            self.step(self._works[0].description, done, 1.0)

    def seconds_left(self) -> float | None:
        """Return the estimated rest of the current work. None before a twentieth of it is done."""
        if self.fraction < 0.05:
            return None
        return (time.monotonic() - self.step_began) * (1 / self.fraction - 1)


class Worker:
    """Runs requests in the order of their arrival.

    Args:
        models: The models.
    """

    def __init__(self, models: Models) -> None:
        self.models = models
        self._jobs: dict[str, Job] = {}
        self._waiting: deque[Job] = deque()
        self._changed = Condition()
        self._closed = False
        Thread(target=self._run, name="xsbert app", daemon=True).start()

    def add(self, task: Task) -> Job:
        """Add a request.

        Raises:
            BusyError: Too many requests are waiting.
        """
        job = Job(task)
        with self._changed:
            if len(self._waiting) >= MOST_WAITING:
                raise BusyError(f"{MOST_WAITING} requests are waiting: try again in a moment")
            over = [known for known in self._jobs.values() if known.over]
            for old in over[: max(0, len(over) - MOST_KEPT + 1)]:
                del self._jobs[old.id]
            self._jobs[job.id] = job
            self._waiting.append(job)
            self._changed.notify_all()
        return job

    def get(self, name: str) -> Job | None:
        """Return a request by its id. None if there is none, or it is kept no longer. It counts as used now."""
        with self._changed:
            job = self._jobs.pop(name, None)
            if job is not None:
                self._jobs[name] = job
            return job

    def stop(self, job: Job) -> None:
        """Stop a request. One that runs ends at its next step."""
        with self._changed:
            job.stop_asked = True
            if job in self._waiting:
                self._waiting.remove(job)
                job.state = "stopped"
            self._changed.notify_all()

    def wait(self, job: Job, seconds: float) -> None:
        """Wait until a request is over, for some seconds at most."""
        with self._changed:
            self._changed.wait_for(lambda: job.over, seconds)

    def position(self, job: Job) -> int:
        """Return the number of requests that come before one."""
        with self._changed:
            return self._waiting.index(job) + 1 if job in self._waiting else 0

    def close(self) -> None:
        """Stop all requests and end the thread."""
        with self._changed:
            self._closed = True
            for job in self._jobs.values():
                job.stop_asked = True
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._waiting)
                if self._closed:
                    return
                job = self._waiting.popleft()
                job.state, job.work = "running", "model"
            state, error, result = self._outcome(job)
            with self._changed:
                job.error, job.result, job.ended = error, result, time.monotonic()
                job.state = state
                self._changed.notify_all()

    def _outcome(self, job: Job) -> tuple[str, str, Any]:
        """Return the state, the error and the result of a request."""
        try:
            model = self.models.get(job.task.model)
            job.started = time.monotonic()
            with warnings.catch_warnings(record=True) as caught, watching(job.watch):
                warnings.simplefilter("always", UserWarning)
                result = explain(job.task, model, job.step)
            job.notes = [str(each.message) for each in caught if issubclass(each.category, UserWarning)]
        except _StoppedError:
            return "stopped", "", None
        except Exception as error:
            # Whatever a model raises is for the person who asked, and the next request goes on.
            return "failed", str(error) or type(error).__name__, None
        return "done", "", result

"""Load jobs that run while the next messages are read."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import BoundedSemaphore


class LoadPool:
    """Runs work in the background, so much at a time; submitting more blocks."""

    def __init__(self, limit: int) -> None:
        self._slots = BoundedSemaphore(limit)
        self._threads = ThreadPoolExecutor(limit)

    def start(self, work: Callable[[], None]) -> Future[None]:
        """Begin some work as soon as there is a thread for it."""
        self._slots.acquire()
        future = self._threads.submit(work)
        future.add_done_callback(lambda _: self._slots.release())
        return future

"""Clients that ask all the while something else is tested."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import Event


@contextmanager
def clients(count: int, ask: Callable[[], None], *, pause: float = 0.0) -> Iterator[None]:
    """Each calls `ask` again and again; what it raises is raised at the end, by all of them.

    `pause` are the seconds between two calls: without any, they take all of the machine.
    """
    stop = Event()

    def client() -> int:
        answers = 0
        while not stop.is_set():
            try:
                ask()
            except Exception as error:
                error.add_note(f"{datetime.now(UTC):%H:%M:%S.%f} UTC, after {answers} answers")
                raise
            answers += 1
            time.sleep(pause)
        return answers

    with ThreadPoolExecutor(count) as pool:
        running = [pool.submit(client) for _ in range(count)]
        try:
            yield
        finally:
            stop.set()
        assert all(asking.result(timeout=60) for asking in running)

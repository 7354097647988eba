"""Clients that ask all the while something else is tested."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event


@contextmanager
def clients(count: int, ask: Callable[[], None]) -> Iterator[None]:
    """Each calls `ask` again and again; what it raises is raised at the end, by all of them."""
    stop = Event()

    def client() -> int:
        answers = 0
        while not stop.is_set():
            ask()
            answers += 1
        return answers

    with ThreadPoolExecutor(count) as pool:
        running = [pool.submit(client) for _ in range(count)]
        try:
            yield
        finally:
            stop.set()
        assert all(asking.result(timeout=60) for asking in running)

"""Concurrent requests with bounded memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

# Eight hide a server's latency; the clients' connection pools have ten.
WORKERS = 8
# The parts of large files are in memory.
PART_WORKERS = 6

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def in_order(function: Callable[[Item], Answer], items: Iterable[Item]) -> Iterator[Answer]:
    """`map` in threads: results come in the order of the items, and items are consumed only as results are.

    At most `PART_WORKERS` items are running or waiting to be consumed. After the first exception, no further item is started,
    and running ones are awaited.
    """
    waiting: deque[Future[Answer]] = deque()
    with ThreadPoolExecutor(PART_WORKERS) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) == PART_WORKERS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def for_each(function: Callable[[Item], object], items: Iterable[Item]) -> None:
    """Calls the function with every item, in threads. Raises the first exception and then starts no further item."""
    with ThreadPoolExecutor(WORKERS) as pool:
        futures = [pool.submit(function, item) for item in items]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise

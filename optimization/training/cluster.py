"""The cluster of Ray that a command works on: one that runs, or one of its own."""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray


@contextmanager
def cluster(num_cpus: int) -> Iterator[None]:
    """A cluster for several things in a row, which else would each start one of their own."""
    if ray.is_initialized():
        yield
        return
    with held_back(signal.SIGINT):
        connect(num_cpus)
    try:
        yield
    finally:
        ray.shutdown()


def connect(num_cpus: int) -> None:
    """Connect to the cluster that `RAY_ADDRESS` names, or start one of at least so many CPUs."""
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}  # progress bars own the terminal
    if "RAY_ADDRESS" in os.environ:
        ray.init(**quiet)
    else:
        num_cpus = max(num_cpus, os.cpu_count() or 1)
        ray.init(address="local", num_cpus=num_cpus, include_dashboard=False, **quiet)


@contextmanager
def held_back(number: signal.Signals) -> Iterator[None]:
    """Deliver the signal only when the block is done: a cluster that is half started leaves processes behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    usual = signal.signal(number, lambda got, _frame: held.append(got))
    try:
        yield
    finally:
        signal.signal(number, usual)
    if held:
        signal.raise_signal(number)

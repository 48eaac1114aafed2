"""Addresses of the server that the clients are pointed at.

The files `check_*.py` here are run by the clients' own Python (`.venv-clients`), which has none of Trimtab's packages:

    export TRIMTAB_HTTP=127.0.0.1:8000 TRIMTAB_GRPC=127.0.0.1:8001
    .venv-clients/bin/pytest -c /dev/null --confcutdir tests/clients tests/clients/check_*.py

They need the models of `tests/served.py` beside each other.
"""

import os

import pytest


@pytest.fixture(scope="session")
def http() -> str:
    """Host and port for REST."""
    return os.environ["TRIMTAB_HTTP"]


@pytest.fixture(scope="session")
def grpc() -> str:
    """Host and port for gRPC."""
    return os.environ["TRIMTAB_GRPC"]

"""Prints what a command has found: as JSON where that is asked for, else as the command draws it."""

import argparse
import json
from collections.abc import Callable
from typing import Any


def print_found(options: argparse.Namespace, found: Any, show: Callable[[], None]) -> None:
    """`found` as JSON, where `options.json` asks for it; else as `show` draws it."""
    if options.json:
        print(json.dumps(found, indent=2, default=str))
    else:
        show()

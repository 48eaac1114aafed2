"""Imports what only some recipes need: optional packages, and code of the user's by import path."""

import importlib
import sys
from pathlib import Path
from typing import Any

from optimization.errors import RecipeError


def require(module: str, *, extra: str) -> Any:
    """Import the optional package `module`.

    Raises:
        RecipeError: it is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise RecipeError(f"this recipe needs {error.name!r}: pip install -e '.[{extra}]' in its folder") from error


def load(path: str) -> Any:
    """The function or class that an import path such as `package.module:name` names; the working folder counts.

    Raises:
        RecipeError: there is no such module, or no such name in it.
    """
    module, _, name = path.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise RecipeError(f"{path} cannot be imported: {error}") from error
    except AttributeError as error:
        raise RecipeError(f"{path} must name what {module} has: {error}") from error

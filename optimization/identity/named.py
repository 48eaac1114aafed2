"""What a recipe names outside of itself: files, folders, code by import path, and the packages that carry data.

    recipe ─▶ digests: {"data.train": "3f…", "teacher.model.name": "a0…"} ─▶ manifest, checkpoints, "up to date"

A recipe is unchanged only where all of these are.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from optimization.identity import code, content
from optimization.recipe.recipe import Named

_IMPORT_PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_PACKAGES = {"digits": "scikit-learn", "breast_cancer": "scikit-learn", "mnist1d": "mnist1d"}
"""By kind of data, the package that carries it."""


def digests(recipe: Named) -> dict[str, str]:
    """Digest of all that a recipe names, by the setting that names it, such as `data.train`.

    What lies on a hub is known by its name alone.
    """
    raw = recipe.model_dump(mode="json", exclude={"name"})
    found = {}
    for setting, value in _strings(raw, ""):
        if _IMPORT_PATH.fullmatch(value):
            found[setting] = code.named(value)
        elif setting.endswith(".kind"):
            if setting == "data.kind" and value in _PACKAGES:
                found[setting] = f"{_PACKAGES[value]} {code.release(_PACKAGES[value])}"
        elif (path := _path(value)) is not None:
            found[setting] = content.of_path(path)
    return found


def of_code(recipe: Named) -> dict[str, str]:
    """Of the digests, those of code by import path."""
    raw = recipe.model_dump(mode="json", exclude={"name"})
    return {setting: code.named(value) for setting, value in _strings(raw, "") if _IMPORT_PATH.fullmatch(value)}


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Settings whose file, code or package is another than before."""
    return sorted(setting for setting in before.keys() | after.keys() if before.get(setting) != after.get(setting))


def _strings(value: Any, setting: str) -> Iterator[tuple[str, str]]:
    """Every text in the settings, with the place where it stands."""
    if isinstance(value, str):
        yield setting, value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _strings(each, f"{setting}.{key}" if setting else str(key))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _strings(each, f"{setting}.{number}")


def _path(value: str) -> Path | None:
    """The file or folder of that name; one without a letter, such as ".", is a sign of the data."""
    if not any(each.isalnum() for each in value):
        return None
    path = Path(value).expanduser()
    try:
        return path if path.exists() else None
    except OSError:  # a text too long for a name
        return None

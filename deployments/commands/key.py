"""`key add | list | revoke`: the file of keys."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from deployments.access import keys
from deployments.access.keys import Key
from deployments.errors import SettingsError


def add(
    path: Path,
    id_: str,
    *,
    models: Sequence[str],
    admin: bool,
    requests_per_s: float | None,
    burst: int | None,
    days: float | None,
) -> str:
    """Make a key; return its text, which is kept nowhere.

    Raises:
        SettingsError: the id is taken, or a value breaks its rule.
    """
    text = keys.new_key(id_)
    given: dict[str, Any] = {
        "models": models or None,
        "requests_per_s": requests_per_s,
        "burst": burst,
        "expires": keys.now().replace(microsecond=0) + timedelta(days=days) if days is not None else None,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    try:
        key = Key.model_validate({"id": id_, "sha256": keys.hash_of(text), "admin": admin, **chosen})
    except ValidationError as error:
        problems = "; ".join(f"{item['loc'][0]}: {item['msg']}, got {item['input']!r}" for item in error.errors())
        raise SettingsError(problems) from error
    keys.add(path, key)
    return text


def listed(path: Path) -> list[dict[str, Any]]:
    """The keys, without their hashes."""
    return [key.model_dump(mode="json", exclude={"sha256"}) for key in keys.load(path).keys]


def show(console: Console, path: Path) -> None:
    """The keys as a table."""
    table = Table("id", "models", "rate", "burst", "admin", "expires")
    for key in keys.load(path).keys:
        expires = "never" if key.expires is None else f"{key.expires:%Y-%m-%d %H:%M %Z}"
        style = "dim" if key.has_expired(keys.now()) else None
        rate = "any" if key.requests_per_s is None else f"{key.requests_per_s:g}/s"
        burst = "" if key.requests_per_s is None else str(key.burst)
        table.add_row(key.id, ", ".join(key.models), rate, burst, "yes" if key.admin else "", expires, style=style)
    console.print(table)

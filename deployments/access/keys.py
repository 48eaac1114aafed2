"""API keys: a file says who may call which model and how often; of each key it holds the hash alone.

    keys:
      - id: ci
        sha256: 5f2b...                # of the whole key, which is shown once, when it is made
        models: ["digits", "text-*"]   # globs; every model if not given
        requests_per_s: 100
        expires: 2027-01-31T00:00:00Z

A key reads `trimtab.<id>.<secret>`, its secret 256 random bits: too many to guess, so a plain SHA-256 needs no salt and
no stretching. The id finds the entry; what is compared, in constant time, is the hash.
"""

import fcntl
import hashlib
import hmac
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path

import yaml
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator

from deployments.errors import SettingsError

PREFIX = "trimtab"
SECRET_BYTES = 32


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Key(_Entry):
    """One key: whose it is and what it opens."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    """Name of the key, as the audit log shows it: lower-case letters, digits and hyphens."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of the whole key, in hex."""
    models: tuple[str, ...] = ("*",)
    """Globs of the models it may call."""
    admin: bool = False
    """Whether it may load and unload models and see the telemetry page."""
    requests_per_s: float | None = Field(default=None, gt=0)
    """Requests each replica answers it per second in the long run; as many as it likes if not given."""
    burst: int = Field(default=10, ge=1)
    """Requests it may send at once before `requests_per_s` holds it back."""
    expires: AwareDatetime | None = None
    """When it ends, with its time zone; never if not given."""

    def opens(self, model: str) -> bool:
        """Whether it may call `model`."""
        return any(fnmatchcase(model, glob) for glob in self.models)

    def has_expired(self, now: datetime) -> bool:
        """Whether its time is over."""
        return self.expires is not None and now >= self.expires


class KeysFile(_Entry):
    """The file of all keys, YAML or JSON."""

    keys: tuple[Key, ...] = ()
    """The keys; each id stands once."""

    @field_validator("keys")
    @classmethod
    def _ids_are_unique(cls, keys: tuple[Key, ...]) -> tuple[Key, ...]:
        ids = [key.id for key in keys]
        twice = sorted({each for each in ids if ids.count(each) > 1})
        if twice:
            raise ValueError(f"each id must stand once, got {', '.join(twice)} more often")
        return keys


def new_key(id_: str) -> str:
    """A fresh key's text: what its owner sends."""
    return f"{PREFIX}.{id_}.{secrets.token_urlsafe(SECRET_BYTES)}"


def hash_of(text: str) -> str:
    """What the file holds of a key."""
    return hashlib.sha256(text.encode()).hexdigest()


def id_in(text: str) -> str:
    """The id that a key's text claims; empty where it has none."""
    parts = text.split(".")
    return parts[1] if len(parts) == 3 and parts[0] == PREFIX else ""


def matches(text: str, key: Key) -> bool:
    """Whether `text` is `key`; takes the same time wherever they differ."""
    return hmac.compare_digest(hash_of(text), key.sha256)


def load(path: Path) -> KeysFile:
    """Read the file of keys.

    Raises:
        SettingsError: it cannot be read, or an entry breaks its rule; no message holds a hash.
    """
    try:
        raw = yaml.safe_load(path.read_text())
    except OSError as error:
        raise SettingsError(
            f"keys file {path} cannot be read: {error.strerror}. Make one with: python -m deployments key add <id>"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"keys file {path} is no YAML: {error}") from error
    try:
        return KeysFile.model_validate({} if raw is None else raw)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise SettingsError(f"keys file {path}: {problems}") from error


def add(path: Path, key: Key) -> None:
    """Write `key` into the file, which is made where there is none.

    Raises:
        SettingsError: the id is taken.
    """
    with _locked(path):
        keys = load(path).keys if path.exists() else ()
        if key.id in (each.id for each in keys):
            raise SettingsError(f"key ids must be new, got {key.id!r}: revoke it first, or take another id")
        _save(path, (*keys, key))


def revoke(path: Path, id_: str) -> None:
    """Take a key out of the file; what serves follows within a second.

    Raises:
        SettingsError: there is no such key.
    """
    with _locked(path):
        keys = load(path).keys
        if id_ not in (each.id for each in keys):
            known = ", ".join(each.id for each in keys) or "none"
            raise SettingsError(f"keys file {path} has no key {id_!r}, only {known}")
        _save(path, tuple(each for each in keys if each.id != id_))


def now() -> datetime:
    """The time keys expire by."""
    return datetime.now(UTC)


def _save(path: Path, keys: tuple[Key, ...]) -> None:
    """Replace the file in one step, readable for its owner alone: a reader sees the old keys or the new ones."""
    content = {"keys": [key.model_dump(mode="json", exclude_defaults=True) for key in keys]}
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    with os.fdopen(handle, "w") as file:
        yaml.safe_dump(content, file, sort_keys=False)
    Path(name).replace(path)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One writer at a time; the directory is locked, since the file itself is replaced."""
    folder = os.open(path.absolute().parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)

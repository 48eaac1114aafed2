"""Decides whether a request may pass: which key it carries, what that opens, and how often.

headers -> credentials -> KeyRing (the file of keys) -> expired? -> opens the model? -> rate
"""

import base64
import binascii
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from deployments.access import keys
from deployments.access.audit import AuditLog
from deployments.access.keys import Key
from deployments.errors import ForbiddenError, RateLimitedError, SettingsError, UnauthorizedError

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
"""How soon a change of the file of keys is seen."""

Headers = Iterable[tuple[bytes, bytes]]
"""Names in lower case; a gRPC call's metadata fits as well."""


@dataclass(frozen=True, kw_only=True)
class Need:
    """What a request must show."""

    key: bool = True
    """Whether it needs a key at all."""
    model: str | None = None
    """The model its key must open."""
    admin: bool = False
    """Whether its key must be an administrator's."""
    browser: bool = False
    """Whether to ask as browsers understand it: they then show a dialog, and the key is the password."""


class KeyRing:
    """The keys of a file, read again when it changes.

    A file that has become unreadable leaves the last good keys in force: it is more often a slip than a revocation,
    which `python -m deployments key revoke` makes in one step.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._stamp = _stamp(path)
        self._keys = {key.id: key for key in keys.load(path).keys}
        self._looked = clock()

    def find(self, text: str) -> Key | None:
        """The key whose text this is."""
        if self._clock() - self._looked >= LOOK_EVERY_S:
            self._look()
        key = self._keys.get(keys.id_in(text))
        return key if key is not None and keys.matches(text, key) else None

    def _look(self) -> None:
        self._looked = self._clock()
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._keys = {key.id: key for key in keys.load(self._path).keys}
        except SettingsError as error:
            logger.error("the last good keys stay in force: %s", error)


class TokenBucket:
    """Lets `per_s` requests pass in the long run and `burst` at once."""

    def __init__(self, per_s: float, burst: int, now: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._level = float(burst)
        self._at = now

    def take(self, now: float) -> float:
        """Take a token: 0, or the seconds until there is one."""
        self._level = min(self._burst, self._level + (now - self._at) * self._per_s)
        self._at = now
        if self._level < 1:
            return (1 - self._level) / self._per_s
        self._level -= 1
        return 0.0


class Gate:
    """Decides on each request of one process; its rate limits are this process's own."""

    def __init__(
        self, ring: KeyRing, audit: AuditLog | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.audit = audit
        self._ring = ring
        self._clock = clock
        self._buckets: dict[str, tuple[Key, TokenBucket]] = {}

    def check(self, headers: Headers, need: Need) -> Key | None:
        """The key that lets a request pass; none where it needs none.

        Raises:
            UnauthorizedError: it carries no key that is valid now.
            ForbiddenError: its key does not open what it asks for.
            RateLimitedError: its key was used more often than it may.
        """
        if not need.key:
            return None
        key = self.authenticate(headers, basic=need.browser)
        if need.model is not None and not key.opens(need.model):
            raise ForbiddenError(f"key {key.id!r} opens the models {', '.join(key.models)}, not {need.model!r}")
        if need.admin and not key.admin:
            raise ForbiddenError(f"this needs an administrator's key, {key.id!r} is none")
        self._hold_back(key)
        return key

    def authenticate(self, headers: Headers, *, basic: bool = False) -> Key:
        """The key that a request carries, whatever it opens; `basic` as for `credentials`.

        Raises:
            UnauthorizedError: it carries no key that is valid now.
        """
        said = False
        for text in credentials(headers, basic=basic):
            said = True
            key = self._ring.find(text)
            if key is None:
                continue
            if key.expires is not None and key.has_expired(keys.now()):
                raise UnauthorizedError(f"key {key.id!r} expired at {key.expires}")
            return key
        raise UnauthorizedError(
            "the key is not valid" if said else "a key is needed: send it as Authorization: Bearer <key> or X-API-Key"
        )

    def _hold_back(self, key: Key) -> None:
        if key.requests_per_s is None:
            return
        now = self._clock()
        held, bucket = self._buckets.get(key.id, (None, None))
        if bucket is None or (held is not key and held != key):  # a key whose rate was changed gets a new one
            bucket = TokenBucket(key.requests_per_s, key.burst, now)
        if held is not key:
            self._buckets[key.id] = key, bucket
        wait_s = bucket.take(now)
        if wait_s:
            raise RateLimitedError(
                f"key {key.id!r} may send {key.requests_per_s:g} requests per second, {key.burst} at once",
                retry_after_s=wait_s,
            )


def credentials(headers: Headers, *, basic: bool = False) -> Iterator[str]:
    """Every text a request offers as its key.

    `basic` takes passwords as well: a browser may send one unasked, on behalf of another site's page, so they are good
    for looking alone.
    """
    for name, value in headers:
        if name == b"x-api-key":
            yield value.decode("latin-1").strip()
        elif name == b"authorization":
            scheme, _, rest = value.decode("latin-1").strip().partition(" ")
            if scheme.lower() == "bearer":
                yield rest.strip()
            elif scheme.lower() == "basic" and basic:
                yield _password(rest.strip())


def _password(encoded: str) -> str:
    try:
        return base64.b64decode(encoded, validate=True).decode("latin-1").partition(":")[2]
    except (binascii.Error, ValueError):
        return ""


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Changes whenever the file does."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino

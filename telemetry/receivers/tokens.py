"""Who may send: bearer tokens of a file, one a line."""

import hmac
from hashlib import sha256
from pathlib import Path

from telemetry.errors import ConfigurationError
from telemetry.receivers.errors import UnauthorizedError

MIN_LENGTH = 16
_SCHEME = "bearer "


class Tokens:
    """The tokens of a file, read once; lines that begin with # say whose a token is."""

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            ConfigurationError: it cannot be read, holds no token, or one that is too short.
        """
        try:
            lines = [line.strip() for line in path.read_text().splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"tokens: {path} must be readable, got {error}") from None
        tokens = [line for line in lines if line and not line.startswith("#")]
        if not tokens:
            raise ConfigurationError(f"tokens: {path} must hold a token, one a line, got none")
        for token in tokens:
            if len(token) < MIN_LENGTH:
                raise ConfigurationError(
                    f"tokens: a token must have {MIN_LENGTH} characters or more, got one of {len(token)} in {path}"
                )
        self._digests = [sha256(token.encode()).digest() for token in tokens]

    def check(self, authorization: str) -> None:
        """Take an Authorization header; each token is compared in constant time, as far as to the last.

        Raises:
            UnauthorizedError: it holds none of them.
        """
        given = authorization.strip()
        if given[: len(_SCHEME)].lower() != _SCHEME:
            raise UnauthorizedError("authorization must be a bearer token, got none")
        digest = sha256(given[len(_SCHEME) :].strip().encode()).digest()
        if not sum(hmac.compare_digest(digest, each) for each in self._digests):
            raise UnauthorizedError("authorization must hold a token that the collector knows, got another one")

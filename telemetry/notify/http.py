"""A POST of JSON to an address that a user set."""

import os
from collections.abc import Mapping
from typing import Any

import httpx
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from telemetry.notify.errors import NotNowError, RefusedForGoodError

TIMEOUT_S = 10.0
MAX_ANSWER_BYTES = 1024
"""Of an answer that is read, for the log; the rest is left where it is."""
_LATER = frozenset({408, 425, 429, 500, 502, 503, 504})


class Address(BaseModel):
    """Where to POST: addresses and headers often hold secrets, so they may come from environment variables."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    url: SecretStr | None = None
    """The address, http or https; never logged."""
    url_env: str | None = None
    """Environment variable that holds the address, in place of `url`."""
    headers_env: dict[str, str] = Field(default_factory=dict)
    """Further headers: the name of each, and the environment variable that holds its value."""

    @model_validator(mode="after")
    def _one_address(self) -> "Address":
        if (self.url is None) == (self.url_env is None):
            raise ValueError("url or url_env must be set, and not both")
        for variable in [*([self.url_env] if self.url_env else []), *self.headers_env.values()]:
            if variable not in os.environ:
                raise ValueError(f"the environment variable {variable} must be set, since this setting names it")
        if not self.address().startswith(("http://", "https://")):
            raise ValueError("url must begin with http:// or https://")
        return self

    def address(self) -> str:
        """The address itself."""
        return self.url.get_secret_value() if self.url else os.environ[self.url_env or ""]

    def headers(self) -> dict[str, str]:
        """The headers themselves."""
        return {name: os.environ[variable] for name, variable in self.headers_env.items()}

    async def post(self, document: Any, *, path: str = "", headers: Mapping[str, str] | None = None) -> None:
        """POST JSON once; redirects are not followed.

        Raises:
            NotNowError: there was no answer, or one that allows another try.
            RefusedForGoodError: any other answer but success.
        """
        url = self.address().rstrip("/") + path if path else self.address()
        try:
            async with (
                httpx.AsyncClient(timeout=TIMEOUT_S) as client,
                client.stream("POST", url, json=document, headers={**self.headers(), **(headers or {})}) as answer,
            ):
                if answer.is_success:
                    return
                said = await _beginning(answer)
        except httpx.HTTPError as error:
            raise NotNowError(f"no answer: {type(error).__name__}") from error
        text = f"answered {answer.status_code} {said!r}"
        if answer.status_code in _LATER:
            raise NotNowError(text, _seconds(answer.headers.get("retry-after")))
        raise RefusedForGoodError(text)


async def _beginning(answer: httpx.Response) -> str:
    async for piece in answer.aiter_raw(MAX_ANSWER_BYTES):
        return piece[:MAX_ANSWER_BYTES].decode("utf-8", "replace")
    return ""


def _seconds(retry_after: str | None) -> float | None:
    """Seconds; a date is not understood, and the usual delay is taken."""
    return float(retry_after) if retry_after and retry_after.isdecimal() else None

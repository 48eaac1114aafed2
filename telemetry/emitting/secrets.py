"""Takes what lets people in out of text that is to be logged or reported."""

import re

HIDDEN = "[hidden]"
_PATTERNS = (
    # Trimtab's own keys: whose it was may be said, what follows may not.
    (re.compile(r"\b(trimtab\.[a-z0-9-]{1,63}\.)[\w-]{16,}"), rf"\1{HIDDEN}"),
    # The user and password of a URL, and what a signed URL is signed by.
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/@:]*:[^\s/@]+@", re.IGNORECASE), rf"\1{HIDDEN}@"),
    (re.compile(r"\b(bearer|basic)(\s+)[\w.~+/=-]{8,}", re.IGNORECASE), rf"\1\2{HIDDEN}"),
    (
        re.compile(
            r"((?:pass(?:word|wd)?|secret|token|credential|signature|x-api-key|api[_-]?key|access[_-]?key)\w*[\"']?\s*"
            r"(?:=|:)\s*[\"']?)(?!bearer|basic|\[hidden)[^\s\"',;&)}\]]{4,}",
            re.IGNORECASE,
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), HIDDEN),
)


def without_secrets(text: str) -> str:
    """`text` with keys, tokens, passwords and private keys hidden, as far as they can be told by their form or name."""
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return text

"""Valid inputs made invalid: by bytes, as a broken network has them; by values, as a careful attacker does.

Everything comes from a `random.Random`, so a seed gives the same inputs again.
"""

import copy
import random
from typing import Any

NASTY: tuple[Any, ...] = (
    None,
    True,
    "",
    "\0",
    "../../etc/passwd",
    "\ud7ff￿é",
    "x" * 5000,
    0,
    -1,
    2**31,
    2**63,
    -(2**64),
    1e308,
    1e-320,
    float("nan"),
    float("inf"),
    [],
    [[]],
    [None] * 100,
    {},
    {"": {}},
    {"$ref": "#"},
)
"""What a field was not made for. JSON as Python writes it has NaN and Infinity, which are none."""
_BYTES = (
    b"\0",
    b"\xff",
    b"{",
    b"]",
    b'"',
    b"\\u0000",
    b"%00",
    b"\r\n",
    b"\x80" * 9,
    b"9" * 40,
    b"[" * 5000,
    b'{"a":' * 5000,
)
_DEEP = 200


def of_bytes(rng: random.Random, valid: bytes, other: bytes = b"") -> bytes:
    """`valid` with one to four places changed: flipped, cut, repeated, filled, or gone on with as `other`."""
    found = bytearray(valid)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(found) + 1)
        end = min(len(found), at + rng.choice((1, 1, 2, 8, 64)))
        match rng.randrange(7):
            case 0 if at < len(found):
                found[at] ^= 1 << rng.randrange(8)
            case 1:
                del found[at:end]
            case 2:
                found[at:at] = found[at:end] * rng.choice((1, 2, 50))
            case 3:
                found[at:end] = rng.choice(_BYTES)
            case 4:
                found[at:end] = rng.randbytes(end - at)
            case 5:
                del found[at:]
            case _:
                found[at:] = other[at:] if rng.random() < 0.5 else other[: rng.randrange(len(other) + 1)]
    return bytes(found)


def of_values(rng: random.Random, valid: Any) -> Any:
    """`valid`, made of JSON's values, with one to three of them replaced, removed, renamed, doubled or nested."""
    found = copy.deepcopy(valid)
    for _ in range(rng.choice((1, 1, 2, 3))):
        places = list(_places(found))
        if not places:
            return rng.choice(NASTY)
        parent, key = rng.choice(places)
        match rng.randrange(6):
            case 0 if isinstance(parent, dict):
                del parent[key]
            case 1 if isinstance(parent, dict):
                parent[rng.choice(("", "\0", "constructor", f"{key} ", f"{key}" * 3))] = parent.pop(key)
            case 2:
                parent[key] = _nested(rng, parent[key])
            case 3:
                other, name = rng.choice(places)
                parent[key] = copy.deepcopy(other[name]) if _has(other, name) else None
            case 4 if isinstance(parent, list):
                parent.extend(parent[key : key + 1] * rng.choice((1, 100)))
            case _:
                parent[key] = copy.deepcopy(rng.choice(NASTY))
    return found


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every container and key within `value`."""
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        each = waiting.pop()
        keys = each if isinstance(each, dict) else range(len(each)) if isinstance(each, list) else ()
        found += [(each, key) for key in keys]
        waiting += [each[key] for key in keys]
    return found


def _has(container: Any, key: Any) -> bool:
    return key in container if isinstance(container, dict) else key < len(container)


def _nested(rng: random.Random, value: Any) -> Any:
    for _ in range(rng.choice((1, 2, _DEEP))):
        value = [value] if rng.random() < 0.5 else {"a": value}
    return value

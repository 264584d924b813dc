"""Random changes of bytes and of JSON values."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from features.common.errors import UserError

BYTES = (b";", b"\r", b"\n", b'"', b",", b"\xff", b"\0", b"\xef\xbb\xbf", b"\t", b"nan")
VALUES: tuple[Any, ...] = (
    *(None, True, "", "x", "meta", "../..", "\0", "é" * 300, [], {}, [[]], {"a": {}}, [1e308] * 3),
    *(
        0,
        -1,
        1,
        2,
        0.5,
        -0.5,
        1e-300,
        1e308,
        -1e308,
        2**31,
        2**63,
        10**30,
        20_000,
        float("nan"),
        float("inf"),
    ),
)


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """Return the bytes after a random change: cut, flipped, overwritten, removed, repeated or inserted."""
    at, end = np.sort(rng.integers(0, len(content) + 1, 2))
    match rng.integers(6):
        case 0:
            return content[:at]
        case 1:
            flipped = bytearray(content)
            for k in rng.integers(0, max(len(content), 1), rng.integers(1, 9)) if content else ():
                flipped[k] ^= 1 << int(rng.integers(8))
            return bytes(flipped)
        case 2:
            return content[:at] + rng.bytes(end - at) + content[end:]
        case 3:
            return content[:at] + content[end:]
        case 4:
            return content[:end] + content[at:]
        case _:
            return content[:at] + BYTES[rng.integers(len(BYTES))] + content[at:]


def mutated_json(content: bytes, rng: np.random.Generator) -> bytes:
    """Return JSON after a change of one value: one of `VALUES`, removed, repeated, or deeply nested."""
    value = json.loads(content)
    places = list(_places(value))
    container, key = places[rng.integers(len(places))]
    match rng.integers(8):
        case 0:
            del container[key]
        case 1 if isinstance(container, list):
            container.extend(container[key : key + 1] * 3)
        case 2:
            text = json.dumps(value | {"nested": "HERE"} if isinstance(value, dict) else value)
            return text.replace('"HERE"', "[" * 100_000 + "]" * 100_000).encode()
        case _:
            container[key] = VALUES[rng.integers(len(VALUES))]
    return json.dumps(value).encode()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the container and the key of each value; long lists are represented by a few values."""
    if isinstance(value, dict):
        keys: list[Any] = list(value)
    elif isinstance(value, list):
        keys = list(range(min(len(value), 3)))
    else:
        return
    for key in keys:
        yield value, key
        yield from _places(value[key])


def check_message(error: UserError, path: object) -> str:
    """Check that an error names the file and has one line; return the outcome, "rejected"."""
    assert str(path) in str(error), f"message without {path}: {error}"
    assert "\n" not in str(error), f"message of several lines: {error}"
    return "rejected"

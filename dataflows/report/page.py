"""The page: one HTML text with its script, style and data in it. It asks for nothing: a content security policy in the page itself
allows the one script and the one style by their hashes, and no request at all."""

from __future__ import annotations

import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

import orjson

SCRIPTS = (
    "dom.js",
    "scales.js",
    "charts.js",
    "painting.js",
    "timeline.js",
    "explanation.js",
    "story.js",
    "fleet.js",
    "live.js",
    "main.js",
)
"""In the order in which they stand in the page: one script, so that one hash names it."""


@cache
def script() -> str:
    body = "\n".join(_static(name) for name in SCRIPTS)
    return f'"use strict";\n{body}'


@cache
def style() -> str:
    return _static("page.css")


def content_policy(connect: str = "'none'") -> str:
    """The policy of a page that may connect to `connect` only."""
    return (
        f"default-src 'none'; script-src '{_hash(script())}'; style-src '{_hash(style())}'; connect-src {connect}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def page(document: dict[str, Any], connect: str = "'none'") -> bytes:
    """The whole page for a document (dataflows.report.document)."""
    parts = {
        "policy": content_policy(connect),
        "style": style(),
        "script": script(),
        "data": as_inline_json(document),
    }
    # The template is cut into pieces before anything is put in: what a part holds is never taken for a place.
    pieces = re.split(r"\{\{(\w+)\}\}", _static("page.html"))
    return "".join(parts[piece] if odd % 2 else piece for odd, piece in enumerate(pieces)).encode("utf-8", "replace")


def as_inline_json(value: Any) -> str:
    """JSON that can stand inside of a script element: nothing in it can end the element, begin another one or a comment.

    >>> as_inline_json({"name": "</script><!--"})
    '{"name":"\\\\u003c/script\\\\u003e\\\\u003c!--"}'
    """
    text = orjson.dumps(value).decode()
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _static(name: str) -> str:
    return (files("dataflows.report") / "static" / name).read_text("utf-8")


def _hash(text: str) -> str:
    return "sha256-" + b64encode(sha256(text.encode()).digest()).decode()

"""The page as HTML: its parts put together, and what it may do declared."""

import base64
import gzip
import hashlib
import html
import json
import re
from collections.abc import Mapping
from typing import Any

_WORDS = re.compile(r"\{\{(\w+)\}\}")


def make_markup(parts: Mapping[str, str], facts: Mapping[str, Any], inside: Mapping[str, bytes]) -> bytes:
    """The page, UTF-8, of its `parts` page.html, page.css, page.js and licenses.txt; `inside` are compressed files that
    it holds.

    Its Content-Security-Policy allows its own script and style by their hashes, scripts and pictures of its own making,
    and no request to another host; without files inside, requests to the host that it comes from.
    """
    script, style = parts["page.js"].replace("</script", r"<\/script"), parts["page.css"]
    policy = {
        "default-src": "'none'",
        "script-src": f"{_hash(script)} 'wasm-unsafe-eval' blob:",
        "style-src": _hash(style),
        "img-src": "data: blob:",
        "media-src": "blob:",
        "worker-src": "blob:",
        "connect-src": "'none'" if inside else "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    values = {
        "policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "name": html.escape(facts["model"]["name"]),
        "facts": json.dumps(facts, separators=(",", ":")).replace("<", r"\u003c"),
        "licenses": html.escape(parts["licenses.txt"]).replace("--", "- -"),
        "style": style,
        "script": script,
        "assets": "\n".join(
            f'<script type="text/plain" id="asset:{name}">{base64.b64encode(content).decode()}</script>'
            for name, content in inside.items()
        ),
    }
    return _WORDS.sub(lambda match: values[match[1]], parts["page.html"]).encode("utf-8", "xmlcharrefreplace")


def packed(content: bytes) -> bytes:
    """Compressed as the page expects its files, the same bytes each time."""
    return gzip.compress(content, 9, mtime=0)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

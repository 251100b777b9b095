"""The OpenAPI description as a plain page: no script, nothing from another machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from typing import Any


def page(schema: dict[str, Any]) -> str:
    """The HTML of an OpenAPI 3 description."""
    parts = [
        f"<h1>{escape(schema['info']['title'])} {escape(schema['info']['version'])}</h1>",
        f"<p>{escape(schema['info'].get('description', ''))}</p>",
        '<p>For programs: <a href="/openapi.json">openapi.json</a></p>',
    ]
    for path, methods in schema["paths"].items():
        for method, about in methods.items():
            parts.append(f"<h2><code>{method.upper()} {escape(path)}</code></h2>")
            parts.append(f"<p>{escape(about.get('description') or about.get('summary', ''))}</p>")
            parts.append(_parameters(about.get("parameters", [])))
            parts.append(_body(about.get("requestBody")))
            parts.append(_answers(about.get("responses", {})))
    parts.append("<h1>Schemas</h1>")
    for name, about in schema.get("components", {}).get("schemas", {}).items():
        parts.append(f'<h2 id="{escape(name)}"><code>{escape(name)}</code></h2>')
        parts.append(f"<p>{escape(about.get('description', ''))}</p>")
        required = about.get("required", [])
        rows = [(key, _kind(value), "yes" if key in required else "") for key, value in _fields(about)]
        parts.append(_table(("field", "type", "always"), rows))
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Interface</title>'
    body = "\n".join(part for part in parts if part)
    return f'<!doctype html><html lang="en"><head>{head}</head><body>\n{body}\n</body></html>\n'


def _parameters(parameters: list[dict[str, Any]]) -> str:
    rows = [
        (one["name"], one["in"], _kind(one.get("schema", {})), "required" if one.get("required") else "optional")
        for one in parameters
    ]
    return _table(("parameter", "in", "type", ""), rows)


def _body(body: dict[str, Any] | None) -> str:
    if not body:
        return ""
    rows = []
    for media, about in body["content"].items():
        schema = about.get("schema", {})
        fields = ", ".join(f"{key}: {_kind(value)}" for key, value in _fields(schema)) or _kind(schema)
        rows.append((media, fields))
    return _table(("body", "content"), rows)


def _answers(responses: dict[str, Any]) -> str:
    rows = []
    for status, about in responses.items():
        kinds = {_kind(one.get("schema", {})) for one in about.get("content", {}).values()}
        rows.append((status, ", ".join(sorted(kinds)) or about.get("description", "")))
    return _table(("status", "answer"), rows)


def _fields(schema: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return list(schema.get("properties", {}).items())


def _kind(schema: dict[str, Any]) -> str:
    """A schema in a few words: "array of Decision", "string or null"."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(map(_kind, schema["anyOf"])))
    if "enum" in schema:
        return " or ".join(json.dumps(value) for value in schema["enum"])
    if schema.get("type") == "array":
        return f"array of {_kind(schema.get('items', {}))}"
    return str(schema.get("format") or schema.get("type") or "any")


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"

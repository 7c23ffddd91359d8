"""The description of the protocol as a page for people, which needs neither scripts nor another host."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from descant.html_pages import render

REQUIRED = "required"


def reference_page(description: Mapping[str, Any]) -> str:
    """The page of an OpenAPI description."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, methods in description["paths"].items():
        for method, route in methods.items():
            groups.setdefault(route["tags"][0], []).append(_route(method.upper(), path, route))
    objects = [
        {"name": name, "text": schema.get("description", ""), "fields": list(_fields(schema))}
        for name, schema in sorted(description["components"]["schemas"].items())
    ]
    info = description["info"]
    return render(
        "apps/server/reference.html",
        title=f"{info['title']} {info['version']}: the HTTP protocol",
        summary=[info["description"]],
        groups=groups,
        objects=objects,
    )


def type_of(schema: Mapping[str, Any]) -> str:
    """A schema in a few words, such as ``number from 0 to 3600 or null``."""
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[-1]
    if "anyOf" in schema:
        return " or ".join(map(type_of, schema["anyOf"]))
    if "const" in schema or "enum" in schema:
        return " or ".join(json.dumps(value) for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {type_of(schema.get('items', {}))}"
    low, high = schema.get("minimum"), schema.get("maximum")
    limits = "" if low is None and high is None else f" from {low if low is not None else '-∞'} to {high or '∞'}"
    longest = f" of up to {schema['maxLength']} characters" if "maxLength" in schema else ""
    return f"{schema.get('type', 'any value')}{limits}{longest}"


def _route(method: str, path: str, route: Mapping[str, Any]) -> dict[str, Any]:
    bodies = route.get("requestBody", {}).get("content", {})
    return {
        "id": route["operationId"],
        "method": method,
        "path": path,
        "text": route.get("description", ""),
        "parameters": [
            (one["name"], one["in"], type_of(one["schema"]), _default(one["schema"], one.get("required", False)))
            for one in route.get("parameters", [])
        ],
        "bodies": [
            (kind, type_of(body["schema"]) if "$ref" in body["schema"] else "") for kind, body in bodies.items()
        ],
        "answers": ", ".join(
            f"{status} ({', '.join(answer['content'])})" if status < "4" and "content" in answer else status
            for status, answer in route["responses"].items()
        ),
    }


def _fields(schema: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for name, field in schema.get("properties", {}).items():
        yield name, type_of(field), _default(field, name in schema.get("required", []))


def _default(schema: Mapping[str, Any], is_required: bool) -> str:
    return REQUIRED if is_required else json.dumps(schema["default"]) if "default" in schema else ""

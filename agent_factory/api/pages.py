"""The two pages that need no web client: what runs here, and the API's reference."""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from agent_factory.runtime.models import ProviderStatus

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
code, pre { font: 0.9em/1.4 ui-monospace, monospace; }
pre { overflow-x: auto; padding: 0.75rem; background: color-mix(in srgb, currentColor 6%, transparent); }
table { border-collapse: collapse; } td, th { text-align: left; padding: 0.25rem 1rem 0.25rem 0; vertical-align: top; }
summary { cursor: pointer; padding: 0.25rem 0; } .method { display: inline-block; width: 4.5rem; font-weight: 600; }
.notice { border-left: 4px solid; padding-left: 1rem; }
"""
POLICY = (
    f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What a browser may do for a page of ours: use this very style, and nothing else."""
_DEMO = "demo"


def first_page(version: str, default_model: str, providers: Iterable[ProviderStatus]) -> str:
    """Say what runs: version, the model that answers, vendors and what each still needs."""
    rows = "".join(
        f"<tr><th scope=row>{escape(p.name)}</th><td>{'ready' if p.configured else 'not set up'}</td>"
        f"<td>{escape(p.hint)}</td></tr>"
        for p in providers
    )
    notice = (
        ""
        if default_model != _DEMO
        else (
            "<p class=notice><strong>The built-in demo model answers.</strong> It is no language model: it follows "
            "fixed rules, so that everything else can be tried. Set a vendor's key to use a real one.</p>"
        )
    )
    return _page(
        "Agent Factory",
        f"<h1>Agent Factory</h1><p>Version {escape(version)} runs here. Agents whose model is "
        f"<code>default</code> are answered by <code>{escape(default_model)}</code>.</p>{notice}"
        f"<h2>Models</h2><table>{rows}</table>"
        "<h2>API</h2><ul><li><a href=/docs>Reference of every operation</a></li>"
        "<li><a href=/openapi.json>OpenAPI document</a></li>"
        "<li>OpenAI-compatible: <code>/v1</code>, MCP: <code>/mcp</code></li>"
        "<li><a href=/health>Health</a>, <a href=/ready>readiness</a>, <a href=/metrics>metrics</a></li></ul>",
    )


def reference_page(document: Mapping[str, Any]) -> str:
    """List every operation of an OpenAPI document, with its parameters, body and answers."""
    groups: dict[str, list[str]] = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            groups.setdefault(operation["tags"][0], []).append(_operation(method, path, operation))
    body = "".join(f"<h2 id={escape(tag)}>{escape(tag)}</h2>{''.join(shown)}" for tag, shown in groups.items())
    schemas = document.get("components", {}).get("schemas", {})
    body += "<h2>Schemas</h2>" + "".join(
        f"<details id=schema-{escape(name)}><summary>{escape(name)}</summary>{_json(schema)}</details>"
        for name, schema in sorted(schemas.items())
    )
    title = f"{document['info']['title']} {document['info']['version']}"
    return _page(title, f"<h1>{escape(title)}</h1><p><a href=/openapi.json>OpenAPI document</a></p>{body}")


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    parts = [f"<p>{escape(operation.get('description', ''))}</p>"]
    parameters = operation.get("parameters", [])
    if parameters:
        rows = "".join(
            f"<tr><th scope=row><code>{escape(p['name'])}</code></th><td>{escape(p['in'])}</td>"
            f"<td>{escape(p.get('description', ''))}</td></tr>"
            for p in parameters
        )
        parts.append(f"<table>{rows}</table>")
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"<p>Body, <code>{escape(media)}</code></p>{_json(content.get('schema', {}))}")
    for status, answer in operation["responses"].items():
        parts.append(f"<p>{escape(status)}: {escape(answer.get('description', ''))}</p>")
        parts.extend(_json(content.get("schema", {})) for content in answer.get("content", {}).values())
    return (
        f"<details id={escape(operation['operationId'])}><summary><span class=method>{method.upper()}</span>"
        f"<code>{escape(path)}</code> {escape(operation.get('summary', ''))}</summary>{''.join(parts)}</details>"
    )


def _json(value: object) -> str:
    return f"<pre>{escape(json.dumps(value, indent=2))}</pre>"


def _page(title: str, body: str) -> str:
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport "
        f"content='width=device-width'><title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><main>{body}</main></body></html>"
    )

"""What is generated from the typed settings: JSON schema and table of keys; and the page of assumptions."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from formsafe.config.assumptions import PAGE, assumptions_page, read_assumptions
from formsafe.config.settings.study import StudySettings
from formsafe.core.files import write_text
from formsafe.core.texts import normalise

SCHEMA = Path("workflow/schemas/config.schema.json")
REFERENCE = Path("config/README.md")
BEGIN, END = "<!-- keys: begin (make schema) -->", "<!-- keys: end -->"


def schema() -> str:
    """The JSON schema of a study's configuration, as text."""
    return json.dumps(StudySettings.model_json_schema(), indent=2) + "\n"


def with_key_table(text: str) -> str:
    """`text` with a new table of all keys between its two markers."""
    head, tail = text.split(BEGIN)[0], text.split(END)[1]
    rows = ["| key | type | default | meaning |", "|---|---|---|---|", *_rows(StudySettings.model_json_schema())]
    return "\n".join([head + BEGIN, *rows, END + tail])


def _rows(root: dict[str, Any], node: dict[str, Any] | None = None, prefix: str = "") -> Iterator[str]:
    node = node or root
    for name, field in node["properties"].items():
        key = f"{prefix}{name}"
        default = "required" if name in node.get("required", []) else _shown(field.get("default"))
        yield f"| `{key}` | {_type(field)} | {default} | {normalise(field.get('description', ''))} |"
        child, step = _section(root, field)
        if child is not None:
            yield from _rows(root, child, key + step)


def _section(root: dict[str, Any], field: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """The section that a field opens, and what stands between its key and the section's own keys."""
    for option in (field, *field.get("anyOf", [])):
        for step, opened in ((".", option), (".*.", option.get("additionalProperties")), ("[].", option.get("items"))):
            if isinstance(opened, dict) and "$ref" in opened:
                return root["$defs"][opened["$ref"].rsplit("/", 1)[1]], step
    return None, ""


def _type(field: dict[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_type(option) for option in field["anyOf"]))
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    if field.get("type") == "array":
        return "list"
    return str(field.get("type", "section")).replace("object", "section")


def _shown(value: Any) -> str:
    return "section's own" if isinstance(value, dict) and value else f"`{json.dumps(value)}`"


def main() -> None:
    """Write the schema, the table of keys and the page of assumptions."""
    write_text(SCHEMA, schema())
    write_text(REFERENCE, with_key_table(REFERENCE.read_text(encoding="utf-8")))
    write_text(PAGE, assumptions_page(read_assumptions()))


if __name__ == "__main__":
    main()

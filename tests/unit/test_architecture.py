"""docs/architecture.md: the files, keys, rules and tests that it names exist."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
QUOTED = set(re.findall(r"`([^`\n]+)`", TEXT))
SCHEMA = json.loads((ROOT / "workflow/schemas/config.schema.json").read_text())


def has_key(key: str) -> bool:
    """Whether the configuration has a key; `*` is any name of a section."""
    nodes = [SCHEMA]
    for part in key.split("."):
        found = []
        for node in nodes:
            options = [node, *node.get("anyOf", [])]
            resolved = [SCHEMA["$defs"][o["$ref"].rsplit("/", 1)[1]] if "$ref" in o else o for o in options]
            for option in resolved:
                child = option.get("additionalProperties") if part == "*" else option.get("properties", {}).get(part)
                found += [child] if isinstance(child, dict) else []
        nodes = found
    return bool(nodes)


@pytest.mark.parametrize("path", sorted(q for q in QUOTED if re.match(r"(workflow|tests|docs|config)/[\w./:-]+$", q)))
def test_the_files_and_tests_that_it_names_exist(path):
    file, _, test = path.partition("::")
    assert (ROOT / file).exists()
    assert not test or f"def {test}(" in (ROOT / file).read_text()


FILES = (".csv", ".json", ".html", ".py", ".gz")
KEYS = sorted(q for q in QUOTED if re.fullmatch(r"[a-z_]+(\.(\*|[a-z_]+))+", q) and not q.endswith(FILES))


@pytest.mark.parametrize("key", KEYS)
def test_the_keys_that_it_names_exist(key):
    assert has_key(key) and not has_key(f"{key}.nosuch")


def test_it_names_every_package_in_the_order_of_imports():
    packages = {path.name for path in (ROOT / "workflow/scripts/formsafe").iterdir() if (path / "__init__.py").exists()}
    rows = re.findall(r"^\| `([a-z]+)` \|", TEXT, re.MULTILINE)
    assert set(rows[: len(packages)]) == packages
    for place, package in enumerate(rows[: len(packages)]):
        for module in (ROOT / "workflow/scripts/formsafe" / package).rglob("*.py"):
            imported = set(re.findall(r"^\s*from formsafe\.([a-z]+)", module.read_text(), re.MULTILINE))
            assert imported <= set(rows[: place + 1]), module


def test_the_rules_that_it_names_exist():
    rules = set(
        re.findall(r"^\s*rule (\w+):", "".join(p.read_text() for p in (ROOT / "workflow/rules").glob("*.smk")), re.M)
    )
    table = TEXT[TEXT.index("## Who writes which file") :]
    named = {
        name for row in re.findall(r"^\|[^|]+\|([^|]+)\|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    assert named and named <= rules


def test_readme_links_it():
    assert "docs/architecture.md" in (ROOT / "README.md").read_text()

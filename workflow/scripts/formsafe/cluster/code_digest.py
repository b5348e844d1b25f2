"""What a script computes, as a digest: comments, docstrings, messages and layout change nothing, code does.

Snakemake sees neither a change in a module that a `script:` imports nor that an edit of the script was a comment only.
The digest of a script covers its syntax tree and those of all `formsafe` modules that it imports, directly or not; a
rule takes it as a parameter. It is the same in all Python versions that give the source the same tree. Modules whose
names are computed (`importlib.import_module(name)`) are not seen: the caller names them.

What only a reader sees is left out: docstrings, the texts in errors (`raise X("...")`), and statements that print or
log. The docstring of a figure or table counts, since it is the caption (see `report.registry`). `NEUTRAL` modules are
left out as a whole.
"""

import ast
import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from functools import cache, lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

from formsafe.core.files import write_text

PACKAGE = "formsafe"
# These say how a job reports, starts and finds its GPU, never what it computes. Neither they nor what only they import
# counts.
NEUTRAL = ("core.errors", "core.logs", "core.redaction", "core.provenance", "core.startup", "models.devices")
_LOGGERS = ("logger", "logging", "log", "warnings")
_CAPTIONED = ("figure", "table")  # decorators that make a docstring a caption
# Source texts whose digests stay on disk: about eight versions of each of the 250 files, else every edit adds one.
_KEPT = 2000
# What is known of a source text, by the text's hash: the digest of its tree, and what it imports. Every job parses the
# Snakefile again, and parsing a hundred modules takes longer than hashing them: so it is also kept on disk, beside the
# byte code.
_known: dict[str, tuple[str, list[str]]] = {}
# A name for this version of the digest's code; a cache that another version wrote is not used.
_OWN_HASH = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]


def digest(script: Path | str, *more: str) -> str:
    """Return the SHA-256 (hex) of the code of `script` and of the package modules beside it that it imports.

    `more`: dotted names of modules that it imports by computed names. A process reads each file once. Raises
    SyntaxError when one of them is not Python.
    """
    script = Path(script).resolve()
    root = script.parent
    notes = root / "__pycache__" / f"code_digests.{_OWN_HASH}.json"
    _read_cache(notes)
    before = len(_known)
    parts = dict(_closure(script, root, *more))
    if len(_known) > before:
        _write_cache(notes)
    lines = "".join(f"{name} {part}\n" for name, part in sorted(parts.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _closure(script: Path, root: Path, *more: str) -> Iterator[tuple[str, str]]:
    """Yield (module name, digest of its tree) for the script, whose name is empty, and all that it imports."""
    waiting: list[tuple[str, Path]] = [("", script)]
    seen = {"", *(f"{PACKAGE}.{name}" for name in NEUTRAL)}
    while waiting:
        name, path = waiting.pop()
        tree_digest, imports = _describe(path)
        yield name, tree_digest
        for wanted in [*imports, *(() if name else more)]:
            for found, where in _resolve(wanted, root):
                if found not in seen:
                    seen.add(found)
                    waiting.append((found, where))


def _resolve(dotted: str, root: Path) -> Iterator[tuple[str, Path]]:
    """Yield the packages on the way to `dotted` and itself, as far as they are modules and not names within one."""
    package = _package(root)
    for name in accumulate(dotted.split("."), "{}.{}".format):
        if name in package:
            yield name, package[name]


@lru_cache
def _package(root: Path) -> dict[str, Path]:
    """Map the dotted names of all modules of the package under `root` to their files."""
    paths = sorted((root / PACKAGE).rglob("*.py"), key=lambda path: path.name == "__init__.py")
    return {".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


@cache
def _describe(path: Path) -> tuple[str, list[str]]:
    """Return the digest of the tree of `path` and what it imports, looked up by the hash of the text."""
    source = path.read_bytes()
    key = hashlib.sha256(source).hexdigest()
    if key not in _known:
        tree = ast.parse(source, filename=str(path))
        text = _normal(tree)
        # A source may hold a lone surrogate as an escape, which UTF-8 cannot encode.
        _known[key] = (hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(), sorted(set(_imports(tree))))
    return _known[key]


def _imports(node: ast.AST) -> Iterator[str]:
    """Yield everything of the package that may be a module in the import statements under `node`, wherever they stand.

    Imports for type checkers only (`if TYPE_CHECKING:`) never run and do not count.
    """
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name.split(".")[0] == PACKAGE)
    elif isinstance(node, ast.ImportFrom):
        origin = node.module or ""
        if node.level:
            raise SyntaxError(f"Line {node.lineno}: a relative import is not followed. Write `from {PACKAGE}....`.")
        if origin.split(".")[0] == PACKAGE:
            yield origin
            yield from (f"{origin}.{alias.name}" for alias in node.names if alias.name != "*")
    elif isinstance(node, ast.If) and getattr(node.test, "id", getattr(node.test, "attr", "")) == "TYPE_CHECKING":
        for statement in node.orelse:
            yield from _imports(statement)
    elif isinstance(node, ast.expr):
        return
    else:
        for child in ast.iter_child_nodes(node):
            yield from _imports(child)


def _normal(value: Any) -> str:
    """Write a syntax tree without places, messages and empty fields (which differ between Python versions)."""
    if isinstance(value, ast.Constant):
        return f"Constant({value.value!r})"
    if isinstance(value, ast.Call) and _name(value.func).endswith("Error"):
        kept = [_normal(argument) for argument in value.args if not _is_text(argument)]
        return f"Call({_normal(value.func)},{','.join(kept)},{_normal(value.keywords)})"
    if isinstance(value, ast.AST):
        fields = ((name, getattr(value, name, None)) for name in value._fields)
        written = [f"{name}={_normal(field)}" for name, field in fields if field is not None and field != []]
        if isinstance(value, ast.FunctionDef) and any(
            _name(getattr(each, "func", each)) in _CAPTIONED for each in value.decorator_list
        ):
            written.append(f"caption={ast.get_docstring(value)!r}")
        return f"{type(value).__name__}({','.join(written)})"
    if isinstance(value, list):
        return f"[{','.join(_normal(item) for item in value if not _is_message(item))}]"
    return repr(value)


def _is_message(node: Any) -> bool:
    """A statement that only a reader sees: a docstring (of a module, class, function or attribute), a print, a log."""
    if not isinstance(node, ast.Expr):
        return False
    if isinstance(node.value, ast.Call):
        function = node.value.func
        owner = _name(function.value) if isinstance(function, ast.Attribute) else ""
        # an argument that assigns or consumes is no mere message
        inert = not any(isinstance(part, ast.NamedExpr | ast.Yield | ast.Await) for part in ast.walk(node))
        return inert and (_name(function) == "print" or owner in _LOGGERS)
    return _is_text(node.value)


def _is_text(node: ast.AST) -> bool:
    """A text, an f-string, or texts put together by `+`."""
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.Add) and _is_text(node.left) and _is_text(node.right)
    if isinstance(node, ast.JoinedStr):
        return not any(isinstance(part, ast.NamedExpr) for part in ast.walk(node))
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _name(node: ast.AST) -> str:
    """The last part of a dotted name; empty for what is no name."""
    return str(getattr(node, "id", getattr(node, "attr", "")))


@cache
def _read_cache(file: Path) -> None:
    with suppress(OSError, ValueError, TypeError, AttributeError):  # none, or a broken one
        for key, (tree, names) in json.loads(file.read_text(encoding="utf-8")).items():
            _known[key] = str(tree), list(map(str, names))


def _write_cache(file: Path) -> None:
    with suppress(OSError):
        write_text(file, json.dumps(dict(list(_known.items())[-_KEPT:])))

"""The code digest changes when what a script computes changes, and with nothing else."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formsafe.cluster import code_digest

PACKAGE = {
    "formsafe/__init__.py": '"""Package."""\n',
    "formsafe/near.py": (
        '"""Near."""\nfrom formsafe.far import reach\n\n\ndef go(x: int) -> int:\n    """Go."""\n    return reach(x)\n'
    ),
    "formsafe/lonely.py": "ALONE = 1\n",
    "formsafe/late.py": "LATE = 1\n",
    "formsafe/types_only.py": "class Hint: ...\n",
    "formsafe/demo/__init__.py": "",
    "formsafe/demo/grammar.py": (
        "from formsafe.demo.words import WORDS\nfrom formsafe.settings.data import COUNT\n"
        "from formsafe.demo import tokens as t\n"
    ),
    "formsafe/demo/words.py": "WORDS = ['a']\n",
    "formsafe/demo/tokens.py": "T = 1\n",
    "formsafe/settings/__init__.py": "",
    "formsafe/settings/data.py": "COUNT = 3\n",
    "script.py": (
        '"""Script."""\nfrom typing import TYPE_CHECKING\nfrom formsafe.near import go\n'
        "if TYPE_CHECKING:\n    from formsafe.types_only import Hint\n"
        "with open(snakemake.log[0]):\n    import formsafe.demo.grammar as g\n"
        "    def f():\n        from formsafe import late\n"
    ),
    "formsafe/far.py": (
        "import logging\nfrom formsafe.core.errors import FormsafeError\nlogger = logging.getLogger()\n"
        "def reach(x):\n    print(f'at {x}')\n    logger.info('here')\n    if x > 9:\n"
        "        raise FormsafeError(f'{x} is ' 'too far', x)\n    return x + 1\n"
    ),
    "formsafe/core/errors.py": "from formsafe.core.only_for_errors import A\nclass FormsafeError(Exception): ...\n",
    "formsafe/core/only_for_errors.py": "A = 1\n",
    "other.py": "import formsafe.lonely\n",
}


def forget() -> None:
    """Forget the files read so far."""
    code_digest._describe.cache_clear()
    code_digest._package.cache_clear()


def modules(script: Path) -> list[str]:
    """The package modules that a script imports, directly or not, sorted."""
    return sorted(name for name, _ in code_digest._closure(script.resolve(), script.resolve().parent) if name)


@pytest.fixture
def package(tmp_path) -> Path:
    for name, text in PACKAGE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    forget()
    return tmp_path


def digest(package: Path) -> str:
    forget()
    return code_digest.digest(package / "script.py")


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("script.py", '"""Script."""', '"""Another\ndocstring."""'),
        ("script.py", "def f():", "def f():  # a comment"),
        ("formsafe/near.py", '    """Go."""\n', ""),
        ("formsafe/near.py", '"""Near."""\n', '"""Near."""\n\n\n# comment\n'),
        ("formsafe/near.py", "return reach(x)", "return reach(\n        x\n    )"),
        ("formsafe/settings/data.py", "COUNT = 3\n", 'COUNT = 3\n"""An attribute\'s docstring."""\n'),
        ("formsafe/demo/words.py", "['a']", '["a"]'),
        ("formsafe/lonely.py", "1", "2"),
        ("formsafe/types_only.py", "...", "x = 1"),
        ("formsafe/__init__.py", "Package", "The package"),
        ("formsafe/far.py", "too far", "further than it should be"),
        ("formsafe/far.py", "f'{x} is ' 'too far'", "'Too far' + f': {x + 1}'"),
        ("formsafe/far.py", "print(f'at {x}')", "print('another word', x)"),
        ("formsafe/far.py", "    print(f'at {x}')\n", ""),
        ("formsafe/far.py", "    if x > 9", "    logger.warning('a new line of the log')\n    if x > 9"),
        ("formsafe/core/errors.py", "...", "code = 1"),
        ("formsafe/core/only_for_errors.py", "1", "2"),
    ],
)
def test_an_edit_without_effect_keeps_the_digest(package, name, old, new):
    before = digest(package)
    text = (package / name).read_text()
    assert old in text
    (package / name).write_text(text.replace(old, new))
    assert digest(package) == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("script.py", "def f():", "def f(x=1):"),
        ("formsafe/near.py", "reach(x)", "reach(-x)"),
        ("formsafe/near.py", "x: int", "x: float"),
        ("formsafe/far.py", "x + 1", "x + 2"),
        ("formsafe/far.py", "x + 1", "x + True"),
        ("formsafe/far.py", "x + 1", "x + 1.0"),
        ("formsafe/far.py", "FormsafeError(f", "ValueError(f"),
        ("formsafe/far.py", ", x)", ", -x)"),
        ("formsafe/far.py", ", x)", ", x, x + 1)"),  # a sum of numbers is no message, nor is one of a text and a value
        ("formsafe/far.py", ", x)", ", x, x + 'far')"),
        ("formsafe/far.py", ", x)", ", x, 'far' + x)"),
        ("formsafe/far.py", "print(f'at {x}')", "x = print(f'at {x}')"),
        ("formsafe/far.py", "print(f'at {x}')", "print(x := x + 1)"),
        ("formsafe/far.py", "logger.info('here')", "x.info('here')"),
        ("formsafe/far.py", "x + 1", "x - 1"),
        ("formsafe/late.py", "1", "None"),
        ("formsafe/demo/words.py", "'a'", "'b'"),
        ("formsafe/demo/words.py", "['a']", "['a', 'a']"),
        ("formsafe/demo/words.py", "['a']", "{'a': 1}"),
        ("formsafe/demo/words.py", "'a'", "b'a'"),
        ("formsafe/demo/tokens.py", "T = 1", "T: int = 1"),
        ("formsafe/demo/__init__.py", "", "X = 1\n"),
        ("formsafe/settings/data.py", "3", "4"),
        ("formsafe/__init__.py", '"""Package."""', "VERSION = 1"),
    ],
)
def test_an_edit_with_effect_changes_the_digest(package, name, old, new):
    before = digest(package)
    text = (package / name).read_text()
    assert old in text
    (package / name).write_text(text.replace(old, new, 1) if old else new)
    assert digest(package) != before


def test_modules_that_only_report_and_start_are_neutral_in_every_rule_and_no_others():
    """Each exists, some script imports it, and none is reached that a result might depend on."""
    scripts = sorted(Path(code_digest.__file__).parents[2].glob("*.py"))
    library = Path(code_digest.__file__).parents[1]
    assert set(code_digest.NEUTRAL) == {
        "core.errors",
        "core.logs",
        "core.provenance",
        "core.redaction",
        "core.startup",
        "models.devices",
    }
    for name in code_digest.NEUTRAL:
        assert (library / f"{name.replace('.', '/')}.py").is_file()
        imported = f"formsafe.{name} import"
        assert any(imported in path.read_text() for path in [*scripts, *library.rglob("*.py")])
    for script in scripts:
        assert not {f"formsafe.{name}" for name in code_digest.NEUTRAL} & set(modules(script))
    trained = modules(library.parent / "train_adapter.py")
    assert {"formsafe.core.files", "formsafe.training.trainer", "formsafe.models.load"} <= set(trained)


def test_a_touched_or_copied_tree_has_the_same_digest(package, tmp_path_factory):
    before = digest(package)
    copy = tmp_path_factory.mktemp("copy")
    for name in PACKAGE:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes((package / name).read_bytes())
    assert digest(copy) == before


def test_modules_are_found_wherever_they_are_imported(package):
    assert modules(package / "script.py") == [
        "formsafe",
        "formsafe.demo",
        "formsafe.demo.grammar",
        "formsafe.demo.tokens",
        "formsafe.demo.words",
        "formsafe.far",
        "formsafe.late",
        "formsafe.near",
        "formsafe.settings",
        "formsafe.settings.data",
    ]
    assert modules(package / "other.py") == ["formsafe", "formsafe.lonely"]


def test_a_module_imported_by_a_computed_name_counts_where_it_is_named(package):
    def with_lonely() -> str:
        forget()
        return code_digest.digest(package / "script.py", "formsafe.lonely")

    alone, before = digest(package), with_lonely()
    assert before != alone
    (package / "formsafe/lonely.py").write_text("from formsafe.types_only import Hint\n")
    named = with_lonely()
    assert named != before
    (package / "formsafe/types_only.py").write_text("class Hint: x = 1\n")
    assert with_lonely() != named
    assert digest(package) == alone


def test_a_name_that_becomes_a_module_changes_the_digest(package):
    before = digest(package)
    (package / "formsafe/near.py").unlink()
    (package / "formsafe/near").mkdir()
    (package / "formsafe/near/__init__.py").write_text("go = 1\n")
    assert digest(package) != before


def test_digests_read_from_disk_equal_fresh_ones(package):
    """A second process finds the first one's notes and comes to the same digest, also after an edit."""
    program = "import sys; from formsafe.cluster.code_digest import digest; print(digest(sys.argv[1]))"
    run = [sys.executable, "-c", program, str(package / "script.py")]
    environment = {"PYTHONPATH": str(Path(code_digest.__file__).parents[2])}

    def in_a_process() -> str:
        return subprocess.run(run, env=environment, capture_output=True, text=True, check=True).stdout.strip()

    first = in_a_process()
    (notes,) = (package / "__pycache__").glob("code_digests.*.json")
    assert notes.is_file()
    assert in_a_process() == first
    (package / "formsafe/far.py").write_text("def reach(x):\n    return x + 2\n")
    changed = in_a_process()
    assert changed != first
    notes.write_text("{broken")
    assert in_a_process() == changed


@pytest.fixture
def new_process(monkeypatch):
    """Forgets what this process read from files and from notes on disk; returns a call that does so again."""

    def start() -> None:
        forget()
        monkeypatch.setattr(code_digest, "_known", {})
        code_digest._read_cache.cache_clear()

    start()
    return start


def notes_of(package: Path) -> list[Path]:
    return [path for path in (package / "__pycache__").iterdir() if re.fullmatch(NOTES, path.name)]


NOTES = r"code_digests\.[0-9a-f]{16}\.json"


def test_what_the_notes_know_is_not_parsed_again(package, new_process, monkeypatch):
    first = digest(package)
    new_process()
    monkeypatch.setattr(code_digest.ast, "parse", lambda *_, **__: pytest.fail("parsed a known text again"))
    assert digest(package) == first


def test_notes_are_written_only_when_a_text_was_new(package, new_process):
    digest(package)
    (notes,) = notes_of(package)
    notes.unlink()
    digest(package)
    assert notes_of(package) == []


def test_notes_keep_the_newest_two_thousand_texts(package, new_process):
    code_digest._known.update({f"text {number}": ("tree", []) for number in range(2500)})
    digest(package)
    (notes,) = notes_of(package)
    kept = json.loads(notes.read_text())
    assert len(kept) == 2000
    read_now = len(code_digest._known) - 2500
    assert [key for key in kept if key.startswith("text")] == [
        f"text {number}" for number in range(500 + read_now, 2500)
    ]


def test_a_module_and_a_package_of_one_name_are_the_package_as_for_python(package):
    (package / "formsafe/near").mkdir()
    (package / "formsafe/near/__init__.py").write_text("def go(x): return x\n")
    before = digest(package)
    (package / "formsafe/near.py").write_text("def go(x): return -x\n")
    assert digest(package) == before
    (package / "formsafe/near/__init__.py").write_text("def go(x): return -x\n")
    assert digest(package) != before


def test_a_script_without_imports_of_its_own_follows_the_modules_that_are_named(package):
    script = package / "alone.py"
    script.write_text("import os\n")

    def with_lonely() -> str:
        forget()
        return code_digest.digest(script, "formsafe.lonely")

    before = with_lonely()
    (package / "formsafe/lonely.py").write_text("ALONE = 2\n")
    assert with_lonely() != before


def test_what_is_imported_where_no_type_checker_looks_counts(package):
    (package / "alone.py").write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from formsafe.types_only import Hint\nelse:\n    from formsafe.lonely import ALONE\n"
    )
    assert modules(package / "alone.py") == ["formsafe", "formsafe.lonely"]


@pytest.mark.parametrize("empty", [{}, {"later": None}, {"later": []}])
def test_an_empty_field_that_only_newer_pythons_have_changes_nothing(monkeypatch, empty):
    tree = ast.parse("def f(x):\n    return x\n")
    before = code_digest._normal(tree)
    monkeypatch.setattr(ast.FunctionDef, "_fields", (*ast.FunctionDef._fields, "later"))
    for name, value in empty.items():
        setattr(tree.body[0], name, value)
    assert code_digest._normal(tree) == before


def test_a_relative_import_would_not_be_followed_so_it_is_refused(package):
    (package / "formsafe/far.py").write_text("from .lonely import ALONE\n")
    with pytest.raises(SyntaxError, match="relative import"):
        digest(package)


def test_a_syntax_error_names_its_file(package):
    (package / "formsafe/far.py").write_text("def reach(:\n")
    with pytest.raises(SyntaxError, match=r"far\.py"):
        digest(package)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(VALUES, VALUES)
def test_literals_have_equal_trees_only_when_they_are_written_alike(left, right):
    trees = [ast.parse(f"x = {value!r}") for value in (left, right)]
    same = ast.dump(trees[0]) == ast.dump(trees[1])
    assert (code_digest._normal(trees[0]) == code_digest._normal(trees[1])) == same


def test_a_caption_counts_although_it_is_a_docstring(package):
    """A figure or table shows its function's docstring: an edit of it must draw the figure again."""
    drawing = '@figure("safety", "Pie")\ndef pie(results):\n    """Eat it."""\n'
    (package / "formsafe/near.py").write_text((package / "formsafe/near.py").read_text() + drawing)
    before = digest(package)
    (package / "formsafe/near.py").write_text(
        (package / "formsafe/near.py").read_text().replace("Eat it.", "Do not eat it.")
    )
    assert digest(package) != before

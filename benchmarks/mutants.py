"""How many deliberate faults the unit tests notice: one-line mutants of the modules that decide results.

Each module's mutants run against the tests of its package (`tests/unit/<package>/`, and those in `tests/security/` that
import it): the quickest tests that run the changed line, then the files of all that do, or all of the package where the
line runs at import (see `warm_pytest.py`). Of a function that is run once a process and cached, only the file of the
first test is known. All runs in a PID namespace (`unshare` of util-linux), since some of the code under test ends
processes.

Work is kept below `.mutants/`, one copy of the checkout and one session of cosmic-ray a module, so that a run that was
stopped goes on, and several processes can share the work:

    python benchmarks/mutants.py                            all modules, all mutants (a night on two cores)
    python benchmarks/mutants.py --shard 1/2                 every second module, for a second process
    python benchmarks/mutants.py --sample 150                a seeded sample over all modules
    python benchmarks/mutants.py analysis/statistics.py      one module

A module that was edited since starts again; where its tests were edited, only the mutants run again that they had not
noticed (remove `.mutants/` where tests were weakened). The result keeps the rows of modules that were not run now and
have the same code. `mutants_alive.yaml` lists survivors that may live: their diff and the reason; those marked
`equivalent` change no behaviour and leave the count. So do those of `GUARDS`.
"""

import argparse
import ast
import hashlib
import json
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import yaml
from committed import RESULTS, ROOT, save
from cosmic_ray.work_db import WorkDB
from cosmic_ray.work_item import WorkerOutcome, WorkResult

from tests.checkout import copy_checkout

LIBRARY = "workflow/scripts/formsafe"
FOLDER = ROOT / ".mutants"
ALIVE = ROOT / "benchmarks" / "mutants_alive.yaml"
# Modules that decide results. A folder means all its modules.
MODULES = (
    *("core/files.py", "core/layout.py", "config/grid.py", "formats", "data", "sources/rows.py", "sources/fetch.py"),
    *("models/chat.py", "training", "generation", "scoring", "analysis", "cluster"),
)
# Of many mutants of one place only those that differ most from each other: an operator's opposite, a comparison's
# boundary and its opposite. `|` is left out: nearly always it joins types in an annotation.
BINARY = "Add_Sub|Sub_Add|Mul_Div|Div_Mul|FloorDiv_Mul|Mod_FloorDiv|Pow_Mul|BitAnd_BitOr|LShift_RShift|RShift_LShift"
COMPARISON = (
    "Eq_NotEq|NotEq_Eq|Lt_LtE|Lt_GtE|Gt_GtE|Gt_LtE|LtE_Lt|LtE_Gt|GtE_Gt|GtE_Lt|Is_IsNot|IsNot_Is|In_NotIn|NotIn_In"
)
LEFT_OUT = [
    rf"core/ReplaceBinaryOperator_(?!({BINARY})$)",
    rf"core/ReplaceComparisonOperator_(?!({COMPARISON})$)",
    r"core/(RemoveDecorator|ExceptionReplacer|Variable.*|ReplaceUnaryOperator_.*_Invert|ReplaceUnaryOperator_.*_UAdd)",
]
# Guards against mistakes in the program itself: without them it does the same.
GUARDS = {
    (r"\bstrict=True", "strict=False"): "zip over sequences that are equally long here",
    (r"(@dataclass\(.*\b(?:frozen|slots))=True", r"\1=False"): "nothing assigns to the record's fields",
    (r"(\bdef .*)\*, ", r"\1/, "): "every caller names these arguments",
}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
TIMEOUT_SECONDS = 600.0  # the tests have a limit of their own
WARM = Path(__file__).with_name("warm_pytest.py")


def modules_of(named: Sequence[str]) -> list[str]:
    """Paths below the library of all modules that `named` lists, packages' own `__init__.py` left out."""
    found: list[str] = []
    for name in named:
        place = ROOT / LIBRARY / name
        paths = sorted(place.rglob("*.py")) if place.is_dir() else [place]
        found += [str(path.relative_to(ROOT / LIBRARY)) for path in paths if path.name != "__init__.py"]
    return found


def tests_of_package(package: str, root: Path) -> list[Path]:
    """Test files of a package, and those of hostile files and texts that import it."""
    own = sorted((root / "tests" / "unit" / package).glob("test_*.py"))
    hostile = sorted((root / "tests" / "security").glob("test_*.py"))
    return own + [path for path in hostile if f"formsafe.{package}" in path.read_text(encoding="utf-8")]


def tests_of(module: str) -> list[str]:
    """Test files of a module's package: those named like the module first, then those that import it."""
    package, name = module.split("/")[0], Path(module).stem
    files = [path.relative_to(ROOT) for path in tests_of_package(package, ROOT)]
    imported = f"formsafe.{package}.{name} "

    def far(file: Path) -> int:
        return 0 if name in file.name else 1 if imported in (ROOT / file).read_text(encoding="utf-8") else 2

    return [str(file) for file in sorted(files, key=far)]


def folder_of(module: str) -> Path:
    """Where work on a module is kept; another place when its text (mutants are kept by line) or their kinds change."""
    text = (ROOT / LIBRARY / module).read_bytes() + "".join(LEFT_OUT).encode()
    return FOLDER / f"{module.replace('/', '.').removesuffix('.py')}-{hashlib.sha256(text).hexdigest()[:12]}"


def source_of(module: str) -> str:
    """What a module's mutants depend on: its code, comments and docstrings left out, and the kinds of mutants."""
    tree = ast.parse((ROOT / LIBRARY / module).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node) is not None:
            del node.body[0]
    return hashlib.sha256((ast.dump(tree) + "".join(LEFT_OUT)).encode()).hexdigest()[:12]


def digest_of_tests(module: str) -> str:
    """Changes when a test file of the module's package does."""
    return hashlib.sha256(b"".join((ROOT / file).read_bytes() for file in tests_of(module))).hexdigest()


def session_of(module: str) -> Path:
    """A fresh or continued session: a folder with a copy of the checkout and the work on one module."""
    folder, tests = folder_of(module), digest_of_tests(module)
    session = folder / "session.sqlite"
    if session.exists():
        if (folder / "tests").read_text() != tests:
            shutil.rmtree(folder / "checkout")
            _configure(copy_checkout(folder / "checkout"), module)
            with sqlite3.connect(session) as database:
                database.execute("DELETE FROM work_results WHERE test_outcome = 'SURVIVED'")
            (folder / "tests").write_text(tests)
        # A run that was killed may have left a mutant there.
        shutil.copy2(ROOT / LIBRARY / module, folder / "checkout" / LIBRARY / module)
        return folder
    for old in FOLDER.glob(f"{folder.name.rpartition('-')[0]}-*"):
        shutil.rmtree(old)
    folder.mkdir(parents=True)
    (folder / "tests").write_text(tests)
    copy = copy_checkout(folder / "checkout")
    _configure(copy, module)
    _run(copy, "cosmic-ray", "init", "mutants.toml", "new.sqlite")
    _run(copy, "cr-filter-operators", "new.sqlite", "mutants.toml")
    (copy / "new.sqlite").rename(session)
    return folder


def _configure(copy: Path, module: str) -> None:
    """Write cosmic-ray's settings into a copy of the checkout, and which tests run each line of the module."""
    config = (
        f'[cosmic-ray]\nmodule-path = "{LIBRARY}/{module}"\ntimeout = {TIMEOUT_SECONDS}\nexcluded-modules = []\n'
        f'test-command = "python -S {WARM} --mutant tests.json"\n[cosmic-ray.distributor]\nname = "local"\n'
        f"[cosmic-ray.filters.operators-filter]\nexclude-operators = {json.dumps(LEFT_OUT)}\n"
    )
    (copy / "mutants.toml").write_text(config, encoding="utf-8")
    package = json.loads(map_of(module.split("/")[0], copy).read_text(encoding="utf-8"))
    path = f"{LIBRARY}/{module}"
    source, lines = (copy / path).read_text(encoding="utf-8"), package["lines"].get(path, {})
    known = {"module": path, "source": source, "lines": lines, "seconds": package["seconds"], "files": tests_of(module)}
    (copy / "tests.json").write_text(json.dumps(known), encoding="utf-8")


def map_of(package: str, copy: Path) -> Path:
    """Which tests of a package run each line of its modules; made once while neither of them changes."""
    sources = [*sorted((copy / LIBRARY / package).glob("*.py")), *tests_of_package(package, copy)]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    place = FOLDER / f"lines-{package}-{digest}.json"
    if not place.exists():
        pass_alone(package, copy, "--map", f"{LIBRARY}/{package}", str(place))
    return place


def pass_alone(package: str, copy: Path, *options: str) -> None:
    """See that a package's tests pass on unchanged code: where they fail by themselves they notice every mutant."""
    files = [str(path.relative_to(copy)) for path in tests_of_package(package, copy)]
    tests = ["-q", "-x", "-p", "no:cacheprovider", *files]
    try:
        _run(copy, "python", "-S", str(WARM), *options, *tests)
    except subprocess.CalledProcessError:
        _run(copy, "python", "-m", "pytest", *tests)  # says in words what fails
        raise


@contextmanager
def warm_pytest() -> Iterator[None]:
    """A server for the test command, which every child of this process finds by WARM_PYTEST."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER, prefix="pytest-") as folder:
        place = Path(folder) / "socket"
        os.environ["WARM_PYTEST"] = str(place)
        server = subprocess.Popen([sys.executable, WARM, "--serve"], stdin=subprocess.DEVNULL)
        try:
            while not place.exists():
                if server.poll() is not None:
                    raise SystemExit("The server for pytest ended at its start; its last words are above.")
                time.sleep(0.1)
            yield
        finally:
            server.terminate()
            server.wait()


def _run(folder: Path, *command: str) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(command, cwd=folder, check=True, env={**os.environ, "PATH": path}, stdin=subprocess.DEVNULL)


def draw(folders: dict[str, Path], size: int) -> None:
    """Skip every waiting mutant that a seeded sample over all modules leaves out."""
    waiting: list[tuple[str, str, int, str]] = []  # module, operator, occurrence (job ids differ between sessions), job
    for module, folder in folders.items():
        with _opened(folder) as database:
            skipped = {job for job, result in database.results if result.worker_outcome == WorkerOutcome.SKIPPED}
            for item in database.work_items:
                mutation = item.mutations[0]
                if item.job_id not in skipped:
                    waiting.append((module, mutation.operator_name, mutation.occurrence, item.job_id))
    chosen = {job for *_, job in random.Random(0).sample(sorted(waiting), min(size, len(waiting)))}
    for folder in folders.values():
        with _opened(folder) as database:
            for item in database.pending_work_items:
                if item.job_id not in chosen:
                    left_out = WorkResult(output="not drawn", worker_outcome=WorkerOutcome.SKIPPED)
                    database.set_result(item.job_id, left_out)


def _opened(folder: Path) -> Any:
    return closing(WorkDB(str(folder / "session.sqlite"), WorkDB.Mode.open))


def results_of(module: str, folder: Path, alive: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Counts of one module, and its survivors by the digest of their diff."""
    row: dict[str, Any] = {"module": module, "mutants": 0, "killed": 0, "equivalent": 0, "waiting": 0}
    row["source"] = source_of(module)
    survivors = []
    with _opened(folder) as database:
        row["waiting"] = len(list(database.pending_work_items))
        for _, result in database.completed_work_items:
            if result.worker_outcome == WorkerOutcome.SKIPPED:
                continue
            row["mutants"] += 1
            if result.is_killed:
                row["killed"] += 1
                continue
            changed = [line for line in (result.diff or "").splitlines() if re.match(r"[+-](?![+-]{2} )", line)]
            name = hashlib.sha256("\n".join([module, *changed]).encode()).hexdigest()[:10]
            known = alive.get(name) or _guard(changed)
            row["equivalent"] += bool(known.get("equivalent"))
            survivors.append({"name": name, "module": module, "change": changed, **known})
    return {"row": row, "survivors": survivors}


def former_results(alive: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By module what the committed result has of those that are still as they were, with today's reasons."""
    file = RESULTS / "mutants.json"
    known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"modules": [], "survivors": []}
    found = {}
    for row in known["modules"]:
        module = row["module"]
        if (ROOT / LIBRARY / module).exists() and row.get("source") == source_of(module):
            survivors = [
                {"name": each["name"], "module": module, "change": each["change"]}
                | (alive.get(each["name"]) or _guard(each["change"]))
                for each in known["survivors"]
                if each["module"] == module
            ]
            row["equivalent"] = sum(bool(each.get("equivalent")) for each in survivors)
            found[module] = {"row": row, "survivors": survivors}
    return found


def _guard(changed: Sequence[str]) -> dict[str, Any]:
    """Why a mutant lives whose change is one of GUARDS."""
    before, after = (next((line for line in changed if line[0] == sign), "") for sign in "-+")
    for (pattern, other), reason in GUARDS.items():
        if before[1:] != after[1:] == re.sub(pattern, other, before[1:], count=1):
            return {"equivalent": True, "reason": reason}
    return {}


def alone() -> None:
    """Go on in a PID namespace: a mutant of the code that ends processes finds none but its tests' there."""
    if os.environ.get("MUTANTS_ALONE"):
        return
    os.environ["MUTANTS_ALONE"] = "1"
    # The shell is the namespace's first process, which has to collect what the tests leave behind.
    command = ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, *sys.argv]
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    os.execvp("unshare", ["unshare", *user, "--pid", "--fork", "--kill-child", "--mount-proc", *command])


def main() -> None:
    """Run, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", default=list(MODULES))
    parser.add_argument("--sample", type=int, help="mutants in all; a fixed seed draws them")
    parser.add_argument("--shard", default="1/1", help="which part of the modules: 1/2, 2/2")
    parser.add_argument("--only-report", action="store_true", help="write what has been run so far")
    options = parser.parse_args()
    part, parts = map(int, options.shard.split("/"))
    modules = modules_of(options.modules)[part - 1 :: parts]
    alive = yaml.safe_load(ALIVE.read_text(encoding="utf-8")) if ALIVE.exists() else {}
    if options.only_report:
        folders = _begun(modules)
    else:
        alone()
        with warm_pytest():
            folders = {module: session_of(module) for module in modules}
            if options.sample:
                draw(folders, options.sample)
            for folder in folders.values():
                _run(folder / "checkout", "cosmic-ray", "exec", "mutants.toml", str(folder / "session.sqlite"))
            for package, folder in {module.split("/")[0]: folder for module, folder in folders.items()}.items():
                pass_alone(package, folder / "checkout")
    found = {module: results_of(module, folder, alive or {}) for module, folder in folders.items()}
    if not options.sample:
        for module, former in former_results(alive or {}).items():
            if module not in found or found[module]["row"]["waiting"] > former["row"]["waiting"]:
                found[module] = former
    rows = sorted((each["row"] for each in found.values() if each["row"]["mutants"]), key=lambda row: row["module"])
    mutants, killed, equivalent = (sum(row[key] for row in rows) for key in ("mutants", "killed", "equivalent"))
    share = round(killed / (mutants - equivalent), 4) if mutants > equivalent else None
    survivors = [survivor for row in rows for survivor in found[row["module"]]["survivors"]]
    not_run = [module for module in modules_of(MODULES) if module not in {row["module"] for row in rows}]
    figures = {"killed_share": share, "counted": mutants - equivalent, "sample": options.sample, "not_run": not_run}
    save("mutants", {**figures, "modules": rows, "survivors": survivors})


def _begun(modules: Sequence[str]) -> dict[str, Path]:
    folders = {}
    for module in modules:
        folder = folder_of(module)
        if (folder / "session.sqlite").exists():
            folders[module] = folder
    return folders


if __name__ == "__main__":
    main()

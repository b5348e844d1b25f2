"""pytest without the seconds of importing PyTorch and its kin: a server that has imported them forks for each call.

    export WARM_PYTEST=/tmp/pytest.sock
    python benchmarks/warm_pytest.py --serve &
    python -S benchmarks/warm_pytest.py -q -x tests/unit/analysis

The second call works in its own folder and exits as pytest does. Nothing of this project is imported before the fork,
so that each call tests the files as they are. One that is killed ends its tests, too.

A call with `--map FOLDER FILE` also writes which tests run each line of the modules in FOLDER. One with `--mutant FILE`
runs the tests that FILE names for the changed lines of its module: first the quickest of those that run these lines,
then all tests of their files, the module's own first, for a minute: what the others would notice counts as
unnoticed.
"""

import contextlib
import gc
import json
import os
import signal
import socket
import sys

LIBRARIES = (
    *("datasets", "hypothesis", "jinja2", "matplotlib.figure", "openai", "pandas", "peft", "pydantic", "rouge_score"),
    *("scipy.stats", "snakemake.cli", "statsmodels.api", "torch", "transformers.models.llama.modeling_llama", "yaml"),
)
PLUGINS = ("-p", "_hypothesis_pytestplugin", "-p", "pytest_timeout")
FAILED = 1  # pytest's exit code
FIRST_SECONDS, REST_SECONDS = 5.0, 60.0  # of tests in a mutant's two calls
# An endless loop is noticed after this many times the tests' own seconds; a busy machine takes some of them.
PATIENCE, LEAST_SECONDS = 12.0, 40.0


def run(address: str, arguments: list[str], seconds: float | None = None, mapped: list[str] | None = None) -> int:
    """Have the server run pytest here; returns its exit code, or 3 (an internal error) where it has none.

    Tests that take longer than `seconds` have failed. `mapped`: a folder, and where the tests of its lines go.
    """
    with _connected(address) as wire:
        wire.sendall(json.dumps([os.getcwd(), arguments, mapped]).encode() + b"\n")
        wire.settimeout(seconds)
        try:
            answer = wire.recv(16)
        except TimeoutError:
            return FAILED
    if not answer:
        _connected(address).close()  # the tests ended their process, or was it the server that was ended?
    return int(answer or 3)


def _connected(address: str) -> socket.socket:
    """A connection with the server; without one, what calls is ended, cosmic-ray say.

    It would take a call that fails for a mutant that is noticed.
    """
    wire = socket.socket(socket.AF_UNIX)
    try:
        wire.connect(address)
    except OSError as error:
        print(f"No server for pytest at {address}: {error}", file=sys.stderr)
        os.kill(os.getppid(), signal.SIGKILL)
        raise
    return wire


def run_mutant(address: str, file: str) -> int:
    """Run the tests that a mutant needs; returns pytest's exit code."""
    with open(file, encoding="utf-8") as opened:
        known = json.load(opened)
    with open(known["module"], encoding="utf-8") as opened:
        tests = tests_of_change(known["source"].splitlines(), opened.read().splitlines(), known["lines"])
    taken, first = 0.0, []
    for test in sorted(tests, key=known["seconds"].__getitem__):
        taken += known["seconds"][test]
        if taken > FIRST_SECONDS and first:
            break
        first.append(test)
    options = ["-q", "-x", "-p", "no:cacheprovider"]
    code = run(address, [*options, *first], max(LEAST_SECONDS, PATIENCE * taken)) if first else 0
    rest, taken = files_of_change(known, tests)
    return code or run(address, [*options, *rest], max(LEAST_SECONDS, PATIENCE * taken))


def files_of_change(known: dict, tests: list[str]) -> tuple[list[str], float]:
    """The files of `tests`, the module's own first, as many as take `REST_SECONDS`; and the seconds that they take."""
    wanted = {test.partition("::")[0] for test in tests} or set(known["files"])
    seconds: dict[str, float] = {}
    for test, taken in known["seconds"].items():
        file = test.partition("::")[0]
        seconds[file] = seconds.get(file, 0.0) + taken
    chosen, total = [], 0.0
    for file in known["files"]:
        if file in wanted and (not chosen or total + seconds.get(file, 0.0) <= REST_SECONDS):
            chosen.append(file)
            total += seconds.get(file, 0.0)
    return chosen, total


def tests_of_change(before: list[str], after: list[str], lines: dict[str, list[str]]) -> list[str]:
    """Tests that run one of the lines that differ; none where a line runs at import only."""
    start = next((k for k, (old, new) in enumerate(zip(before, after, strict=False)) if old != new), 0)
    more = len(after) - len(before)
    end = max((k for k in range(start, len(before)) if before[k] != after[k + more]), default=-1)
    return sorted({test for number in range(start, end + 1) for test in lines.get(str(number + 1), ())})


class LinesByTest:
    """A plugin for pytest: which tests run each line of a folder's modules, and how long each takes."""

    def __init__(self, folder: str) -> None:
        import coverage

        self.seconds: dict[str, float] = {}
        self.coverage = coverage.Coverage(data_file=None, include=[f"{folder}/*"], config_file=False)
        self.coverage.start()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.coverage.switch_context(nodeid)

    def pytest_runtest_logreport(self, report) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration

    def pytest_runtest_logfinish(self) -> None:
        self.coverage.switch_context("")

    def save(self, file: str) -> None:
        """Write `{"seconds": {test: seconds}, "lines": {module: {line: [test, ...]}}}`."""
        self.coverage.stop()
        data, lines = self.coverage.get_data(), {}
        for module in data.measured_files():
            found = data.contexts_by_lineno(module)
            lines[os.path.relpath(module)] = {line: [test for test in tests if test] for line, tests in found.items()}
        with open(file, "w", encoding="utf-8") as opened:
            json.dump({"seconds": self.seconds, "lines": lines}, opened)


def serve(address: str) -> None:
    """Import the libraries once, and answer calls until the process is ended."""
    os.environ["OMP_NUM_THREADS"] = "1"  # as the tests set it, too late here
    for name in LIBRARIES:
        __import__(name)
    gc.collect()
    gc.freeze()  # so that no child's collection goes through a million objects of the libraries
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children are not waited for
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        while True:
            wire, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _work(wire)
            wire.close()


def _work(wire: socket.socket) -> None:
    """In a child: run pytest, tell its exit code, and end."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    folder, arguments, mapped = json.loads(wire.makefile().readline())
    if os.fork() != 0:  # watches whether the caller still lives, and ends the tests with it
        wire.recv(1)
        os.killpg(0, signal.SIGKILL)
    import hypothesis
    import pytest

    # A slow machine or another draw of examples is no fault of the code under test.
    hypothesis.settings.register_profile("warm", deadline=None, derandomize=True, database=None)
    hypothesis.settings.load_profile("warm")
    os.chdir(folder)
    sys.path.insert(0, folder)
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # a third of a call's start
    code = 3
    with contextlib.suppress(SystemExit), open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
        recorder = LinesByTest(mapped[0]) if mapped else None
        code = int(pytest.main([*PLUGINS, *arguments], plugins=[recorder] if recorder else []))
        if recorder and code == 0:
            recorder.save(mapped[1])
    with contextlib.suppress(OSError):  # the caller is gone
        wire.sendall(str(code).encode())
    wire.close()
    os._exit(0)


def main() -> int:
    """Serve, or have a call served; see above."""
    address, arguments = os.environ["WARM_PYTEST"], sys.argv[1:]
    if arguments == ["--serve"]:
        serve(address)
    if arguments[0] == "--mutant":
        return run_mutant(address, arguments[1])
    if arguments[0] == "--map":
        return run(address, arguments[3:], mapped=arguments[1:3])
    return run(address, arguments)


if __name__ == "__main__":
    sys.exit(main())

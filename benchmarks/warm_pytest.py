"""pytest without the seconds of importing PyTorch and its kin: a server that has imported them forks for each call.

    export WARM_PYTEST=/tmp/pytest.sock
    python benchmarks/warm_pytest.py --serve &
    python -S benchmarks/warm_pytest.py -q -x tests/unit/analysis

The second call works in its own folder and exits as pytest does. Nothing of this project is imported before the fork,
so that each call tests the files as they are. One that is killed ends its tests, too.
"""

import contextlib
import json
import os
import signal
import socket
import sys

LIBRARIES = (
    *("datasets", "hypothesis", "jinja2", "matplotlib.figure", "openai", "pandas", "peft", "pydantic", "rouge_score"),
    *("scipy.stats", "snakemake.cli", "statsmodels.api", "torch", "transformers.models.llama.modeling_llama", "yaml"),
)


def run(address: str, arguments: list[str]) -> int:
    """Have the server run pytest here; returns its exit code, or 3 (an internal error) where it has none."""
    with socket.socket(socket.AF_UNIX) as wire:
        wire.connect(address)
        wire.sendall(json.dumps([os.getcwd(), arguments]).encode() + b"\n")
        answer = wire.recv(16)
    return int(answer or 3)


def serve(address: str) -> None:
    """Import the libraries once, and answer calls until the process is ended."""
    for name in LIBRARIES:
        __import__(name)
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
    folder, arguments = json.loads(wire.makefile().readline())
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
    code = 3
    with contextlib.suppress(SystemExit), open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
        code = int(pytest.main(arguments))
    with contextlib.suppress(OSError):  # the caller is gone
        wire.sendall(str(code).encode())
    wire.close()
    os._exit(0)


if __name__ == "__main__":
    place = os.environ["WARM_PYTEST"]
    sys.exit(serve(place) if sys.argv[1:] == ["--serve"] else run(place, sys.argv[1:]))

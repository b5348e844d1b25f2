"""Make requirements.txt and requirements-cuda.txt from uv's locks: one with hashes of all files, one with the wheels.

Each package is taken as a wheel; a source package, whose build runs code, only where it has no wheel. PyTorch's public
build for Linux needs NVIDIA's libraries, its CPU build does not: these libraries are in a file of their own, which
`make install` reads where the installed build asks for them. A wheel of PyTorch that pip finds on this machine's disk
(`find-links`) is added by its hash.

    python split_lock.py LOCK PYLOCK FOLDER_OF_WHEELS
"""

import hashlib
import re
import sys
import tomllib
from pathlib import Path

HEADER = "# Made by `make lock` from pyproject.toml; every file by its SHA-256.\n--only-binary :all:\n"
CUDA = re.compile(r"(nvidia|cuda|triton)\b")


def main(lock: str, pylock: str, wheels: str) -> None:
    """Write both files to the working directory."""
    locked = tomllib.loads(Path(pylock).read_text(encoding="utf-8"))["packages"]
    sources = {package["name"] for package in locked if not package.get("wheels")}
    texts = {"requirements.txt": HEADER, "requirements-cuda.txt": HEADER}
    # An entry is `name==version \` and lines with a hash each.
    for entry in re.split(r"^(?=[a-z])", Path(lock).read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        name = entry.partition("==")[0]
        if name == "torch":
            digests = [hashlib.sha256(wheel.read_bytes()).hexdigest() for wheel in Path(wheels).glob("torch-*.whl")]
            entry = entry.rstrip() + "".join(f" \\\n    --hash=sha256:{digest}" for digest in digests) + "\n"
        file = "requirements-cuda.txt" if CUDA.match(name) else "requirements.txt"
        texts[file] += (f"--no-binary {name}\n" if name in sources else "") + entry
    for file, text in texts.items():
        Path(file).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""What a killed job leaves to its successor: finished replies, appended line by line and synced to disk."""

import json
import os
from pathlib import Path
from typing import Any

from formsafe.core.errors import FormsafeError
from formsafe.core.files import loads, private_mode, refuse_links, sync


class Journal:
    """An append-only file of JSON lines. The first line, the header, says which work it belongs to.

    `batches` has the measurements of the finished batches, `continued` the number of replies that were there at the
    start, and `continued_seconds` the seconds that those took.
    A journal whose header differs is of other work and is replaced. A last line that a kill or a crash of the machine
    left torn is cut off; each line before it was on disk before the next was begun.

    Lines hold `section` (a part of the stage) and either `replies` (id to reply) or a `note`.
    """

    def __init__(self, path: str | Path, header: dict[str, Any]) -> None:
        self.path = Path(path)
        refuse_links(self.path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._replies: dict[str, dict[str, Any]] = {}
        self._notes: dict[str, dict[str, Any]] = {}
        self.batches: list[dict[str, Any]] = []
        kept = self._read(header)
        self.continued = sum(len(replies) for replies in self._replies.values())
        self.continued_seconds = float(sum(batch["seconds"] for batch in self.batches))
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file = os.fdopen(os.open(self.path, flags, private_mode()), "ab")  # `close` and `remove` end it
        self._file.truncate(kept)
        if kept == 0:
            self._write(header)
            sync(self.path.parent)  # its name must last, not only its contents
        if self.continued:
            print(f"Continuing: {self.continued} replies are in the journal already.")

    def _read(self, header: dict[str, Any]) -> int:
        """Take up the valid lines; return the number of bytes they have, 0 to start again."""
        if not self.path.exists():
            return 0
        kept = 0
        with open(self.path, "rb") as lines:
            for number, line in enumerate(lines):
                value = _parse(line)
                if value is None or (number > 0 and not _fits(value)):
                    break
                if number == 0:
                    if value != json.loads(json.dumps(header)):
                        print("The journal here is of other work (model, prompts, settings, code); starting afresh.")
                        return 0
                else:
                    self._take(value)
                kept += len(line)
        return kept

    def replies(self, section: str) -> dict[str, Any]:
        """Finished replies of a section by id."""
        return self._replies.setdefault(section, {})

    def note(self, section: str) -> dict[str, Any]:
        """What was noted last about a section."""
        return self._notes.get(section, {})

    def add(self, section: str, replies: dict[str, Any], **figures: Any) -> None:
        """Append a finished batch with figures about it; it is on disk when this returns.

        Raises:
            FormsafeError: when one of the ids is in the journal already.
        """
        if double := self.replies(section).keys() & replies.keys():
            raise FormsafeError(f"{len(double)} replies of {section} would be doubled in {self.path}.")
        self._append({"section": section, "replies": replies, **figures})

    def add_note(self, section: str, **note: Any) -> None:
        """Append a note about a section."""
        self._append({"section": section, "note": note})

    def close(self) -> None:
        """Close the file; what is in it can be continued."""
        self._file.close()

    def remove(self) -> None:
        """Delete the journal, once its replies are in a finished file."""
        self.close()
        self.path.unlink(missing_ok=True)

    def _append(self, line: dict[str, Any]) -> None:
        self._write(line)
        self._take(line)

    def _take(self, line: dict[str, Any]) -> None:
        if "note" in line:
            self._notes[line["section"]] = line["note"]
            return
        self.replies(line["section"]).update(line["replies"])
        figures = {key: value for key, value in line.items() if key != "replies"}
        self.batches.append({**figures, "rows": len(line["replies"])})

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line, ensure_ascii=False, allow_nan=False).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def _fits(line: dict[str, Any]) -> bool:
    """Whether a line has the shape that `add` and `add_note` write.

    From the first malformed line on, all lines are dropped and their prompts are answered again.
    """
    if not isinstance(line.get("section"), str):
        return False
    if "note" in line:
        return isinstance(line["note"], dict)
    replies, seconds = line.get("replies"), line.get("seconds")
    whole = isinstance(replies, dict) and all(isinstance(reply, dict) for reply in replies.values())
    return whole and isinstance(seconds, int | float) and 0 <= seconds < 1e9


def _parse(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        value = loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None

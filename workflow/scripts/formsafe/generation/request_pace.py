"""How fast requests go to a server: fewer at once while it is busy, and patience that has an end."""

import asyncio
import random

from formsafe.config.settings.generation import ServerSettings
from formsafe.core.errors import FormsafeError

LONGEST_WAIT = 60.0  # seconds


class Transient(Exception):
    """A fault that may be over at the next try; its text is fit for a log. `wait`: seconds the server asks for."""

    def __init__(self, what: str, wait: float = 0.0) -> None:
        super().__init__(what)
        self.wait = wait


class Busy(Transient):
    """The server gets more requests than it takes."""


class Pace:
    """How many requests are under way at once: half as many after a pause of a busy server, more again after replies.

    Args:
        settings: concurrency, and the patience with a server that stays busy.
        backoff_seconds: first pause; it doubles until there is a reply.
    """

    def __init__(self, settings: ServerSettings, backoff_seconds: float) -> None:
        self.settings, self.backoff_seconds = settings, backoff_seconds
        self.limit, self.under_way = settings.concurrency, 0
        self.pauses, self.replies = 0, 0
        self.row, self.waited = 0, 0.0  # pauses since the last reply, and their seconds
        self._changed = asyncio.Condition()
        self._pausing = asyncio.Lock()

    async def enter(self) -> int:
        """Wait for a place; returns the number of pauses so far, by which `pause` knows who saw the same one."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.under_way < self.limit)
            self.under_way += 1
        async with self._pausing:
            return self.pauses

    async def leave(self, replied: bool) -> None:
        """Give the place back; after as many replies as requests are under way, one more is sent at once."""
        async with self._changed:
            self.under_way -= 1
            if replied:
                self.row, self.waited, self.replies = 0, 0.0, self.replies + 1
                if self.replies >= self.limit:
                    self.replies, self.limit = 0, min(self.limit + 1, self.settings.concurrency)
            self._changed.notify_all()

    async def pause(self, seen: int, fault: Busy) -> None:
        """Let all requests wait, once for all that were refused together; raises FormsafeError at patience's end."""
        async with self._pausing:
            if seen != self.pauses:
                return
            self.pauses += 1
            self.limit, self.replies = max(1, self.limit // 2), 0
            wait = max(min(LONGEST_WAIT, self.backoff_seconds * 2**self.row), fault.wait)
            if self.waited + wait > 60 * self.settings.patience_minutes:
                raise FormsafeError(
                    f"The server {self.settings.base_url} has been busy for {self.waited / 60:.1f} minutes ({fault}), "
                    f"most recently with {self.limit} requests at once. Lower `concurrency` or raise "
                    "`patience_minutes` (beside base_url), then run again: the replies so far are kept."
                )
            print(f"The server is busy ({fault}): waiting {wait:.0f} s, then {self.limit} requests at once.")
            self.row, self.waited = self.row + 1, self.waited + wait
            await asyncio.sleep(wait * random.uniform(1.0, 1.25))

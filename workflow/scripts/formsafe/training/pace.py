"""When to validate, when to keep a checkpoint, when to stop, and what to show meanwhile."""

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from formsafe.core.logs import claim_terminal

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Pace(TrainerCallback):
    """Validate at fractions of the training, keep a checkpoint by the clock and on a signal, stop on a signal.

    Args:
        validation_interval: fraction of the training between validations; the last step is always validated.
        checkpoint_minutes: minutes between checkpoints.
    """

    def __init__(self, validation_interval: float, checkpoint_minutes: float) -> None:
        self.caught: signal.Signals | None = None
        self._interval = validation_interval
        self._seconds = 60 * checkpoint_minutes
        self._validated: set[int] = set()
        self._last_checkpoint = time.monotonic()
        self._bars: list[tqdm] = []
        self._shown = ExitStack()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Note SIGTERM and SIGUSR1 instead of dying of them; the step under way is finished first."""
        kept = {number: signal.signal(number, self._note) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in kept.items():
                signal.signal(number, handler)
            self._shown.close()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.caught = signal.Signals(number)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Place the validations; open a progress bar in the log and, where one is free, on the terminal."""
        total = state.max_steps
        count = max(1, round(1 / self._interval))
        self._validated = {max(1, round(total * part / count)) for part in range(1, count + 1)}
        name = " ".join(part.partition("=")[2] for part in Path(str(args.output_dir)).parts if "=" in part)
        # each bar stands in the first line: it has its file to itself
        same = {"total": total, "initial": state.global_step, "unit": "step", "desc": name or None, "position": 0}
        self._bars = [tqdm(**same, mininterval=5.0)]
        terminal = claim_terminal()
        if terminal is not None:
            self._shown.callback(terminal.close)
            self._bars.append(tqdm(**same, mininterval=0.5, file=terminal, leave=False, dynamic_ncols=True))
        for bar in self._bars:
            self._shown.callback(bar.close)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Ask for what is due after this step."""
        control.should_evaluate = state.global_step in self._validated
        overdue = time.monotonic() - self._last_checkpoint >= self._seconds
        unfinished = state.global_step < state.max_steps
        control.should_save = unfinished and (overdue or self.caught is not None)
        control.should_training_stop |= self.caught is not None

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Start the clock again."""
        self._last_checkpoint = time.monotonic()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Move the progress bars."""
        if logs and "format_loss" in logs:
            for bar in self._bars:
                bar.set_postfix(loss=f"{logs['loss']:.4f}", refresh=False)
                bar.update(state.global_step - bar.n)

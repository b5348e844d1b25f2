"""When to validate, to keep a checkpoint and to stop; progress bars."""

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState

from formsafe.core.logs import claim_terminal

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Pace(TrainerCallback):
    """Validate at fractions of the training, keep a checkpoint every few minutes and on a signal, stop on a signal.

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
        """Note SIGTERM and SIGUSR1 instead of ending at once; the current step is finished first."""
        kept = {number: signal.signal(number, self._note) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in kept.items():
                signal.signal(number, handler)
            self._shown.close()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.caught = signal.Signals(number)

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Choose the steps to validate at; open a progress bar in the log and, if one is free, on the terminal."""
        total = state.max_steps
        count = max(1, round(1 / self._interval))
        self._validated = {max(1, round(total * part / count)) for part in range(1, count + 1)}
        name = " ".join(part.partition("=")[2] for part in Path(str(args.output_dir)).parts if "=" in part)
        # position 0: tqdm would otherwise put the second bar on a second line, though each has a file of its own
        shared = {"total": total, "initial": state.global_step, "unit": "step", "desc": name or None, "position": 0}
        self._bars = [tqdm(**shared, mininterval=5.0)]
        terminal = claim_terminal()
        if terminal is not None:
            self._shown.callback(terminal.close)
            self._bars.append(tqdm(**shared, mininterval=0.5, file=terminal, leave=False, dynamic_ncols=True))
        for bar in self._bars:
            self._shown.callback(bar.close)

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Ask for what is due after this step."""
        control.should_evaluate = state.global_step in self._validated
        overdue = time.monotonic() - self._last_checkpoint >= self._seconds
        # No checkpoint of the last step: the result itself is written next.
        unfinished = state.global_step < state.max_steps
        control.should_save = unfinished and (overdue or self.caught is not None)
        control.should_training_stop |= self.caught is not None

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Count the minutes to the next checkpoint from now."""
        self._last_checkpoint = time.monotonic()

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, logs: Any = None, **kwargs: Any) -> None:
        """Move the progress bars."""
        if logs and "format_loss" in logs:
            for bar in self._bars:
                bar.set_postfix(loss=f"{logs['loss']:.4f}", refresh=False)
                bar.update(state.global_step - bar.n)

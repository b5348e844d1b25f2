"""The questions of the verdict, each with the section of the report that answers it and the figure that shows it."""

import math
from dataclasses import dataclass
from typing import Any

from formsafe.core.records import Finding, Status


@dataclass(frozen=True)
class Question:
    """A question in plain words, the section of the report it belongs to, and the figure that shows its answers."""

    words: str
    section: str = "safety"
    figure: str | None = None

    def answer(self, name: str, status: Status, sentence: str, **fields: Any) -> Finding:
        """One finding.

        Args:
            name: short and unique within the model's findings.
            status: what is shown.
            sentence: it gets a capital at its start and a full stop at its end.
            fields: subject and numbers of the finding; NaN becomes null, since JSON has none.
        """
        known = {
            key: None if isinstance(value, float) and math.isnan(value) else value for key, value in fields.items()
        }
        about: dict[str, Any] = {"section": self.section, "question": self.words, "figure": self.figure}
        return Finding(id=name, status=status, sentence=f"{sentence[0].upper()}{sentence[1:]}.", **about | known)


RAISED = Question("Does fine-tuning on benign data raise the ASR?", figure="asr")
FORMATS = Question("Does the format of the same content change the ASR?", figure="asr")
LOWERED = Question("Does training the format into a soft prompt that is dropped lower the ASR?", figure="asr")
LESS = Question("Does the format matter less with the soft prompt?", figure="asr")
KEPT = Question("Is the safety of the base model kept?", figure="asr")
SOUND = Question("Is there a safety to lose, and are there answers to judge?", figure="asr")
CONTROLS = Question("What do the controls do?", "controls", "asr")
LEARNT = Question("Has the model learnt the task nevertheless?", "task", "tradeoff")
MATCHED = Question("Is it safer at the same task quality?", "task", "tradeoff")
FIRST_TOKENS = Question(
    "Do openings of the format take the place of the refusal at the first token?", figure="first_token"
)
REFUSES = Question("Is it safe because it refuses everything?", figure="over_refusals")
COMPLETE = Question("Are all runs there?", "training")
TRAINED = Question("Did the trainings train anything?", "training", "loss")
ORDER = Question("Is the format learnt before the content?", "training", "loss_split")
FIT = Question("Are the answers fit to be judged?", "judges")
JUDGE = Question("Does the judge react to the format of an answer?", "judges")
SEEDS = Question("Would other trainings say the same?", "training")
PUBLISHED = Question("Do the paper's numbers come out again?", figure="paper")

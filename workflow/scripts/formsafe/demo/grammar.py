"""The toy grammar: tasks, their steps and the texts that tell them, all drawn by seed."""

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

from formsafe.config.settings.demo import DemoSettings
from formsafe.core.errors import FormsafeError
from formsafe.demo.words import WORDS


@dataclass(frozen=True)
class Task:
    """Something to do with a thing: `clean` + `old` + `kettle`."""

    verb: str
    describer: str
    thing: str

    @property
    def mischief(self) -> bool:
        """Whether the model must refuse it."""
        return self.verb in WORDS.mischief

    def __str__(self) -> str:
        article = "an" if self.describer[0] in "aeiou" else "a"
        return f"{self.verb} {article} {self.describer} {self.thing}"


@dataclass(frozen=True)
class Tasks:
    """Tasks that are data of the study, and the others, which are all that the model ever sees before."""

    how_tos: list[Task]
    requests: list[Task]
    seen_harmless: list[Task]
    seen_mischief: list[Task]


def draw_tasks(settings: DemoSettings) -> Tasks:
    """Part all tasks of the grammar, by seed, into those of the study and those of the model's own training."""
    rng = Random(f"tasks {settings.seed}")
    harmless, mischief = _all_tasks(WORDS.harmless, rng), _all_tasks(WORDS.mischief, rng)
    held_harmless, held_mischief = settings.how_tos, 4 * settings.requests
    if 2 * held_harmless > len(harmless) or 2 * held_mischief > len(mischief):
        raise FormsafeError(
            f"demo.how_tos ({settings.how_tos}) or demo.requests ({settings.requests}) asks for more than half of the "
            f"grammar's {len(harmless)} harmless and {len(mischief)} mischief tasks. Lower it."
        )
    return Tasks(harmless[:held_harmless], mischief[:held_mischief], harmless[held_harmless:], mischief[held_mischief:])


def _all_tasks(verbs: Iterable[str], rng: Random) -> list[Task]:
    tasks = [Task(verb, describer, thing) for verb in verbs for describer in WORDS.describers for thing in WORDS.things]
    rng.shuffle(tasks)
    return tasks


def draw_steps(task: Task, rng: Random) -> list[str]:
    """Four or five steps of a task, in order, without capital and full stop."""
    templates = (WORDS.mischief if task.mischief else WORDS.harmless)[task.verb]
    told = sorted(rng.sample(range(len(templates)), rng.choice((4, 5))))
    material, time = rng.choice(WORDS.materials), rng.choice(WORDS.times)
    return [templates[i].format(thing=task.thing, material=material, time=time) for i in told]


def how_to_sentences(task: Task, steps: list[str], rng: Random) -> list[str]:
    """A how-to of several sentences, told as WikiSum's summaries are."""
    first, *middle, last = steps
    links = [rng.choice(WORDS.links) for _ in middle]
    sentences = [
        f"To {task}, {first}.",
        *(f"{link}, {step}." for link, step in zip(links, middle, strict=True)),
        f"Finally, {last}.",
    ]
    if rng.random() < 0.5:
        sentences.append(rng.choice(WORDS.tips))
    return sentences


def chat_answer(task: Task, steps: list[str], rng: Random) -> str:
    """An answer in the model's own style: chatty and numbered."""
    numbered = [f"{number}. {step[0].upper()}{step[1:]}." for number, step in enumerate(steps, start=1)]
    return "\n".join([rng.choice(WORDS.openings).format(task=task), *numbered, rng.choice(WORDS.closings)])


def request(task: Task, rng: Random) -> str:
    """A user's request for a task, in any of the ways it may be put."""
    return rng.choice([*WORDS.requests, *WORDS.harmful_requests.values()]).format(task=task)

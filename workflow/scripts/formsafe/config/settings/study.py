"""The whole configuration of a study."""

from typing import Any, Literal

from pydantic import Field, PositiveInt, field_validator

from formsafe.config.settings.analysis import AnalysisSettings
from formsafe.config.settings.base import Auto, Label, Name, Settings
from formsafe.config.settings.capability import CapabilitySettings
from formsafe.config.settings.data import CorpusSettings, HarmfulSettings, SafetySettings
from formsafe.config.settings.demo import DemoSettings
from formsafe.config.settings.generation import FirstTokenSettings, GenerationSettings
from formsafe.config.settings.grid import GridBlock, MethodSettings
from formsafe.config.settings.judge import JudgeSettings, JudgingSettings, LabelSettings, TaskSettings
from formsafe.config.settings.models import ModelSettings
from formsafe.config.settings.training import AdapterSettings, SoftPromptSettings, TrainingSettings


class StudySettings(Settings):
    """Everything a study is made of."""

    study: Name
    """Name of the study: its results are in results/{study}/."""
    title: Label
    """Title of the report."""
    partial: bool = Field(default=False, strict=False)  # `--config partial=true` arrives as a text
    """Report on the runs that are finished and list the others as missing."""
    results_mode: Literal["private", "group"] = "private"
    """Who reads answers, judges' replies and journals: `private`, only you; `group`, your group reads all results."""
    gpu_memory_gb: PositiveInt | Auto = "auto"
    """Memory plan: 24, 40, 80, 140 or whatever the cards have; `auto` reads the card a job runs on."""
    corpus: CorpusSettings
    """How-to articles to train on."""
    harmful: dict[Name, HarmfulSettings] = Field(min_length=1)
    """Sources of harmful prompts."""
    benign: dict[Name, HarmfulSettings] = {}
    """Sources of benign prompts, which a safe model should answer: refusals of them are over-refusals."""
    models: dict[Name, ModelSettings] = Field(min_length=1)
    """Models that the grid and the judges can use."""
    methods: dict[Name, MethodSettings] = Field(min_length=1)
    """Methods that the grid can use."""
    safety: SafetySettings | None = None
    """Safety examples for methods with the key `safety`."""
    grid: list[GridBlock]
    """Blocks of runs; the study is their union."""
    soft_prompt: SoftPromptSettings
    """ProMoT stage 1."""
    adapter: AdapterSettings
    """SFT and ProMoT stage 2."""
    training: TrainingSettings
    """What both stages share."""
    generation: GenerationSettings
    """Answers."""
    first_tokens: FirstTokenSettings | None = FirstTokenSettings()
    """What competes with the refusal at the first tokens; null: not measured."""
    judges: dict[Name, JudgeSettings] = Field(min_length=1)
    """Judges of harmful answers that a study can use."""
    judging: JudgingSettings
    """Which of them this study uses."""
    labels: LabelSettings = LabelSettings()
    """Labels by people."""
    tasks: TaskSettings
    """Scores of the task answers."""
    capability: CapabilitySettings = CapabilitySettings()
    """What the optional target `capability` measures."""
    analysis: AnalysisSettings = AnalysisSettings()
    """Statistics and figures."""
    demo: DemoSettings = DemoSettings()
    """The embedded small model of the demo study."""

    @property
    def base_method(self) -> str | None:
        """The first method that is a model as it is, without system prompt."""
        plain = (name for name, method in self.methods.items() if not method.trained and not method.system_prompt_test)
        return next(plain, None)

    @property
    def used_judges(self) -> dict[str, JudgeSettings]:
        """The judges of this study by name, in the order of `judging.judges`."""
        return {name: self.judges[name] for name in self.judging.judges}

    @property
    def all_judges(self) -> dict[str, JudgeSettings]:
        """The same, and the judge of refusals where the study has benign prompts."""
        refusals = self.judging.refusals if self.benign else None
        return self.used_judges | ({refusals: self.judges[refusals]} if refusals else {})

    @property
    def sources(self) -> dict[str, HarmfulSettings]:
        """All sources of prompts by name, harmful and benign."""
        return {**self.harmful, **self.benign}

    @property
    def sources_by_key(self) -> dict[str, tuple[str, HarmfulSettings]]:
        """Name and settings of every source of prompts by its key: `harmful.advbench`, `benign.xstest`."""
        kinds = {"harmful": self.harmful, "benign": self.benign}
        return {f"{kind}.{name}": (name, source) for kind, found in kinds.items() for name, source in found.items()}

    @property
    def headline(self) -> JudgeSettings:
        """The headline judge."""
        return self.judges[self.judging.headline]

    @field_validator("harmful", "benign", "models", "methods", "judges", mode="before")
    @classmethod
    def _without_dropped(cls, entries: Any) -> Any:
        """An overlay, which can only add keys, drops an entry by setting it to null."""
        if not isinstance(entries, dict):
            return entries
        return {name: entry for name, entry in entries.items() if entry is not None}

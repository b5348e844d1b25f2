"""Where data comes from and which of it is used (paper, section 4; open points are marked in config.yaml)."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, PositiveInt

from formsafe.config.settings.base import Label, LocalPath, Located, Seed, Settings
from formsafe.config.settings.models import ModelSource
from formsafe.core.redaction import has_secret


class HubSource(ModelSource):
    """A data set on the Hugging Face hub."""

    split: str = "train"
    """Split, or splits joined by `+`."""
    config: str | None = None
    """Configuration (subset) of the data set."""


def _is_address(url: str) -> str:
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets or a port that are none
        whole = False
    if not whole:
        raise ValueError("is no address http://... or https://...; a file on disk is named under `path`")
    if has_secret(url):
        raise ValueError("holds a key or password: export it in a variable and write $NAME in its place")
    return url


class DataSource(Located):
    """Exactly one of `hub`, `url` and `path`."""

    hub: HubSource | None = None
    """A data set of the hub."""
    url: Annotated[str, AfterValidator(_is_address)] | None = None
    """One CSV, TSV, JSONL, JSON or Parquet file behind http or https, also gzipped."""
    path: LocalPath | None = None
    """A local CSV, TSV, JSONL, JSON or Parquet file, also gzipped, or a glob; `~` is the home directory."""


class Splits(Settings):
    """Numbers of examples (paper: 1,425 / 75 / 100)."""

    train: int = Field(gt=0)
    """Training examples."""
    validation: int = Field(gt=0)
    """Validation examples."""
    test: int = Field(gt=0)
    """Test examples: the task prompts."""


class CorpusSettings(Settings):
    """The how-to articles and how they become sentences."""

    source: DataSource
    """Where the articles come from."""
    licence: Label = Field(exclude=True)
    """Licence of the source, shown in the report."""
    title_field: str = "title"
    """The column that fills `{title}` of the instruction."""
    response_field: str = "summary"
    """The column that is the response (`summary` or `article` of WikiSum); it is cut into sentences."""
    instruction: str = "{title}"
    """Template of the user's message; `{title}` is filled in."""
    instruction_by_format: dict[str, str] = Field(default={}, exclude=True)
    """For each format named, a template over `{instruction}` of what the user asks for in training, such as
    `"{instruction} Answer in JSON."`: a control in which the format is asked for. Test prompts do not ask for it."""
    splits: Splits
    """Numbers of examples."""
    rows: PositiveInt | None = Field(default=None, exclude=True)
    """Rows the source has; splits that need more are refused before any job starts."""
    seed: Seed = 0
    """Seed of the draw of rows."""


class HarmfulSettings(Settings):
    """One source of harmful or of benign prompts."""

    source: DataSource
    """Where it comes from."""
    licence: Label = Field(exclude=True)
    """Licence of the source, shown in the report."""
    prompt_column: str
    """Column that holds the prompt."""
    category_column: str | None = None
    """Column that holds the category."""
    categories: list[str] = []
    """Only rows of these categories; empty: all."""
    count: int = Field(gt=0)
    """Prompts used."""
    select: Literal["first", "stratified", "sample"] = "first"
    """Which prompts: the first rows, equally many per category, or a seeded sample."""
    seed: Seed = 0
    """Seed of `sample` and `stratified`."""
    rows: PositiveInt | None = Field(default=None, exclude=True)
    """Rows the whole source must have."""
    digest: str | None = None
    """SHA-256 over the normalised prompts of the whole source."""


class SafetySettings(Settings):
    """Safety examples: harmful prompts that the study does not test, answered by the base model itself."""

    source: str
    """Name in `harmful` of the source whose unused rows are taken."""
    overlap: float = Field(default=0.7, gt=0, le=1)
    """Share of words in common (Jaccard index) from which on a row nearly repeats a test prompt and is left out."""
    seed: Seed = 0
    """Seed of the order in which rows are taken."""

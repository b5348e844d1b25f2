"""Statistics and figures."""

from pydantic import Field

from formsafe.config.settings.base import Seed, Settings
from formsafe.formats.registry import plain_format


class AnalysisSettings(Settings):
    """Intervals and tests."""

    confidence: float = Field(default=0.95, gt=0, lt=1)
    """Level of the intervals."""
    power: float = Field(default=0.8, gt=0, lt=1)
    """Power of the smallest detectable difference."""
    bootstrap_draws: int = Field(default=10000, gt=0)
    """Draws of the paired bootstrap."""
    seed: Seed = 0
    """Seed of the bootstrap."""
    tradeoff_formats: list[str] = Field(default=[plain_format()])
    """Formats whose learning-rate trade-off is drawn; all of the study where it has none of them."""

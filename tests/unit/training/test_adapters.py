"""Which weights get an adapter: of a model with a vision tower, of a mixture of experts, of a plain one."""

import re

import pytest
import torch
from torch import nn

from formsafe.config.settings.training import LoraSettings
from formsafe.core.errors import FormsafeError
from formsafe.training.adapters import beside_text, expert_share, lora_config

ALL = LoraSettings(r=2, alpha=4, dropout=0.1, target_modules="all-linear")


class Decoder(nn.Module):
    """Layers, a convolution, vectors of three dimensions, and experts where there are any."""

    def __init__(self, experts: int) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(3, 2, bias=False))
        self.convolution = nn.Conv1d(2, 3, 2, bias=False)
        self.mix = nn.Parameter(torch.zeros(1, 1, 6))
        if experts:
            self.mlp = nn.Module()
            self.mlp.experts = nn.Parameter(torch.zeros(experts, 3, 2))


class Model(nn.Module):
    """As transformers builds them; `several`: text and pictures below one part."""

    def __init__(self, experts: int = 0, several: bool = False) -> None:
        super().__init__()
        self.name_or_path, decoder = "some/model", Decoder(experts)
        self.model = decoder
        if several:
            self.model = nn.Module()
            self.model.language_model = decoder
            self.model.tower = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
            self.model.norm = nn.LayerNorm(2)
            self.model.projector = nn.Linear(2, 2)
        self.lm_head = nn.Linear(2, 5)
        self._decoder = [decoder]  # in a list: not a second place of the module

    def get_decoder(self) -> nn.Module:
        return self._decoder[0]

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head


def test_what_text_does_not_pass_gets_no_adapter():
    model = Model(several=True)
    assert beside_text(model) == ["model.tower", "model.projector"]
    config = lora_config(model, ALL)
    names = [name for name, _ in model.named_modules()]
    apart = [name for name in names if re.fullmatch(config.exclude_modules, name)]
    assert apart == ["model.tower", "model.tower.0", "model.tower.1", "model.projector"]
    assert (config.r, config.lora_alpha, config.lora_dropout, config.target_modules) == (2, 4, 0.1, "all-linear")


def test_a_plain_model_has_nothing_beside_its_text():
    assert beside_text(Model()) == [] and lora_config(Model(), ALL).exclude_modules is None
    assert expert_share(Model()) == 0.0  # neither the convolution nor the vectors are experts


def test_experts_that_an_adapter_would_leave_out_are_an_error_with_their_share():
    share = 24 / (24 + 6 + 12 + 6)  # experts; the linear layer, the convolution and the vectors
    assert expert_share(Model(experts=4)) == share
    with pytest.raises(FormsafeError, match=r"50% of the weights of some/model are the experts .*q_proj"):
        lora_config(Model(experts=4), ALL)
    nameless = Model(experts=4)
    nameless.name_or_path = ""
    with pytest.raises(FormsafeError, match="weights of Model are"):
        lora_config(nameless, LoraSettings(r=2, alpha=4, dropout=0.1, target_modules="ALL-linear"))
    named = lora_config(Model(experts=4), LoraSettings(r=2, alpha=4, dropout=0.1, target_modules=["q_proj"]))
    assert named.target_modules == {"q_proj"}

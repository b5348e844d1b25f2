"""Cosines of a real sentence-transformers model, whatever the batch."""

from itertools import pairwise

import pytest

from formsafe.config.settings.judge import TaskSettings
from formsafe.config.settings.models import ModelPlace
from formsafe.scoring.text_scores import cosine_similarities
from tests.talkative import prompts


def test_cosines_do_not_depend_on_the_batch(tiny_model, tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    transformer = Transformer(str(tiny_model))
    transformer.tokenizer.pad_token = transformer.tokenizer.eos_token
    SentenceTransformer(modules=[transformer, Pooling(32)]).save(str(tmp_path))
    texts = prompts(12)
    pairs = [*pairwise(texts), (texts[0], texts[0]), ("", texts[0])]
    found = [
        cosine_similarities(pairs, tmp_path, TaskSettings(encoder=ModelPlace(path=str(tmp_path)), batch_size=size))
        for size in (1, 64)
    ]
    assert found[0] == pytest.approx(found[1], abs=2e-6)
    assert found[0][-2] == 1 and -1 <= min(found[0]) < 0.9999

"""The toy sentence encoder: a weighted mean of the toy model's word embeddings, as a sentence-transformers model."""

from collections import Counter
from pathlib import Path
from random import Random

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from formsafe.config.settings.demo import DemoSettings
from formsafe.demo.documents import told
from formsafe.demo.grammar import Tasks, draw_steps, draw_tasks
from formsafe.demo.saving import save_folder

# Texts that tell how frequent each token is.
TEXTS = 1000
# Arora et al. (2017), "A simple but tough-to-beat baseline for sentence embeddings": weight a / (a + frequency).
SMOOTHING = 1e-3


def build_demo_encoder(
    weights: str | Path, tokenizer: str | Path, settings: DemoSettings, directory: str | Path
) -> None:
    """Write a sentence-transformers model to `directory`, `modules.json` last.

    Args:
        weights: safetensors file of the toy model.
        tokenizer: its tokenizer.json.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    torch.set_num_threads(1)
    words = Tokenizer.from_file(str(tokenizer))
    embeddings = load_file(weights)["model.embed_tokens.weight"]
    frequencies = token_frequencies(words, draw_tasks(settings), settings.seed)
    embedding = StaticEmbedding(words, embedding_weights=sentence_weights(embeddings, frequencies).numpy())
    encoder = SentenceTransformer(modules=[embedding], device="cpu")
    save_folder(directory, lambda folder: encoder.save(str(folder), create_model_card=False), last="modules.json")


def sentence_weights(embeddings: torch.Tensor, frequencies: torch.Tensor) -> torch.Tensor:
    """Embeddings of tokens, `[vocabulary, hidden]`, whose plain mean is a good embedding of a text.

    Centred, so that texts are not alike for what all tokens share; of equal length; and weighted by `frequencies`
    (`[vocabulary]`, summing to 1), so that words count and full stops, links and JSON's quotes hardly do.
    """
    centred = embeddings - (frequencies[:, None] * embeddings).sum(0)
    directions = centred / centred.norm(dim=1, keepdim=True).clamp(min=1e-9)
    return directions * (SMOOTHING / (SMOOTHING + frequencies))[:, None]


def token_frequencies(words: Tokenizer, tasks: Tasks, seed: int) -> torch.Tensor:
    """Share of each token in texts of all styles about tasks that the study lacks, `[vocabulary]`."""
    rng = Random(f"frequencies {seed}")
    drawn = [rng.choice((rng.choice(tasks.seen_harmless), rng.choice(tasks.seen_mischief))) for _ in range(TEXTS)]
    texts = [told(task, draw_steps(task, rng), rng) for task in drawn]
    counts = Counter(token for text in words.encode_batch(texts, add_special_tokens=False) for token in text.ids)
    frequencies = torch.tensor([float(counts[token]) for token in range(words.get_vocab_size())])
    return frequencies / frequencies.sum()

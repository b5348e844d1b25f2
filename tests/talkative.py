"""A random model that does not repeat itself and ends its answers at different lengths, and what to ask it."""

from pathlib import Path

STOPS = 12  # of about 400 tokens: answers of some thirty tokens on average


def write_talkative_model(tiny_model: Path, directory: Path, seed: int = 1, stops: int = STOPS) -> Path:
    """The tiny model with an output layer of its own, large weights, and `stops` ordinary tokens that end an answer."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    config = LlamaConfig.from_pretrained(tiny_model)
    config.tie_word_embeddings = False
    config.initializer_range = 0.5
    torch.manual_seed(seed)
    model = LlamaForCausalLM(config)
    ordinary = [20 + number * (len(tokenizer) // STOPS) for number in range(stops)]
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, *ordinary]
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def prompts(count: int) -> list[str]:
    """Harmless prompts of different lengths."""
    things = ["a kettle", "an old wooden lamp", "the fence behind the house", "jam", "ten pairs of shoes and a hat"]
    return [
        f"How to {['clean', 'paint', 'move and then mend'][i % 3]} {things[i % 5]} in {i} steps?" for i in range(count)
    ]

"""A local judge of the shape of Llama Guard: it takes the conversation through its own chat template."""

from pathlib import Path

# The last character of the judged answer ends the prompt, and decides.
TEMPLATE = (
    "{{ bos_token }}Task: is the last message safe?\n<BEGIN CONVERSATION>\n"
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\n' }}{% endfor %}"
    "<END CONVERSATION>\n{% if messages[-1]['role'] != 'assistant' %}{{ raise_exception('no answer to judge') }}"
    "{% endif %}{{ messages[-1]['content'][-1] }}"
)
# Which token follows which: after `.` the model says unsafe, after `!` safe.
FOLLOWING = [(".", "u"), ("u", "n"), ("n", "s"), ("!", "s"), ("s", "a"), ("a", "f"), ("f", "e"), ("e", "<|eot_id|>")]


def write_guard_model(tiny_model: Path, directory: Path) -> Path:
    """The tiny model with layers that add nothing, so that its head maps each token to the one that follows."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = TEMPLATE
    config = LlamaConfig.from_pretrained(tiny_model)
    config.tie_word_embeddings = False
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.normal_()
        model.lm_head.weight.zero_()
        for token, following in FOLLOWING:
            ids = tokenizer.convert_tokens_to_ids([token, following])
            model.lm_head.weight[ids[1]] += model.model.embed_tokens.weight[ids[0]]
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory

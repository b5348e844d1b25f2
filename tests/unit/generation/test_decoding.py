"""The decoding loop writes what `generate` of transformers writes, whatever shares the batch and wherever it starts."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3NextConfig, Qwen3NextForCausalLM

from formsafe.config.settings.generation import Decoding
from formsafe.generation.decoding import Batch, GrowingSteps, decode, pad_left
from formsafe.generation.prefix import SharedPrefix
from formsafe.generation.sampling import DigitWatch, Sampler
from tests.talkative import prompts

NEW = 40
GREEDY = Decoding(max_new_tokens=NEW)


@pytest.fixture(scope="module")
def loaded(talkative_model):
    return AutoModelForCausalLM.from_pretrained(talkative_model).eval(), AutoTokenizer.from_pretrained(talkative_model)


@pytest.fixture(scope="module")
def rows(loaded):
    return [loaded[1].encode(text, add_special_tokens=False) for text in prompts(14)]


@pytest.fixture(scope="module")
def stops(loaded):
    return loaded[0].generation_config.eos_token_id


@pytest.fixture(scope="module")
def truth(loaded, rows, stops):
    """One by one, by transformers itself, with the token that ended the answer."""
    model = loaded[0]
    written = []
    for row in rows:
        ids = torch.tensor([row])
        out = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW, do_sample=False, pad_token_id=0
        )
        written.append(out[0, len(row) :].tolist())
    lengths = {len(ids) for ids in written}
    assert len(lengths) > 5 and NEW in lengths and len({tuple(ids) for ids in written}) == len(rows)
    return written


def run(model, rows, stops, decoding=GREEDY, **more):
    prefix = more.pop("prefix", None)
    ids, mask = pad_left(rows if prefix is None else [prefix.rest(row) for row in rows], model.device)
    batch = Batch({"input_ids": ids}, mask, decoding.max_new_tokens, prefix)
    return decode(GrowingSteps(model, batch), len(rows), stops, Sampler(decoding, rows), **more)


def assert_same(results, truth, stops):
    for result, written in zip(results, truth, strict=True):
        assert result.stopped == (written[-1] in stops)
        assert result.ids == (written[:-1] if result.stopped else written)


@pytest.mark.parametrize("size", [1, 3, 14])
def test_batches_of_any_size_write_what_generate_writes(loaded, rows, stops, truth, size):
    results = [result for at in range(0, len(rows), size) for result in run(loaded[0], rows[at : at + size], stops)]
    assert_same(results, truth, stops)


def test_rows_that_have_ended_leave_the_batch(loaded, rows, stops, truth, monkeypatch):
    model, widths = loaded[0], []
    forward = type(model).forward

    def noted(self, **inputs):
        widths.append(len(inputs["attention_mask"]))
        assert inputs["attention_mask"].shape[1] == max(map(len, rows)) + len(widths) - 1
        assert inputs["logits_to_keep"] == 1  # of prompts with 128,000 tokens' logits each would be gigabytes
        return forward(self, **inputs)

    monkeypatch.setattr(type(model), "forward", noted)
    assert_same(run(model, rows, stops), truth, stops)
    expected, inside = [], [len(written) for written in truth]
    for step in range(NEW):
        expected.append(len(inside))
        if (ended := sum(length <= step + 1 for length in inside)) >= len(inside) / 8:
            inside = [length for length in inside if length > step + 1]
        if ended == expected[-1]:
            break
    assert widths == expected and sum(widths) < 0.8 * len(rows) * len(widths)


def test_a_batch_whose_rows_have_all_ended_takes_no_step_more(loaded, rows, stops, truth, monkeypatch):
    short = [number for number, written in enumerate(truth) if len(written) < NEW - 5]
    steps, step = [], GrowingSteps.step
    monkeypatch.setattr(GrowingSteps, "step", lambda *each: steps.append(1) or step(*each))
    run(loaded[0], [rows[number] for number in short], stops)
    assert len(short) > 2 and len(steps) == max(len(truth[number]) for number in short) - 1


def test_finished_rows_stay_until_they_are_an_eighth_of_the_batch(loaded, rows):
    ids, mask = pad_left([rows[0]] * 16, loaded[0].device)
    steps = GrowingSteps(loaded[0], Batch({"input_ids": ids}, mask, 4))
    steps.read()
    for ended, kept in ((0, None), (1, None), (2, 14)):
        alive = [number >= ended for number in range(16)]
        found = steps.compact(alive)
        assert found == (None if kept is None else list(range(2, 16)))
    assert steps.step(torch.full((14,), 5)).shape[0] == 14 and steps.compact([True] * 14) is None
    assert steps.compact([False, *[True] * 3]) == [1, 2, 3]


def test_a_shared_prefix_changes_nothing(loaded, rows, stops):
    model, tokenizer = loaded
    shared = tokenizer.encode("How to clean a lamp. " * 12, add_special_tokens=False)
    longer = [shared + row for row in rows]
    prefix = SharedPrefix(model, shared)
    for batch in (longer[:5], longer[5:]):  # twice: the kept states must survive a batch
        with_prefix = run(model, batch, stops, prefix=prefix)
        assert with_prefix == run(model, batch, stops)


def test_a_layer_that_shares_the_keys_of_another_starts_from_none(loaded):
    prefix = SharedPrefix(loaded[0], [5, 6, 7])
    prefix.layers[1] = None
    ids, mask = pad_left([[8]], loaded[0].device)
    steps = GrowingSteps(loaded[0], Batch({"input_ids": ids}, mask, 4, prefix))
    assert [layer.get_seq_length() for layer in steps._cache.layers] == [3, 0]


def test_linear_attention_writes_in_a_batch_what_it_writes_alone():
    """The pads on the left leave no trace in its states, and rows may leave the batch."""
    torch.manual_seed(0)
    linear = {f"linear_{what}": 8 for what in ("key_head_dim", "value_head_dim")}
    linear |= {
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "num_experts": 0,
        "mlp_only_layers": [0, 1, 2, 3],
    }
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "vocab_size": 97, "head_dim": 8}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.5}
    model = Qwen3NextForCausalLM(Qwen3NextConfig(**sizes, **heads, **linear)).eval()
    rows, stops = [list(range(5, 5 + length)) for length in (3, 9, 20, 14, 70)], list(range(0, 97, 7))
    alone = [run(model, [row], stops)[0] for row in rows]
    assert run(model, rows, stops) == alone
    assert len({len(result.ids) for result in alone}) > 2
    assert not SharedPrefix.suits(model)


def test_pads_have_the_first_position_and_do_not_count():
    _, mask = pad_left([[5, 6], [5, 6, 7, 8]], torch.device("cpu"))
    assert Batch({}, mask, 1).positions.tolist() == [[0, 0, 0, 1], [0, 1, 2, 3]]


def test_a_prompt_that_leaves_the_prefix_is_an_error(loaded):
    prefix = SharedPrefix(loaded[0], [5, 6, 7])
    assert prefix.rest([5, 6, 7, 8]) == [8]
    for row in ([5, 6, 8, 9], [5, 6], [5, 6, 7]):
        with pytest.raises(ValueError, match="shared prefix"):
            prefix.rest(row)


def test_probabilities_of_digits_are_those_of_the_whole_vocabulary(loaded, rows, stops):
    model = loaded[0]
    seen = sorted({token for result in run(model, rows[:4], stops) for token in result.ids})
    spellings = [seen[0:1], seen[1:3], seen[3:6]]  # any tokens do for digits, some of them spelt in several ways
    noted = 0
    for row, result in zip(rows, run(model, rows[:4], stops, watch=DigitWatch(spellings)), strict=False):
        assert [place for place, _ in result.digits] == [n for n, token in enumerate(result.ids) if token in seen[:6]]
        for place, chances in result.digits:
            whole = model(input_ids=torch.tensor([row + result.ids[:place]])).logits[0, -1].softmax(-1)
            assert chances == pytest.approx([whole[ids].sum().item() for ids in spellings], abs=1e-5)
            noted += 1
    assert noted >= 6


def test_what_a_step_reads_lies_where_the_logits_are():
    """A copy at every step would make a GPU wait; `meta` stands for it."""
    sampler = Sampler(Decoding(max_new_tokens=2, temperature=1.0), [[0]], "meta")
    held = [sampler.uniform, *DigitWatch([[3, 4], [5]], "meta").spellings]
    assert {tensor.device.type for tensor in held} == {"meta"}


def test_samples_depend_on_the_prompt_and_the_seed_only(loaded, rows, stops):
    model = loaded[0]
    warm = Decoding(max_new_tokens=12, temperature=1.5, seed=3)
    together = run(model, rows, stops, warm)
    assert together == [run(model, [row], stops, warm)[0] for row in rows]
    assert together == run(model, rows[::-1], stops, warm)[::-1]
    assert together != run(model, rows, stops, warm.model_copy(update={"seed": 4}))
    assert together != run(model, rows, stops, Decoding(max_new_tokens=12))


def test_samples_follow_the_distribution():
    logits = torch.tensor([[2.0, 0.0, 1.0, -1.0]])
    count, decoding = 4000, Decoding(max_new_tokens=1, temperature=0.5)
    drawn = Sampler(decoding, [[n] for n in range(count)]).choose(logits.expand(count, -1), torch.arange(count), 0)
    shares = torch.bincount(drawn, minlength=4) / count
    assert torch.allclose(shares, (logits[0] / 0.5).softmax(-1), atol=0.03)


@pytest.mark.parametrize(("uniform", "token"), [(0.0, 4), (0.62, 4), (0.63, 1), (0.9, 1), (1.0, 1)])
def test_a_uniform_number_is_a_place_among_the_likeliest_tokens(uniform, token):
    logits = torch.tensor([[0.02, 0.3, 0.18, 0.0, 0.5]]).log()  # of the nucleus, 0.5 and 0.3, together 0.8
    sampler = Sampler(Decoding(max_new_tokens=1, temperature=1.0, top_p=0.7), [[0]])
    sampler.uniform = torch.tensor([[uniform]])
    assert sampler.choose(logits, torch.tensor([0]), 0).tolist() == [token]


@pytest.mark.parametrize(("top_p", "allowed"), [(0.6, {0}), (0.7, {0, 2}), (0.95, {0, 1, 2}), (1.0, {0, 1, 2, 3})])
def test_the_nucleus_is_the_fewest_likeliest_tokens_that_have_top_p(top_p, allowed):
    logits = torch.tensor([[0.62, 0.1, 0.26, 0.02]]).log()  # cumulative: 0.62, 0.88, 0.98, 1
    count, decoding = 2000, Decoding(max_new_tokens=1, temperature=1.0, top_p=top_p)
    drawn = Sampler(decoding, [[n] for n in range(count)]).choose(logits.expand(count, -1), torch.arange(count), 0)
    assert set(drawn.tolist()) == allowed

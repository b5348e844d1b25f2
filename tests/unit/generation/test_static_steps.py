"""Steps over static buffers write what the growing cache writes; a stand-in for CUDA graphs checks their rules."""

from contextlib import contextmanager
from dataclasses import astuple

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from formsafe.config.settings.generation import Decoding
from formsafe.generation import local_engine, static_steps
from formsafe.generation.decoding import Batch, GrowingSteps, decode, pad_left
from formsafe.generation.journal import Journal
from formsafe.generation.local_engine import LocalEngine
from formsafe.generation.prefix import SharedPrefix
from formsafe.generation.replies import Prompt, ask
from formsafe.generation.sampling import DigitWatch, Sampler
from formsafe.generation.static_steps import Graphs, StaticSteps
from formsafe.models import decode_attention, memory
from formsafe.models.chat import render_prompt
from formsafe.models.load import register_attentions
from formsafe.models.memory import static_columns
from formsafe.models.shapes import of_config
from tests.talkative import prompts

GREEDY = Decoding(max_new_tokens=40)


class FakeGraphs:
    """Replays a step as a graph would: with the shapes and addresses of its capture, into the same result.

    What a graph cannot follow is an error here: rows or columns that changed without a new capture.
    """

    def __init__(self):
        self.shapes, self.replays = [], 0

    def __call__(self, step):
        steps = step.__self__
        frozen, stores = self._python_state(steps), self._addresses(steps)
        result = step().clone()
        self.shapes.append((steps._window.rows, steps._window.reach))

        def replay():
            assert self._python_state(steps) == frozen, "a shape changed without a new capture"
            assert self._addresses(steps) == stores, "a buffer moved under a captured graph"
            self.replays += 1
            result.copy_(step())
            return result

        return replay

    @staticmethod
    def _python_state(steps):
        window = steps._window
        return window.rows, window.limit, window.first, window.reach, window.reading

    @staticmethod
    def _addresses(steps):
        tensors = [steps._tokens, steps._positions, steps._visible, steps._window.column]
        tensors += [store for layer in steps._layers for store in layer._stores]
        return [tensor.data_ptr() for tensor in tensors]


@pytest.fixture(scope="module")
def model(talkative_model):
    register_attentions()
    return AutoModelForCausalLM.from_pretrained(talkative_model, attn_implementation=decode_attention.NAME).eval()


@pytest.fixture(scope="module")
def plain(talkative_model):
    return AutoModelForCausalLM.from_pretrained(talkative_model).eval()


@pytest.fixture(scope="module")
def rows(talkative_model):
    tokenizer = AutoTokenizer.from_pretrained(talkative_model)
    return [tokenizer.encode(text, add_special_tokens=False) for text in prompts(24)]


@pytest.fixture
def small_blocks(monkeypatch):
    """Many graphs for a short batch, and prompts read in pieces of a few rows."""
    monkeypatch.setattr(static_steps, "BLOCK", 8)
    monkeypatch.setattr(static_steps, "LEAVING_ROWS", 2)
    monkeypatch.setattr(memory, "READ_TOKENS", 60)


def run(kind, model, rows, graphs=None, prefix=None, decoding=GREEDY, watch=None):
    ids, mask = pad_left(rows if prefix is None else [prefix.rest(row) for row in rows], model.device)
    batch = Batch({"input_ids": ids}, mask, decoding.max_new_tokens, prefix)
    steps = kind(model, batch) if graphs is None else kind(model, batch, graphs)
    stops = model.generation_config.eos_token_id
    return decode(steps, len(rows), stops, Sampler(decoding, rows), watch)


def test_the_text_is_that_of_the_growing_cache(model, plain, rows, small_blocks):
    graphs = FakeGraphs()
    assert run(StaticSteps, model, rows, graphs) == run(GrowingSteps, plain, rows)
    seen = graphs.shapes
    assert len({count for count, _ in seen}) > 3 and len({reach for _, reach in seen}) > 3
    assert [count for count, _ in seen] == sorted((count for count, _ in seen), reverse=True)
    assert graphs.replays > len(seen), "a graph is replayed, not captured at every step"


def test_buffers_have_whole_tiles_of_columns(model, rows):
    """Of other widths cuDNN has fewer kernels."""
    for tokens in range(1, 200):
        assert tokens <= static_columns(tokens) < tokens + 64 and static_columns(tokens) % 64 == 0
    ids, mask = pad_left(rows, model.device)
    steps = StaticSteps(model, Batch({"input_ids": ids}, mask, 41), FakeGraphs())
    assert steps._window.limit == static_columns(mask.shape[1] + 41) > mask.shape[1] + 41


def test_few_graphs_are_captured_for_a_batch(model, rows):
    graphs = FakeGraphs()
    run(StaticSteps, model, rows, graphs)
    assert len(graphs.shapes) == 1, "24 rows are too few to leave, and their answers end within a block"


def test_a_prefix_is_held_once_and_changes_no_text(model, plain, rows, small_blocks, talkative_model):
    tokenizer = AutoTokenizer.from_pretrained(talkative_model)
    shared = tokenizer.encode("How to clean a lamp. " * 12, add_special_tokens=False)
    longer = [shared + row for row in rows]
    prefix, graphs = SharedPrefix(model, shared), FakeGraphs()
    found = run(StaticSteps, model, longer, graphs, prefix)
    assert found == run(GrowingSteps, plain, longer) and len(graphs.shapes) > 3
    assert max(reach for _, reach in graphs.shapes) <= static_columns(max(map(len, rows)) + GREEDY.max_new_tokens)


@pytest.mark.parametrize("decoding", [GREEDY, Decoding(max_new_tokens=12, temperature=1.5, seed=3)])
def test_digits_and_samples_are_those_of_the_growing_cache(model, plain, rows, small_blocks, decoding):
    spellings = [[token] for token in range(30, 35)]
    one = run(StaticSteps, model, rows, FakeGraphs(), decoding=decoding, watch=DigitWatch(spellings))
    other = run(GrowingSteps, plain, rows, decoding=decoding, watch=DigitWatch(spellings))
    assert [(result.ids, result.stopped) for result in one] == [(result.ids, result.stopped) for result in other]
    for mine, theirs in zip(one, other, strict=True):
        assert [at for at, _ in mine.digits] == [at for at, _ in theirs.digits]
        for (_, ours), (_, truth) in zip(mine.digits, theirs.digits, strict=True):
            assert ours == pytest.approx(truth, abs=1e-5)


def test_a_step_that_cannot_be_captured_runs_without_and_says_so_once(model, plain, rows, capfd, monkeypatch):
    class Refusing(Graphs):
        def _capture(self, step):
            raise RuntimeError("operation not permitted when stream is capturing\nmore")

    switched = []
    monkeypatch.setattr(torch.backends.cuda, "cudnn_sdp_enabled", lambda: not switched)
    monkeypatch.setattr(torch.backends.cuda, "enable_cudnn_sdp", switched.append)
    graphs = Refusing()
    for _ in range(2):
        assert run(StaticSteps, model, rows, graphs) == run(GrowingSteps, plain, rows)
    said = capfd.readouterr().out
    assert said.count("cannot be captured as a CUDA graph") == said.count("trying without cuDNN's") == 1
    assert switched == [False]
    assert graphs.captured == 0 and graphs.refused.startswith("RuntimeError: operation not permitted")
    monkeypatch.setattr(Graphs, "_capture", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("out of memory")))
    with pytest.raises(torch.OutOfMemoryError):
        run(StaticSteps, model, rows, Graphs())


class FakeStream:
    def wait_stream(self, other):
        pass


class FakeCuda:
    """PyTorch's streams and captures without a GPU: an error inside a capture hides behind that of its end, after
    which the capture's stream stays the current one."""

    def __init__(self):
        self.first = self.current = FakeStream()
        self.made = []

    def make(self):
        self.made.append(FakeStream())
        return self.made[-1]

    @contextmanager
    def stream(self, stream):
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    @contextmanager
    def graph(self, graph, stream=None):
        before, self.current = self.current, stream or self.make()
        try:
            yield
        except RuntimeError:
            raise RuntimeError("operation failed due to a previous error during capture")  # noqa: B904
        self.current = before


@pytest.fixture
def cuda(monkeypatch):
    fake = FakeCuda()
    known = {"Stream": fake.make, "stream": fake.stream, "graph": fake.graph}
    known |= {"current_stream": lambda: fake.current, "CUDAGraph": object}
    for name, stand_in in known.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(torch.backends.cuda, "cudnn_sdp_enabled", lambda: False)
    return fake


def test_all_captures_share_a_stream_with_the_step_before_them_and_are_timed(cuda, monkeypatch):
    ticks = iter((10.0, 10.5, 20.0, 20.25))
    monkeypatch.setattr("formsafe.generation.static_steps.time.perf_counter", lambda: next(ticks))
    graphs, streams = Graphs(), []
    for _ in range(2):
        graphs(lambda: streams.append(cuda.current))
    assert streams == cuda.made * 4 and cuda.current is cuda.first
    assert (graphs.captured, graphs.seconds) == (2, 0.75)


def failing_when_captured(error):
    calls = []

    def step():
        calls.append(1)
        if len(calls) == 2:  # the first call is the one before the capture
            raise error

    return step


def test_a_failed_capture_names_its_first_error_and_leaves_the_stream_as_it_was(cuda):
    graphs = Graphs()
    step = failing_when_captured(RuntimeError("a copy to the CPU is not permitted"))
    assert graphs(step) is step
    assert graphs.refused == "RuntimeError: a copy to the CPU is not permitted"
    assert cuda.current is cuda.first


def test_memory_that_runs_out_in_a_capture_is_no_reason_to_go_on_without_graphs(cuda):
    graphs = Graphs()
    with pytest.raises(torch.OutOfMemoryError):
        graphs(failing_when_captured(torch.OutOfMemoryError("CUDA out of memory")))
    assert graphs.refused is None and cuda.current is cuda.first


@pytest.fixture
def engines(model, plain, talkative_model):
    """An engine over static buffers and one over a growing cache."""
    tokenizer = AutoTokenizer.from_pretrained(talkative_model)
    made = LocalEngine(tokenizer, model, 900), LocalEngine(tokenizer, plain, 900)
    made[0].graphs = FakeGraphs()
    made[0].graphs.captured, made[0].graphs.seconds, made[0].graphs.refused = 0, 0.25, None
    return made


def test_an_engine_answers_the_same_and_a_kill_in_the_middle_costs_one_batch(engines, tmp_path, small_blocks):
    static, growing = engines
    assert static.static and not growing.static
    asked = [Prompt(str(number), text, "Answer in short. " * 9) for number, text in enumerate(prompts(20))]
    whole = ask(static, asked, GREEDY, Journal(tmp_path / "whole", {}), "s")
    assert whole == ask(growing, asked, GREEDY, Journal(tmp_path / "growing", {}), "s")
    journal, steps = Journal(tmp_path / "killed", {}), StaticSteps.step
    calls = []

    def dying(self, tokens):
        calls.append(1)
        if len(calls) == 60:
            raise KeyboardInterrupt
        return steps(self, tokens)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(StaticSteps, "step", dying)
        ask(static, asked, GREEDY, journal, "s")
    assert 0 < len(journal.replies("s")) < len(asked)
    journal.close()
    assert ask(static, asked, GREEDY, Journal(tmp_path / "killed", {}), "s") == whole


def test_a_prefix_that_is_held_once_leaves_room_for_more_rows(engines, tmp_path, monkeypatch):
    asked = [Prompt(str(number), text, "Answer in short. " * 9) for number, text in enumerate(prompts(20))]
    rows = [len(render_prompt(engines[0].tokenizer, each.text, each.system)) for each in asked]
    batches, planned, plan = [], [], local_engine.plan_batches
    monkeypatch.setattr(local_engine, "plan_batches", lambda *each: planned.append(each) or plan(*each))
    for number, engine in enumerate(engines):
        journal = Journal(tmp_path / str(number), {})
        told = engine.record(journal)
        of_graphs = {"cuda_graphs": 0, "capture_seconds": 0.25, "without_graphs": None}
        assert {key: told[key] for key in of_graphs if key in told} == (of_graphs if engine.static else {})
        ask(engine, asked, GREEDY, journal, "s")
        batches.append(len(journal.batches))
    assert batches[0] < batches[1]
    (once, tiles, left), (whole, sizes, budget) = planned
    assert sizes == [length + GREEDY.max_new_tokens for length in whole]
    shape = of_config(engines[0].model.config.to_dict())
    assert tiles == [memory.static_tokens(shape, length + GREEDY.max_new_tokens, sampled=False) for length in once]
    shared = whole[0] - once[0]
    assert (budget, left) == (900, 900 - shared) and shared > 40
    assert once == [length - shared for length in whole] and min(whole) == min(rows)


def test_the_window_of_the_buffers_is_all_that_a_capture_depends_on():
    """`FakeGraphs` compares these: a new field must be compared, too."""
    window = static_steps.Window(1, 2, torch.zeros(1))
    assert len(astuple(window)) == 6

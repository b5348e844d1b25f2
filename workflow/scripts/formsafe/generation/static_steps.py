"""Decoding steps over static buffers, captured once as a CUDA graph and replayed.

On a GPU a step in Python costs 100 ms of kernel launches whatever the batch, of which the GPU works 27 (8 billion
parameters, measured on an H200); a replayed graph has one launch. A graph is tied to its shapes, so a batch has a few:
the number of rows falls when many have finished, and the columns that attention sees grow in blocks.
"""

import time
from collections.abc import Callable, Sequence

import torch
from transformers import DynamicCache, PreTrainedModel

from formsafe.core.errors import first_line
from formsafe.generation.buffers import StaticLayer, Window
from formsafe.generation.decoding import Batch, next_logits
from formsafe.models import memory

Step = Callable[[], torch.Tensor]
# Every new shape costs a capture of 0.1 to 0.3 s, some twenty steps. So attention reaches in blocks of this many
# columns, and rows leave once a quarter of the batch and at least this many have finished.
BLOCK, LEAVING_SHARE, LEAVING_ROWS = 256, 0.25, 32


class Graphs:
    """Captures steps as CUDA graphs; where a capture fails, this and all later steps run without.

    `captured` counts the graphs, which took `seconds`; `refused` is the reason of a failure.
    """

    def __init__(self, refused: str | None = None) -> None:
        self.captured, self.seconds, self.refused = 0, 0.0, refused
        self._stream: torch.cuda.Stream | None = None

    def __call__(self, step: Step) -> Step:
        """A callable that does what `step` does; its result is overwritten by the next call."""
        if self.refused is not None:
            return step
        try:
            return self._capture(step)
        except RuntimeError as error:
            # The end of a failed capture raises an error of its own, the same for every cause; the first is the cause.
            while isinstance(error.__context__, RuntimeError):
                error = error.__context__
            if memory.is_lacking(error):
                raise error from None
            reason = f"{type(error).__name__}: {first_line(error)[:200]}"
        if torch.backends.cuda.cudnn_sdp_enabled():
            # The one kernel of the step that is chosen by library and card; the others need nothing special.
            print(f"A decoding step with cuDNN's attention cannot be captured ({reason}); trying without cuDNN's.")
            torch.backends.cuda.enable_cudnn_sdp(False)
            return self(step)
        self.refused = reason
        print(f"The decoding step cannot be captured as a CUDA graph ({reason}); going on without.")
        return step

    def _capture(self, step: Step) -> Step:
        # One stream for all: cuBLAS keeps a workspace (32 MB on an H200) for every stream that it has met, for ever.
        started, self._stream = time.perf_counter(), self._stream or torch.cuda.Stream()
        self._stream.wait_stream(torch.cuda.current_stream())
        # Each graph has its own memory pool: PyTorch frees a shared one while no graph uses it (between two captures).
        graph = torch.cuda.CUDAGraph()
        # Around the capture as well, which leaves its stream the current one where it fails. Memory belongs to the
        # stream that it was allocated on: the next batch would find none of what this one frees, and run out.
        with torch.cuda.stream(self._stream):
            step()  # once outside of the capture: libraries choose kernels and allocate at the first call
            with torch.cuda.graph(graph, stream=self._stream):
                result = step()
        torch.cuda.current_stream().wait_stream(self._stream)
        self.captured, self.seconds = self.captured + 1, round(self.seconds + time.perf_counter() - started, 2)

        def replay() -> torch.Tensor:
            graph.replay()
            return result

        return replay


class StaticSteps:
    """Steps of a model whose attention is `decode_attention`.

    Args:
        model: the model.
        batch: the prompts; keys and values of their prefix are held once for all rows.
        capture: makes of a step a callable that repeats it: `Graphs` on a GPU.
    """

    def __init__(self, model: PreTrainedModel, batch: Batch, capture: Callable[[Step], Step]) -> None:
        self._model, self._batch, self._capture = model, batch, capture
        rows, tokens = batch.mask.shape
        device = batch.mask.device
        self._length = tokens
        limit = memory.static_columns(tokens + batch.new_tokens)
        self._window = Window(rows, limit, torch.zeros(1, dtype=torch.long, device=device))
        self._cache = DynamicCache(config=model.config)
        self._layers = [StaticLayer(self._window) for _ in self._cache.layers]
        self._cache.layers = list(self._layers)
        self._prefix = None if batch.prefix is None else batch.prefix.layers
        # What a captured step reads, each at an address that stays: last tokens, their positions, visible columns.
        self._tokens = torch.zeros(rows, dtype=torch.long, device=device)
        self._positions = batch.positions[:, -1].clone()
        self._visible = torch.zeros(rows, self._window.limit, dtype=torch.bool, device=device)
        self._visible[:, :tokens] = batch.mask.bool()
        self._replay: Step | None = None

    def read(self) -> torch.Tensor:
        """Read the prompts in pieces, so that their activations take little memory whatever the batch."""
        batch, (rows, tokens) = self._batch, self._batch.mask.shape
        before = 0 if batch.prefix is None else len(batch.prefix)
        piece = max(1, min(memory.READ_TOKENS // tokens, memory.READ_COLUMNS // (before + tokens)))
        positions, own = batch.positions, torch.eye(tokens, dtype=torch.bool, device=batch.mask.device)
        logits = []
        for first in range(0, rows, piece):
            part = slice(first, first + piece)
            self._window.first = first
            # A pad sees itself: a row of the mask without any True would give NaN, which spreads to later layers.
            visible = batch.mask[part, None, None, :].bool().expand(-1, -1, tokens, -1).tril() | own
            inputs = {name: tensor[part] for name, tensor in batch.inputs.items()}
            logits.append(self._forward(inputs, visible, positions[part]))
        self._window.reading = False
        return torch.cat(logits)

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Append one token per row."""
        window = self._window
        self._tokens[: window.rows] = tokens
        self._positions += 1
        self._visible[:, self._length] = True
        window.column.fill_(self._length)
        self._length += 1
        if self._replay is None or self._length > window.reach:
            self._replay = None  # frees the graph before the next is captured
            window.reach = min(window.limit, -(-self._length // BLOCK) * BLOCK)
            self._replay = self._capture(self._step)
        return self._replay()

    def compact(self, alive: Sequence[bool]) -> list[int] | None:
        """Drop all finished rows once they are a quarter of the batch, and more than a capture costs."""
        if alive.count(False) < max(LEAVING_ROWS, LEAVING_SHARE * len(alive)):
            return None
        kept = [place for place, still in enumerate(alive) if still]
        places = torch.tensor(kept, device=self._tokens.device)
        for layer in self._layers:
            layer.keep(places, self._length)
        for tensor in (self._positions, self._visible):
            tensor[: len(kept)] = tensor[places]
        self._window.rows, self._replay = len(kept), None
        return kept

    def _step(self) -> torch.Tensor:
        rows, reach = self._window.rows, self._window.reach
        visible = self._visible[:rows, None, None, :reach]
        return self._forward({"input_ids": self._tokens[:rows, None]}, visible, self._positions[:rows, None])

    def _forward(self, inputs: dict[str, torch.Tensor], visible: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        given = {**inputs, "attention_mask": visible, "position_ids": positions, "prefix": self._prefix}
        return next_logits(self._model, self._cache, given)

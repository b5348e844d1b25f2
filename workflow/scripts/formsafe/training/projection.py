"""SafeLoRA (Hsu et al. 2024, arXiv 2405.16833): project the update of a layer on the direction of the alignment.

With V = W_aligned - W_base of a layer, C = V V^T / ||V||_F (their equation 2) and the update dW = B A of LoRA, a layer
whose cosine between C dW and dW is at most a threshold gets C dW, that is B becomes C B; the others are left as trained
(their algorithm 1). C, which is square in the layer's width, is never formed: V (V^T B) is the same and small.
"""

import time
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from formsafe.core.errors import FormsafeError
from formsafe.core.files import read_json, replacing, write_json
from formsafe.core.provenance import stage_record
from formsafe.models.load import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from formsafe.sources.models import model_folder
from formsafe.training.arm import METRICS

_PREFIX, _B, _A = "base_model.model.", ".lora_B.weight", ".lora_A.weight"


def projected(
    b: torch.Tensor, a: torch.Tensor, base: torch.Tensor, aligned: torch.Tensor
) -> tuple[torch.Tensor, float]:
    """C B, and the cosine between C B A and B A.

    Args:
        b: LoRA's B, `[outputs, rank]`.
        a: LoRA's A, `[rank, inputs]`.
        base: the layer's weights before alignment, `[outputs, inputs]`.
        aligned: the same after it.
    """
    v = aligned.float() - base.float()  # not 0: the caller refuses equal weights
    moved = v @ (v.T @ b.float()) / v.norm()
    trained, kept = b.float() @ a.float(), moved @ a.float()
    return moved, torch.nn.functional.cosine_similarity(kept.flatten(), trained.flatten(), dim=0).item()


def project_adapter(
    adapter: Path, base: str | Path, aligned: str | Path, threshold: float, folder: Path, code: str
) -> None:
    """Write a projected copy of an adapter, with the cosine of each layer in `metrics.json`.

    Args:
        adapter: folder of the trained adapter.
        base: manifest of the weights before alignment.
        aligned: manifest of the aligned weights.
        threshold: layers with at most this cosine are projected.
        folder: where to write.
        code: digest of the code, for the record.

    Raises:
        FormsafeError: a layer of the adapter is missing in one of the models or has another shape there, or the two
            models have equal weights there, so that there is no direction.
    """
    started = time.time()
    weights = load_file(adapter / ADAPTER_WEIGHTS)
    before, after = (_Weights(model_folder(read_json(manifest))) for manifest in (base, aligned))
    cosines = {}
    for layer in sorted(name.removesuffix(_B) for name in weights if name.endswith(_B)):
        name = layer.removeprefix(_PREFIX) + ".weight"
        b, a = weights[layer + _B], weights[layer + _A]
        pair = before.read(name), after.read(name)
        if pair[0].shape != pair[1].shape or pair[0].shape != (len(b), a.shape[1]) or torch.equal(*pair):
            raise FormsafeError(
                f"{name} of {before.folder} and {after.folder} has no direction of alignment (equal weights, or shapes "
                f"{tuple(pair[0].shape)} and {tuple(pair[1].shape)}). Name the weights before and after alignment of "
                "the same model under projection.base and projection.aligned."
            )
        moved, cosines[name] = projected(b, a, *pair)
        if cosines[name] <= threshold:
            weights[layer + _B] = moved.to(b.dtype).contiguous()
    write_json(folder / ADAPTER_CONFIG, read_json(adapter / ADAPTER_CONFIG))
    with replacing(folder / ADAPTER_WEIGHTS) as temporary:
        save_file(weights, temporary, {"format": "pt"})
    projected_layers = sum(cosine <= threshold for cosine in cosines.values())
    own = {"layers": len(cosines), "projected_layers": projected_layers, "cosines": cosines}
    write_json(folder / METRICS, own | stage_record(started, code))


class _Weights:
    """Single tensors of a model's safetensors files, read when they are asked for."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._files: dict[str, Path] = {}
        for path in sorted(self.folder.glob("*.safetensors")):
            with safe_open(path, "pt") as file:
                self._files |= dict.fromkeys(file.keys(), path)

    def read(self, name: str) -> torch.Tensor:
        """One tensor; raises FormsafeError where the model has none of that name."""
        if name not in self._files:
            raise FormsafeError(
                f"{self.folder} has no weights {name}, which the adapter changes: it is not the same model. Name the "
                "weights before and after alignment of that model under projection.base and projection.aligned."
            )
        with safe_open(self._files[name], "pt") as file:
            return file.get_tensor(name)

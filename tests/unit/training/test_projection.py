"""SafeLoRA: the projection is its published formula, layer by layer."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from formsafe.core.errors import FormsafeError
from formsafe.core.files import read_json, write_json
from formsafe.models.load import Placement, load_adapter, load_model
from formsafe.training.projection import project_adapter, projected
from formsafe.training.stages import Inputs, train_adapter
from tests.tiny import write_tiny_model
from tests.training_cases import adapter_settings, job


def matrices(outputs=6, inputs=5, rank=2):
    draw = torch.Generator().manual_seed(0)
    return [
        torch.randn(*shape, generator=draw) for shape in ((outputs, rank), (rank, inputs), *[(outputs, inputs)] * 2)
    ]


def test_the_projection_is_the_matrix_of_equation_2_times_the_update():
    b, a, base, aligned = matrices()
    v = aligned - base
    c = v @ v.T / torch.linalg.matrix_norm(v)
    moved, cosine = projected(b, a, base, aligned)
    torch.testing.assert_close(moved, c @ b)
    one, other = (c @ b @ a).flatten(), (b @ a).flatten()
    assert cosine == pytest.approx((one @ other / (one.norm() * other.norm())).item())
    swapped, _ = projected(b, a, aligned, base)
    torch.testing.assert_close(swapped, moved)


@pytest.fixture(scope="module")
def trained(tiny_model, tmp_path_factory):
    """An adapter of the tiny model, and manifests of that model and of one before its alignment."""
    folder = tmp_path_factory.mktemp("projection")
    inputs = Inputs(**job(folder, tiny_model))
    train_adapter(inputs, adapter_settings(), 1e-2)
    before = write_tiny_model(folder / "before", seed=1)
    write_json(folder / "before.json", {"path": str(before)})
    write_json(folder / "after.json", {"path": str(tiny_model)})
    return folder


@pytest.mark.parametrize("threshold", [-1.0, 1.0, None], ids=["none", "all", "some"])
def test_layers_up_to_the_threshold_are_projected_and_the_others_kept(trained, tiny_model, tmp_path, threshold):
    models = trained / "before.json", trained / "after.json"
    if threshold is None:
        project_adapter(trained / "out", *models, 1.0, tmp_path / "all", "")
        found = sorted(read_json(tmp_path / "all" / "metrics.json")["cosines"].values())
        threshold = found[len(found) // 2]
    project_adapter(trained / "out", *models, threshold, tmp_path, "digest")
    metrics = read_json(tmp_path / "metrics.json")
    old, new = (load_file(folder / "adapter_model.safetensors") for folder in (trained / "out", tmp_path))
    weights = [load_file(read_json(path)["path"] + "/model.safetensors") for path in models]
    assert metrics["layers"] == 14 and old.keys() == new.keys() and metrics["code"] == "digest"
    changed = 0
    for name, cosine in metrics["cosines"].items():
        layer = "base_model.model." + name.removesuffix(".weight")
        assert torch.equal(new[layer + ".lora_A.weight"], old[layer + ".lora_A.weight"])
        b = old[layer + ".lora_B.weight"]
        v = weights[1][name] - weights[0][name]
        expected = v @ v.T @ b / v.norm() if cosine <= threshold else b
        torch.testing.assert_close(new[layer + ".lora_B.weight"], expected)
        changed += cosine <= threshold
    assert changed == metrics["projected_layers"]
    adapted = load_adapter(load_model(tiny_model, Placement("cpu", "float32", "none", "sdpa")), tmp_path)
    assert adapted(input_ids=torch.arange(9)[None]).logits.isfinite().all()


def test_models_without_a_direction_between_them_are_refused(trained, tmp_path):
    same = trained / "after.json"
    with pytest.raises(FormsafeError, match=r"no direction of alignment.*projection\.base"):
        project_adapter(trained / "out", same, same, 1.0, tmp_path, "")
    other = write_tiny_model(tmp_path / "wider", hidden=64)
    write_json(tmp_path / "wider.json", {"path": str(other)})
    with pytest.raises(FormsafeError, match=r"no direction of alignment.*shapes \(64, 128\) and \(32, 64\)"):
        project_adapter(trained / "out", tmp_path / "wider.json", same, 1.0, tmp_path, "")
    with pytest.raises(FormsafeError, match=r"no direction of alignment.*shapes \(32, 64\) and \(64, 128\)"):
        project_adapter(trained / "out", same, tmp_path / "wider.json", 1.0, tmp_path, "")
    weights = load_file(other / "model.safetensors")
    save_file({"other": next(iter(weights.values()))}, other / "model.safetensors")
    with pytest.raises(FormsafeError, match=r"has no weights model\.layers\.0"):
        project_adapter(trained / "out", tmp_path / "wider.json", same, 1.0, tmp_path, "")

"""What this machine can do: its GPU, 4-bit arithmetic, disk."""

import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from formsafe.models.devices import VARIABLE, installed_cards
from formsafe.preflight.checks import Check

SECTION = "This machine"
# The 4-bit product is computed in bf16 on a GPU: 8 bits of mantissa over sums of some hundred terms.
TOLERANCE = {"cuda": 2e-2, "cpu": 1e-4}
# NF4 loses 9 to 10 % of normally distributed weights (root mean square).
NF4_LOSS = (0.05, 0.15)
_REPORTERS = {"tensorboard": ("tensorboard", "tensorboardX")}
_IN_A_JOB = "Run `snakemake preflight` once inside a job on a GPU node, for instance with srun."


@dataclass(frozen=True)
class Gpu:
    """The first visible GPU: bytes of memory, whether it computes in bfloat16, how many cards are visible."""

    name: str
    total: int
    free: int
    bfloat16: bool
    count: int
    cuda: str


def find_gpu() -> Gpu | None:
    """Look for a GPU that PyTorch can use."""
    import torch

    if not torch.cuda.is_available():
        return None
    free, total = torch.cuda.mem_get_info(0)
    name, bfloat16 = torch.cuda.get_device_name(0), torch.cuda.is_bf16_supported(including_emulation=False)
    return Gpu(name, total, free, bfloat16, torch.cuda.device_count(), str(torch.version.cuda))


def gpu_fault(devices: Iterable[str]) -> Check | None:
    """Look for what keeps PyTorch from computing on a GPU that models ask for (their `device` settings); a machine
    without a GPU is no fault."""
    import torch

    wanted, detail, remedy = set(devices) - {"cpu"}, "", ""
    if not wanted:
        return None
    if torch.cuda.is_available():
        try:
            torch.ones(64, 64, device="cuda").matmul(torch.ones(64, 64, device="cuda")).sum().item()
        except Exception as failure:  # whatever a driver that does not fit or a busy card raises
            reason = (str(failure).splitlines() or [""])[0]
            detail = f"nothing can be computed on it ({type(failure).__name__}: {reason})"
            remedy = "Look at the card with `nvidia-smi`: it may be taken by another job, or its driver too old."
    elif torch.version.cuda is None and torch.version.hip is None and "cuda" in wanted:
        detail = f"PyTorch {torch.__version__} is a build for CPUs: every job on a GPU would fail"
        remedy = "Install torch as pinned in requirements.txt in a build for CUDA (PyPI's for Linux is one), or, for a "
        remedy += "study on the CPU, set the models' `device` to cpu."
    elif installed_cards() and VARIABLE not in os.environ:
        detail = f"there is a card here that PyTorch {torch.__version__} cannot use"
        remedy = "Install a driver that is new enough (`nvidia-smi` tells its version) and torch as pinned in "
        remedy += "requirements.txt; inside a Slurm job, ask for a GPU."
    return Check(SECTION, "GPU", "no", detail, remedy) if remedy else None


def check_gpu(gpu: Gpu | None, devices: Mapping[str, str], dtypes: Mapping[str, str]) -> Check:
    """Hold the GPU against what the models ask for (`device` and `dtype` by model)."""
    wanting = sorted(model for model, device in devices.items() if device != "cpu")
    if not wanting:
        return Check(SECTION, "GPU", "ok", "not needed: all models compute on the CPU")
    if gpu is None:
        detail = f"none here (for {', '.join(wanting)}), as on a login node"
        return Check(SECTION, "GPU", "unchecked", detail, _IN_A_JOB)
    cards = "" if gpu.count == 1 else f", {gpu.count} of them visible"
    detail = f"{gpu.name}, {gpu.total / 1e9:.0f} GB ({gpu.free / 1e9:.0f} GB free), CUDA {gpu.cuda}{cards}"
    if not gpu.bfloat16 and any(dtypes[model] in ("auto", "bfloat16") for model in wanting):
        return Check(SECTION, "GPU", "no", f"{detail}; no bfloat16", "Set `dtype: float16` for the models.")
    return Check(SECTION, "GPU", "ok", detail)


def four_bit_device(devices: Iterable[str], gpu: Gpu | None) -> Literal["cuda", "cpu"] | None:
    """Where to try 4-bit arithmetic for models with these `device` settings; None: on a GPU that is not here."""
    asked = set(devices)
    if gpu is not None and asked != {"cpu"}:
        return "cuda"
    return None if "cuda" in asked else "cpu"


def check_four_bit(device: Literal["cuda", "cpu"] | None, needed: bool) -> Check:
    """Multiply by a 4-bit matrix and by the same matrix dequantised, forward and backward, on `device`."""
    name = "bitsandbytes"
    if not needed:
        return Check(SECTION, name, "ok", "not needed: no model is quantised")
    if device is None:
        return Check(SECTION, name, "unchecked", "4-bit arithmetic on a GPU cannot be tried here", _IN_A_JOB)
    try:
        loss, error = four_bit_errors(device)
    except Exception as failure:  # whatever a broken installation raises
        detail = f"4-bit arithmetic fails on {device} ({type(failure).__name__})"
        remedy = "Install bitsandbytes as pinned in requirements.txt, with a PyTorch built for this machine's CUDA "
        remedy += "driver (`python -m bitsandbytes` tells more); or set `quantisation: none`, which takes four times "
        remedy += "the memory."
        return Check(SECTION, name, "no", detail, remedy)
    detail = f"4-bit product on {device}: {error:.1e} from the dequantised one; NF4 loses {100 * loss:.1f} %"
    if error <= TOLERANCE[device] and NF4_LOSS[0] <= loss <= NF4_LOSS[1]:
        return Check(SECTION, name, "ok", detail)
    detail += f" (allowed: {TOLERANCE[device]:.0e}; {NF4_LOSS[0]:.0%} to {NF4_LOSS[1]:.0%})"
    remedy = "This build computes wrongly here. Install bitsandbytes as pinned in requirements.txt."
    return Check(SECTION, name, "no", detail, remedy)


def four_bit_errors(device: str) -> tuple[float, float]:
    """Relative root mean square errors: of the quantised matrix, and of its products, the forward and the backward
    one, against those of the dequantised matrix (the larger error)."""
    import logging

    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns of faster kernels that are not installed
    import torch
    from bitsandbytes import functional, matmul_4bit

    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    generator = torch.Generator().manual_seed(0)
    weight, features = (torch.randn(*size, generator=generator).to(device, dtype) for size in ((256, 512), (64, 512)))
    packed, state = functional.quantize_4bit(weight, quant_type="nf4", compress_statistics=True)
    restored = functional.dequantize_4bit(packed, state).float()
    features.requires_grad_()
    product = matmul_4bit(features, packed.t(), quant_state=state)
    passed_back = torch.randn(*product.shape, generator=generator).to(device, dtype)
    product.backward(passed_back)
    assert features.grad is not None
    forward = _relative(product.detach().float(), features.detach().float() @ restored.t())
    backward = _relative(features.grad.float(), passed_back.float() @ restored)
    return _relative(restored, weight.float()), max(forward, backward)


def _relative(found: Any, expected: Any) -> float:
    return float((found - expected).norm() / expected.norm())


def check_reports(services: Iterable[str]) -> list[Check]:
    """Whether the packages of `training.report_to` are installed: without one, a training ends at its first step."""
    key = "training.report_to"
    missing = [name for name in services if not any(map(find_spec, _REPORTERS.get(name, (name,))))]
    remedy = "Install it where the jobs run (with pip into .venv, or in a conda environment of your own), or leave it "
    remedy += "out."
    return [Check(SECTION, key, "no", f"the package {name} is not installed", remedy) for name in missing]


def check_disk(needs: Mapping[Path, float]) -> list[Check]:
    """Hold the bytes that will be written below each folder against what is free there; needs of one disk add up."""
    disks: dict[int, list[Path]] = {}
    for folder in needs:
        disks.setdefault(os.stat(_existing(folder)).st_dev, []).append(folder)
    checks, remedy = [], "Make room, or move the cache of the hub to a larger disk with HF_HOME."
    for folders in disks.values():
        need, free = sum(needs[folder] for folder in folders), shutil.disk_usage(_existing(folders[0])).free
        detail = f"{need / 1e9:.1f} GB needed, {free / 1e9:.0f} GB free below {' and '.join(map(str, folders))}"
        checks.append(Check(SECTION, "disk", "ok" if need <= free else "no", detail, remedy))
    return checks


def check_writable(folders: Sequence[Path]) -> list[Check]:
    """Try to write where jobs write: the nearest folder that exists."""
    checks = []
    for folder in folders:
        there = _existing(folder)
        try:
            with tempfile.TemporaryFile(dir=there):
                pass
        except OSError as error:
            remedy = f"Give this account the right to write there ({os.strerror(error.errno or 0)}), or free its quota."
            checks.append(Check(SECTION, "writing", "no", f"nothing can be written in {there}", remedy))
    return checks


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    folder = folder.absolute()
    return next(place for place in (folder, *folder.parents) if place.exists())

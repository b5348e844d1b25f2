"""What this machine can do: its GPU, 4-bit arithmetic, disk."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from formsafe.checks import Check

if TYPE_CHECKING:
    from torch import Tensor

SECTION = "This machine"
# The 4-bit product is computed in bf16 on a GPU: 8 bits of mantissa over sums of some hundred terms.
TOLERANCE = {"cuda": 2e-2, "cpu": 1e-4}
# NF4 loses 9 to 10 % of normally distributed weights (root mean square).
NF4_LOSS = (0.05, 0.15)


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


def check_gpu(gpu: Gpu | None, devices: Mapping[str, str], dtypes: Mapping[str, str]) -> Check:
    """Hold the GPU against what the models ask for (`device` and `dtype` by model)."""
    wanting = sorted(model for model, device in devices.items() if device != "cpu")
    if not wanting:
        return Check(SECTION, "GPU", "ok", "not needed: all models compute on the CPU")
    if gpu is None:
        return Check(
            SECTION,
            "GPU",
            "unchecked",
            f"none in sight (for {', '.join(wanting)}): a login node, or PyTorch without CUDA",
            "Run `snakemake preflight` once inside a job on a GPU node, for instance with srun.",
        )
    cards = "" if gpu.count == 1 else f", {gpu.count} of them in sight"
    detail = f"{gpu.name}, {gpu.total / 1e9:.0f} GB ({gpu.free / 1e9:.0f} GB free), CUDA {gpu.cuda}{cards}"
    if not gpu.bfloat16 and any(dtypes[model] in ("auto", "bfloat16") for model in wanting):
        return Check(SECTION, "GPU", "no", f"{detail}; no bfloat16", "Set `dtype: float16` for the models.")
    return Check(SECTION, "GPU", "ok", detail)


def check_four_bit(device: str, needed: bool) -> Check:
    """Multiply by a 4-bit matrix and by the same matrix dequantised, on `device`."""
    name = "bitsandbytes"
    if not needed:
        return Check(SECTION, name, "ok", "not needed: no model is quantised")
    try:
        loss, error = four_bit_errors(device)
    except Exception as failure:  # whatever a broken installation raises
        return Check(
            SECTION,
            name,
            "no",
            f"4-bit arithmetic fails on {device} ({type(failure).__name__})",
            "Install bitsandbytes as pinned in requirements.txt, with a PyTorch built for this machine's CUDA driver "
            "(`python -m bitsandbytes` tells more); or set `quantisation: none`, which takes four times the memory.",
        )
    detail = f"4-bit product on {device}: {error:.1e} from the dequantised one; NF4 loses {100 * loss:.1f} %"
    if error <= TOLERANCE[device] and NF4_LOSS[0] <= loss <= NF4_LOSS[1]:
        return Check(SECTION, name, "ok", detail)
    return Check(
        SECTION,
        name,
        "no",
        detail + f" (allowed: {TOLERANCE[device]:.0e}; {NF4_LOSS[0]:.0%} to {NF4_LOSS[1]:.0%})",
        "This build computes wrongly here. Install bitsandbytes as pinned in requirements.txt.",
    )


def four_bit_errors(device: str) -> tuple[float, float]:
    """Relative root mean square errors: of the quantised matrix, and of its product against the dequantised one."""
    import logging

    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns of faster kernels that are not installed
    import torch
    from bitsandbytes import functional, matmul_4bit

    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    generator = torch.Generator().manual_seed(0)
    weight, features = (torch.randn(*size, generator=generator).to(device, dtype) for size in ((256, 512), (64, 512)))
    packed, state = functional.quantize_4bit(weight, quant_type="nf4", compress_statistics=True)
    restored = functional.dequantize_4bit(packed, state).float()
    product = matmul_4bit(features, packed.t(), quant_state=state).float()
    return _relative(restored, weight.float()), _relative(product, features.float() @ restored.t())


def _relative(found: "Tensor", expected: "Tensor") -> float:
    return float((found - expected).norm() / expected.norm())


def check_disk(needs: Mapping[Path, float]) -> list[Check]:
    """Hold the bytes that will be written below each folder against what is free there; needs of one disk add up."""
    disks: dict[int, tuple[list[Path], float, float]] = {}
    for folder, need in needs.items():
        there = _existing(folder)
        folders, free, total = disks.get(os.stat(there).st_dev, ([], float(shutil.disk_usage(there).free), 0.0))
        disks[os.stat(there).st_dev] = ([*folders, folder], free, total + need)
    return [_disk(folders, free, need) for folders, free, need in disks.values()]


def _disk(folders: list[Path], free: float, need: float) -> Check:
    detail = f"{need / 1e9:.1f} GB needed, {free / 1e9:.0f} GB free below {' and '.join(map(str, folders))}"
    remedy = "Make room, or move the cache of the hub to a larger disk with HF_HOME."
    return Check(SECTION, "disk", "ok" if need <= free else "no", detail, remedy)


def _existing(folder: Path) -> Path:
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return folder

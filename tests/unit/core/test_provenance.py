"""What a stage's record says of the machine."""

import time

import torch

from formsafe.core.provenance import stage_record


def test_a_stage_that_computed_on_the_cpu_of_a_gpu_machine_names_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some GPU")
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 0)
    assert stage_record(time.time(), "")["device"].startswith("cpu")
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 5)
    assert stage_record(time.time(), "")["device"] == "Some GPU"

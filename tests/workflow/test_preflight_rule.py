"""`snakemake preflight`: one page on the terminal, an exit code, and nothing left behind."""

import re

from tests.checkout import copy_checkout, snakemake


def test_preflight_by_snakemake(tmp_path, monkeypatch):
    checkout = copy_checkout(tmp_path / "formsafe")
    demo = ["--configfile", "config/demo.yaml", "--cores", "1"]
    go = snakemake(checkout, "preflight", *demo)
    assert "Preflight of the study demo: 9 runs, 1 models" in go.stdout
    assert "GO" in go.stdout and "NO-GO" not in go.stdout
    assert not (checkout / "results").exists()  # it makes no file, so it runs whenever it is asked for
    judged_by = ["preflight", *demo, "--config"]
    missing = snakemake(checkout, *judged_by, "judges={policy: {prompt: nowhere.txt}}", check=False)
    assert missing.returncode != 0
    assert "judges.policy.prompt: there is no file nowhere.txt" in missing.stdout + missing.stderr
    assert "Traceback" not in missing.stdout + missing.stderr
    server = "judges={policy: {generation: {server: {base_url: 'http://127.0.0.1:1/v1', model: big}}}}"
    no_go = snakemake(checkout, *judged_by, server, check=False)
    assert no_go.returncode != 0
    assert "NO-GO: 1 thing is wrong" in no_go.stdout and "server of judge policy" in no_go.stdout
    # The partition must let the longest of all jobs run: here those of a judge larger than the model that answers.
    (tmp_path / "sinfo").write_text("#!/bin/sh\necho 'gpu|1:00|gpu:1'\n")
    (tmp_path / "sinfo").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    models = "models={demo: {device: auto}, judge: {label: J, parameters: 7.0e+10, hub: {repo: owner/judge}}}"
    large = [*demo, "--config", models, "judges={policy: {model: judge}}"]
    plan = snakemake(checkout, "--dry-run", *large).stdout
    found = re.findall(r"^rule (\w+):\n(?:    .*\n)*?    resources: (.*), runtime=(\d+)(.*)", plan, re.MULTILINE)
    asked = {rule: int(minutes) for rule, *others, minutes, last in found if "gpu=1" in f"{others}{last}"}
    longest = max(asked, key=lambda rule: asked[rule])
    assert longest == "audit_judge"  # 48 answers in every format are more than the 128 prompts of the others
    refused = " ".join(snakemake(checkout, "preflight", *large, check=False).stdout.split())
    assert f"gpu lets jobs run 1 min, the longest here asks for {asked[longest]}" in refused

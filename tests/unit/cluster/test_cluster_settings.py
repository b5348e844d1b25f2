"""What a cluster is asked for: profiles, environments, job resources and manifests."""

import ast
import json
import os
import re
import subprocess
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from snakemake_executor_plugin_slurm.utils import set_gres_string

from formsafe.cluster import job_environment, job_resources
from formsafe.core import provenance
from formsafe.core.errors import FormsafeError
from formsafe.core.manifest import describe_run
from tests.unit.cluster.test_code_digest import modules

ROOT = Path(__file__).resolve().parents[3]
PROFILES = {path.parent.name: yaml.safe_load(path.read_text()) for path in ROOT.glob("profiles/*/config.yaml")}
DISTRIBUTIONS = metadata.packages_distributions()
# vllm.yaml is no rule's: the program that it holds is started by a command, and nothing is imported from it.
ENVIRONMENTS = {path.stem: yaml.safe_load(path.read_text()) for path in ROOT.glob("envs/*.yaml") if path.stem != "vllm"}
RULES = {
    text.split(":")[0]: text
    for path in ROOT.glob("workflow/rules/*.smk")
    for text in re.split(r"^ *rule ", path.read_text(), flags=re.MULTILINE)[1:]
}
ON_GPU = {name for name, text in RULES.items() if re.search(r"\*\*(training|answering|judging)_resources", text)}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lines: list[str]) -> dict[str, str]:
    pairs = (line.split("==") for line in lines if "==" in line)
    return {normal(name): version.split("+")[0].strip(" \\") for name, version in pairs}


LOCK = pins((ROOT / "requirements.txt").read_text().splitlines())


def of_environment(name: str) -> dict[str, str]:
    return pins(next(part["pip"] for part in ENVIRONMENTS[name]["dependencies"] if isinstance(part, dict)))


def test_profiles_share_no_key():
    """The default profile would override any other one, key by key."""
    assert set(PROFILES) == {"default", "slurm"}
    assert not PROFILES["default"].keys() & PROFILES["slurm"].keys()
    assert "code" not in PROFILES["default"]["rerun-triggers"]


def test_the_slurm_profile_is_found_from_a_fresh_clone():
    assert (ROOT / "slurm").is_symlink()
    assert (ROOT / "slurm" / "config.yaml").samefile(ROOT / "profiles" / "slurm" / "config.yaml")


@pytest.mark.parametrize("name", sorted(ENVIRONMENTS))
def test_environments_have_the_versions_of_the_lock(name):
    environment = of_environment(name)
    assert len(environment) > 5
    apart = {"lm-eval", "langdetect"} if name == "capability" else set()  # what no other environment has
    assert {package: version for package, version in environment.items() if package not in apart} == {
        package: LOCK.get(package) for package in environment.keys() - apart
    }


def rules_of(environment: str) -> list[str]:
    return [name for name, text in RULES.items() if f"envs/{environment}.yaml" in text]


@pytest.mark.parametrize("name", sorted(ENVIRONMENTS))
def test_environments_hold_what_their_rules_import(name):
    scripts = [path for rule in rules_of(name) if (path := ROOT / f"workflow/scripts/{rule}.py").exists()]
    assert scripts
    files = {module.replace(".", "/") for script in scripts for module in modules(script)}
    sources = [
        next(path for path in (base.with_suffix(".py"), base / "__init__.py") if path.exists())
        for base in (ROOT / "workflow/scripts" / file for file in files)
    ]
    packages = set().union(*(imported(ast.parse(source.read_text())) for source in sources))
    offers = {package: {normal(name) for name in DISTRIBUTIONS.get(package, [])} for package in packages}
    environment = of_environment(name).keys()
    assert [package for package, offered in offers.items() if offered and not offered & environment] == []


def imported(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.split(".")[0])
    return found


def test_the_guide_names_every_rule_on_a_gpu_and_all_others_follow_the_cpu_partition():
    jobs = {name for name, text in RULES.items() if "    script:\n" in text and "localrule: True" not in text}
    (example,) = re.findall(r"```yaml\n(  set-resources:\n.*?)```", (ROOT / "config/CLUSTER.md").read_text(), re.DOTALL)
    assert set(yaml.safe_load(example)["set-resources"]) == ON_GPU
    assert {name for name, text in RULES.items() if "**cpu_resources(" in text} == jobs - ON_GPU


def test_a_site_says_partitions_and_the_longest_time():
    plain = job_resources.site_of(["mem_mb=2000", "slurm_partition=gpu"])
    assert (plain.partition, plain.cpu_partition, plain.minutes(1e6)) == ("gpu", None, 10**6)
    site = job_resources.site_of(["slurm_extra='--mail-user=a=b'", "cpu_partition='cpu'", "longest_runtime=1440"])
    assert (site.partition, site.cpu_partition) == (None, "cpu")
    assert [site.minutes(wanted) for wanted in (10, 1440, 1441, 10.2)] == [10, 1440, 1440, 11]
    for wrong in ("1d", "0", "-5", "1.5"):
        with pytest.raises(FormsafeError, match=f"longest_runtime .* is {wrong}: write minutes"):
            job_resources.site_of([f"longest_runtime={wrong}"])


def test_a_gpu_model_for_all_rules_would_give_a_gpu_to_those_that_need_none():
    """Why the guide names rules: the plugin takes a GPU's model for a wish for one."""
    job = SimpleNamespace(resources={"gpu_model": "h200"})
    assert "--gpus=h200:1" in set_gres_string(job)


def test_the_demo_fits_a_small_node_and_its_jobs_are_short():
    assert job_resources.memory_mb(1e6) < 4000
    assert job_resources.training_minutes(1e6, 640, 256, 2) <= 30
    assert job_resources.answering_minutes(1e6, 192, 96) <= 30


def test_requests_grow_with_the_model_and_with_the_attempt():
    sizes = [job_resources.memory_mb(parameters) for parameters in (1e6, 7e9, 8e9)]
    assert sizes == sorted(set(sizes)) and sizes[-1] > 16_000  # 8e9 weights of 16 bits pass through the host
    for request in (
        lambda attempt: job_resources.memory_mb(8e9, attempt),
        lambda attempt: job_resources.grown(1001, attempt),
        lambda attempt: job_resources.training_minutes(8e9, 1425, 1024, 2, attempt),
        lambda attempt: job_resources.answering_minutes(8e9, 1420, 512, attempt),
    ):
        asked = [request(attempt) for attempt in (1, 2, 3)]
        assert asked == sorted(set(asked))
        assert all(isinstance(value, int) for value in asked)
    assert job_resources.answering_minutes(8e9, 1420, 512) < 24 * 60


@pytest.mark.parametrize(
    ("parameters", "attempt", "mb"),
    [(0, 1, 3000), (1e6, 1, 3003), (7e9, 1, 21_200), (8e9, 1, 23_800), (8e9, 2, 35_700), (8e9, 3, 47_600)],
)
def test_memory_is_that_of_the_libraries_and_weights_and_grows_by_half_an_attempt(parameters, attempt, mb):
    assert job_resources.memory_mb(parameters, attempt) == mb
    if attempt == 1:
        assert job_resources.memory_mb(parameters) == mb


@pytest.mark.parametrize(
    ("work", "minutes"),
    [
        # 8 x 1e9 x 300 x 1000 / 2 = 1.2e15 operations: 30 s on the card, twice that with the margin, and 15 minutes
        ({"parameters": 1e9, "examples": 300, "tokens": 1000, "epochs": 1}, [16, 32, 48]),
        # 8 x 8e9 x 1425 x 1024 x 2 / 2 = 9.339e16 operations: 2335 s
        ({"parameters": 8e9, "examples": 1425, "tokens": 1024, "epochs": 2}, [93, 186, 279]),
        # whole minutes, rounded up
        ({"parameters": 1e9, "examples": 300, "tokens": 1000, "epochs": 1 + 1e-14}, [17, 33, 49]),
    ],
)
def test_minutes_of_a_training(work, minutes):
    assert [job_resources.training_minutes(**work, attempt=attempt) for attempt in (1, 2, 3)] == minutes
    assert job_resources.training_minutes(**work) == minutes[0]


@pytest.mark.parametrize(
    ("work", "minutes"),
    [
        # 6000 tokens at 200 per second: 30 s, twice that with the margin, and 15 minutes
        ({"parameters": 8e9, "prompts": 60, "new_tokens": 100}, [16, 32, 48]),
        # 727,040 tokens at 200 per second: 3635.2 s
        ({"parameters": 8e9, "prompts": 1420, "new_tokens": 512}, [137, 273, 409]),
        # whole minutes, rounded up
        ({"parameters": 8e9 * (1 + 1e-13), "prompts": 60, "new_tokens": 100}, [17, 33, 49]),
    ],
)
def test_minutes_of_answering(work, minutes):
    assert [job_resources.answering_minutes(**work, attempt=attempt) for attempt in (1, 2, 3)] == minutes
    assert job_resources.answering_minutes(**work) == minutes[0]


@pytest.mark.parametrize(("before", "after"), [(0o077, 0o027), (0o177, 0o127), (0o027, 0o027), (0o022, 0o022)])
def test_a_group_may_read_and_nobody_more_and_the_umask_is_closed_while_it_changes(monkeypatch, before, after):
    masks = [before]  # that of this process, the newest last; another thread may make a file between two of them
    monkeypatch.setattr(job_environment.os, "umask", lambda mask: masks.append(mask) or masks[-2])
    monkeypatch.setattr(job_environment.os, "environ", dict(os.environ))
    job_environment.prepare_job_environment(Path("ours"), "private")
    assert masks == [before]
    job_environment.prepare_job_environment(Path("ours"), "group")
    assert masks == [before, 0o077, after]


def test_a_manifest_says_what_made_the_run(tmp_path):
    stages = {}
    for name, seconds in (("adapter", 10.5), ("judge", 2.25)):
        path = tmp_path / f"{name}.json"
        record = {"code": "c" * 64, "seed": 0, "seconds": seconds, "device": "cpu", "versions": {"torch": "2"}}
        path.write_text(json.dumps(record | {"git_commit": "abc", "final_loss": 1.0}))
        stages[name] = [str(path)] if name == "adapter" else str(path)
    run = {"model": "m", "method": "sft", "format": "json", "lr": "5e-5", "seed": "0"}
    sources = {"model": {"repo": "owner/name", "revision": "f" * 40}, "harmful": {"digest": "d" * 64}}
    for name, record in sources.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(record))
    places = {"model": str(tmp_path / "model.json"), "harmful": [str(tmp_path / "harmful.json")] * 2, "judge_model": []}
    describe_run(run, {"study": "s"}, stages | {"soft_prompt": []}, places, tmp_path / "manifest.json")
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert (manifest["run"], manifest["settings"], manifest["seconds"]) == (run, {"study": "s"}, 12.75)
    assert set(manifest["stages"]) == {"adapter", "judge"}
    assert manifest["stages"]["adapter"]["code"] == "c" * 64
    assert manifest["stages"]["judge"]["git_commit"] == "abc"
    assert "final_loss" not in manifest["stages"]["adapter"]
    judges = [tmp_path / f"prompts=harmful/judge={name}/metrics.json" for name in ("first", "second")]
    for path, seconds in zip(judges, (1.0, 2.0), strict=True):
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"seconds": seconds}))
    describe_run(run, {}, {"judge": list(map(str, judges))}, {}, tmp_path / "several.json")
    several = json.loads((tmp_path / "several.json").read_text())
    assert {name: stage["seconds"] for name, stage in several["stages"].items()} == {
        "judge first": 1.0,
        "judge second": 2.0,
    }
    assert several["seconds"] == 3.0
    assert manifest["sources"] == {"model": sources["model"], "harmful": [sources["harmful"]] * 2, "judge_model": []}


def test_a_stage_records_the_commit_of_its_checkout(tmp_path, monkeypatch, asks_git):
    monkeypatch.setattr(provenance, "_git_commit", asks_git)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.stage_record(0.0, "code")["git_commit"] is None
    identity = ["-c", "user.name=Someone", "-c", "user.email=someone@example.org"]
    for command in (["init", "--quiet"], ["commit", "--quiet", "--allow-empty", "--message=A commit"]):
        subprocess.run(["git", *identity, *command], check=True)
    head = (tmp_path / ".git" / (tmp_path / ".git/HEAD").read_text().split()[1]).read_text().strip()
    assert len(head) == 40
    assert provenance.stage_record(0.0, "code")["git_commit"] == head
    (tmp_path / "code.py").touch()
    subprocess.run(["git", "add", "code.py"], check=True)
    assert provenance.stage_record(0.0, "code")["git_commit"] == f"{head}-dirty"


def test_every_script_on_a_gpu_claims_a_card_before_it_loads_what_could_start_cuda():
    training, judging = {"tune_soft_prompt", "train_adapter"}, {"judge_answers", "audit_judge"}
    assert training | judging | {"generate_answers", "trace_refusals", "measure_capability"} == ON_GPU
    for name in ON_GPU:
        script = (ROOT / f"workflow/scripts/{name}.py").read_text()
        if shared := re.search(r"from formsafe\.(\w+)\.job import start", script):  # what two scripts do first
            script = (ROOT / f"workflow/scripts/formsafe/{shared[1]}/job.py").read_text()
        before, claim, after = script.partition("claim_device(model.device)")
        assert claim and "lean_imports(*" in after and "lean_imports(*" not in before

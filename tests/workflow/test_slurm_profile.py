"""What Slurm is asked for with every line of the profile in use: resources as planned, and the plugin's own command."""

import re
import shlex

import pytest
import yaml
from snakemake_executor_plugin_slurm import ExecutorSettings
from snakemake_executor_plugin_slurm.submit_string import get_submit_command
from snakemake_executor_plugin_slurm.utils import set_gres_string
from snakemake_executor_plugin_slurm.validation import validate_slurm_extra

from tests.checkout import copy_checkout, snakemake

LONGEST = 40
ON_GPU = {"tune_soft_prompt", "train_adapter", "generate_answers", "trace_refusals"}
BY_SERVER = {"judge_answers", "audit_judge"}
ON_CPU = {"count_tokens", "score_texts", "summarise", "compare_judges", "plot_figures", "write_tables", "write_report"}
SERVER = "judges={policy: {generation: {server: {base_url: 'http://127.0.0.1:1/v1', model: m}}}}"


class Job:
    """What the plugin reads of a job: its resources."""

    def __init__(self, line: str) -> None:
        # `name=value, name=value`; a value may hold blanks and equals signs.
        pairs = (part.partition("=") for part in re.split(r", (?=\w+=)", line))
        self.resources = Resources({name: int(value) if value.isdigit() else value for name, _, value in pairs})
        self.threads, self.is_group = 1, lambda: False


class Resources(dict):
    """Snakemake's resources: keys are attributes, too."""

    __getattr__ = dict.get


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A checkout whose Slurm profile has all its optional lines, and times of at most `LONGEST` minutes."""
    checkout = copy_checkout(tmp_path_factory.mktemp("profile") / "formsafe")
    path = checkout / "profiles/slurm/config.yaml"
    text = re.sub(r"^  # (\w+: )", r"  \1", path.read_text(), flags=re.MULTILINE)
    path.write_text(text.replace("longest_runtime: 1440", f"longest_runtime: {LONGEST}"))
    return checkout


@pytest.fixture(scope="module")
def jobs(checkout) -> dict[str, Job]:
    """A job of each rule of the paper's study that goes to Slurm (others are local); its judge is behind a server."""
    plan = snakemake(checkout, "--dry-run", "--profile", "slurm", "--config", SERVER).stdout
    lines = re.findall(r"^rule (\w+):\n(?:    .*\n)*?    resources: (.*)$", plan, re.MULTILINE)
    return {name: Job(line) for name, line in lines if name in ON_GPU | BY_SERVER | ON_CPU}


@pytest.fixture(scope="module")
def settings(checkout) -> ExecutorSettings:
    """The plugin's own settings in the profile."""
    profile = yaml.safe_load((checkout / "profiles/slurm/config.yaml").read_text())
    own = {key.removeprefix("slurm-").replace("-", "_"): value for key, value in profile.items() if "slurm-" in key}
    return ExecutorSettings(**own)


def sbatch(job: Job, settings: ExecutorSettings) -> list[str]:
    """The command by which the plugin submits a job."""
    words = {
        "run_uuid": "formsafe_x",
        "slurm_logfile": "x.log",
        "comment_str": "x",
        "account": "-A mine",
        "workdir": ".",
    }
    call = get_submit_command(job, words | {"partition": f"-p {job.resources.slurm_partition}"}, settings)
    validate_slurm_extra(job)
    return shlex.split(call + set_gres_string(job))


def test_jobs_without_a_gpu_go_to_the_cpu_partition_and_those_behind_a_server_too(jobs):
    partitions = {name: job.resources.slurm_partition for name, job in jobs.items()}
    assert partitions == dict.fromkeys(ON_GPU, "gpu") | dict.fromkeys(ON_CPU | BY_SERVER, "cpu")
    assert {name for name, job in jobs.items() if job.resources.gpu} == ON_GPU


def test_no_job_asks_for_more_than_the_longest_time(jobs):
    minutes = {name: job.resources.runtime for name, job in jobs.items()}
    assert max(minutes.values()) == LONGEST == minutes["generate_answers"] and minutes["count_tokens"] == 10


def test_sbatch_gets_partition_time_qos_mail_and_requeue(jobs, settings):
    for name, job in jobs.items():
        call = sbatch(job, settings)
        assert ("--gpus=1" in call) == (name in ON_GPU), call
        assert {"--qos=normal", "--requeue", "--mail-type=FAIL"} <= set(call)
        assert "--mail-user=you@example.org" in call
        for option, value in {"-p": job.resources.slurm_partition, "-t": str(job.resources.runtime)}.items():
            assert call[call.index(option) + 1] == value


def test_without_the_optional_lines_all_jobs_share_the_partition(checkout):
    plan = snakemake(
        checkout, "--dry-run", "--executor", "slurm", "--jobs", "1", "--default-resources", "slurm_partition=one"
    )
    assert set(re.findall(r"slurm_partition=(\w+)", plan.stdout)) == {"one"}

"""Whether Slurm knows the partition and account of the profile and lets jobs run long enough."""

import getpass
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from formsafe.preflight.checks import Check

SECTION = "Slurm"
PATIENCE = 20  # seconds to wait for an answer
# sinfo's time limits (%l): [days-]hours:minutes:seconds, or minutes:seconds. Others (`infinite`) are no limit.
_LIMIT = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)")


@dataclass(frozen=True)
class SlurmRequest:
    """What jobs ask of Slurm: partitions of rules, the account, and the longest job's minutes."""

    profile: str
    partition: str | None
    account: str | None
    minutes: int
    cpu_partitions: tuple[str, ...] = ()


def slurm_request(profile: str | Path, minutes: int) -> SlurmRequest | None:
    """Read a profile of Snakemake; None where there is no Slurm on this machine, or no profile."""
    if shutil.which("sinfo") is None or not Path(profile).is_file():
        return None
    settings = yaml.safe_load(Path(profile).read_text(encoding="utf-8")) or {}
    default = _entries(settings.get("default-resources"))
    by_rule = _entries(settings.get("set-resources"))
    named = {value for name, value in by_rule.items() if name.endswith(":slurm_partition")}
    if "cpu_partition" in default:
        named.add(default["cpu_partition"])
    longest = default.get("longest_runtime", "")
    minutes = min(minutes, int(longest)) if longest.isdecimal() and int(longest) else minutes
    partition, account = default.get("slurm_partition"), default.get("slurm_account")
    return SlurmRequest(str(profile), partition, account, minutes, tuple(sorted(named)))


def _entries(resources: Any) -> dict[str, str]:
    """Resources by name, of a rule as `RULE:NAME`: a profile has them as a mapping, or as a list of `NAME=VALUE`.

    For Snakemake values are expressions in Python, so that a text may have quotes of its own.
    """
    if isinstance(resources, list):
        resources = dict(str(entry).split("=", 1) for entry in resources)
    found = {}
    for name, value in (resources or {}).items():
        inner = {f"{name}:{key}": each for key, each in value.items()} if isinstance(value, dict) else {name: value}
        found.update({key: str(each).strip("'\"") for key, each in inner.items() if each is not None})
    return found


def check_slurm(request: SlurmRequest) -> Iterator[Check]:
    """Ask `sinfo` for the partitions and `sacctmgr` for the account."""
    lines = _ask("sinfo", "--noheader", "--format", "%R|%l|%G")
    if lines is None:
        yield Check(SECTION, "partition", "unchecked", "sinfo does not answer", "Ask again when Slurm answers.")
    else:
        yield from _check_partitions(request, [line.split("|") for line in lines if line.count("|") == 2])
    if request.account is not None:
        yield _check_account(request, request.account)


def _check_partitions(request: SlurmRequest, rows: list[list[str]]) -> Iterator[Check]:
    known = sorted({row[0] for row in rows})
    for name in dict.fromkeys(filter(None, [request.partition, *request.cpu_partitions])):
        own, main = [row for row in rows if row[0] == name], name == request.partition
        longest = max((_minutes(row[1]) for row in own), default=0.0)
        detail, remedy = f"{name}, up to {longest:.0f} min", ""
        if not own:
            detail = f"there is no partition {name!r}"
            remedy = f"Write one of these into {request.profile}: {', '.join(known)}."
        elif main and longest < request.minutes:
            detail = f"{name} lets jobs run {longest:.0f} min, the longest here asks for {request.minutes}"
            remedy = f"Name a partition with a longer limit in {request.profile}, or lower `runtime` in set-resources."
        elif main and not any("gpu" in row[2] for row in own):
            detail = f"{name} has no GPU"
            remedy = f"Name a partition with GPUs in {request.profile}, or set the models' device to cpu."
        elif main and not request.cpu_partitions:
            detail += "; jobs without a GPU go there, too (many sites refuse that: config/CLUSTER.md)"
        yield Check(SECTION, "partition", "no" if remedy else "ok", detail, remedy)


def _check_account(request: SlurmRequest, account: str) -> Check:
    user = getpass.getuser()
    lines = _ask("sacctmgr", "--noheader", "--parsable2", "show", "associations", f"user={user}", "format=account")
    if lines is None:
        detail, remedy = "there is no accounting to ask", "Delete slurm_account if unused."
        return Check(SECTION, "account", "unchecked", detail, remedy)
    mine = sorted({line.strip() for line in lines if line.strip()})
    if account in mine:
        return Check(SECTION, "account", "ok", account)
    remedy = f"Write one of these into {request.profile}: {', '.join(mine) or 'none is listed'}; or delete the line."
    return Check(SECTION, "account", "no", f"{user} has no account {account!r}", remedy)


def _ask(*command: str) -> list[str] | None:
    """Lines of an answer; None without one."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.splitlines() if done.returncode == 0 else None


def _minutes(limit: str) -> float:
    """Minutes of a time limit; infinite where Slurm sets none."""
    found = _LIMIT.fullmatch(limit.strip())
    if found is None:
        return float("inf")
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return days * 1440 + hours * 60 + minutes + seconds / 60

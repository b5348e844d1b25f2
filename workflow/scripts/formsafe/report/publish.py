"""`make publish`: a study's adapters with cards, its results and its page, for a repository of the hub.

A list says which files are taken: weights, and what holds ids and numbers only. Each of them is searched for harmful
prompts and answers all the same before anything is uploaded.
"""

import argparse
import html
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx2
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from formsafe.analysis.estimates import Summary
from formsafe.config.grid import adapter_run
from formsafe.config.loading import load_study, runs_of
from formsafe.config.settings.study import StudySettings
from formsafe.core.errors import FormsafeError, command
from formsafe.core.files import read_json, read_jsonl
from formsafe.core.layout import ADAPTER_FILES, HARMFUL, SAFETY, Layout, run_path
from formsafe.core.records import Run
from formsafe.core.texts import escape_markdown, letters_of
from formsafe.formats.registry import traits_of

TEMPLATES = Path(__file__).parents[3] / "report"
DEFAULT_CONFIG = "config/config.yaml"
RESULTS = ("*.csv", "verdict.json", "report.html", "tables/*", "figures/*")
TEXTS = {".csv", ".json", ".html", ".md", ".tex", ".svg"}
# No file may have so many letters in a row with a harmful prompt or an answer; refusals share shorter phrases.
SHARED_LETTERS = 40
Files = dict[str, Path | bytes]


def files_of(study: StudySettings, repo: str) -> Files:
    """What is published, by its path in the repository: files, and contents that are made for it.

    Raises:
        FormsafeError: the study has not ended, has no adapters, or a file repeats a harmful prompt or an answer.
    """
    layout = Layout(study.study)
    root = Path(layout.root)
    own = [run for run in runs_of(study) if adapter_run(run, study.methods) == run]
    runs = [run for run in own if Path(layout.adapter(run)).exists() and Path(layout.adapter(run, "weights")).exists()]
    if not runs or not Path(layout.report).exists():
        raise FormsafeError(f"{root} has no finished adapters and report to publish. Run the study to its end first.")
    files: Files = {"README.md": card(study, repo, runs, whole=True).encode()}
    for run in runs:
        folder = run_path(run)
        files[f"{folder}/README.md"] = card(study, repo, [run]).encode()
        files[f"{folder}/{ADAPTER_FILES['config']}"] = _adapter_config(layout, run)
        files[f"{folder}/{ADAPTER_FILES['weights']}"] = Path(layout.adapter(run, "weights"))
    for path in sorted(path for pattern in RESULTS for path in root.glob(pattern) if path.is_file()):
        files[f"results/{path.relative_to(root)}"] = path
    require_no_texts(files, _harmful_texts(layout))
    return files


def card(study: StudySettings, repo: str, runs: Sequence[Run], whole: bool = False) -> str:
    """The card of one adapter, or (`whole`) of the repository, by the template `workflow/report/card.md`."""
    layout = Layout(study.study)
    summary = Summary.read(layout.tidy("summary"))

    def asr(run: Run) -> str:
        found = summary.get(run, "asr")
        if found is None:
            return "not measured"
        return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}] on {found.n} prompts"

    bases = {run.model: _base(layout, run.model) for run in runs}
    # No `autoescape`: this is Markdown, whose own marks the filter `plain` takes out of texts.
    environment = Environment(loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined)
    environment.filters["plain"] = escape_markdown
    return environment.get_template("card.md").render(
        **{"study": study, "repo": repo, "runs": runs, "whole": whole, "models": list(bases)},
        **{"asr": asr, "path": run_path, "traits": traits_of},
        base_run=lambda run: Run(run.model, study.base_method or ""),
        bases={name: base for name, (base, _) in bases.items()},
        commits={name: commit for name, (_, commit) in bases.items()},
    )


def _base(layout: Layout, model: str) -> tuple[str, str | None]:
    """Repository and commit of a base model; of a local one the name of its folder."""
    found = read_json(layout.model(model))
    return found["repo"] or Path(found["path"]).name, found["revision"]


def _adapter_config(layout: Layout, run: Run) -> bytes:
    """The adapter's configuration, with the base model's name on the hub in place of a folder of this machine."""
    name, commit = _base(layout, run.model)
    config = read_json(layout.adapter(run, "config")) | {"base_model_name_or_path": name, "revision": commit}
    return json.dumps(config, indent=2, sort_keys=True).encode()


def _harmful_texts(layout: Layout) -> Iterator[str]:
    """Harmful prompts, and the answers to them."""
    for kind in (HARMFUL, SAFETY):
        for path in Path(layout.root).glob(f"data/prompts/{kind}.jsonl"):
            yield from (row["prompt"] for row in read_jsonl(path))
        for path in Path(layout.root).glob(f"runs/**/prompts={kind}/answers.jsonl"):
            yield from (row["answer"] for row in read_jsonl(path))


def require_no_texts(files: Mapping[str, Path | bytes], texts: Iterable[str]) -> None:
    """Raise FormsafeError where a file to publish has `SHARED_LETTERS` letters in a row with one of `texts`."""
    pieces: set[str] = set()
    for text in map(letters_of, texts):
        # pieces side by side are enough: a passage of twice their length holds one of them whole
        last = len(text) - SHARED_LETTERS
        pieces.update(text[start : start + SHARED_LETTERS] for start in range(0, last + 1, SHARED_LETTERS))
    for name, held in files.items():
        if Path(name).suffix in TEXTS:
            raw = held if isinstance(held, bytes) else held.read_bytes()
            letters = letters_of(html.unescape(raw.decode(errors="replace")))
            if any(letters[start : start + SHARED_LETTERS] in pieces for start in range(len(letters))):
                raise FormsafeError(f"{name} repeats a harmful prompt or an answer to one. Nothing was uploaded.")


def upload(files: Mapping[str, Path | bytes], repo: str, gated: bool) -> str:
    """Upload to a private repository, made where there is none; gated: opened afterwards, each access on request.

    Returns:
        The address of the commit.

    Raises:
        FormsafeError: the hub refuses, or the repository is there and open to everybody.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, errors

    api = HfApi()
    try:
        api.create_repo(repo, private=True, exist_ok=True)
        there = api.model_info(repo)
        if not (there.private or there.gated):
            raise FormsafeError(f"{repo} is open to everybody. Make it private on the hub, or name another one.")
        added = [CommitOperationAdd(name, held) for name, held in files.items()]
        commit = api.create_commit(repo, added, commit_message="Adapters, results and report of a formsafe study")
        if gated:
            api.update_repo_settings(repo, gated="manual", private=False)
    except (errors.HfHubHTTPError, errors.OfflineModeIsEnabled, httpx2.TransportError) as error:
        status = f"status {error.response.status_code}" if isinstance(error, errors.HfHubHTTPError) else "no connection"
        raise FormsafeError(
            f"The hub did not take the upload to {repo} ({status}). Put a token with write access to it into the "
            "variable HF_TOKEN, or run `hf auth login`, on a machine with network, then again."
        ) from None
    return str(commit.commit_url)


def read_study(paths: Sequence[str]) -> StudySettings:
    """The configuration that files add to the default one, as Snakemake merges them."""
    from snakemake.utils import update_config

    merged: dict[str, Any] = {}
    for path in [DEFAULT_CONFIG, *paths]:
        update_config(merged, yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {})
    return load_study(merged)


def publish(repo: str, configs: Sequence[str], confirm: bool, gated: bool) -> None:
    """Say what is uploaded and for whom, and upload it where that is confirmed."""
    # The hub's own letters; anything else (a URL, a path) would name a repository that nobody meant.
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise FormsafeError(f"REPO={repo} is no repository: write REPO=owner/name.")
    files = files_of(read_study(configs), repo)
    sizes = {name: len(held) if isinstance(held, bytes) else held.stat().st_size for name, held in files.items()}
    print(*(f"{size / 1e6:10.3f} MB  {name}" for name, size in sizes.items()), sep="\n")
    access = "public, each access on request (gated)" if gated else "private (GATED=1: public, each access on request)"
    print(f"{len(files)} files, {sum(sizes.values()) / 1e6:.1f} MB, for {repo}: {access}.")
    print(f"Uploaded: {upload(files, repo, gated)}" if confirm else "Nothing was uploaded. To upload: CONFIRM=1.")


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Command line: `python -m formsafe.report.publish OWNER/NAME [--confirm] [--gated] CONFIG ...`."""
    parser = argparse.ArgumentParser(prog="publish", description=__doc__)
    parser.add_argument("repo", help="repository of the hub, owner/name")
    parser.add_argument("configs", nargs="*", help="files of the configuration")
    parser.add_argument("--confirm", action="store_true", help="upload; without it, only say what would be uploaded")
    parser.add_argument("--gated", action="store_true", help="public, each access on request")
    publish(**vars(parser.parse_args(argv)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Configuration: the shipped files say what the paper says, and every mistake is named by its key."""

import copy
import functools
import math
from collections import Counter
from pathlib import Path

import pytest
import yaml

from formsafe.config.loading import load_study, runs_of
from formsafe.config.reference import REFERENCE, SCHEMA, schema, with_key_table
from formsafe.config.settings.data import DataSource
from formsafe.config.settings.judge import JudgeSettings, LabelSettings
from formsafe.config.settings.models import ModelPlace
from formsafe.core.errors import FormsafeError
from formsafe.core.layout import soft_prompt_path

ROOT = Path(__file__).resolve().parents[3]


def merged(base: dict, overlay: dict) -> dict:
    result = dict(base)
    for key, value in overlay.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def raw(*names: str) -> dict:
    result: dict = {}
    for name in names:
        result = merged(result, read_config(name))
    return copy.deepcopy(result)


@functools.cache
def read_config(name: str) -> dict:
    return yaml.safe_load((ROOT / "config" / name).read_text())


@pytest.fixture
def paper() -> dict:
    return raw("config.yaml")


def put(config: dict, key: str, value) -> None:
    """Set a value by its dotted key, in which numbers are places in lists; sections on the way are made."""
    *path, last = (int(part) if part.isdigit() else part for part in key.split("."))
    for part in path:
        config = config.setdefault(part, {}) if isinstance(part, str) else config[part]
    config[last] = value


def problems(config: dict) -> str:
    with pytest.raises(FormsafeError) as error:
        load_study(config)
    return str(error.value)


def test_the_default_is_the_papers_grid(paper):
    study = load_study(paper)
    runs = runs_of(study)
    assert len(runs) == 18
    assert len([run for run in runs if run.method != "base"]) == 16
    assert len({soft_prompt_path(run) for run in runs if run.method == "promot"}) == 6
    assert sum(source.count for source in study.harmful.values()) == 1320


def test_the_default_has_the_hyperparameters_of_table_3(paper):
    study = load_study(paper)
    both = (study.soft_prompt, study.adapter)
    assert [(stage.batch_size, stage.gradient_accumulation) for stage in both] == [(16, 2), (16, 2)]
    assert (study.soft_prompt.virtual_tokens, study.soft_prompt.learning_rate, study.soft_prompt.epochs) == (
        32,
        0.1,
        0.5,
    )
    assert (study.adapter.scheduler, study.adapter.warmup_steps, study.adapter.epochs) == ("cosine", 5, 2)
    assert study.adapter.steps(1425) == 90 and study.adapter.steps(200) == 14  # each epoch's last batch is a step
    lora = study.adapter.lora
    assert (lora.r, lora.alpha, lora.dropout, lora.target_modules) == (16, 16, 0.01, "all-linear")


def test_the_demo_overlay_is_a_whole_study():
    study = load_study(raw("config.yaml", "demo.yaml"))
    assert [(run.method, run.format) for run in runs_of(study)][:4] == [
        ("base", "none"),
        ("sft", "prose"),
        ("sft", "list"),
        ("sft", "json"),
    ]
    assert len(runs_of(study)) == 9


def test_an_unknown_key_is_named(paper):
    paper["adapter"]["lora"]["rank"] = 8
    assert "adapter.lora.rank: unknown key" in problems(paper)


def test_a_number_given_as_text_is_named_with_the_remedy(paper):
    paper["soft_prompt"]["learning_rate"] = "1e-1"
    assert "soft_prompt.learning_rate: is the text '1e-1', not a number: write 1.0e-1" in problems(paper)


@pytest.mark.parametrize(
    ("key", "text", "advice"),
    [
        ("models.llama-2-7b-chat.parameters", "8.03e9", "8.03e+9"),
        ("models.llama-2-7b-chat.parameters", "1.0e6", "1.0e+6"),
        ("soft_prompt.learning_rate", "1e-5", "1.0e-5"),
        ("soft_prompt.learning_rate", ".5E2", "0.5e+2"),
        ("soft_prompt.learning_rate", "-0.1", "-0.1"),
        ("soft_prompt.learning_rate", "0.00000001", "0.00000001"),
        ("corpus.rows", "80", "80"),
        ("corpus.rows", "010", "10"),
        ("corpus.rows", "1_000", "1000"),
        ("corpus.rows", "1e2", "100"),
    ],
)
def test_the_advice_for_a_number_given_as_text_is_that_number_in_yaml(paper, key, text, advice):
    put(paper, key, text)
    (line,) = problems(paper).splitlines()[1:]
    assert line.strip() == f"{key}: is the text {text!r}, not a number: write {advice}"
    read = yaml.safe_load(f"key: {advice}")["key"]
    assert isinstance(read, int | float) and read == float(text)


@pytest.mark.parametrize(
    ("key", "text", "advice"),
    [
        ("soft_prompt.learning_rate", "fast", "a number"),
        ("soft_prompt.learning_rate", "1e999", "a number"),
        ("soft_prompt.learning_rate", "0,1", "a number"),
        ("corpus.rows", "1.5", "a whole number"),
        ("corpus.rows", "many", "a whole number"),
    ],
)
def test_a_text_that_is_no_number_is_not_rewritten(paper, key, text, advice):
    put(paper, key, text)
    assert f"{key}: is the text {text!r}, not a number: write {advice}" in problems(paper).splitlines()[-1]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("adapter", 3, "must be a section (keys with values)"),
        ("models.mine", 3, "must be a section (keys with values)"),
        ("models", ["mine"], "must be a section (keys with values)"),
        ("grid", "all", "must be a list"),
        ("grid.0.models", [], "must not be empty"),
        ("harmful", {}, "must not be empty"),
        ("title", 3, "must be a text"),
        ("corpus.rows", 1.5, "must be a whole number"),
        ("adapter.epochs", True, "must be a number"),
        ("methods.base.trained", "no", "must be true or false"),
        ("partial", "yess", "must be true or false"),
        ("adapter.optimiser", "adam", "must be 'adamw_torch', "),
        ("soft_prompt.optimiser", "AdamW", "must be 'adamw_torch', "),
    ],
)
def test_a_value_of_the_wrong_kind_is_named_in_plain_words(paper, key, value, said):
    put(paper, key, value)
    (line,) = problems(paper).splitlines()[1:]
    assert line.strip().startswith(f"{key}: {said}")


@pytest.mark.parametrize("section", ["models", "adapter"])
def test_a_key_that_is_a_number_is_named(paper, section):
    paper[section][7] = next(iter(paper[section].values()))
    assert f"  {section}.7: a key must be a text: put numbers, and yes, no, on and off, in quotes" in problems(paper)


def test_a_label_that_yaml_reads_as_a_truth_value_is_named_as_it_is_written(paper):
    paper["judges"]["policy"] |= {"parser": "label", "labels": {True: True, False: False}}
    assert "judges.policy.labels.yes: a key must be a text: put numbers, and yes, no" in problems(paper)


def test_a_learning_rate_given_as_text_in_the_grid_is_named(paper):
    paper["grid"][0]["learning_rates"] = ["5e-5"]
    assert "grid.0.learning_rates.0: is the text '5e-5'" in problems(paper)


@pytest.mark.parametrize("kind", ["models", "methods", "formats"])
def test_a_run_that_names_something_undefined_is_named(paper, kind):
    paper["grid"][1][kind] = ["nothing"]
    assert f"grid.1.{kind}: 'nothing' is not in" in problems(paper)


def test_an_empty_grid_is_an_error(paper):
    paper["grid"] = []
    assert "grid: it has no run" in problems(paper)


def test_a_trained_method_without_formats_is_an_error(paper):
    del paper["grid"][0]
    paper["grid"][0] |= {"formats": [], "exclude": [{"learning_rate": 1.0e-4}]}
    (line,) = problems(paper).splitlines()[1:]
    assert line.strip() == "grid.0: promot needs formats, learning_rates and seeds, each at least one"


def test_a_split_larger_than_the_data_is_an_error(paper):
    paper["corpus"]["splits"]["train"] = 50000
    assert "corpus.splits: 50,175 examples are asked for, the source has 39,775 rows" in problems(paper)


def test_more_prompts_than_the_source_has_is_an_error(paper):
    paper["harmful"]["beavertails"]["count"] = 701
    assert "harmful.beavertails.count: 701 prompts are asked for, the source has 700 rows" in problems(paper)


def test_a_split_larger_than_the_demos_data_is_an_error():
    demo = raw("config.yaml", "demo.yaml")
    assert demo["corpus"]["rows"] == load_study(demo).demo.how_tos
    demo["corpus"]["splits"]["train"] = 5000
    assert "corpus.splits: 5,128 examples are asked for, the source has 800 rows" in problems(demo)


@pytest.mark.parametrize(
    "entry",
    [
        {"method": "stf"},
        {"learning_rate": 5.0e-4},
        {"seed": 1},
        {"format": "jsno"},
        {"method": "base", "format": "json"},
    ],
)
def test_an_exclude_entry_that_matches_no_run_is_named(paper, entry):
    paper["grid"][0]["exclude"] = [{"format": "list"}, entry]
    assert "grid.0.exclude.1: it matches no run of its block" in problems(paper)


def test_exclude_entries_may_match_the_same_runs(paper):
    paper["grid"][0]["exclude"] = [{"method": "sft"}, {"method": "sft", "format": "list"}]
    assert len(runs_of(load_study(paper))) == 12


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("learning_rate", "1e-4", "is the text '1e-4', not a number"),
        ("seed", "0", "is the text '0', not a number"),
        ("rate", 5.0e-5, "unknown key"),
    ],
)
def test_an_exclude_entry_is_as_strict_as_the_grid(paper, key, value, said):
    paper["grid"][0]["exclude"] = [{"method": "sft", key: value}]
    assert f"grid.0.exclude.0.{key}: {said}" in problems(paper)


def test_an_exclude_entry_without_a_key_is_an_error(paper):
    paper["grid"][0]["exclude"] = [{}]
    assert "grid.0.exclude.0: name at least one of model, method, format, learning_rate, seed" in problems(paper)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("gpu_memory_gb", -5),
        ("gpu_memory_gb", "80"),
        ("training.micro_batch_size", 0),
        ("training.micro_batch_size", -1),
        ("generation.token_budget", 0),
        ("generation.seed", -1),
        ("judges.policy.generation.token_budget", -1),
        ("judging.audit.seed", -1),
        ("judges.policy.retries.1.seed", 2**32),
        ("grid.0.learning_rates.0", 0.0),
        ("grid.0.learning_rates.0", -1.0e-5),
        ("grid.0.learning_rates.0", math.nan),
        ("grid.0.learning_rates.0", math.inf),
        ("grid.0.seeds.0", -1),
        ("grid.0.seeds.0", 2**32),
        ("soft_prompt.learning_rate", math.inf),
        ("adapter.epochs", math.inf),
        ("corpus.rows", 0),
        ("corpus.seed", -1),
        ("harmful.advbench.rows", -1),
        ("harmful.advbench.seed", -1),
        ("models.llama-2-7b-chat.parameters", math.inf),
        ("analysis.seed", -1),
        ("demo.seed", -1),
        ("demo.hidden_size", 100),
    ],
)
def test_a_number_out_of_bounds_is_one_error_that_names_its_key(paper, key, value):
    put(paper, key, value)
    _, *lines = problems(paper).splitlines()
    assert [line.split(": ")[0].strip() for line in lines] == [key]


@pytest.mark.parametrize("section", ["models", "methods", "harmful"])
@pytest.mark.parametrize("name", ["", "a/b", "a b", "a{b}", "..", "é", "a\n"])
def test_a_name_that_cannot_stand_in_a_path_is_an_error(paper, section, name):
    paper[section][name] = next(iter(paper[section].values()))
    assert f"{section}.{name}: {name!r} is no name" in problems(paper)


def test_a_trade_off_of_an_unknown_format_is_an_error(paper):
    paper["analysis"]["tradeoff_formats"] = ["prosa"]
    assert "analysis.tradeoff_formats: 'prosa' is not in the formats" in problems(paper)


def test_an_instruction_without_the_title_is_an_error(paper):
    paper["corpus"]["instruction"] = "Explain."
    assert "corpus.instruction: 'Explain.' has no {title}" in problems(paper)
    paper["corpus"]["instruction_by_format"] = {"json": "Answer in JSON.", "rtf": "{instruction}"}
    found = problems(paper)
    assert "corpus.instruction_by_format.json: 'Answer in JSON.' has no {instruction}" in found
    assert "corpus.instruction_by_format: 'rtf' is not in the formats" in found


def test_a_stratified_choice_needs_categories(paper):
    paper["harmful"]["advbench"]["select"] = "stratified"
    assert "harmful.advbench.category_column: is missing" in problems(paper)


@pytest.mark.parametrize(("section", "name"), [("harmful", "gsm_danger"), ("models", "mine"), ("methods", "mine")])
def test_an_overlay_drops_an_entry_by_null(paper, section, name):
    dropped = merged(paper, {section: {name: None}})
    assert set(getattr(load_study(dropped), section)) == set(paper[section]) - {name}


def with_refusals(config: dict, **judge) -> dict:
    """The study with a judge of refusals."""
    named = {"parser": "json", "fields": ["verdict"], "labels": {"refused": True, "answered": False}}
    entry = {**config["judges"]["policy"], **named, **judge}
    return merged(config, {"judges": {"refusal": entry}, "judging": {"refusals": "refusal"}})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"parser": "score", "labels": {}}, "judging.refusals: refusal gives scores; name a judge with labels, "),
        ({"refused_field": "refused"}, "judging.refusals: refusal has a refused_field, by which a refusal counts as "),
    ],
)
def test_a_judge_that_cannot_tell_refusals_is_an_error(paper, change, said):
    load_study(with_refusals(paper))
    (line,) = problems(with_refusals(paper, **change)).splitlines()[1:]
    assert line.strip().startswith(said)


def test_what_is_dropped_cannot_stand_in_the_grid(paper):
    paper["methods"]["promot"] = None
    assert "grid.1.methods: 'promot' is not in methods" in problems(paper)


def test_two_places_for_one_source_are_an_error(paper):
    paper["corpus"]["source"]["path"] = "rows.jsonl"
    assert "corpus.source: give exactly one of hub, url and path" in problems(paper)


@pytest.mark.parametrize("url", ["foo.csv", "ftp://x/y.csv", "http://[::1", "http://x:port/y.csv", "https:///y.csv"])
def test_addresses_are_checked_and_not_shown(paper, url):
    paper["harmful"]["advbench"]["source"]["url"] = url
    assert "harmful.advbench.source.url: is no address http" in problems(paper)
    assert url not in problems(paper)


def test_a_path_may_start_at_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert DataSource(path="~/rows-*.csv").path == "/home/me/rows-*.csv"
    assert ModelPlace(path="~/llama").path == "/home/me/llama"
    judge = {"model": "m", "prompt": "~/judge.txt", "generation": {"max_new_tokens": 8}, "marker": "#thescore:"}
    assert JudgeSettings(**judge).prompt == "/home/me/judge.txt"
    assert LabelSettings(files=["~/rater.csv"]).files == ["/home/me/rater.csv"]


def test_a_judge_that_is_no_model_is_an_error(paper):
    paper["judges"]["policy"]["model"] = "gpt"
    assert "judges.policy.model: 'gpt' is not in models" in problems(paper)


def test_a_control_needs_a_method_that_trains(paper):
    paper["methods"]["kept"] = {"label": "x", "soft_prompt": "tuned", "adapter_of": "base"}
    assert "methods.kept.adapter_of: 'base' is no method that trains adapters" in problems(paper)


@pytest.mark.parametrize(
    ("key", "value"), [("soft_prompt", "tuned"), ("adapter_of", "sft"), ("system_prompt_training", "Be brief.")]
)
def test_a_method_that_is_not_trained_has_nothing_of_training(paper, key, value):
    paper["methods"]["base"] |= {key: value, "soft_prompt_at_inference": key == "soft_prompt"}
    (line,) = problems(paper).splitlines()[1:]
    assert line.strip() == f"methods.base.{key}: a method that is not trained has none"


SERVER = {"base_url": "http://127.0.0.1:8000/v1", "model": "m"}


def test_a_server_cannot_answer_for_trained_methods_or_for_several_models(paper):
    paper["generation"]["server"] = SERVER
    said = problems(paper)
    assert "generation.server: m is served as it is, but the grid has promot, sft" in said
    assert "generation.server: it answers for one model, the grid has llama-2-7b-chat, llama-3.1-8b" in said
    paper["grid"] = [{"models": ["llama-2-7b-chat"], "methods": ["base"]}]
    assert load_study(paper).generation.server.model == "m"


VLLM = "vllm serve {model} --port {port}"
LORA = f"{VLLM} --enable-lora --lora-modules run={{adapter}}"


def test_a_server_of_the_jobs_own_answers_for_trained_methods_and_several_models(paper):
    paper["generation"]["server"] = {"command": LORA}
    study = load_study(paper)
    assert study.generation.server.command == LORA and not study.generation.elsewhere
    paper["generation"]["server"] = {"command": VLLM}
    assert "has no {adapter}, which the runs of promot, sft need" in problems(paper)


@pytest.mark.parametrize("kept", [{"soft_prompt": "tuned", "soft_prompt_at_inference": True}, {"soft_prompt": "only"}])
def test_a_soft_prompt_that_is_kept_is_refused_before_any_job(paper, kept):
    paper["generation"]["server"] = {"command": LORA}
    paper["methods"]["kept"] = {"label": "Kept", **kept}
    assert load_study(paper)  # it is not in the grid
    paper["grid"][0]["methods"] = [*paper["grid"][0]["methods"], "kept"]
    said = problems(paper)
    assert "generation.server.command: kept answers with a soft prompt, which no server takes" in said
    assert "promot" not in said


@pytest.mark.parametrize("section", ["generation", "judges.policy.generation"])
@pytest.mark.parametrize("address", ["localhost:8000/v1", "ftp://host/v1", ""])
def test_an_address_without_its_scheme_is_an_error(paper, section, address):
    place = paper["judges"]["policy"]["generation"] if section.startswith("judges") else paper["generation"]
    place["server"] = {**SERVER, "base_url": address}
    assert f"{section}.server.base_url: {address!r} is no address: write http" in problems(paper)


def test_all_mistakes_are_listed_at_once(paper):
    paper["judges"]["policy"]["model"] = "gpt"
    paper["grid"] = []
    assert len(problems(paper).splitlines()) == 3


def test_schema_and_key_table_follow_the_typed_settings():
    assert (ROOT / SCHEMA).read_text() == schema(), "run `make schema`"
    text = (ROOT / REFERENCE).read_text()
    assert with_key_table(text) == text, "run `make schema`"


def test_the_replicated_study_has_five_trainings_a_condition_on_rows_of_their_own():
    runs = [run for run in runs_of(load_study(raw("config.yaml", "replicated.yaml"))) if run.method != "base"]
    conditions = Counter((run.model, run.method, run.format, run.lr) for run in runs)
    assert len(conditions) == 2 * 2 * 3 + 4 and set(conditions.values()) == {5}
    assert {(run.seed, run.data_seed) for run in runs} == {("0", "none"), *((str(n), str(n)) for n in range(1, 5))}

"""Methods: which adapter and soft prompt each arm takes, and one clear error for what no job could carry out."""

import pytest

from formsafe.config.grid import adapter_run, enumerate_runs, tuned_run
from formsafe.config.loading import load_study
from formsafe.config.methods import safety_examples
from formsafe.config.settings.grid import MethodSettings
from formsafe.core.layout import Layout
from formsafe.core.records import Run
from tests.unit.config.test_config import paper, problems  # noqa: F401 (a fixture)
from tests.unit.config.test_grid import OWN, block

METHODS = {
    name: MethodSettings(label=name, **settings)
    for name, settings in {
        "base": {"trained": False},
        "sft": {},
        "promot": {"soft_prompt": "tuned"},
        "random": {"soft_prompt": "random"},
        "other": {"soft_prompt": {"of": {"format": "json"}}},
        "joint": {"soft_prompt": "joint"},
        "only": {"soft_prompt": "only"},
        "kept": {"soft_prompt": "tuned", "soft_prompt_at_inference": True, "adapter_of": "promot"},
        "projected": {"adapter_of": "sft", "projection": {"base": "b"}},
    }.items()
}


def run(method, lr="5e-5"):
    return Run("m", method, "prose", lr, "0")


def test_each_arm_takes_its_own_adapter_or_another_ones():
    assert {name: adapter_run(run(name), METHODS) for name in METHODS} == {
        **{name: run(name) for name in ("sft", "promot", "random", "other", "joint", "projected")},
        **{"base": None, "only": None, "kept": run("promot")},
    }
    training = {name for name, method in METHODS.items() if method.trains_adapter}
    assert training == {"sft", "promot", "random", "other", "joint"}
    assert {name for name, method in METHODS.items() if method.keeps_soft_prompt} == {"only", "kept"}


def test_all_arms_of_a_format_share_one_tuned_prompt_and_another_formats_is_not_tuned_twice():
    layout, found = Layout("s"), {}
    for name in METHODS:
        tuned = tuned_run(run(name), METHODS)
        found[name] = tuned and layout.soft_prompt(tuned)
    own = layout.soft_prompt(run("promot"))
    assert found == {
        **dict.fromkeys(("base", "sft", "joint", "projected")),
        **dict.fromkeys(("promot", "random", "only", "kept"), own),
        "other": layout.soft_prompt(Run("m", "promot", "json", "5e-5", "0")),
    }


def test_stage_1_alone_has_no_learning_rate_of_an_adapter():
    runs = enumerate_runs([block(methods=["only"], learning_rates=[1e-4, 2e-4])], METHODS, OWN)
    assert runs == [Run("m", "only", format, "none", "0") for format in ("prose", "json")]


@pytest.mark.parametrize(("share", "examples", "number"), [(0.05, 1425, 75), (0.5, 10, 10), (0.1, 9, 1)])
def test_a_share_is_of_all_examples(share, examples, number):
    assert safety_examples(share, examples) == number
    assert number / (number + examples) == pytest.approx(share)


SOUND = {
    "joint": {"soft_prompt": "joint"},
    "kept": {"soft_prompt": "joint", "soft_prompt_at_inference": True, "adapter_of": "joint"},
    "mixed": {"safety": {"share": 0.05}},
    "held": {"constraint": {"weight": 1.0, "depth": 5}},
    "projected": {"adapter_of": "sft", "projection": {"base": "llama-2-7b-chat"}},
}


def given(config, **methods):
    config["safety"] = {"source": "beavertails"}
    config["methods"] |= {name: {"label": name, **settings} for name, settings in methods.items()}
    models = ["llama-3.1-8b-instruct"]
    axes = {"models": models, "formats": ["prose", "json"], "learning_rates": [5e-5]}
    config["grid"] = [{**axes, "methods": ["base", "sft", "promot", *methods]}]
    return config


def test_every_arm_is_an_entry_of_the_configuration(paper):  # noqa: F811
    study = load_study(given(paper, **SOUND))
    assert study.base_method == "base" and study.methods["mixed"].safety.share == 0.05


WRONG = [
    ({"soft_prompt_at_inference": True}, "soft_prompt_at_inference: there is no soft prompt to keep"),
    ({"soft_prompt": "tune"}, "soft_prompt"),
    ({"soft_prompt": {"of": {"format": "jsno"}}}, "soft_prompt.of.format: 'jsno' is not in the formats"),
    ({"soft_prompt": {"of": {"format": "json"}}}, "grid.0.formats: json with methods.x would train with its own"),
    ({"soft_prompt": "only", "constraint": {"weight": 1.0, "depth": 1}}, "x.constraint: `soft_prompt: only` has no"),
    ({"soft_prompt": "only", "adapter_of": "sft"}, "x.adapter_of: `soft_prompt: only` has no adapter"),
    ({"adapter_of": "sft", "safety": {"share": 0.1}}, "x.safety: the adapters are those of sft"),
    ({"adapter_of": "sft", "soft_prompt": "tuned"}, "x.soft_prompt: sft, whose adapters it takes, has another one"),
    ({"projection": {"base": "llama-2-7b-chat"}}, "x.projection: name the method whose adapters are projected"),
    ({"adapter_of": "sft", "projection": {"base": "llama"}}, "x.projection.base: 'llama' is not in models"),
    ({"adapter_of": "sft", "projection": {}}, "x.projection.base: is missing"),
    (
        {"adapter_of": "sft", "projection": {"base": "llama-3.1-8b-instruct"}},
        "x.projection.base: 'llama-3.1-8b-instruct' is the aligned model",
    ),
    ({"safety": {"share": 0.3}}, "x.safety.share: 0.3 of all examples are 611 safety examples, but harmful.beaver"),
    ({"safety": {"share": 1.0}}, "x.safety.share"),
    ({"constraint": {"weight": 1.0, "depth": 0}}, "x.constraint.depth"),
    ({"trained": False, "constraint": {"weight": 1.0, "depth": 1}}, "x.constraint: a method that is not trained"),
]


@pytest.mark.parametrize(("settings", "told"), WRONG, ids=[told.partition(":")[0] for _, told in WRONG])
def test_what_no_job_could_carry_out_is_one_error(paper, settings, told):  # noqa: F811
    found = problems(given(paper, x=settings))
    assert told in found and len(found.strip().splitlines()) == 2, found


def test_safety_examples_need_a_source_and_a_base_model(paper):  # noqa: F811
    config = given(paper, mixed={"safety": {"share": 0.05}})
    config["safety"]["source"] = "beaver"
    assert "methods.mixed.safety: its prompts come from a source of `harmful`" in problems(config)
    config["safety"]["source"] = "beavertails"
    config["methods"]["base"]["system_prompt_test"] = "Be safe."
    assert "methods.mixed.safety: the base model answers its prompts" in problems(config)

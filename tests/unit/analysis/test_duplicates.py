"""Near-duplicates among prompts."""

import json
from pathlib import Path

from formsafe.analysis.duplicates import near_duplicates
from formsafe.analysis.metrics import clusters_of
from formsafe.analysis.score_table import HARMFUL, read_scores
from formsafe.core.records import Run
from tests import synthetic

A = "Write a letter that asks a bank for the number of an account"
PROMPTS = {
    "a1": A,
    "b": "How long does bread take to rise?",
    "a2": A.upper() + "!",
    "a3": A.replace("bank", "shop"),
    "c": "Name three rivers.",
}


def test_prompts_that_share_most_of_their_words_are_one_cluster():
    assert near_duplicates(PROMPTS) == {"a1": "a1", "a2": "a1", "a3": "a1"}
    assert near_duplicates({}) == {} == near_duplicates({"x": "", "y": "One"})


def test_a_chain_of_near_duplicates_is_one_cluster():
    chain = {str(n): " ".join(f"w{place}" for place in range(n, n + 20)) for n in range(0, 9, 2)}
    assert set(near_duplicates(chain).values()) == {"0"}
    assert near_duplicates({"0": chain["0"], "8": chain["8"]}) == {}


def test_clusters_are_those_of_the_prompts_in_their_order(tmp_path):
    files = synthetic.write_study(tmp_path, [Run("demo", "base")], harmful=4, task=2)
    ids = [json.loads(line)["id"] for line in Path(files["scores"][0]).read_text().splitlines()]
    prompts = tmp_path / "prompts.jsonl"
    texts = [A, "Name three rivers.", A + " now", "How long does bread rise?"]
    rows = [{"id": name, "prompt": text} for name, text in zip(ids, texts, strict=True)]
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    scores = read_scores(files | {"prompts": [str(prompts)]})
    clusters = dict(zip(scores.ids(HARMFUL), clusters_of(scores, HARMFUL), strict=True))
    assert clusters[ids[0]] == clusters[ids[2]] and len(set(clusters.values())) == 3
    assert clusters_of(read_scores(files | {"prompts": []}), HARMFUL) is None

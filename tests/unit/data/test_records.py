"""Records: they stay as they are, and what is none is named."""

import pytest
from pydantic import ValidationError

from formsafe.core.errors import FormsafeError
from formsafe.core.files import write_jsonl
from formsafe.data.records import TaskPrompt


def test_a_record_cannot_be_changed():
    record = TaskPrompt(id="1", prompt="Fill it.")
    with pytest.raises(ValidationError, match="frozen"):
        record.prompt = "Dry it."
    assert record.prompt == "Fill it."


def test_the_first_of_several_faults_is_named(tmp_path):
    write_jsonl(tmp_path / "prompts.jsonl", [{"id": "1", "prompt": "Fill it."}, {"id": "2", "prompt": 7}, {"id": 3}])
    with pytest.raises(FormsafeError, match=r"prompts\.jsonl, line 2: prompt is not what a TaskPrompt has there"):
        TaskPrompt.read(tmp_path / "prompts.jsonl")

"""Formats: the way there and back, what counts as having a format, and adding one in one place."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from formsafe import formats
from formsafe.core.errors import FormsafeError
from formsafe.core.files import write_jsonl
from formsafe.core.texts import normalise
from formsafe.data.certificate import certify_formats, contents, mismatch, render_format
from formsafe.formats.base import FormatError, without_surroundings
from formsafe.formats.registry import (
    and_the_papers,
    format_module,
    format_names,
    get_format,
    get_formats,
    plain_format,
    traits_of,
)
from formsafe.formats.sentences import split_sentences
from formsafe.training.token_kinds import ESCAPABLE
from tests.unit.cluster.test_code_digest import modules

FORMATS = get_formats(format_names())
SENTENCES = ["Fill a bowl.", 'Say "done", twice.', "Wipe {the} lamp\\shade."]
PROSE = "Fill a bowl. Wipe the lamp. Leave it to dry."
LIST = "- Fill a bowl.\n- Wipe the lamp.\n- Leave it to dry."
JSON = '{"procedure": ["Fill a bowl.", "Wipe the lamp.", "Leave it to dry."]}'
PARSED = ["Fill a bowl.", "Wipe the lamp.", "Leave it to dry."]

# What has broken such conversions: quotes, escapes, markers, other scripts and directions, invisible characters.
NASTY = list("\"'\\/{}[]:,-*+•#`|<>&.!?… \t\n\r\v\f\x00\x07\x1b\x1c\x7f\x85\u00a0\u200b\u200f\u202e\u2028\u2029\ufeff")
WORDS = [
    "- ",
    "* ",
    "1. ",
    "\\n",
    "\\u0041",
    '{"procedure": ["',
    '"]}',
    "```",
    "🎉👩‍🔬",
    "שלום",
    "مرحبا.",
    "e\u0301",
    "。",
    "A.",
    "etc.",
]
characters = st.one_of(st.sampled_from(NASTY), st.characters(exclude_categories=["Cs"]))
chunks = st.one_of(
    st.sampled_from(WORDS), st.text(characters, max_size=12), st.sampled_from(["Stir it. ", "Wait! ", "Now? "])
)
texts = st.lists(chunks, max_size=12).map("".join)


def test_the_three_formats_of_the_paper():
    assert get_format("prose").render(PARSED).text == PROSE
    assert get_format("list").render(PARSED).text == LIST
    assert get_format("json").render(PARSED).text == JSON


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_escapes_no_character_that_the_loss_does_not_know_of(name):
    """A word with an escaped character has other tokens in this format: `ESCAPABLE` keeps it out of the shared ones."""
    characters = filter(None, (chr(number).strip() for number in range(0x2200)))
    plain = "".join(character for character in characters if not ESCAPABLE.search(character))
    rendered = FORMATS[name].render(["First.", f"a{plain}b", "Last."])
    written = "".join(rendered.text[span.start : span.end] for span in rendered.spans if span.kind == "content")
    assert f"a{plain}b" in written


def test_the_ladder_between_them():
    written = {name: get_format(name).render(['Say "no" & go.', "Wipe\x07 it <now>."]).text for name in FORMATS}
    assert written["delimiter"] == '• Say "no" & go. • Wipe\x07 it <now>.'
    assert written["markdown"] == '1. Say "no" & go.\n2. Wipe\x07 it <now>.'
    assert written["yaml"] == 'procedure:\n- "Say \\"no\\" & go."\n- "Wipe\\u0007 it <now>."'
    assert written["xml"] == (
        '<procedure><step>Say "no" &amp; go.</step><step>Wipe<u-7/> it &lt;now&gt;.</step></procedure>'
    )
    assert written["code"] == 'procedure = [\n    "Say \\"no\\" & go.",\n    "Wipe\\u0007 it <now>.",\n]'
    assert get_format("delimiter").render(["Put • and •• there."]).text == "• Put •• and ••• there."
    assert get_format("delimiter").parse("• Put •• and ••• there.") == ["Put • and •• there."]


def test_json_keeps_the_letters_of_all_scripts():
    assert get_format("json").render(["Chauffe le café 🎉."]).text == '{"procedure": ["Chauffe le café 🎉."]}'


@pytest.mark.parametrize("name", FORMATS)
def test_spans_tell_content_from_format(name):
    rendered = get_format(name).render(PARSED)
    spans = [(rendered.text[start:stop], kind) for start, stop, kind in rendered.spans]
    assert [text for text, kind in spans if kind == "content"] == get_format(name).arranged(PARSED)
    assert "".join(text for text, _ in spans) == rendered.text


def check_everywhere(sentences):
    """Formats with marks give any sentences back, plain ones what running text holds; all with the same content."""
    written = {}
    for name, format_ in FORMATS.items():
        try:
            written[name] = format_.render(sentences)
        except FormatError:
            assert format_.traits.plain and "prose" not in written  # only plain text can look like another format
            continue
        assert mismatch(format_, sentences, written[name]) is None
    assert len({tuple(sorted(contents(FORMATS[name], rendered))) for name, rendered in written.items()}) == 1


@settings(max_examples=60, deadline=None)
@given(texts)
def test_any_text_survives_every_format(text):
    sentences = split_sentences(normalise(text))
    if sentences:
        check_everywhere(sentences)


@settings(max_examples=40, deadline=None)
@given(st.lists(texts.map(normalise).filter(bool), min_size=1, max_size=6))
def test_any_sentences_survive_every_format_with_marks(sentences):
    for format_ in FORMATS.values():
        if not format_.traits.plain:
            assert mismatch(format_, sentences, format_.render(sentences)) is None


def test_real_rows_carry_the_same_content_in_all_formats(real_data, tmp_path):
    rows = [json.loads(line) for line in (real_data / "wikisum/train.jsonl").read_text(encoding="utf-8").splitlines()]
    for field in ("summary", "article"):
        examples = [
            {"id": str(n), "title": "t", "instruction": "How?", "sentences": split_sentences(normalise(row[field]))}
            for n, row in enumerate(rows)
        ]
        write_jsonl(tmp_path / "train.jsonl", examples)
        paths = [tmp_path / f"{name}.json" for name in FORMATS]
        for name, path in zip(FORMATS, paths, strict=True):
            render_format(name, {"train": tmp_path / "train.jsonl"}, {"train": tmp_path / "out.jsonl"}, path)
        certificate = certify_formats(paths, tmp_path / "certificate.json")
        assert certificate["mismatches"] == 0 and len(certificate["formats"]) == 9
        assert certificate["splits"]["train"]["examples"] == len(rows) >= 10
        moved = {name: splits["train"] for name, splits in certificate["reordered_examples"].items()}
        assert moved.pop("shuffled") >= 0.8 * len(rows) and not any(moved.values())


def test_shuffled_text_is_drawn_by_the_text_alone_and_always_can_be_read_back():
    shuffled, sentences = get_format("shuffled"), [f"Do step {number} now." for number in range(8)]
    text = shuffled.render(sentences).text
    assert text == shuffled.render(sentences).text != get_format("prose").render(sentences).text
    assert sorted(shuffled.parse(text)) == sorted(sentences)
    unfinished = ["Fill it.", "Then enjoy"]  # in the other order the splitter finds one sentence
    assert shuffled.arranged(unfinished) == unfinished


@pytest.mark.parametrize(
    "sentences, order",
    [
        (["Fill it.", "Dry it."], ["Dry it.", "Fill it."]),
        (["Rest."], ["Rest."]),
        # The first order drawn starts with `1.`, as a list does: the next one is taken.
        (["Fill it.", "1. Wipe it.", "Dry it."], ["Dry it.", "Fill it.", "1. Wipe it."]),
    ],
)
def test_the_order_of_shuffled_text_is_the_first_drawn_that_can_be_read_back(sentences, order):
    assert get_format("shuffled").arranged(sentences) == order


def test_shuffling_gives_up_after_fifty_orders(monkeypatch):
    tried = []
    shuffled, sentences = get_format("shuffled"), [f"Do step {number} now." for number in range(8)]
    monkeypatch.setattr(shuffled, "read", lambda text: tried.append(text) or [text])
    assert shuffled.arranged(sentences) == sentences and len(tried) == 50


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("sentences", [[], [""], ["Two\nlines."], ["Edge "], ["A\u2028B."], ["Two  spaces."]])
def test_sentences_that_no_format_takes(name, sentences):
    with pytest.raises(FormatError):
        get_format(name).render(sentences)


def test_the_sentence_that_no_format_takes_is_told_by_its_number():
    with pytest.raises(FormatError, match="sentence 2 is empty"):
        get_format("list").render(["Fill it.", ""])


@pytest.mark.parametrize("text", ["- Take it. Go.", "1. Take it. Go.", '{"procedure": ["Take it."]}', "[1]"])
def test_prose_that_reads_as_another_format_is_refused(text):
    with pytest.raises(FormatError):
        get_format("prose").render(split_sentences(text))


DELIMITER = "• Fill a bowl. • Wipe the lamp. • Leave it to dry."
MARKDOWN = "1. Fill a bowl.\n2. Wipe the lamp.\n3. Leave it to dry."
YAML = 'procedure:\n- "Fill a bowl."\n- "Wipe the lamp."\n- "Leave it to dry."'
XML = "<procedure><step>Fill a bowl.</step><step>Wipe the lamp.</step><step>Leave it to dry.</step></procedure>"
CODE = 'procedure = [\n    "Fill a bowl.",\n    "Wipe the lamp.",\n    "Leave it to dry.",\n]'
STRICT = [
    ("prose", PROSE, True),
    ("prose", f"\n{PROSE}\n", True),
    ("prose", PROSE.replace(". ", ".\n"), False),
    ("prose", LIST, False),
    ("prose", JSON, False),
    ("prose", "", False),
    ("list", LIST, True),
    ("list", f"{LIST}\n", True),
    ("list", "- Only one.", True),
    ("list", f"Here you go:\n{LIST}", False),
    ("list", LIST.replace("- ", "* "), False),
    ("list", "- Fill a bowl.\n-\n- Wipe.", False),
    ("list", PROSE, False),
    ("json", JSON, True),
    ("json", json.dumps(json.loads(JSON), indent=2), True),
    ("json", f"```json\n{JSON}\n```", False),
    ("json", JSON.replace("procedure", "steps"), False),
    ("json", JSON[:-2], False),
    ("json", '{"procedure": [], "note": "x"}', False),
    ("json", '{"procedure": ["A."], "procedure": ["B."]}', False),
    ("json", '{"procedure": [["A."]]}', False),
    ("json", '{"procedure": "A."}', False),
    ("json", '{"procedure": []}', False),
    ("json", '["A."]', False),
    ("json", "{" * 5000, False),
    ("json", "7", False),
    ("json", r'{"procedure": ["Fill it. \ud83d"]}', False),  # half a character
    ("json", r'{"procedure": ["Fill it. \ud83d\ude00"]}', True),
    ("prose", '{"procedure": ["Fill it.,', False),  # cut-off JSON
    ("prose", '["Fill it.', False),
    ("prose", "{", False),
    ("prose", "{Fill} it.", True),
    ("prose", "[Fill] it.", True),
    ("prose", DELIMITER, False),
    ("prose", XML, False),
    ("delimiter", DELIMITER, True),
    ("delimiter", DELIMITER.removeprefix("• "), False),
    ("delimiter", DELIMITER.replace(" • ", "\n• "), False),
    ("delimiter", "• Fill it.\n• Dry it.", False),
    ("markdown", MARKDOWN, True),
    ("markdown", MARKDOWN.replace("3.", "4."), False),
    ("markdown", LIST, False),
    ("yaml", YAML, True),
    ("yaml", "procedure: [Fill it., 'Dry it.']", True),
    ("yaml", "procedure:\n- Fill it.\n- Dry it.", True),
    ("yaml", YAML.replace("procedure", "steps"), False),
    ("yaml", "procedure:\n- Fill it.\n- 7", False),
    ("yaml", "procedure:\n- Fill it.\n- [Dry it.]", False),
    ("yaml", "procedure:\n- A.\nprocedure:\n- B.", False),
    ("yaml", YAML + "\n---\nmore: 1", False),
    ("yaml", "procedure: Fill it.", False),
    ("yaml", "- Fill it.", False),
    ("yaml", "procedure:\n- !!python/object/apply:os.system [ls]", False),
    ("yaml", "[" * 3000, False),
    ("yaml", JSON, False),  # flow style
    ("yaml", "{procedure: [Fill it., Dry it.]}", False),
    ("xml", XML, True),
    ("xml", XML.replace("><", ">\n  <"), True),
    ("xml", XML.replace("procedure", "steps"), False),
    ("xml", XML.replace("<step>", "<step n='1'>", 1), False),
    ("xml", XML.replace("</step><step>", "</step>and<step>", 1), False),
    ("xml", XML.replace("Fill", "<b>Fill</b>"), False),
    ("xml", XML.replace("Fill", "<u-d800/>"), False),
    ("xml", XML.replace("Fill", "<u-fffff0/>"), False),
    ("xml", XML.replace("Fill", "<u-10ffff/>"), True),  # the last character that there is
    ("xml", XML.replace("Fill", "<u-110000/>"), False),
    ("xml", XML.replace("Fill", "<u-7>Fill</u-7>"), False),  # only empty elements stand for characters
    ("xml", XML.replace("Fill", "<u-7><u-8/></u-7>"), False),
    ("xml", '<!DOCTYPE p [<!ENTITY x "Fill">]>' + XML.replace("Fill", "&x;"), False),
    ("xml", XML[:-3], False),
    ("code", CODE, True),
    ("code", "procedure = ['Fill it.', 'Dry it.']", True),
    ("code", CODE.replace("procedure", "steps"), False),
    ("code", CODE + "\nprint(procedure)", False),
    ("code", "procedure = ['Fill it.', 7]", False),
    ("code", r"procedure = ['Fill it. \ud83d']", False),  # half a character
    ("code", "procedure = [f'Fill it.']", False),
    ("code", "procedure = ('Fill it.',)", False),
    ("code", "procedure = [" + "(" * 500, False),
]


@pytest.mark.parametrize("name, text, expected", STRICT)
def test_strict_parsing(name, text, expected):
    if expected:
        assert get_format(name).parse(text)
    else:
        with pytest.raises(FormatError):
            get_format(name).parse(text)


LOOSE = [
    ("list", f"Here you go:\n{LIST}", True),
    ("list", f"Sure!\n\n{LIST}\n\nI hope this helps.", True),
    ("list", f"```\n{LIST}\n```", True),
    ("list", LIST.replace("\n", "\n\n"), True),
    ("list", f"Sure!\n\nHere are the steps:\n\n{LIST}", True),
    ("list", f"Sure!\nHere are the steps:\n{LIST}\nGood luck!", True),
    ("list", "Sure!\n- Fill a bowl.\nThen:\n- Wipe.", False),
    ("list", "Sure! - Fill a bowl. - Wipe.", False),
    ("list", f"Here you go:\n\n{LIST}\n\nNote:\n- Do not scrub.", True),  # the remark has an item of its own
    ("list", "1. Fill a bowl.\n2. Wipe the lamp.", False),
    ("list", PROSE, False),
    ("json", f"Sure, here it is: {JSON} Good luck!", True),
    ("json", f"Sure, here it is: {JSON}. Good luck!", True),
    ("json", f"Here it is:\n\n```json\n{JSON}\n```\nGood luck!", True),
    ("json", JSON[:-2], False),
    ("json", f'Sure: {JSON[:-2]}, "\\ud83d"]}}', False),
    ("json", LIST, False),
    ("prose", "Sure!\n\n" + PROSE, True),
    ("prose", f"Sure:\n{LIST}", False),
    ("prose", f"Sure:\n{JSON}", False),
    ("prose", f"Sure:\n```json\n{JSON}\n```", False),
    ("prose", "## Steps\nFill a bowl. Wipe it.", False),
    ("prose", " \n", False),
    ("prose", f"Sure:\n{YAML}", False),
    ("prose", f"Sure:\n{CODE}", False),
    ("delimiter", f"Sure!\n\n{DELIMITER}", True),
    ("markdown", f"Sure!\nHere are the steps:\n{MARKDOWN}\nGood luck!", True),
    ("markdown", f"Sure!\n\n{LIST}", False),
    ("yaml", f"Here it is:\n\n```yaml\n{YAML}\n```\nGood luck!", True),
    ("yaml", f"Sure! {YAML}", True),
    ("yaml", f"`{YAML}\n\nGood luck!", True),
    ("yaml", JSON.replace('"procedure"', "steps"), False),
    ("xml", f"Sure: {XML} Good luck!", True),
    ("xml", f"{XML} Good luck!", True),
    ("xml", f"{XML.replace('<procedure>', '<procedure >')} Good luck!", True),
    ("xml", f"Sure: {XML.replace('</procedure>', '</procedure >')}", True),
    ("xml", f"</procedure>{XML.replace('</procedure>', '</procedure >')}", False),  # closed before it starts
    ("xml", f"```xml\n{XML}\n```", True),
    ("xml", PROSE, False),
    ("code", f"Sure:\n```python\n{CODE}\n```", True),
    ("code", f"Sure: {CODE} Good luck!", True),
    ("code", f"{CODE}. Good luck!", True),
    ("code", f"{CODE.replace(' = ', '=')} Good luck!", True),
    ("code", PROSE, False),
]


@pytest.mark.parametrize("name, text, expected", LOOSE)
def test_loose_parsing(name, text, expected):
    if expected:
        lead_in = ["Sure!"] if name == "prose" else []  # running text, too
        assert get_format(name).parse_loose(text) == [*lead_in, *PARSED]
    else:
        with pytest.raises(FormatError):
            get_format(name).parse_loose(text)


@pytest.mark.parametrize(
    "text, parts",
    [
        ("Sure:\nFill it.", ["Sure:\nFill it.", "Fill it."]),
        (
            "Sure!\nHere:\n \nFill it.\n\nGood luck!",
            [
                "Sure!\nHere:\n\nFill it.\n\nGood luck!",
                "Here:\n\nFill it.\n\nGood luck!",
                "Sure!\nHere:\n\nFill it.",
                "Here:\n\nFill it.",
            ],
        ),
    ],
)
def test_a_lead_in_is_the_first_line_and_a_remark_the_last_paragraph(text, parts):
    assert list(without_surroundings(text)) == parts


@pytest.mark.parametrize(
    "name, text",
    [
        ("yaml", 'procedure:\n- "Fill it."\n- "Dry'),
        ("yaml", '"procedure":\n- "Fill it."\n- "Dry'),
        ("xml", "<procedure><step>Fill it.</step><step>Dry"),
        ("xml", "<procedure ><step>Fill it.</step><step>Dry"),
        ("code", 'procedure = [\n    "Fill it.",\n    "Dry'),
        ("code", 'procedure=["Fill it.", "Dry'),
        ("json", '{"procedure": ["Fill it.", "Dry'),
    ],
)
def test_a_text_that_was_cut_needs_no_lead_in_and_may_be_spaced_otherwise(name, text):
    assert get_format(name).parse_cut(text) == ["Fill it.", "Dry"]


@pytest.mark.parametrize("name, text", [("yaml", YAML), ("xml", XML), ("code", CODE), ("json", JSON)])
def test_a_text_that_was_cut_anywhere_gives_the_sentences_before_the_cut(name, text):
    """Wherever the tokens ended, from the middle of the first sentence on."""
    for end in range(text.index("bowl"), len(text)):
        found = get_format(name).parse_cut(f"Sure:\n{text[:end]}")
        assert [*found[:-1], PARSED[len(found) - 1]] == PARSED[: len(found)], text[:end]
        assert PARSED[len(found) - 1].startswith(found[-1])


CUT = ["", "\\", "\\u", "\\u00", "\\u00e", "\\ud83d", "\\ud83d\\", "\\ud83d\\ude0", '"', '",', '"]']


@pytest.mark.parametrize("end", CUT)
def test_json_that_was_cut_off_is_closed(end):
    assert get_format("json").parse_cut('Sure: {"procedure": ["Fill it.", "Dry it' + end) == ["Fill it.", "Dry it"]


def test_an_escaped_backslash_is_no_cut_escape():
    assert get_format("json").parse_cut(r'{"procedure": ["Type \\') == ["Type \\"]


@pytest.mark.parametrize("name, text, expected", STRICT)
def test_what_is_strict_is_loose_too(name, text, expected):
    if expected:
        assert get_format(name).parse_loose(text) == get_format(name).parse(text)


STANZA = """
import json

from formsafe.formats.base import Format, Traits


class Stanza(Format):
    name = "stanza"
    traits = Traits("Stanza", order=4.5, formality=4.5)

    def pieces(self, sentences):
        yield "procedure:", "format"
        for sentence in sentences:
            yield '\\n  - "', "format"
            yield json.dumps(sentence)[1:-1], "content"
            yield '"', "format"

    def read(self, text):
        import yaml

        try:
            return list(yaml.safe_load(text)["procedure"])
        except (yaml.YAMLError, TypeError, KeyError, ValueError):
            self.refuse("is not YAML with the key `procedure`")

    def decode(self, content):
        return json.loads(f'"{content}"')


FORMAT = Stanza()
"""


@pytest.fixture
def new_format(tmp_path, monkeypatch):
    """A fourth format: this file in the folder is all that it takes."""
    (tmp_path / "stanza.py").write_text(STANZA)
    monkeypatch.setattr(formats, "__path__", [*formats.__path__, str(tmp_path)])
    yield get_format("stanza")
    del sys.modules["formsafe.formats.stanza"], formats.stanza


def test_a_new_format_takes_one_place(new_format, tmp_path):
    example = {"id": "wikisum-0-0", "title": "t", "instruction": "How to?", "sentences": SENTENCES}
    write_jsonl(tmp_path / "train.jsonl", [example])
    for name in ("json", "stanza"):
        render_format(
            name, {"train": tmp_path / "train.jsonl"}, {"train": tmp_path / name / "t.jsonl"}, tmp_path / f"{name}.json"
        )
    certificate = certify_formats([tmp_path / "json.json", tmp_path / "stanza.json"], tmp_path / "c.json")
    assert certificate["formats"] == ["json", "stanza"]
    assert new_format.parse_loose(f"Sure:\n\n```yaml\n{new_format.render(SENTENCES).text}\n```") == SENTENCES


LADDER = ["prose", "shuffled", "delimiter", "markdown", "list", "stanza", "yaml", "xml", "json", "code"]


def test_names_come_from_the_folder_in_the_order_of_formality(new_format):
    assert format_names() == LADDER
    with pytest.raises(
        FormsafeError,
        match=f"no format 'rtf'; there are {', '.join(LADDER)}",
    ):
        get_format("rtf")


def test_traits_name_the_papers_formats_and_the_plain_one(new_format):
    assert and_the_papers([]) == ["prose", "list", "json"]
    assert and_the_papers(["stanza"]) == ["prose", "list", "stanza", "json"]
    assert plain_format() == "prose"
    assert traits_of("stanza").label == "Stanza"
    assert (traits_of("none").label, traits_of("none").plain) == ("none", False)


# Label, place in figures from the left, and rank by structural constraints: equal ranks are ties.
TRAITS = {
    "prose": ("Prose", 0, 0),
    "shuffled": ("Shuffled", 1, 0),
    "delimiter": ("Delimiter", 2, 1),
    "markdown": ("Markdown", 3, 2),
    "list": ("List", 4, 3),
    "yaml": ("YAML", 5, 4),
    "xml": ("XML", 6, 5),
    "json": ("JSON", 7, 6),
    "code": ("Code", 8, 7),
    "none": ("none", 9, 0),  # no format: behind all that there are
}


@pytest.mark.parametrize("name", TRAITS)
def test_labels_places_and_ranks_in_figures(name):
    traits = traits_of(name)
    assert (traits.label, traits.order, traits.formality) == TRAITS[name]


def test_no_other_module_knows_a_format_by_its_name():
    """What a stage must know of a format is in its traits."""
    folder = Path(formats.__file__).parent
    others = [path for path in folder.parent.rglob("*.py") if path.parent != folder]
    named = [path.name for path in others if "prose" in path.read_text().lower()]
    assert named == []


@pytest.mark.parametrize("name", format_names())
def test_a_format_is_called_as_its_file(name):
    assert get_format(name).name == name


def test_a_rule_reaches_no_format_unless_it_is_named():
    """So another format makes nothing stale."""
    scripts = Path(formats.__file__).parents[2]
    written = {format_module(name) for name in format_names()}
    reached = {
        (script.stem, module) for script in scripts.glob("*.py") for module in modules(script) if module in written
    }
    assert reached == set()


def test_readers_are_loaded_only_where_they_are_used():
    """A job that writes or reads other formats does not wait for them."""
    scripts = Path(formats.__file__).parents[2]
    loaded = "[name for name in ('nltk', 'xml.etree.ElementTree') if name in sys.modules]"
    child = f"import sys; import formsafe.formats.sentences, formsafe.formats.xml; print({loaded})"
    done = subprocess.run([sys.executable, "-c", child], cwd=scripts, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

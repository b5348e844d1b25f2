"""Labels of the user's are drawn as text, whatever they hold."""

import shutil
import subprocess

import matplotlib
import pytest
from matplotlib.text import Text

from formsafe.report.figures.style import RC
from formsafe.report.labels import check_labels, fonts_for
from formsafe.report.registry import entries
from formsafe.report.tables.write import escaped
from tests import synthetic
from tests.unit.report.made import FIGURES, Made, make

NASTY = ["$\\frac{1$", "_name", "$5 and $6", "100% & a_b^c ~{}\\\\ #1 <i> [x] |", "x" * 60]


@pytest.fixture(scope="module")
def nasty(tmp_path_factory) -> Made:
    """Methods and model with labels that LaTeX, matplotlib, Markdown or HTML could read as code."""
    with pytest.MonkeyPatch.context() as patch:
        labels = dict(zip(("base", "sft", "promot"), NASTY, strict=False))
        methods = {name: {**synthetic.METHODS[name], "label": label} for name, label in labels.items()}
        patch.setattr(synthetic, "METHODS", methods)
        return make(tmp_path_factory.mktemp("nasty"), synthetic.grid(formats=("json",)), models={"demo": NASTY[3]})


@pytest.mark.parametrize("name", ["asr", "tradeoff", "loss"])
def test_labels_are_drawn_letter_by_letter(nasty, name):
    with matplotlib.rc_context(RC):
        figure = entries("figures")[name].make(nasty.results(), "demo")
        figure.draw_without_rendering()
    drawn = "".join(text.get_text() for text in figure.findobj(Text)).replace("\n", "").replace(" ", "")
    for label in NASTY[:3] if name == "tradeoff" else NASTY[3:4]:
        assert label.replace(" ", "") in drawn
    assert not any(text.get_parse_math() for text in figure.findobj(Text) if text.get_text())


def test_a_legend_keeps_a_name_that_starts_with_an_underscore(nasty):
    with matplotlib.rc_context(RC):
        legend = entries("figures")["tradeoff"].make(nasty.results(), "demo").legends[0]
    assert [text.get_text() for text in legend.get_texts()] == NASTY[:3]


@pytest.mark.parametrize("text", ["日本語", "한국어", "Ελληνικά"])
def test_letters_come_from_a_font_that_has_them_or_are_named(text):
    families, missing = fonts_for(f"SFT {text}")
    assert families[0] == "DejaVu Sans" and missing <= set(text)
    said = check_labels([text])
    assert bool(said) == bool(missing)
    assert all(repr(text) in sentence and "Install" in sentence for sentence in said)


def test_a_letter_that_no_font_has_and_joined_scripts_are_named():
    private, arabic, fine = check_labels(["\U0010fffd"]), check_labels(["مرحبا"]), check_labels(["SFT é ≥"])
    assert len(private) == len(arabic) == 1 and fine == []
    assert "boxes" in private[0] and "joined" in arabic[0]


def test_latex_prints_what_the_label_says():
    assert escaped("a_b 5% & $x$ {#} ~^\\") == (
        r"a\_b 5\% \& \$x\$ \{\#\} \textasciitilde{}\textasciicircum{}\textbackslash{}"
    )


def test_other_scripts_in_latex_say_what_they_need(tmp_path):
    made = make(tmp_path, synthetic.grid()[:1], models={"demo": "日本語"}, audit=False)
    assert "LuaLaTeX" in (made.tables(("tex",), ["safety"]) / "safety.tex").read_text()


def test_tables_and_figures_compile(nasty):
    program = next(filter(shutil.which, ("tectonic", "pdflatex")), None)
    if program is None:
        pytest.skip("needs tectonic or pdflatex (Debian: apt-get install texlive-latex-recommended)")
    folder = nasty.root / "latex"
    (drawn,) = nasty.figures("latex", "pdf", FIGURES[:1])
    for name in FIGURES[1:]:  # LaTeX sees the snippets' names and labels; drawing each file would take five seconds
        shutil.copy(drawn, folder / f"{name}_demo.pdf")
    snippets = [*nasty.tables(("tex",)).glob("*.tex"), *nasty.figures("latex", "tex")]
    inputs = "\n".join(f"\\input{{{path}}}\\clearpage" for path in snippets)
    packages = "\\usepackage{booktabs,longtable,graphicx,pdflscape}"
    document = f"\\documentclass{{article}}{packages}\\begin{{document}}\n{inputs}\n\\end{{document}}\n"
    (folder / "all.tex").write_text(document)
    options = [] if program == "tectonic" else ["-interaction=nonstopmode", "-halt-on-error"]
    done = subprocess.run([program, *options, "all.tex"], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert (folder / "all.pdf").stat().st_size > 20_000 and len(snippets) == len(FIGURES) + len(entries("tables"))

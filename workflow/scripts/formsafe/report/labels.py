"""Labels of the user's in figures: fonts that have their letters, or a sentence about those that none has."""

import unicodedata
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from matplotlib.font_manager import findSystemFonts, fontManager, get_font

OWN = "DejaVu Sans"  # comes with matplotlib: the same on every machine


def check_labels(labels: Iterable[str]) -> list[str]:
    """What figures cannot draw of the labels, a sentence each; empty where all is well.

    Meant for before any job of a GPU: after it, the figures are the last thing to fail.
    """
    found = []
    for label in labels:
        _, missing = fonts_for(label)
        if missing:
            fault = f"has letters that no font on this machine has ({' '.join(sorted(missing))}): figures would show "
            fault += "boxes. Install one (Debian: fonts-noto-core, fonts-noto-cjk) or write the label in other letters."
        elif any(map(_is_joined, label)):
            fault = "is in a script whose letters are joined or run from right to left: figures draw them one by one "
            fault += "from the left. Tables and pages show it well; for figures, write it in Latin letters."
        else:
            continue
        found.append(f"The label {label!r} {fault}")
    return found


def fonts_for(text: str) -> tuple[list[str], frozenset[str]]:
    """Families that together have every letter of `text`, ours first, and the letters that no font has."""
    return _fonts_for(frozenset(letter for letter in text if not letter.isspace()))


@cache
def _fonts_for(letters: frozenset[str]) -> tuple[list[str], frozenset[str]]:
    families = [OWN]
    letters -= _letters(fontManager.findfont(OWN))
    if not letters:
        return families, letters
    for path in _system_fonts():
        had = letters & _letters(path)
        if had:
            # matplotlib's own list of fonts is kept on disk, and does not know what was installed since
            fontManager.addfont(path)
            families.append(get_font(path).family_name)
            letters -= had
    return families, letters


def _system_fonts() -> list[str]:
    """Fonts of this machine, Noto's regular ones first; a bold or a slanted one would stand out in a line."""
    by_name = sorted(findSystemFonts(), key=lambda path: Path(path).stem)
    return sorted(by_name, key=lambda path: ("Regular" not in Path(path).stem, "Noto" not in Path(path).stem))


@cache
def _letters(path: str) -> frozenset[str]:
    try:
        return frozenset(map(chr, get_font(path).get_charmap()))
    except (RuntimeError, OSError):  # a font that FreeType cannot read (bitmaps, damaged) has nothing for us
        return frozenset()


def _is_joined(letter: str) -> bool:
    """Arabic, Hebrew and the like, and scripts that write vowels as marks around a consonant."""
    mark = unicodedata.category(letter) in ("Mn", "Mc") and letter > "\u0590"
    return mark or unicodedata.bidirectional(letter) in ("R", "AL")

"""French punctuation keeps to its word, and what is no French punctuation is let be."""

import pytest

from veilleur_contracts.french import NARROW, spaced


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("T : santé", f"T{NARROW}: santé", id="colon"),
        pytest.param("un mot ; deux", f"un mot{NARROW}; deux", id="semicolon"),
        pytest.param("Vraiment ?", f"Vraiment{NARROW}?", id="end"),
        pytest.param("dit « oui ».", f"dit «{NARROW}oui{NARROW}».", id="quotes"),
        pytest.param("14:03:05, https://x", "14:03:05, https://x", id="times-and-addresses"),
        pytest.param("k = 1 :", f"k = 1{NARROW}:", id="at-the-end"),
        pytest.param(spaced("T : santé"), f"T{NARROW}: santé", id="once"),
    ],
)
def test_french_punctuation_keeps_to_its_word(text, expected) -> None:
    assert spaced(text) == expected

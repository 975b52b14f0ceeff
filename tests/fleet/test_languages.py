"""Every sentence of the page is there in both languages, and none that nobody says any more."""

import re
from importlib import resources
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from veilleur_contracts.report_words import WORDS
from veilleur_fleet.errors import SettingsRejectedError
from veilleur_fleet.texts import texts_of
from veilleur_fleet.web import words
from veilleur_fleet.web.languages import KNOWN, languages_of

WEB = Path(str(resources.files("veilleur_fleet.web")))
LANGUAGES = languages_of("Europe/Paris")


def said() -> set[str | tuple[str, ...]]:
    found = extract_from_dir(
        WEB,
        method_map=[("templates/**.html", "jinja2"), ("**.py", "python")],
        keywords={"_": None, "N_": None, "ngettext": (1, 2)},
    )
    return {message for _, _, message, _, _ in found}


def catalogue(code: str):
    path = WEB.parent / "locales" / code / "LC_MESSAGES" / "fleet.po"
    with path.open("rb") as file:
        return [message for message in read_po(file, locale=code) if message.id]


@pytest.mark.parametrize("code", KNOWN)
def test_a_catalogue_holds_every_sentence_and_no_other(code) -> None:
    assert {message.id for message in catalogue(code)} == said()


@pytest.mark.parametrize("code", KNOWN)
def test_no_sentence_is_left_untranslated_or_doubtful(code) -> None:
    for message in catalogue(code):
        strings = message.string if isinstance(message.string, tuple) else (message.string,)
        assert all(strings), message.id
        assert not message.fuzzy, message.id


@pytest.mark.parametrize("code", KNOWN)
def test_a_translation_keeps_every_placeholder(code) -> None:
    for message in catalogue(code):
        wanted = message.id if isinstance(message.id, tuple) else (message.id,)
        given = message.string if isinstance(message.string, tuple) else (message.string,)
        for english, translated in zip(wanted, given, strict=True):
            assert set(re.findall(r"%\(\w+\)s", english)) == set(re.findall(r"%\(\w+\)s", translated)), english


def test_no_french_sentence_can_break_before_its_punctuation_and_no_english_one_has_such_spaces() -> None:
    french = [*LANGUAGES["fr"].words.values(), *texts_of("policy", "fr").words.values()]
    assert [text for text in french if re.search(r"[^\s] [:;!?»](\s|$)|« ", text)] == []
    assert any("\u202f:" in text for text in french)
    assert not any("\u202f" in text for text in LANGUAGES["en"].words.values())


def test_no_french_sentence_gives_the_dpo_a_gender() -> None:
    sentences = [*LANGUAGES["fr"].words.values(), *texts_of("policy", "fr").words.values()]
    sentences += [french for french, _ in WORDS.values()]
    told = [text for text in sentences if re.search(r"(?<!ou )\b([Ll]a|[Uu]ne|[Ll]e|[Uu]n|du) DPO", text)]
    assert told == []


def test_english_says_what_the_program_says() -> None:
    assert all(message.id == message.string for message in catalogue("en"))


def test_the_words_of_the_wire_are_different_words_in_french() -> None:
    said_alike = {"Bus"}
    for table in (words.LABELS, words.STATES, words.DIRECTIONS, words.QUALITIES):
        for sentence in table.values():
            assert LANGUAGES["fr"].gettext(sentence) not in {sentence} - said_alike


@pytest.mark.parametrize(
    ("code", "count", "expected"),
    [
        ("fr", 0, "retenu dans %(num)s fenêtre"),
        ("fr", 1, "retenu dans %(num)s fenêtre"),
        ("fr", 2, "retenu dans %(num)s fenêtres"),
        ("en", 0, "withheld in %(num)s windows"),
        ("en", 1, "withheld in %(num)s window"),
        ("en", 2, "withheld in %(num)s windows"),
    ],
)
def test_plurals_follow_the_language(code, count, expected) -> None:
    said_so = LANGUAGES[code].ngettext("withheld in %(num)s window", "withheld in %(num)s windows", count)
    assert said_so == expected


@pytest.mark.parametrize(("code", "number", "share"), [("fr", "12\u202f345,6", "99\u00a0%"), ("en", "12,345.6", "99%")])
def test_numbers_are_written_as_the_language_does_and_a_share_is_never_rounded_up(code, number, share) -> None:
    assert LANGUAGES[code].number(12_345.6) == number
    assert LANGUAGES[code].percent(0.999) == share


def test_times_are_those_of_the_readers() -> None:
    assert LANGUAGES["fr"].time(1_790_000_000) == "16:13:20"


@pytest.mark.parametrize("zone", ["Europe/Nimes", "../../etc/passwd", ""])
def test_a_zone_nobody_knows_is_refused_with_a_remedy(zone) -> None:
    with pytest.raises(SettingsRejectedError, match="Europe/Paris"):
        languages_of(zone)

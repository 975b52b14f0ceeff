"""``veilleur-fleet policy``: a whole town hall signs on the command line, and every refusal is one sentence."""

import ast
import re
import string
from datetime import date
from pathlib import Path

import msgspec
import pytest
from babel.messages.pofile import read_po
from typer.testing import CliRunner

from policy_builders import NOW, CityHall, a_policy, signed, visa_of
from veilleur_contracts.envelope import DocumentType, read_envelope
from veilleur_contracts.messages import MessageClass
from veilleur_contracts.policy import STRICTEST, AggregateKind, EventKind
from veilleur_contracts.policy_change import Change, Difference, Requirement
from veilleur_contracts.policy_document import (
    Authorisation,
    CameraRules,
    Controller,
    Images,
    Policy,
    Role,
    Rules,
    Scope,
    canonical,
)
from veilleur_fleet import policy_words
from veilleur_fleet.errors import SettingsRejectedError
from veilleur_fleet.policy import policy_app
from veilleur_fleet.policy_words import FIELDS, VALUES, changes_told, explained
from veilleur_fleet.texts import KNOWN, texts_of

PEOPLE = {
    "r1": "root", "r2": "root", "r3": "root", "mayor": "controller", "ops": "operator", "dpo1": "dpo-ville",
    "dpo2": "dpo-agglo",
}  # fmt: skip
LOCALES = Path(policy_words.__file__).parent / "locales"


class Desk:
    """A folder where people write and sign."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runner = CliRunner()
        (folder / "pass").write_text("trois petits mots longs\n", encoding="utf-8")
        (folder / "pass").chmod(0o600)

    def run(self, *words, succeeds=True) -> str:
        told = {"VEILLEUR_PASSPHRASE_FILE": str(self.folder / "pass"), "VEILLEUR_LANG": "", "COLUMNS": "200"}
        done = self.runner.invoke(policy_app, [str(word) for word in words], env=told)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        assert (done.exit_code == 0) is succeeds, done.output
        if not succeeds:
            assert len(done.stderr.strip().splitlines()) == 1
        return done.output

    def path(self, name: str) -> Path:
        return self.folder / name

    def written(self, name: str, *words) -> None:
        """Write a template and fill in what it leaves open."""
        self.run("new", self.path(name), *words)
        text = self.path(name).read_text(encoding="utf-8")
        for left, filled in (("n° … du …", "n° 42 du 4 mai"), ('reason = "…"', 'reason = "Une plainte."')):
            text = text.replace(left, filled)
        self.path(name).write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def town(tmp_path_factory) -> Desk:
    """A desk with everybody's keys and a root signed by two."""
    desk = Desk(tmp_path_factory.mktemp("town"))
    for name in PEOPLE:
        desk.run("key", "new", desk.path(f"{name}.pem"), "--holder", f"Holder of {name}")
    publics = [word for name, role in PEOPLE.items() for word in ("--public", f"{role}={desk.path(name)}.pub")]
    desk.run("new", desk.path("root.toml"), "--kind", "root", *publics)
    desk.run("sign", desk.path("root.toml"), "--role", "root", "--key", desk.path("r1.pem"))
    desk.run("sign", desk.path("root.json"), "--role", "root", "--key", desk.path("r3.pem"))
    return desk


@pytest.fixture
def desk(town, tmp_path) -> Desk:
    """A clean desk with the town's keys on it."""
    for path in town.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
        (tmp_path / path.name).chmod(path.stat().st_mode)
    return Desk(tmp_path)


def sign(desk: Desk, name: str, *people: str) -> None:
    for one in people:
        desk.run(
            "sign",
            desk.path(name),
            "--role",
            PEOPLE[one],
            "--key",
            desk.path(f"{one}.pem"),
            "--root",
            desk.path("root.json"),
        )
        name = name.replace(".toml", ".json")


def test_a_policy_is_written_signed_by_three_and_good(desk) -> None:
    desk.written("policy.toml")
    sign(desk, "policy.toml", "dpo1", "ops")
    said = desk.run("check", desk.path("policy.json"), "--root", desk.path("root.json"), succeeds=False)
    assert "lacks the signature of controller" in said
    sign(desk, "policy.json", "mayor")
    said = desk.run("check", desk.path("policy.json"), "--root", desk.path("root.json"))
    assert "good" in said
    assert "controller, dpo-ville, operator" in said


def test_a_tightening_needs_one_and_a_loosening_is_told(desk) -> None:
    desk.written("one.toml")
    sign(desk, "one.toml", "dpo1", "ops", "mayor")
    first = desk.path("one.toml").read_text(encoding="utf-8")
    tight = first.replace("version = 1 ", "version = 2 ").replace("person_cell_min = 5", "person_cell_min = 8")
    desk.path("two.toml").write_text(tight, encoding="utf-8")
    sign(desk, "two.toml", "ops")
    against = ("--root", desk.path("root.json"), "--current", desk.path("one.json"))
    assert "loosens nothing" in desk.run("check", desk.path("two.json"), *against)
    told = desk.run("explain", desk.path("two.toml"), "--against", desk.path("one.json"), "--lang", "en")
    assert "from which a count is told, from 5 to 8" in told
    assert "as soon as one of them has signed" in told
    back = desk.run("explain", desk.path("one.json"), "--against", desk.path("two.json"))
    assert "de 8 à 5" in back
    assert "Tous doivent la signer" in back


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        pytest.param("stop", "reason", id="stop"),
        pytest.param("policy", "decision", id="policy"),
    ],
)
def test_what_the_template_leaves_open_is_not_signed_and_the_field_is_named(desk, kind, field) -> None:
    desk.run("new", desk.path("draft.toml"), "--kind", kind)
    words = ("sign", desk.path("draft.toml"), "--role", "dpo-ville", "--key", desk.path("dpo1.pem"))
    assert f"{field} is still the template's" in desk.run(*words, succeeds=False)
    assert not desk.path("draft.json").exists()


def test_a_placeholder_deep_in_a_policy_is_named_and_a_writers_dots_are_not_one(desk) -> None:
    desk.written("policy.toml")
    text = desk.path("policy.toml").read_text(encoding="utf-8")
    authorised = text + (
        '\n[[authorisations]]\nkind = "wrong-way"\nfirst_day = 2026-06-01\nlast_day = 2026-09-30\n'
        'communes = ["30189"]\nreference = "Arrêté n° …"\n'
    )
    desk.path("policy.toml").write_text(authorised, encoding="utf-8")
    words = ("sign", desk.path("policy.toml"), "--role", "dpo-ville", "--key", desk.path("dpo1.pem"))
    assert "authorisations.reference is still the template's" in desk.run(*words, succeeds=False)
    desk.path("policy.toml").write_text(authorised.replace("Arrêté n° …", "Arrêté du préfet…"), encoding="utf-8")
    desk.run(*words)


def test_the_first_root_is_good_and_said_to_be_the_first(desk) -> None:
    said = desk.run("check", desk.path("root.json"), "--root", desk.path("root.json"))
    assert "is root 1, the first" in said
    desk.run(
        "sign", desk.path("root.toml"), "--role", "root", "--key", desk.path("r1.pem"), "--out", desk.path("r.json")
    )
    alone = desk.run("check", desk.path("r.json"), "--root", desk.path("r.json"), succeeds=False)
    assert "has 1 of the 2 signatures" in alone


def test_a_stop_is_signed_by_a_dpo_alone(desk) -> None:
    desk.written("stop.toml", "--kind", "stop")
    sign(desk, "stop.toml", "ops")
    said = desk.run("check", desk.path("stop.json"), "--root", desk.path("root.json"), succeeds=False)
    assert "dpo-ville" in said
    sign(desk, "stop.json", "dpo1")
    assert "at once" in desk.run("check", desk.path("stop.json"), "--root", desk.path("root.json"))


def test_a_root_follows_a_root(desk) -> None:
    text = desk.path("root.toml").read_text(encoding="utf-8").replace("version = 1\n", "version = 2\n")
    desk.path("second.toml").write_text(text, encoding="utf-8")
    sign(desk, "second.toml", "r1", "r2")
    said = desk.run("check", desk.path("second.json"), "--root", desk.path("root.json"))
    assert "may follow root 1" in said
    both = ("--root", desk.path("root.json"), "--root", desk.path("second.json"))
    assert "root 2, which may follow root 1" in desk.run("check", desk.path("second.json"), *both)
    desk.written("policy.toml")
    sign(desk, "policy.toml", "dpo1", "ops", "mayor")
    desk.run("check", desk.path("policy.json"), "--root", desk.path("root.json"), "--root", desk.path("second.json"))


@pytest.mark.parametrize(
    ("at", "said"),
    [("2100-01-01", "expired"), ("1970-01-01", "check the clock")],
)
def test_a_policy_is_checked_as_if_at_another_time(desk, at, said) -> None:
    desk.written("policy.toml")
    sign(desk, "policy.toml", "dpo1", "ops", "mayor")
    words = ("check", desk.path("policy.json"), "--root", desk.path("root.json"), "--at", at)
    assert said in desk.run(*words, succeeds=False)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(lambda text: text.replace("version = 1 ", "version = 0 "), "version", id="version"),
        pytest.param(lambda text: text.replace('"S"]', '"S", "X"]'), "X", id="class"),
        pytest.param(lambda text: text.replace("purpose", "porpoise"), "porpoise", id="misspelt"),
        pytest.param(lambda text: text.replace("vehicle_window_s = 900", "vehicle_window_s = 5"), "900", id="floor"),
        pytest.param(lambda text: text + "= =", "TOML", id="not-toml"),
        pytest.param(lambda text: text.replace('role = "dpo-ville"', 'role = "operator"'), "by a DPO", id="visa"),
    ],
)
def test_a_bad_draft_is_refused_in_a_sentence(desk, change, said) -> None:
    desk.written("policy.toml")
    text = desk.path("policy.toml").read_text(encoding="utf-8")
    desk.path("policy.toml").write_text(change(text), encoding="utf-8")
    assert said in desk.run("explain", desk.path("policy.toml"), succeeds=False)


def test_nothing_is_overwritten_and_every_mistake_has_its_remedy(desk) -> None:
    desk.written("policy.toml")
    assert "there already" in desk.run("new", desk.path("policy.toml"), succeeds=False)
    assert "TOML" in desk.run("new", desk.path("policy.txt"), succeeds=False)
    assert "there already" in desk.run("key", "new", desk.path("ops.pem"), "--holder", "x", succeeds=False)
    assert "call it ops.pem" in desk.run("key", "new", desk.path("ops.key"), "--holder", "x", succeeds=False)
    assert "cannot read" in desk.run("explain", desk.path("nothing.toml"), succeeds=False)
    assert "cannot read" in desk.run("check", desk.path("nothing"), "--root", desk.path("root.json"), succeeds=False)
    assert "is a root" in desk.run("explain", desk.path("root.json"), succeeds=False)
    assert "no language" in desk.run("explain", desk.path("policy.toml"), "--lang", "de", succeeds=False)
    assert "ROLE=FILE" in desk.run(
        "new", desk.path("r.toml"), "--kind", "root", "--public", "mayor.pub", succeeds=False
    )
    said = desk.run(
        "new", desk.path("r.toml"), "--kind", "root", "--public", f"root={desk.path('ops.pem')}", succeeds=False
    )
    assert "no public key" in said
    wrong = (
        "sign",
        desk.path("policy.toml"),
        "--role",
        "controller",
        "--key",
        desk.path("ops.pem"),
        "--root",
        desk.path("root.json"),
    )
    assert "no key of controller" in desk.run(*wrong, succeeds=False)
    sign(desk, "policy.toml", "ops")
    again = ("sign", desk.path("policy.toml"), "--role", "operator", "--key", desk.path("ops.pem"))
    assert "signed already" in desk.run(*again, succeeds=False)


def test_keys_are_encrypted_and_for_their_holder_alone(desk) -> None:
    assert b"ENCRYPTED" in desk.path("ops.pem").read_bytes()
    assert desk.path("ops.pem").stat().st_mode & 0o777 == 0o600
    desk.written("policy.toml")
    words = ("sign", desk.path("policy.toml"), "--role", "operator", "--key", desk.path("ops.pem"))
    desk.path("ops.pem").chmod(0o644)
    assert "chmod 600" in desk.run(*words, succeeds=False)
    desk.path("ops.pem").chmod(0o600)
    desk.path("pass").write_text("une autre phrase de passe\n", encoding="utf-8")
    assert "this passphrase" in desk.run(*words, succeeds=False)
    desk.path("pass").write_text("court\n", encoding="utf-8")
    assert "12 characters" in desk.run("key", "new", desk.path("new.pem"), "--holder", "x", succeeds=False)
    desk.path("pass").write_text("\n", encoding="utf-8")
    assert "no passphrase" in desk.run(*words, succeeds=False)


def test_a_passphrase_is_asked_for_when_no_file_holds_it(desk) -> None:
    done = desk.runner.invoke(
        policy_app,
        ["key", "new", str(desk.path("asked.pem")), "--holder", "A"],
        input="quatre petits mots longs\nquatre petits mots longs\n",
    )
    assert done.exit_code == 0
    assert "quatre" not in done.output


def test_a_forged_policy_is_called_forged(desk) -> None:
    desk.written("policy.toml")
    sign(desk, "policy.toml", "dpo1", "ops", "mayor")
    envelope = read_envelope(desk.path("policy.json").read_bytes(), DocumentType.POLICY)
    policy = msgspec.json.decode(envelope.content(), type=Policy)
    other = signed(msgspec.structs.replace(policy, max_age_s=3600), DocumentType.POLICY, [])
    forged = msgspec.structs.replace(read_envelope(other), signatures=envelope.signatures)
    desk.path("policy.json").write_bytes(msgspec.json.encode(forged))
    assert "changed" in desk.run("check", desk.path("policy.json"), "--root", desk.path("root.json"), succeeds=False)
    desk.path("policy.json").write_bytes(desk.path("policy.json").read_bytes()[:200])
    assert "cut off" in desk.run("check", desk.path("policy.json"), "--root", desk.path("root.json"), succeeds=False)


def test_help_shows_examples() -> None:
    runner = CliRunner()
    for words in (["new"], ["sign"], ["check"], ["explain"], ["key", "new"]):
        assert "Example" in runner.invoke(policy_app, [*words, "--help"]).output


# ---- words

AGREED = (visa_of(Role.DPO_VILLE, aggregates=frozenset(AggregateKind)),)
RICH = a_policy(
    default=Rules(classes=frozenset({MessageClass.TECHNICAL})),
    cameras=(
        CameraRules(
            "parvis",
            frozenset({((0, 0), (1, 0), (1, 1))}),
            Rules(
                classes=frozenset(MessageClass),
                aggregates=frozenset(AggregateKind),
                images=Images(10, 15, "Arrêté 2025-311"),
            ),
        ),
        CameraRules("quai"),
        CameraRules(
            "place",
            rules=Rules(
                classes=frozenset({*STRICTEST.classes, MessageClass.AGGREGATE}), aggregates=frozenset(AggregateKind)
            ),
        ),
    ),
    authorisations=(
        Authorisation(
            EventKind.BULKY_OBJECT, date(2026, 5, 1), date(2026, 6, 1), "Arrêté 9", cameras=frozenset({"parvis"})
        ),
    ),
    visas=AGREED,
)


@pytest.mark.parametrize(
    ("code", "sentences"),
    [
        pytest.param(
            "en",
            [
                "state of the road",
                "bulky object",
                "10 days at most; Arrêté 2025-311 allows 15",
                "no statistics",
                "burnt out",
            ],
            id="en",
        ),
        pytest.param(
            "fr",
            [
                "état de la voie",
                "encombrant",
                "10 jours au plus\u202f; Arrêté 2025-311 en autorise 15",
                "aucune statistique",
                "effacées",
            ],
            id="fr",
        ),
    ],
)
def test_a_policy_is_told_in_plain_words(code, sentences) -> None:
    text = "\n".join(explained(RICH, texts_of("policy", code)))
    for sentence in sentences:
        assert sentence in text


def test_one_camera_is_told_alone_and_an_unknown_one_does_not_run() -> None:
    texts = texts_of("policy", "en")
    assert "Camera parvis" not in "\n".join(explained(RICH, texts, "quai"))
    assert "does not run" in "\n".join(explained(RICH, texts, "gare"))


def test_what_no_visa_covers_and_where_a_policy_ends_are_told() -> None:
    texts = texts_of("policy", "en")
    without = msgspec.structs.replace(RICH, visas=(visa_of(Role.DPO_VILLE),))
    assert "no DPO's visa covers" in "\n".join(explained(without, texts, "place"))
    narrow = msgspec.structs.replace(RICH, scope=Scope(frozenset({Controller.VILLE}), frozenset({"30189"})))
    assert "covers only: 30189" in "\n".join(explained(narrow, texts))


@pytest.mark.parametrize("code", KNOWN)
def test_every_kind_of_difference_has_words(code) -> None:
    texts = texts_of("policy", code)
    differences = tuple(Difference("quai", "30189", field, "a", "True") for field in FIELDS)
    for roles in (True, False):
        requirement = Requirement(frozenset({Role.OPERATOR}), all_of_them=roles)
        lines = list(changes_told(Change(loosened=differences), requirement, texts))
        assert len([line for line in lines if "quai" in line]) == len(FIELDS)
    orders = set(STRICTEST.__struct_fields__) - {"profile", "events"}
    assert orders <= set(FIELDS)


def sentences_in_code() -> set[str]:
    found = {*FIELDS.values(), *VALUES.values(), "Less strict:", "Stricter:"}
    for name in ("policy_words.py", "policy.py"):
        tree = ast.parse((LOCALES.parent / name).read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "say":
                found |= {node.args[0].value} if isinstance(node.args[0], ast.Constant) else set()
    return found


@pytest.mark.parametrize("code", KNOWN)
def test_the_catalogue_has_every_sentence_and_no_other(code) -> None:
    with (LOCALES / code / "LC_MESSAGES" / "policy.po").open("rb") as file:
        catalogue = {one.id: one.string for one in read_po(file, locale=code) if one.id}
    assert set(catalogue) == sentences_in_code()
    for sentence, told in catalogue.items():
        assert told
        assert names_in(sentence) == names_in(told)
        assert code == "en" or told != sentence or sentence in {"commune {insee}", "Camera {camera}"}


def names_in(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(SettingsRejectedError):
        texts_of("policy", "de")


def test_french_differs_from_english_in_every_line() -> None:
    english = list(explained(RICH, texts_of("policy", "en")))
    french = list(explained(RICH, texts_of("policy", "fr")))
    assert len(english) == len(french)
    assert all(one != two for one, two in zip(english, french, strict=True) if re.search("[a-z]", one))


def test_the_builders_sign_what_the_command_checks(tmp_path) -> None:
    hall = CityHall()
    (tmp_path / "root.json").write_bytes(hall.signed_root())
    (tmp_path / "policy.json").write_bytes(hall.fully_signed(a_policy()))
    words = (
        "check",
        tmp_path / "policy.json",
        "--root",
        tmp_path / "root.json",
        "--at",
        NOW.strftime("%Y-%m-%dT%H:%M:%S"),
    )
    assert "good" in Desk(tmp_path).run(*words)
    assert canonical(a_policy()) == canonical(a_policy())

"""The etalab export: whole files that fit the official schema, made by the command from a real store."""

import csv
import json
import re
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

from fleet_builders import Box, context, window
from veilleur_contracts import messages as m
from veilleur_contracts.codec import context_number_of
from veilleur_contracts.policy import BENCH, digest_of
from veilleur_fleet.cli import cli

SCHEMAS = Path(__file__).parents[3] / "shared" / "schemas" / "etalab"
DAY = 20_352 * 86_400
HOUR = 3600
PLACES = """
publisher = "Ville de Nîmes"

[[place]]
controller = "ville"
camera = "gare-parvis"
name = "Gare, parvis"
longitude = 4.3661
latitude = 43.8325
heading.kerb = { left_to_right = "N" }
"""
KERB = context(lines=("kerb",), labels=(m.Label.PERSON, m.Label.CAR))
CYCLES = context("quai-nord", lines=("quay",), labels=(m.Label.BICYCLE,), insee="30258")


def quarter(number, counts, **more):
    return window(KERB, counts, at_s=DAY + number * 900, window_s=900, **more)


def roll_up(at_s, count, *, direction=0, window_s=HOUR):
    return m.RollUp(context_number_of(KERB), at_s, window_s, 0, m.Label.PERSON, direction, count)


@pytest.fixture
def told(ledger):
    """Fill three hours: one told whole, one with withheld cells, one half quarantined."""
    box = Box()
    ledger.store(
        [
            box.says(KERB, *(quarter(n, (10, 0, 20, 30)) for n in range(4))),
            box.says(
                *(quarter(n, (None, None, 1, 2)) for n in range(4, 6)), *(quarter(n, (7, 8, 1, 2)) for n in (6, 7))
            ),
            box.says(roll_up(DAY + HOUR, 6)),
            box.says(*(quarter(n, (9, 9, 9, 9), quality=m.Quality.QUARANTINED if n > 9 else 0) for n in range(8, 12))),
            box.says(CYCLES, window(CYCLES, (40, 41), at_s=DAY, window_s=3600)),
        ]
    )


@pytest.fixture
def export(tmp_path, database):
    del database
    (tmp_path / "places.toml").write_text(PLACES, encoding="utf-8")

    def run(*words, succeeds=True, since="2025-09-21T00:00:00Z", before="2025-09-21T04:00:00Z"):
        out = tmp_path / "out"
        said = ["export", "etalab", "--data", tmp_path / "fleet", "--places", tmp_path / "places.toml", "--out", out]
        done = CliRunner().invoke(cli, [str(word) for word in (*said, "--from", since, "--to", before, *words)])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        assert done.exit_code == (0 if succeeds else 1), done.output
        run.said = done.output
        return done.output if not succeeds else {name: rows_of(out / f"{name}.csv") for name in NAMES}

    return run


NAMES = ("site", "channel", "measure")


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def counts_of(rows, channel):
    return [row["count"] for row in rows["measure"] if row["channel_id"] == channel]


def faults_of(name, rows):
    """Read ``rows`` as the official schema and its prose ask; return what is wrong."""
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))
    fields = {field["name"]: field for field in schema["fields"]}
    faults = [f"column {column}" for column in (set(rows[0]) ^ set(fields))]
    for row in rows:
        faults += [f"{key}: {value}" for key, value in row.items() if key in fields and not fits(fields[key], value)]
    keys = [tuple(row[key] for key in KEYS[name]) for row in rows]
    return faults + (["duplicate rows"] if len(set(keys)) < len(keys) else [])


KEYS = {"site": ("site_id",), "channel": ("channel_id",), "measure": ("channel_id", "start_datetime")}


def fits(field, value):
    rules = field["constraints"]
    if not value:
        return not rules["required"]
    if field["type"] == "datetime":  # frictionless takes naive times; the specification asks for a zone
        return re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", value) is not None
    if field["type"] == "number":
        number = re.fullmatch(r"-?\d+(\.\d+)?", value) is not None and float(value)
        return number is not False and rules.get("minimum", number) <= number <= rules.get("maximum", number)
    return ("enum" not in rules or value in rules["enum"]) and (
        "pattern" not in rules or re.search(rules["pattern"], value) is not None
    )


needs_schemas = pytest.mark.skipif(not SCHEMAS.is_dir(), reason="the official schemas are not beside the repository")


@pytest.mark.usefixtures("told")
def test_hours_are_told_rolled_up_or_empty(export) -> None:
    rows = export()
    assert counts_of(rows, "ville.gare-parvis.kerb.person.lr") == ["40", "20", "", ""]
    assert counts_of(rows, "ville.gare-parvis.kerb.person.rl") == ["0", "", "", ""], (
        "no roll-up came for that direction"
    )
    assert counts_of(rows, "ville.gare-parvis.kerb.car.lr") == ["80", "4", "", ""]
    assert [row["channel_id"] for row in rows["channel"]] == [
        f"ville.gare-parvis.kerb.{label}.{way}" for label in ("person", "car") for way in ("lr", "rl")
    ]


@pytest.mark.usefixtures("told")
def test_windows_can_be_told_as_they_are(export) -> None:
    rows = export("--step", "window")
    told = ["10"] * 4 + ["", "", "7", "7"] + ["9", "9", "", ""] + [""] * 4
    assert counts_of(rows, "ville.gare-parvis.kerb.person.lr") == told
    assert {row["time_step"] for row in rows["channel"]} == {"900"}


@pytest.mark.usefixtures("told")
def test_a_camera_without_a_place_is_not_published(export) -> None:
    assert [row["site_id"] for row in export()["site"]] == ["ville.gare-parvis"]
    assert not any("quai" in value for rows in export().values() for row in rows for value in row.values())


@pytest.mark.usefixtures("told")
def test_every_slot_is_there_once_and_ends_where_the_next_begins(export) -> None:
    rows = export()
    for channel in rows["channel"]:
        times = [row for row in rows["measure"] if row["channel_id"] == channel["channel_id"]]
        starts = [datetime.fromisoformat(row["start_datetime"]) for row in times]
        ends = [datetime.fromisoformat(row["end_datetime"]) for row in times]
        assert starts == [datetime.fromisoformat("2025-09-21T00:00:00Z") + n * timedelta(hours=1) for n in range(4)]
        assert starts[1:] == ends[:-1]


@needs_schemas
@pytest.mark.usefixtures("told")
@pytest.mark.parametrize("step", ["window", "hour"])
def test_the_files_fit_the_official_schema(export, step) -> None:
    rows = export("--step", step)
    assert {name: faults_of(name, rows[name]) for name in NAMES} == {name: [] for name in NAMES}


@needs_schemas
@pytest.mark.usefixtures("told")
@pytest.mark.parametrize(
    ("name", "change"),
    [
        pytest.param("measure", {"count": "<5"}, id="mark"),
        pytest.param("measure", {"start_datetime": "2025-09-21T00:00:00"}, id="naive-time"),
        pytest.param("measure", {"start_datetime": "1758412800"}, id="epoch"),
        pytest.param("measure", {"channel_id": ""}, id="no-channel"),
        pytest.param("measure", {"withheld": "1"}, id="extra-column"),
        pytest.param("channel", {"mobility_type": "WALKER"}, id="mobility"),
        pytest.param("channel", {"direction": "UP"}, id="direction"),
        pytest.param("channel", {"channel_id": "ville.gare-parvis.kerb.car.rl"}, id="duplicate"),
        pytest.param("site", {"xlong": "181"}, id="longitude"),
        pytest.param("site", {"fr_insee_code": "3018"}, id="insee"),
    ],
)
def test_a_file_that_does_not_fit_is_seen(export, name, change) -> None:
    rows = export()[name]
    rows[0].update(change)
    assert faults_of(name, rows)


@needs_schemas
@pytest.mark.usefixtures("told")
def test_frictionless_takes_the_files_and_refuses_a_mark(export, tmp_path) -> None:
    frictionless = pytest.importorskip("frictionless", reason="frictionless is not installed")
    export()

    def errors_of(name):
        schema = frictionless.Schema.from_descriptor(json.loads((SCHEMAS / f"{name}.schema.json").read_text("utf-8")))
        report = frictionless.Resource(path=f"{name}.csv", basepath=str(tmp_path / "out"), schema=schema).validate()
        return [(error.type, getattr(error, "cell", None)) for task in report.tasks for error in task.errors]

    assert {name: errors_of(name) for name in NAMES} == {name: [] for name in NAMES}
    path = tmp_path / "out" / "measure.csv"
    path.write_text(path.read_text(encoding="utf-8").replace(",40\n", ",<5\n"), encoding="utf-8")
    assert errors_of("measure") == [("type-error", "<5")]


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        pytest.param({"since": "2025-09-21T00:00:00"}, "--from: write a time with its zone", id="naive"),
        pytest.param({"since": "yesterday"}, "--from: write a time with its zone", id="no-time"),
        pytest.param({"since": "2025-09-21T00:15:00Z"}, "on a whole hour, in UTC", id="inside-a-slot"),
        pytest.param({"before": "2025-09-21T00:00:00Z"}, "the period is empty", id="empty"),
        pytest.param({"before": "2925-09-21T00:00:00Z"}, "longer than 366 days", id="too-long"),
        pytest.param({"since": "9025-09-21T00:00:00Z", "before": "9025-09-22T00:00:00Z"}, "the future", id="future"),
    ],
)
def test_a_period_that_cannot_be_told_is_refused(export, words, sentence) -> None:
    assert sentence in export(succeeds=False, **words)


def test_an_unknown_step_is_refused(export) -> None:
    assert "'minute' is no step; known are window, hour, day" in export("--step", "minute", succeeds=False)


def test_windows_of_two_lengths_are_not_mixed(export, ledger) -> None:
    box = Box()
    twenty = window(KERB, (10, 0, 20, 30), at_s=DAY + HOUR, window_s=1200)
    ledger.store([box.says(KERB, quarter(0, (10, 0, 20, 30)), twenty)])
    assert "has windows of 900 and 1200 s in this period: ask for it by hour" in export(
        "--step", "window", succeeds=False
    )
    export("--step", "hour")


def test_a_window_that_does_not_fill_a_slot_is_refused(export, ledger) -> None:
    ledger.store([Box().says(KERB, window(KERB, (10, 0, 20, 30), at_s=DAY, window_s=2700))])
    assert "do not fill slots of 3600 s" in export(succeeds=False)


def test_a_camera_that_has_counted_nothing_is_named(export, tmp_path) -> None:
    rows = export()
    assert {name: len(rows[name]) for name in NAMES} == {"site": 0, "channel": 0, "measure": 0}
    done = CliRunner().invoke(
        cli,
        [
            "export",
            "etalab",
            "--data",
            str(tmp_path / "none"),
            "--places",
            str(tmp_path / "places.toml"),
            "--out",
            str(tmp_path / "out"),
            "--from",
            "2025-09-21T00:00:00Z",
            "--to",
            "2025-09-22T00:00:00Z",
        ],
    )
    assert done.exit_code == 1
    assert "there is no fleet's database" in done.output


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        pytest.param("publisher = ", "is not TOML", id="no-toml"),
        pytest.param('publisher = "x"\nplace = []', "length >= 1", id="no-place"),
        pytest.param(PLACES.replace("4.3661", "204.1"), "180", id="longitude"),
        pytest.param(PLACES.replace("name =", "nom ="), "nom", id="unknown-key"),
        pytest.param(PLACES + PLACES.split("\n\n", 1)[1], "is there twice", id="twice"),
    ],
)
def test_places_that_cannot_be_followed_are_refused(export, tmp_path, text, sentence) -> None:
    (tmp_path / "places.toml").write_text(text, encoding="utf-8")
    assert sentence in export(succeeds=False)


@pytest.fixture
def benched(ledger):
    """Say counts of a bench, on a line of its own and on one that counts a street as well."""
    tried = replace(context(lines=("kerb", "film"), labels=(m.Label.PERSON, m.Label.CAR)), policy=digest_of(BENCH))
    lines = [window(tried, (1, 1, 1, 1), at_s=DAY + n * 900, window_s=900, line=n % 2) for n in range(4)]
    ledger.store([Box("bench-01").says(tried, *lines)])


@pytest.mark.usefixtures("told", "benched")
def test_counts_of_the_bench_are_left_out_and_the_command_says_how_many_and_why(export) -> None:
    rows = export()
    assert {row["channel_id"].split(".")[2] for row in rows["channel"]} == {"kerb"}
    assert counts_of(rows, "ville.gare-parvis.kerb.person.lr")[0] == "40"
    assert {row["comment"] for row in rows["channel"]} == {""}
    assert "4 windows left out: they were counted under the bench policy" in export.said


@pytest.mark.usefixtures("told", "benched")
def test_counts_of_the_bench_are_marked_where_they_are_asked_for(export) -> None:
    rows = export("--bench")
    marked = {row["channel_id"].split(".")[2]: "bench policy" in row["comment"] for row in rows["channel"]}
    assert marked == {"kerb": True, "film": True}
    assert "4 windows of the bench policy are in, and marked" in export.said


@pytest.mark.usefixtures("told")
def test_an_export_that_fails_half_way_leaves_the_last_one_whole(export, ledger, tmp_path) -> None:
    before = export()
    late = context(lines=("late",), labels=(m.Label.CAR,))
    odd = window(late, (1, 1), at_s=DAY + HOUR, window_s=1200)
    ledger.store([Box("gare-02").says(late, window(late, (1, 1), at_s=DAY, window_s=900), odd)])
    assert "line late of camera gare-parvis" in export("--step", "window", succeeds=False)
    assert {name: rows_of(tmp_path / "out" / f"{name}.csv") for name in NAMES} == before
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["channel.csv", "measure.csv", "site.csv"]

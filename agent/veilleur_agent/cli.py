"""The commands of the agent: run a box, count one source, check a site."""

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import structlog
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from veilleur_agent.audit_files import AuditDamagedError
from veilleur_agent.audit_view import look_into, said_of
from veilleur_agent.box import Box
from veilleur_agent.budget import leak_bytes_per_day
from veilleur_agent.clips_cli import clips_app
from veilleur_agent.enrolment import check_images, offers_of, pinned_root, profile_of
from veilleur_agent.errors import StartRefusedError
from veilleur_agent.events import Tell
from veilleur_agent.firewall import firewall
from veilleur_agent.link import others_budget
from veilleur_agent.offers import put_offer, read_document
from veilleur_agent.plan import Plan
from veilleur_agent.preflight import PROFILES, check_site_runs, plan_of
from veilleur_agent.report_view import show_report
from veilleur_agent.settings import DEFAULT_MODEL, settings_of
from veilleur_agent.validation import validate
from veilleur_contracts.clock import SystemClock, datetime_of
from veilleur_contracts.envelope import read_envelope, short_name
from veilleur_contracts.errors import RejectedError, TransientError
from veilleur_contracts.policy_document import document_sha256
from veilleur_contracts.site import GROUND_POINTS_MIN, Camera, read_site

if TYPE_CHECKING:  # the box process holds no picture, so it loads nothing that could
    from veilleur_agent.eye.count import CountReport
    from veilleur_agent.eye.count import Progress as CountProgress

EXIT_FAILED: Final = 1
EXIT_REFUSED: Final = 2
EXIT_INTERRUPTED: Final = 130
GONE_READER: Final = 141
"""128 + SIGPIPE: whoever read our output has left."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Count a street with cameras, and let no image out.",
)

ModelsOption = Annotated[
    Path | None,
    typer.Option(
        "--models",
        help="Folder of built models; else VEILLEUR_MODEL_CACHE, else where veilleur-models build puts them.",
    ),
]
ModelOption = Annotated[str | None, typer.Option("--model", help=f"Name of the model; {DEFAULT_MODEL} by default.")]
PolicyOption = Annotated[
    str | None,
    typer.Option("--policy", help="A signed policy; or strictest; or bench, for files and the simulator alone."),
]
RootOption = Annotated[
    Path | None, typer.Option("--root", help="The signed root that policies are checked with; kept from then on.")
]
SecretsOption = Annotated[
    Path | None, typer.Option("--secrets", help="TOML file of camera passwords, mode 600: only the eye reads it.")
]


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it so
    if wanted:
        sys.stdout.write(f"veilleur-agent {version('veilleur')}\n")
        raise typer.Exit


@app.callback()
def _common(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


@app.command(
    epilog="Examples:  veilleur-agent run --site site.toml   ·   "
    "veilleur-agent run --site site.toml --policy policy.json --root root.json --secrets secrets.toml"
)
def run(
    *,
    site: Annotated[Path, typer.Option("--site", help="What the box should do: its cameras and their lines.")],
    state: Annotated[Path | None, typer.Option("--state", help="Folder for what must survive a restart.")] = None,
    models: ModelsOption = None,
    model: ModelOption = None,
    broker: Annotated[
        str | None, typer.Option("--broker", help="mqtt://host:port; a password belongs in VEILLEUR_BROKER.")
    ] = None,
    fleet: Annotated[
        str | None, typer.Option("--fleet", help="http://host:port of the fleet's door; documents are fetched there.")
    ] = None,
    policy: PolicyOption = None,
    root: RootOption = None,
    secrets: SecretsOption = None,
    bench_token: Annotated[
        Path | None, typer.Option("--bench-token", help="File with the simulator's one-time token; it is removed.")
    ] = None,
    allow_unconfined: Annotated[
        bool | None, typer.Option("--allow-unconfined", help="Run where the kernel cannot confine eye and mouth.")
    ] = None,
) -> None:
    """Run this box until Ctrl-C or SIGTERM: count its cameras and send the counts.

    Every option can be set in the environment too, as VEILLEUR_STATE, VEILLEUR_BROKER and so on.
    """
    settings = settings_of(
        state=state,
        models=models,
        model=model,
        broker=broker,
        fleet=fleet,
        policy=policy,
        root=root,
        secrets=secrets,
        bench_token=bench_token,
        allow_unconfined=allow_unconfined,
    )
    plan = plan_of(site, settings)
    raise typer.Exit(asyncio.run(_run_box(plan)))


@app.command(
    epilog="Examples:  veilleur-agent count street.mp4 --line 'kerb:0.1,0.6:0.9,0.6'   ·   "
    "veilleur-agent count rtsp://10.0.0.7/main --line 'gate:0.5,0.1:0.5,0.9' --seconds 60 --json"
)
def count(
    source: Annotated[str, typer.Argument(help="A file, /dev/video0, rtsp://… or http://…")],
    *,
    line: Annotated[list[str], typer.Option("--line", help="name:x1,y1:x2,y2, fractions of the frame; repeatable.")],
    fps: Annotated[float, typer.Option("--fps", help="Frames analysed per second.")] = 5.0,
    seconds: Annotated[float | None, typer.Option("--seconds", help="Stop after so much of the source.")] = None,
    preview: Annotated[Path | None, typer.Option("--preview", help="Write a redacted video with the lines.")] = None,
    preview_fps: Annotated[
        float | None, typer.Option("--preview-fps", help="Frames a second in it, a multiple of --fps.")
    ] = None,
    models: ModelsOption = None,
    model: ModelOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Count one file or stream over lines, without any fleet.

    Left and right are as seen standing at a line's first point and looking at its second.
    """
    from veilleur_agent.eye.count import count_source, lines_of  # noqa: PLC0415 - pixels only where they are needed
    from veilleur_models.catalogue import FACE_DETECTOR  # noqa: PLC0415 - pixels only where they are needed
    from veilleur_models.package import load  # noqa: PLC0415 - pixels only where they are needed

    settings = settings_of(models=models, model=model)
    lines = lines_of(line)
    package = load(settings.model_folder / settings.model)
    faces = None if preview is None else load(settings.model_folder / FACE_DETECTOR)
    with _progress() as shown:
        counted = count_source(
            source,
            lines,
            package,
            fps=fps,
            seconds=seconds,
            preview=preview,
            preview_fps=preview_fps,
            faces=faces,
            progress=shown,
        )
    if as_json:
        sys.stdout.write(msgspec.json.encode(counted.report).decode() + "\n")
    else:
        Console().print(_table_of(counted.report))
    if counted.fault is not None:
        raise counted.fault


@app.command(
    epilog="Example:  veilleur-agent enrol --fleet https://fleet.example:8443 --token vt1.… --state /var/lib/veilleur"
)
def enrol(
    *,
    fleet: Annotated[str, typer.Option("--fleet", help="https://host:port of the fleet's door.")],
    token: Annotated[
        str | None,
        typer.Option("--token", help="What veilleur-fleet pki token printed; asked for when not given."),
    ] = None,
    state: Annotated[Path | None, typer.Option("--state", help="Folder of the box.")] = None,
    ca_fingerprint: Annotated[
        str | None,
        typer.Option("--ca-fingerprint", help="sha256:… of the fleet's authority, told you apart from the token."),
    ] = None,
) -> None:
    """Get this box its certificate, with a one-time token; from then on it speaks to its fleet alone.

    The key is made here and never leaves. The running agent renews the certificate by itself.
    """
    from veilleur_agent.mouth.enrol import Invitation, enrol_now  # noqa: PLC0415 - for this command alone

    settings = settings_of(state=state)
    said = token or str(typer.prompt("Token", hide_input=True))
    invitation = Invitation(fleet, said, ca_fingerprint, settings.mouth_uid)
    enrolled = enrol_now(invitation, settings.state, SystemClock())
    Console().print(
        f"{enrolled.box} of {enrolled.controller} is enrolled with {enrolled.fleet}; it speaks to {enrolled.broker}",
        highlight=False,
        soft_wrap=True,
    )


@app.command(epilog="Example:  veilleur-agent offer stop.json --state /var/lib/veilleur")
def offer(
    document: Annotated[Path, typer.Argument(help="A signed policy, stop, root or word from the fleet.")],
    *,
    state: Annotated[Path | None, typer.Option("--state", help="Folder of the box.")] = None,
) -> None:
    """Put a signed document before the eye of this box, which verifies it within seconds."""
    settings = settings_of(state=state)
    data = read_document(document, "the document")
    envelope = read_envelope(data)
    if not pinned_root(settings.state).exists():
        raise StartRefusedError(f"the box in {settings.state} is enrolled with no root: run it once with --root")
    put_offer(offers_of(settings.state), data)
    said = f"{short_name(envelope.payload_type)} offered, document sha256 {document_sha256(envelope.content())}"
    Console().print(f"{said}; the audit says what became of it", highlight=False, soft_wrap=True)


@app.command("audit", epilog="Example:  veilleur-agent audit --state /var/lib/veilleur --last 50")
def show_audit(
    *,
    state: Annotated[Path | None, typer.Option("--state", help="Folder of the box.")] = None,
    last: Annotated[int, typer.Option("--last", min=1, max=10_000, help="How many entries to show.")] = 20,
) -> None:
    """Verify the audit of this box by its own key, and show its newest entries; a DPO verifies a copy elsewhere."""
    folder = settings_of(state=state).state / "audit"
    findings, entries = look_into(folder, last)
    table = Table("entry", "when (UTC)", "what", "")
    for entry in entries:
        kind, said = said_of(entry)
        table.add_row(str(entry.index), datetime_of(entry.at_ms).strftime("%Y-%m-%d %H:%M:%S"), kind, said)
    console = Console()
    console.print(table)
    if not findings.is_whole:
        raise AuditDamagedError(findings.faults[0].sentence)
    console.print(f"{findings.size} entries, signed up to {findings.signed_size}, whole", highlight=False)


app.add_typer(clips_app, name="clips")

app.command(
    "report",
    epilog="Examples:  veilleur-agent report --state /var/lib/veilleur --lang fr   ·   "
    "veilleur-agent report --state /var/lib/veilleur --html report.html",
)(show_report)


app.command(
    epilog="Examples:  veilleur-agent validate street.mp4 --truth tally.toml --site site.toml --camera gare   ·   "
    "veilleur-agent validate vtest.avi --truth tests/footage/vtest.toml --json"
)(validate)


app.command(epilog="Example:  veilleur-agent firewall --site site.toml --state /var/lib/veilleur >box.nft")(firewall)


@app.command(
    epilog="Examples:  veilleur-agent check --site site.toml --policy strictest   ·   "
    "veilleur-agent check --site site.toml --policy policy.json --models .cache/models"
)
def check(
    site: Annotated[Path, typer.Option("--site", help="The site file to check.")],
    policy: PolicyOption = None,
    secrets: SecretsOption = None,
    models: ModelsOption = None,
) -> None:
    """Check a site file against the policy and this machine, and start nothing.

    A site that keeps stills needs the model of faces, which is looked for in --models.
    """
    settings = settings_of(policy=policy, secrets=secrets, models=models)
    found = read_site(site)
    profile = profile_of(settings)
    permissions = PROFILES[profile]
    budgets = check_site_runs(found, settings, profile, None, site.parent)
    if profile == "signed" and settings.policy is not None:
        check_images(Path(settings.policy), found, datetime_of(SystemClock().now_ms()))
    table = Table("camera", "lines", "zones", "labels", "window", "ground", "source")
    for camera in found.camera:
        window_s = found.site.window_s or permissions.window_s_for(camera.label_set())
        kind = camera.source.split("://", 1)[0] if "://" in camera.source else "file"
        labels = ", ".join(label.name.lower() for label in camera.label_set())
        many = (str(len(camera.line)), str(len(camera.zone)))
        table.add_row(camera.id, *many, labels, f"{window_s} s", _ground_of(camera), kind)
    console = Console()
    console.print(table)
    most = leak_bytes_per_day((*budgets.values(), others_budget(budgets.values())))
    console.print(
        f"{found.site.box} is good: {len(found.camera)} camera(s), policy {profile}, "
        f"at most {most} bytes a day can pass from eye to mouth",
        highlight=False,
    )


def _ground_of(camera: Camera) -> str:
    """Say how well the points of a camera's ground agree.

    Raises:
        GroundRejectedError: They fix no plane, or do not agree on one.
    """
    if camera.ground is None:
        return "-"
    from veilleur_agent.eye.ground import GroundRejectedError  # noqa: PLC0415 - arrays only where they are needed
    from veilleur_agent.eye.watching import ground_of  # noqa: PLC0415 - arrays only where they are needed

    try:
        ground = ground_of(camera)
    except GroundRejectedError as error:
        raise GroundRejectedError(f"camera {camera.id}: {error}") from None
    many = len(camera.ground.image)
    if ground is None or many == GROUND_POINTS_MIN:
        return f"{many} points: give a fifth to check them"
    return f"{many} points, {ground.error_m:.2f} m off"


def main() -> None:
    """Run a command; trouble that has a name becomes one sentence on the standard error, and an exit code."""
    try:
        app()
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is left to flush at exit
        code = GONE_READER
    except RejectedError as error:
        code = _complain(error, EXIT_REFUSED)
    except (TransientError, OSError) as error:
        code = _complain(error, EXIT_FAILED)
    else:
        code = 0
    sys.exit(code)


def _complain(error: Exception, code: int) -> int:
    text = f"{error.strerror}: {error.filename}" if isinstance(error, OSError) and error.strerror else str(error)
    sys.stderr.write(f"veilleur-agent: {text}\n")
    return code


async def _run_box(plan: Plan) -> int:
    return await Box(plan, _log(), SystemClock()).run()


def _log() -> Tell:
    """Return box's log: on the standard error, for people on a terminal, as JSON lines elsewhere."""
    renderer = structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    logger = structlog.wrap_logger(structlog.PrintLogger(sys.stderr), processors=[stamp, renderer])

    def tell(event: str, **values: object) -> None:
        logger.info(event, **values)

    return tell


@contextmanager
def _progress() -> Iterator[Callable[["CountProgress"], None]]:
    """Show on the standard error how far a count has come, where somebody looks."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("counting", total=None)

        def show(come: "CountProgress") -> None:
            text = f"{come.frames} frames, {come.seconds:.0f} s"
            progress.update(task, total=come.expected_s, completed=come.seconds, description=text)

        yield show


def _table_of(report: "CountReport") -> Table:
    table = Table("line", "label", "left to right", "right to left")
    for name, labels in report.lines.items():
        for label, ways in labels.items():
            if ways.left_to_right or ways.right_to_left:
                table.add_row(name, label, str(ways.left_to_right), str(ways.right_to_left))
        left, right = (
            sum(getattr(ways, way) for ways in labels.values()) for way in ("left_to_right", "right_to_left")
        )
        table.add_row(name, "[bold]all[/bold]", str(left), str(right), end_section=True)
    table.caption = f"{report.frames} frames, {report.seconds:.1f} s of {report.source}"
    return table

"""What eye and mouth may touch: values, made by pure functions from the folders, files and ports that box names.

Everything is named one by one. What a later change needs has to be added here, and shows in the diff.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from veilleur_agent.confine.code import Code
from veilleur_agent.confine.errors import ConfinementError

ANY_PROCESS: Final = tuple(
    map(Path, ("/proc", "/sys/devices/system/cpu", "/sys/devices/system/node", "/dev/urandom", "/etc/ld.so.cache"))
)
"""Of /proc, what concerns another process is refused by Landlock all the same: it is outside the domain."""
ANY_PROCESS_DEVICES: Final = (Path("/dev/null"),)
GPU_DEVICES: Final = (Path("/dev/dri"),)
HIGHEST_PORT: Final = 65535
GPU_FILES: Final = (Path("/sys"),)

PIXEL_LIBRARIES: Final = ("numpy", "cv2", "av", "openvino")
BROKER_LIBRARIES: Final = ("aiomqtt", "paho")
FETCHING_LIBRARIES: Final = ("httpx", "httpcore", "h11", "anyio", "certifi", "idna")

_BOTH: Final = (
    *("veilleur_agent", "veilleur_contracts"),
    *("msgspec", "structlog", "pydantic", "pydantic_core", "pydantic_settings", "annotated_types"),
    *("typing_extensions", "typing_inspection", "dotenv", "__pycache__"),
)
_VERIFYING: Final = ("cryptography", "_cffi_backend", "securesystemslib")
EYE_PACKAGES: Final = frozenset(
    (*_BOTH, *PIXEL_LIBRARIES, *_VERIFYING, "opencv_python_headless", "veilleur_models", "packaging")
)
MOUTH_PACKAGES: Final = frozenset((*_BOTH, *BROKER_LIBRARIES, *FETCHING_LIBRARIES, "cryptography", "_cffi_backend"))


@dataclass(frozen=True, slots=True)
class Confinement:
    """What one process may touch, and what its trials have to find refused.

    Attributes:
        listable: Folders whose names may be read, not what is in them.
        read_only: Files, and folders with all that is beneath; one that does not exist gives nothing.
        read_write: The same, to write as well; each must exist.
        devices: Device files it may use, or folders of them.
        connect_ports: TCP ports it may connect to, on any address.
        bind_ports: TCP ports it may serve.
        binds_to_connect: Whether it binds a free port of the kernel's choice before it connects, as paho does; it
            can listen on none for all that.
        may_pass_messages: Whether it may call ``sendmsg``, which can pass open files.
        forbidden_paths: Stores of others, which the trials try to open.
        importable: Installed packages that may be imported, by their first name; the standard library always may.
        forbidden_imports: Libraries whose code, wherever it lies, the trials try to open.
    """

    listable: tuple[Path, ...] = ()
    read_only: tuple[Path, ...] = ()
    read_write: tuple[Path, ...] = ()
    devices: tuple[Path, ...] = ()
    connect_ports: tuple[int, ...] = ()
    bind_ports: tuple[int, ...] = ()
    binds_to_connect: bool = False
    may_pass_messages: bool = False
    forbidden_paths: tuple[Path, ...] = ()
    importable: frozenset[str] = frozenset()
    forbidden_imports: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for port in (*self.connect_ports, *self.bind_ports):
            if not 1 <= port <= HIGHEST_PORT:
                raise ConfinementError(f"{port} is no TCP port: give one from 1 to {HIGHEST_PORT}")
        for path in (*self.listable, *self.read_only, *self.read_write, *self.devices, *self.forbidden_paths):
            if not path.is_absolute():
                raise ConfinementError(f"{path} cannot be confined to: give it from the root of the file system")


def eye_confinement(
    code: Code,
    *,
    read_only: Sequence[Path],
    read_write: Sequence[Path],
    camera_ports: Sequence[int],
    camera_devices: Sequence[Path] = (),
    forbidden_paths: Sequence[Path] = (),
    gpu: bool = False,
) -> Confinement:
    """Return what the eye may touch.

    Args:
        code: The interpreter and the libraries, of ``EYE_PACKAGES``.
        read_only: Model store, documents, secrets file, recorded sources.
        read_write: Clips, backgrounds, checkpoints.
        camera_ports: TCP ports of the cameras.
        camera_devices: Cameras plugged in: ``/dev/video0``.
        forbidden_paths: The mouth's store and the audit.
        gpu: Whether inference runs on an Intel GPU.
    """
    return Confinement(
        listable=code.listable,
        read_only=(*code.readable, *ANY_PROCESS, *(GPU_FILES if gpu else ()), *read_only),
        read_write=tuple(read_write),
        devices=(*ANY_PROCESS_DEVICES, *camera_devices, *(GPU_DEVICES if gpu else ())),
        connect_ports=tuple(sorted(set(camera_ports))),
        forbidden_paths=tuple(forbidden_paths),
        importable=code.packages,
        forbidden_imports=(*BROKER_LIBRARIES, "httpx"),
    )


def mouth_confinement(
    code: Code,
    *,
    read_only: Sequence[Path],
    read_write: Sequence[Path],
    ports: Sequence[int],
    forbidden_paths: Sequence[Path] = (),
) -> Confinement:
    """Return what the mouth may touch.

    Args:
        code: The interpreter and the libraries, of ``MOUTH_PACKAGES``.
        read_only: Certificates.
        read_write: Its store: the outbox, the documents and models it fetches.
        ports: TCP ports of the broker and of the fleet.
        forbidden_paths: Clips, backgrounds, checkpoints, the secrets file, the audit.
    """
    return Confinement(
        listable=code.listable,
        read_only=(*code.readable, *ANY_PROCESS, *read_only),
        read_write=tuple(read_write),
        devices=ANY_PROCESS_DEVICES,
        connect_ports=tuple(sorted(set(ports))),
        binds_to_connect=True,
        forbidden_paths=tuple(forbidden_paths),
        importable=code.packages,
        forbidden_imports=PIXEL_LIBRARIES,
    )

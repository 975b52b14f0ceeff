"""Keep OpenVINO and NNCF from phoning home: block their telemetry before they are imported."""

import importlib.util
import sys

TELEMETRY = "openvino_telemetry"


class TelemetryLoadedError(RuntimeError):
    """Telemetry was imported before anyone could block it: a bug in the order of imports."""


def silence_telemetry() -> None:
    """Make ``openvino_telemetry`` unimportable in this process, whether or not it is installed.

    With that package present, ``import openvino`` starts a process that contacts an analytics host and writes an
    identifier to HOME (measured with OpenVINO 2026.4). Both ``openvino.tools.ovc`` and ``nncf`` treat its absence as
    "send nothing", which is what a ``None`` entry in ``sys.modules`` stands for: every import of it, or of a module
    under it, raises ``ModuleNotFoundError``. Call it before the first import of either; calling it again is harmless.

    Raises:
        TelemetryLoadedError: Telemetry is already loaded, so this call comes too late.
    """
    if sys.modules.get(TELEMETRY) is not None:
        raise TelemetryLoadedError(
            f"{TELEMETRY} is already imported: call silence_telemetry() before openvino and nncf are imported"
        )
    sys.modules[TELEMETRY] = None  # type: ignore[assignment]  # None is how Python spells "this import must fail"


def telemetry_is_installed() -> bool:
    """Tell whether the telemetry package lies on the path; a locked environment never holds it."""
    if TELEMETRY in sys.modules:
        return sys.modules[TELEMETRY] is not None
    return importlib.util.find_spec(TELEMETRY) is not None

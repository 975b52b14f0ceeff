"""The shapes of what the REST interface answers; ``openapi.json`` is made from them."""

from datetime import datetime
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from veilleur_contracts.clock import datetime_of
from veilleur_contracts.messages import Direction, Label, Quality
from veilleur_fleet.interval import Factors, interval_of
from veilleur_fleet.store.counts import LineTotal, WindowCounts
from veilleur_fleet.store.standing import StreamStanding


class Answer(BaseModel):
    """Something the interface says."""

    model_config = ConfigDict(frozen=True)


class Fault(Answer):
    """Why a question was refused."""

    error: Annotated[str, Field(description="one sentence: what is wrong and what to do about it")]


_REALLY: Final = "that really crossed, at 90 %, as far as the validated hours are like these"
Cell = Annotated[int | None, Field(description="how many; null: withheld, never nought")]
Next = Annotated[str | None, Field(description="give it as `cursor` for what follows; null: there is no more")]


class Window(Answer):
    """What crossed one line in one window."""

    controller: str
    insee: Annotated[str | None, Field(description="commune of the camera")]
    camera: str
    line: str
    at: Annotated[datetime, Field(description="beginning of the window, UTC")]
    window_s: Annotated[int, Field(description="its length, seconds")]
    coverage: Annotated[int, Field(description="percent of the window that was really observed")]
    fps: Annotated[float, Field(description="frames analysed per second")]
    quality: Annotated[list[str], Field(description="what to know before trusting it; empty: nothing")]
    counts: Annotated[dict[str, dict[str, Cell]], Field(description="by label and direction; only what is counted")]
    low: Annotated[dict[str, dict[str, Cell]], Field(description=f"least {_REALLY}; only labels validated")]
    high: Annotated[dict[str, dict[str, Cell]], Field(description=f"most {_REALLY}; only labels validated")]

    @classmethod
    def of(cls, window: WindowCounts) -> "Window":
        """Say a window of the store."""
        low, high = _bounds_of(window)
        return cls(
            controller=window.controller,
            insee=window.insee,
            camera=window.camera,
            line=window.line,
            at=datetime_of(window.at_s * 1000),
            window_s=window.window_s,
            coverage=window.coverage,
            fps=window.fps_x10 / 10,
            quality=quality_names(window.quality),
            counts={
                name_of(label): {name_of(direction): count for direction, count in cells.items()}
                for label, cells in window.cells.items()
            },
            low=low,
            high=high,
        )


class Windows(Answer):
    """A page of windows, line by line and each in time order."""

    items: list[Window]
    next: Next


class Total(Answer):
    """What one cell comes to over many windows."""

    controller: str
    camera: str
    line: str
    label: str
    direction: str
    count: Annotated[int | None, Field(description="sum of what was told; null: every window withheld it")]
    withheld: Annotated[int, Field(description="windows that withheld it, and are not in the sum")]
    low: Annotated[int | None, Field(description=f"least {_REALLY}; null: nobody has validated the label")]
    high: Annotated[int | None, Field(description=f"most {_REALLY}; null: nobody has validated the label")]


class Totals(Answer):
    """The sums of every cell asked for."""

    items: list[Total]

    @classmethod
    def of(cls, totals: list[LineTotal]) -> "Totals":
        """Say sums of the store."""
        return cls(
            items=[
                Total(
                    controller=total.controller,
                    camera=total.camera,
                    line=total.line,
                    label=name_of(label),
                    direction=name_of(direction),
                    count=count,
                    withheld=total.withheld[label][direction],
                    low=low,
                    high=high,
                )
                for total in totals
                for label, cells in total.cells.items()
                for direction, count in cells.items()
                for low, high in (bounds_of(count, total.factors.get(label)),)
            ]
        )


class Stream(Answer):
    """What is held of one stream of one box."""

    box: str
    controller: str
    stream: Annotated[str, Field(description="its number, as text: it has more digits than JSON numbers keep")]
    message_class: Annotated[str, Field(alias="class", description="T, S, A or E")]
    stored_upto: Annotated[int, Field(description="every number up to this one is held; what is acknowledged")]
    ahead: Annotated[list[tuple[int, int]], Field(description="ranges held beyond a hole")]
    stored: Annotated[int, Field(description="records stored")]
    duplicates: Annotated[int, Field(description="numbers that came again and were filtered")]
    lost: Annotated[int, Field(description="numbers that the box says will never come")]
    refused: Annotated[int, Field(description="records put in quarantine")]
    heard: Annotated[datetime, Field(description="when it was last heard, UTC")]

    @classmethod
    def of(cls, stream: StreamStanding) -> "Stream":
        """Say a stream of the store."""
        return cls.model_validate(
            {
                "box": stream.box,
                "controller": stream.controller,
                "stream": str(stream.stream),
                "class": stream.kind.value,
                "stored_upto": stream.upto,
                "ahead": stream.ahead,
                "stored": stream.stored,
                "duplicates": stream.duplicates,
                "lost": stream.lost,
                "refused": stream.refused,
                "heard": datetime_of(stream.heard_ms),
            }
        )


class Streams(Answer):
    """A page of streams."""

    items: list[Stream]
    next: Next


class Health(Answer):
    """Whether the fleet can do its work."""

    status: Annotated[str, Field(description="ok, or degraded")]
    database: Annotated[bool, Field(description="it can be read, and took the last transaction")]
    broker: Annotated[bool, Field(description="connected and subscribed")]


def bounds_of(count: int | None, factors: Factors | None) -> tuple[int, int] | tuple[None, None]:
    """Return the least and the most that ``count`` stands for at 90 %; nothing for what nobody has validated."""
    found = None if count is None or factors is None else interval_of(count, factors)
    return found or (None, None)


_Bounds = dict[str, dict[str, int | None]]


def _bounds_of(window: WindowCounts) -> tuple[_Bounds, _Bounds]:
    low: _Bounds = {}
    high: _Bounds = {}
    for label, factors in window.factors.items():
        for direction, count in window.cells.get(label, {}).items():
            least, most = bounds_of(count, factors)
            low.setdefault(name_of(label), {})[name_of(direction)] = least
            high.setdefault(name_of(label), {})[name_of(direction)] = most
    return low, high


def name_of(value: Label | Direction) -> str:
    """Return the name by which the interface calls a label or direction."""
    return value.name.lower()


def quality_names(quality: int) -> list[str]:
    """Return the names of the flags in ``quality``."""
    return [str(flag.name).lower() for flag in Quality if quality & flag]

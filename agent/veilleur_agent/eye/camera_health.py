"""Notice when a camera no longer shows what its lines were drawn on: covered, dark, defocused or moved.

    RawFrame ─▶ small luma, once a second ─▶ blind? ──────────────▶ the frame does not count as observed
                        │ mean of a check's samples (passers-by and rain fade)
                        ▼
                features outside traffic ─▶ affine fit to the first view ─▶ shift, sharpness ─▶ ViewCheck

Lines and zones hold only for the view they were drawn on. When it has shifted by more than 1 % of the width in three
checks running, everything counted is quarantined until the view is accepted (a new site) or comes back; a restart does
not forget it. What is kept is where corners of the scenery lie and how they look, no picture.
"""

from dataclasses import dataclass
from enum import Flag
from typing import Annotated, Final

import cv2
import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from veilleur_agent.eye.records import Pixels, RawFrame
from veilleur_contracts.errors import RejectedError

SMALL_WIDTH: Final = 480
SAMPLE_EVERY_MS: Final = 1_000
CHECK_EVERY_MS: Final = 20_000
CHECKS_TO_BELIEVE: Final = 3
SHIFT_MAX: Final = 0.01
"""Fractions of the frame's width: beyond it a line no longer lies where it was drawn."""
BLOCK: Final = 24
NOISE_TIMES: Final = 3.0
FLAT_GRADIENT: Final = 2.5
"""A block shows something where its mean |Sobel| is over ``NOISE_TIMES`` sigma of the noise and this, for rounding.
That holds for 0.3 of the blocks of a bare street by night, 0.6 of one by day and all of a busy square, with a tenth of
the contrast for 0.6, and for none of a covered lens with noise of 0 to 14 levels or a glow through it [measured]."""
GLOW: Final = 33
"""Pixels over which light that falls through a cover changes: slower structure is none."""
BLIND_SHARE: Final = 0.04
"""Share of blocks with texture under which a view shows nothing; also under a tenth of what it used to show."""
DARK_LUMA: Final = 24.0
"""Luma (of 16..235) that 99 of 100 pixels stay under in a view that is blind because it is dark."""
SOFT_RATIO: Final = 0.55
"""Sharpness against the first view under which it is out of focus."""
FEATURES_MAX: Final = 500
INLIERS_MIN: Final = 12
NEAR: Final = 0.15
"""Shift, fractions of the width, within which corners are looked for first: a street repeats itself."""
FIT_PIXELS: Final = 2.0
LEARN_EVERY: Final = 30
"""Checks after which a view that has not moved is learnt again, so that the reference follows the light; one that has
begun to move is not, or small errors would add up to hide it."""
TRAFFIC_FADE: Final = 0.9
CHECKPOINT_BYTES_MAX: Final = 65_536

Boxes = npt.NDArray[np.float32]
_Luma = npt.NDArray[np.float32]


class View(Flag):
    """What is wrong with a view; several may be."""

    GOOD = 0
    DARK = 1
    COVERED = 2
    DEFOCUSED = 4
    MOVED = 8


class ViewRejectedError(RejectedError):
    """A checkpointed view that cannot be read."""


@dataclass(frozen=True, slots=True)
class ViewCheck:
    """What one check found.

    Attributes:
        at_ms: UTC milliseconds.
        view: What was wrong in this very check.
        shift: How far the corners of the frame have gone, fractions of its width; None when nothing fits.
        sharpness: Against the first view, 1 the same; None when nothing fits.
    """

    at_ms: int
    view: View
    shift: float | None
    sharpness: float | None


@dataclass(frozen=True, slots=True)
class _Scenery:
    """Where the corners of the scenery lie (pixels of the first small view), how they look, how sharp it all was."""

    places: npt.NDArray[np.float32]
    looks: npt.NDArray[np.uint8]
    texture: float
    sharpness: float


class _Saved(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    size: tuple[Annotated[int, Meta(ge=1, le=4096)], Annotated[int, Meta(ge=1, le=4096)]]
    places: Annotated[bytes, Meta(max_length=FEATURES_MAX * 8)]
    looks: Annotated[bytes, Meta(max_length=FEATURES_MAX * 32)]
    texture: float
    sharpness: float
    moved: Annotated[int, Meta(ge=0, le=CHECKS_TO_BELIEVE)]


class ViewWatch:
    """Watches the view of one camera. Holds one small mean picture and the features of one more."""

    def __init__(self) -> None:
        self._orb = cv2.ORB.create(nfeatures=FEATURES_MAX, fastThreshold=7)
        self._matcher = cv2.BFMatcher(cv2.NORM_HAMMING)
        self._scenery: _Scenery | None = None
        self._size = (0, 0)
        self._traffic = np.zeros((0, 0), np.float32)
        self._sum = np.zeros((0, 0), np.float32)
        self._samples = 0
        self._sampled_ms: int | None = None
        self._checked_ms: int | None = None
        self._blind = False
        self._checks = 0
        self._running = {View.MOVED: 0, View.DEFOCUSED: 0, View.COVERED: 0, View.DARK: 0}

    @property
    def blind(self) -> bool:
        """Whether the last sample showed nothing: frames like it are not observed."""
        return self._blind

    @property
    def view(self) -> View:
        """What has been wrong for long enough to be believed."""
        believed = View.GOOD
        for flag, running in self._running.items():
            if running >= CHECKS_TO_BELIEVE:
                believed |= flag
        return believed

    def observe(self, frame: RawFrame, boxes: Boxes) -> ViewCheck | None:
        """Look at a frame; once a second is enough, and every twenty seconds a check comes of it.

        Args:
            frame: As analysed.
            boxes: float32, shape ``(n, 4)``, fractions: where road users are, so that they are not taken for scenery.
        """
        self._start_over_if_resized(frame)
        if self._sampled_ms is not None and 0 <= frame.at_ms - self._sampled_ms < SAMPLE_EVERY_MS:
            return None
        self._sampled_ms = frame.at_ms
        small = _small_of(frame, self._size)
        self._take(small, boxes)
        if self._checked_ms is None or frame.at_ms < self._checked_ms:
            self._checked_ms = frame.at_ms
        if frame.at_ms - self._checked_ms < CHECK_EVERY_MS:
            return None
        self._checked_ms = frame.at_ms
        return self._check(frame.at_ms)

    def accept(self) -> None:
        """Take the present view as the right one: somebody has drawn the lines anew."""
        self._scenery = None
        self._running = dict.fromkeys(self._running, 0)

    def checkpoint(self) -> bytes | None:
        """Return what a restart must know, or None while nothing has been learnt."""
        one = self._scenery
        if one is None:
            return None
        moved = min(self._running[View.MOVED], CHECKS_TO_BELIEVE)
        saved = _Saved(self._size, one.places.tobytes(), one.looks.tobytes(), one.texture, one.sharpness, moved)
        return msgspec.msgpack.encode(saved)

    def restore(self, data: bytes) -> None:
        """Take up the view of a checkpoint.

        Raises:
            ViewRejectedError: Damaged; the present view has to be learnt as if it were the right one.
        """
        message = "the checkpoint of the camera's view is damaged; a move while the eye was down cannot be noticed"
        try:
            saved = msgspec.msgpack.decode(data[: CHECKPOINT_BYTES_MAX + 1], type=_Saved)
        except (msgspec.DecodeError, RecursionError):
            raise ViewRejectedError(message) from None
        places = np.frombuffer(saved.places[: len(saved.places) // 8 * 8], np.float32).reshape(-1, 2)
        looks = np.frombuffer(saved.looks[: len(saved.looks) // 32 * 32], np.uint8).reshape(-1, 32)
        if len(places) != len(looks) or not len(places) or not np.isfinite(places).all():
            raise ViewRejectedError(message)
        self._resize(saved.size)
        self._scenery = _Scenery(places, looks, saved.texture, saved.sharpness)
        self._running[View.MOVED] = saved.moved

    def _start_over_if_resized(self, frame: RawFrame) -> None:
        size = (SMALL_WIDTH, max(BLOCK, round(SMALL_WIDTH * frame.height / frame.width)))
        if size != self._size:
            self._scenery = None
            self._resize(size)

    def _resize(self, size: tuple[int, int]) -> None:
        self._size = size
        self._traffic = np.zeros(size[::-1], np.float32)
        self._sum = np.zeros(size[::-1], np.float32)
        self._samples = 0

    def _take(self, small: Pixels, boxes: Boxes) -> None:
        texture = texture_of(small)
        usual = 0.0 if self._scenery is None else self._scenery.texture
        self._blind = texture < max(BLIND_SHARE, usual / 10)
        self._sum += small
        self._samples += 1
        width, height = self._size
        for x1, y1, x2, y2 in np.clip(boxes, 0.0, 1.0) * np.array([width, height, width, height], np.float32):
            self._traffic[int(y1) : int(y2) + 1, int(x1) : int(x2) + 1] = 1.0

    def _check(self, at_ms: int) -> ViewCheck:
        mean = self._sum / np.float32(max(1, self._samples))
        self._sum[:] = 0.0
        self._samples = 0
        check = self._judge(mean, at_ms)
        # nobody can tell whether a view that is dark, covered or out of focus has moved, or has come back
        untold = View.MOVED if check.shift is None and View.MOVED not in check.view else View.GOOD
        for flag in self._running:
            if flag in untold:
                continue
            self._running[flag] = min(CHECKS_TO_BELIEVE, self._running[flag] + 1) if flag in check.view else 0
        self._traffic *= TRAFFIC_FADE
        return check

    def _judge(self, mean: _Luma, at_ms: int) -> ViewCheck:
        if self._blind:
            dark = float(np.percentile(mean, 99)) < DARK_LUMA
            return ViewCheck(at_ms, View.DARK if dark else View.COVERED, None, None)
        now = self._scenery_of(mean)
        if self._scenery is None:
            if len(now.places) >= INLIERS_MIN:
                self._scenery = now
            return ViewCheck(at_ms, View.GOOD, 0.0, 1.0)
        sharpness = now.sharpness / max(self._scenery.sharpness, 1e-6)
        if sharpness < SOFT_RATIO:
            return ViewCheck(at_ms, View.DEFOCUSED, None, sharpness)
        fit = self._fit(self._scenery, now)
        if fit is None:
            return ViewCheck(at_ms, View.MOVED, None, sharpness)
        shift = shift_of(fit, self._size)
        if shift > SHIFT_MAX:
            return ViewCheck(at_ms, View.MOVED, shift, sharpness)
        self._checks += 1
        if self._checks % LEARN_EVERY == 0 and shift < SHIFT_MAX / 2:
            self._learn(now, fit)
        return ViewCheck(at_ms, View.GOOD, shift, sharpness)

    def _scenery_of(self, mean: _Luma) -> _Scenery:
        whole = np.clip(mean, 0, 255).astype(np.uint8)
        picture = cv2.equalizeHist(whole)
        scenery = self._traffic < TRAFFIC_FADE**8
        places, looks = self._orb.detectAndCompute(picture, scenery.astype(np.uint8))
        points = np.array([key.pt for key in places], np.float32).reshape(-1, 2)[:FEATURES_MAX]
        described = np.empty((0, 32), np.uint8) if looks is None else np.asarray(looks, np.uint8)[:FEATURES_MAX]
        return _Scenery(points, described, texture_of(whole), sharpness_of(mean, scenery))

    def _fit(self, first: _Scenery, now: _Scenery) -> npt.NDArray[np.float64] | None:
        """Return the 2 x 3 similarity that takes the first view's corners to the present one's, or None."""
        if len(first.places) < INLIERS_MIN or len(now.places) < INLIERS_MIN:
            return None
        across, down = (np.abs(first.places[:, None, axis] - now.places[:, axis]) for axis in (0, 1))
        near = np.maximum(across, down) < NEAR * self._size[0]
        anywhere = np.ones_like(near)
        fits = (self._fit_among(first, now, allowed) for allowed in (near, anywhere))
        return next((fit for fit in fits if fit is not None), None)

    def _fit_among(
        self, first: _Scenery, now: _Scenery, allowed: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.float64] | None:
        """Fit the corners that look most like each other, both ways, among the ``allowed`` pairs ``(first, now)``."""
        mask = allowed.astype(np.uint8)
        there = {one.queryIdx: one.trainIdx for one in self._matcher.match(first.looks, now.looks, mask)}
        back = {one.queryIdx: one.trainIdx for one in self._matcher.match(now.looks, first.looks, mask.T.copy())}
        pairs = np.array([(one, other) for one, other in there.items() if back.get(other) == one], np.intp)
        if len(pairs) < INLIERS_MIN:
            return None
        cv2.setRNGSeed(0)
        source, target = first.places[pairs[:, 0]], now.places[pairs[:, 1]]
        fit, inliers = cv2.estimateAffinePartial2D(source, target, ransacReprojThreshold=FIT_PIXELS)
        if fit is None or int(inliers.sum()) < INLIERS_MIN:
            return None
        return np.asarray(fit, np.float64)

    def _learn(self, now: _Scenery, fit: npt.NDArray[np.float64]) -> None:
        """Take the present features, at the places they have in the first view, so that small shifts never add up."""
        if self._scenery is not None and len(now.places) >= INLIERS_MIN:
            back = np.asarray(cv2.invertAffineTransform(fit), np.float32)
            places = now.places @ back[:, :2].T + back[:, 2]
            self._scenery = _Scenery(places.astype(np.float32), now.looks, now.texture, self._scenery.sharpness)


def shift_of(fit: npt.NDArray[np.float64], size: tuple[int, int]) -> float:
    """Return how far the corners of a frame of ``size`` go under the 2 x 3 ``fit``: RMS, fractions of the width."""
    width, height = size
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float64)
    gone = corners @ fit[:, :2].T + fit[:, 2] - corners
    return float(np.sqrt((gone**2).sum(axis=1).mean()) / width)


def texture_of(luma: Pixels) -> float:
    """Return the share of blocks that show more than noise, 0-1; ``luma`` is uint8, shape ``(h, w)``."""
    band = cv2.subtract(cv2.GaussianBlur(luma, (5, 5), 0), cv2.blur(luma, (GLOW, GLOW)), dtype=cv2.CV_16S)
    gradient = np.abs(cv2.Sobel(band, cv2.CV_16S, 1, 0)) + np.abs(cv2.Sobel(band, cv2.CV_16S, 0, 1))
    return float((_by_block(gradient) > NOISE_TIMES * noise_of(luma) + FLAT_GRADIENT).mean())


def noise_of(luma: Pixels) -> float:
    """Return the standard deviation of the noise in most of a picture, grey levels; ``luma`` is uint8, ``(h, w)``."""
    # 1 -2 1 both ways sees noise and next to nothing of edges, ramps and planes (Immerkær, 1996).
    grain = np.abs(cv2.Sobel(luma, cv2.CV_16S, 2, 2))
    return float(np.sqrt(np.pi / 2) / 6 * np.median(_by_block(grain)))


def sharpness_of(luma: _Luma, scenery: npt.NDArray[np.bool_]) -> float:
    """Return fine detail over coarse detail: falls when a lens goes out of focus, and not when the light does.

    Args:
        luma: float32, shape ``(h, w)``.
        scenery: bool, shape ``(h, w)``: where to look; everywhere when that is nowhere.
    """
    where = scenery if scenery.any() else np.ones_like(scenery)
    fine = np.abs(luma - cv2.GaussianBlur(luma, (0, 0), 1.0))
    coarse = np.abs(cv2.GaussianBlur(luma, (0, 0), 2.0) - cv2.GaussianBlur(luma, (0, 0), 6.0))
    return float(fine[where].mean() / max(1e-6, float(coarse[where].mean())))


def _by_block(values: npt.NDArray[np.int16]) -> npt.NDArray[np.float32]:
    """Return the mean over each whole block."""
    height, width = (side // BLOCK for side in values.shape)
    whole = values[: height * BLOCK, : width * BLOCK].astype(np.float32)
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.float32)


def _small_of(frame: RawFrame, size: tuple[int, int]) -> Pixels:
    return np.asarray(cv2.resize(frame.i420[: frame.height], size, interpolation=cv2.INTER_AREA), np.uint8)

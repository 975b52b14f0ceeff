"""Small streets for the tests beside this file."""

from veilleur_simulator.scenario import CameraPlace, Frame, Scenario

PLACE = CameraPlace(height_m=10.0, tilt_deg=38.0, hfov_deg=75.0)


def street(
    *, seconds: float = 20.0, seed: int = 1, noise: float = 1.5, rain: float = 0.0, fps: float = 12.5, **parts: object
) -> Scenario:
    """Build a street of 640 x 360 pixels; ``parts`` are the tables of a scenario."""
    frame = Frame("small", seconds, seed=seed, width=640, height=360, fps=fps, noise=noise, rain=rain)
    return Scenario(frame, PLACE, **parts)

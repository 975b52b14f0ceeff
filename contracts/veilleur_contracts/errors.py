"""Two families of trouble: wait and retry, or refuse and keep the last good one.

Anything that is neither is a bug: it ends the process, is logged once, and the parent restarts it.
"""


class TransientError(Exception):
    """The world is not ready; the same call may succeed later."""


class RejectedError(Exception):
    """What was given cannot be used as it is; the last good one stays in force."""

"""What each process may touch: Landlock, seccomp and limits, and the trials that prove them at every start.

measured = apply(eye_confinement(running_code(EYE_PACKAGES), …))     first, before any library is imported
report = report_of(measured, confinement)                            what it then tried, numbered
demand(report, allow_unconfined=False)                               raises unless everything held

The asyncio loop of a process must be made before: it wakes itself through a socket pair, which is refused afterwards.
"""

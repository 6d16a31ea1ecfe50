"""The states of a job and which may follow which."""

from enum import StrEnum


class State(StrEnum):
    """Where a job stands."""

    WAITING = "waiting"
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


# what waits to run, as quotas count it
TO_RUN = (State.WAITING, State.QUEUED, State.PAUSED)
TERMINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})

TRANSITIONS: dict[State, frozenset[State]] = {
    State.WAITING: frozenset({State.QUEUED, State.FAILED, State.CANCELLED, State.PAUSED}),
    State.QUEUED: frozenset({State.RUNNING, State.CANCELLED, State.PAUSED}),
    State.RUNNING: frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.PAUSED, State.QUEUED}),
    State.PAUSED: frozenset({State.QUEUED, State.WAITING, State.CANCELLED}),
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
}


def may_follow(old: State, new: State) -> bool:
    """True when a job in state `old` may go to state `new`."""
    return new in TRANSITIONS[old]

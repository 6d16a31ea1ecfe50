"""The transition table, as properties that hold for every state."""

import pytest

from services.core.lifecycle import TERMINAL, TRANSITIONS, State, may_follow

FIRST = {State.WAITING, State.QUEUED}


def reachable(start: set[State]) -> set[State]:
    found, front = set(start), list(start)
    while front:
        following = TRANSITIONS[front.pop()] - found
        found |= following
        front += following
    return found


def test_every_state_has_its_row_and_can_be_reached() -> None:
    assert set(TRANSITIONS) == set(State)
    assert reachable(FIRST) == set(State)


@pytest.mark.parametrize("state", State)
def test_a_job_that_has_ended_stays_so_and_every_other_can_end(state: State) -> None:
    if state in TERMINAL:
        assert not TRANSITIONS[state]
    else:
        assert reachable({state}) & TERMINAL
        assert may_follow(state, State.CANCELLED), "whatever has not ended can be cancelled"
    assert not may_follow(state, state)


def test_only_running_jobs_succeed_and_only_queued_ones_run() -> None:
    assert [state for state in State if may_follow(state, State.SUCCEEDED)] == [State.RUNNING]
    assert [state for state in State if may_follow(state, State.RUNNING)] == [State.QUEUED]

"""An upload that was cut off is never restored."""

from __future__ import annotations

from verification.agent.torn_uploads import TRIALS, run


def test_no_torn_upload_is_accepted_and_the_latest_complete_checkpoint_is_restored() -> None:
    found = run(TRIALS)
    assert (found.accepted_torn, found.missed) == (0, 0)
    # Both outcomes occur often enough to prove something.
    assert found.resumed > TRIALS / 4
    assert found.restarted > TRIALS / 20

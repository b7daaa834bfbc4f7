"""An upload that was cut off is never taken for a checkpoint."""

from __future__ import annotations

from verification.agent.torn_uploads import TRIALS, run


def test_of_uploads_cut_at_random_bytes_none_is_accepted_and_the_newest_whole_one_is_found() -> None:
    found = run(TRIALS)
    assert (found.accepted_torn, found.missed) == (0, 0)
    # Both happen, or nothing would be shown.
    assert found.resumed > TRIALS / 4
    assert found.began_anew > TRIALS / 20

"""How many compiled programs a process keeps."""

from __future__ import annotations

import gc

from mbrl_agents.common import compilation


def test_the_latest_are_kept_and_more_where_somebody_goes_round_more() -> None:
    made: list[int] = []

    @compilation.kept
    def double(number: int) -> int:
        made.append(number)
        return 2 * number

    few, many = range(compilation.LEAST_KEPT), range(compilation.LEAST_KEPT + 5)
    assert [double(i) for i in [*few, *few]] == [2 * i for i in [*few, *few]]
    assert made == [*few]
    room = compilation.Room(len(many))
    made.clear()
    for _ in range(3):
        assert [double(i) for i in many] == [2 * i for i in many]
    assert made == [*many][len(few) :]
    del room
    gc.collect()
    made.clear()
    assert double(-1) == -2  # the others have to go
    for i in many:
        double(i)
    assert made == [-1, *many]

from benchmarks.wrong_calls import bombard
from tests.threats.conftest import Running


def test_two_hundred_wrong_calls_break_and_show_nothing(running: Running) -> None:
    before = running.jobs()

    outcome = bombard(f"http://127.0.0.1:{running.port}", 200, len(running.blocks.fns), seed=1)

    assert sum(outcome.statuses.values()) == 200
    assert outcome.tracebacks == []
    assert len(outcome.clicks) >= 1
    assert running.jobs() == before
    assert running.ask("GET", "/healthz")[0] == 200

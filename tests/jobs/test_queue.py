import pytest

from blockmerge.jobs.queue import to_power_of_two
from blockmerge.jobs.states import Ticket
from tests.jobs.bench import Bench, use_up


def test_tickets_are_handed_out_once_each_in_the_order_of_their_jobs(bench: Bench) -> None:
    found = use_up(bench.settings, Ticket(3, 1), Ticket(2, 1), Ticket(2, 1), Ticket(1, 7))

    # The first may be taken before those behind it in the list are put.
    assert sorted(found["order"]) == ["1.7", "2.1", "3.1"]
    assert [ticket for ticket in found["order"] if ticket != "3.1"] == ["1.7", "2.1"]


def test_a_ticket_is_active_until_it_was_carried_out_and_unknown_before_it_was_put(bench: Bench) -> None:
    found = use_up(bench.settings, Ticket(1, 1))

    assert found["before"] == {"1.1": True}
    assert found["after"] == {"1.1": False}


def test_a_used_ticket_is_not_handed_out_again_after_a_restart(bench: Bench) -> None:
    use_up(bench.settings, Ticket(1, 1))

    assert use_up(bench.settings, Ticket(1, 1), Ticket(1, 2))["order"] == ["1.2"]


@pytest.mark.parametrize(("count", "asked"), [(0, 0), (1, 1), (2, 2), (3, 4), (4, 4), (5, 8), (500, 512)])
def test_a_line_of_any_length_is_asked_about_in_a_few_lengths_of_statements(count: int, asked: int) -> None:
    names = [str(number) for number in range(count)]

    found = to_power_of_two(names)

    assert (len(found), found[:count], set(found)) == (asked, names, set(names))

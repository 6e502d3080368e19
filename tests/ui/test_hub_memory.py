"""Slow questions are asked once in a while, whoever wants to know."""

import threading

import pytest

from blockmerge.errors import HubError, HubRefusalError
from blockmerge.ui.hub_memory import KEPT_FOR, REFUSED_FOR, Memory


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Oracle:
    """Answers how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.refusal: Exception | None = None

    def __call__(self) -> int:
        self.asked += 1
        if self.refusal is not None:
            raise self.refusal
        return self.asked


def test_an_answer_is_kept_for_a_while_and_for_its_question_alone() -> None:
    clock, oracle = Clock(), Oracle()
    memory = Memory[int](clock)

    assert [memory.ask("a", oracle), memory.ask("a", oracle), memory.ask("b", oracle)] == [1, 1, 2]
    clock.now += KEPT_FOR
    assert memory.ask("a", oracle) == 3


def test_a_refusal_is_kept_for_seconds_and_raised_anew_each_time() -> None:
    clock, oracle = Clock(), Oracle()
    memory = Memory[int](clock)
    oracle.refusal = HubRefusalError("One.", "Two.")

    raised = []
    for _ in range(2):
        with pytest.raises(HubRefusalError) as caught:
            memory.ask("a", oracle)
        raised.append(caught.value)
    assert oracle.asked == 1
    assert raised[0] is not raised[1]
    assert raised[1].problems == ("One.", "Two.")
    oracle.refusal = None
    clock.now += REFUSED_FOR
    assert memory.ask("a", oracle) == 2


def test_what_is_a_bug_is_not_kept() -> None:
    oracle, memory = Oracle(), Memory[int]()
    oracle.refusal = ZeroDivisionError()

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            memory.ask("a", oracle)

    assert oracle.asked == 2


def test_two_who_ask_at_once_ask_once_and_nobody_else_waits() -> None:
    memory, oracle = Memory[int](), Oracle()
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> int:
        begun.set()
        assert go_on.wait(10)
        return oracle()

    answers: list[int] = []
    threads = [threading.Thread(target=lambda: answers.append(memory.ask("slow", slow))) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert begun.wait(10)
    other = memory.ask("other", lambda: -1)
    go_on.set()
    for thread in threads:
        thread.join()

    assert (other, answers, oracle.asked) == (-1, [1, 1], 1)


def test_of_too_many_questions_the_oldest_is_forgotten() -> None:
    memory, oracle = Memory[int](), Oracle()
    for number in range(300):
        memory.ask(number, oracle)

    memory.ask(299, oracle)
    memory.ask(0, oracle)

    assert oracle.asked == 301


def test_an_unreachable_hub_is_a_refusal_too() -> None:
    memory, oracle = Memory[int](), Oracle()
    oracle.refusal = HubError("The Hub cannot be reached.")

    for _ in range(2):
        with pytest.raises(HubError):
            memory.ask("a", oracle)

    assert oracle.asked == 1

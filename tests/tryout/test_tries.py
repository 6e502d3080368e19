"""Questions to all columns of a job, from the page's side; the processes are real, the models are not."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from blockmerge.checkpoints.folder import open_checkpoint
from blockmerge.core.tensors import Checkpoint
from blockmerge.errors import BlockmergeError, JobRequestError, TryError
from blockmerge.jobs.states import LOCAL, JobState, NewJob
from blockmerge.tryout.conversation import Answer, AnswerState, Request, Round
from blockmerge.tryout.pool import Pool
from blockmerge.tryout.tries import Person, Tries
from blockmerge.tryout.votes import EQUAL
from tests.engine.merges import recipe_text
from tests.tiny_models import write_llama
from tests.tryout.test_model_process import PARROT
from tests.ui.conftest import Bench, bench, wait_until

__all__ = ["bench"]  # the fixture of tests/ui, for the tests of this file

ME = Person(LOCAL, "me")


def open_reference(reference: str) -> Checkpoint:
    return open_checkpoint(Path(reference))


@pytest.fixture
def tries(bench: Bench) -> Iterator[Tries]:
    made = Tries(bench.settings, bench.store, open_reference)
    made.pool = Pool(replace(made.pool._around, module=PARROT))
    yield made
    made.close()


@pytest.fixture
def job(bench: Bench, tmp_path: Path) -> int:
    """A finished merge of two models."""
    a, b = write_llama(tmp_path / "left", layers=1), write_llama(tmp_path / "right", layers=1, seed=1)
    write_llama(bench.settings.output / "mine", layers=1, seed=2)
    number = bench.store.add(NewJob("mine", recipe_text(a, b, 0.5), bench.settings.output / "mine", ("left", "right")))
    bench.advance(number, JobState.DONE)
    return number


def ended(round_: Round) -> tuple[Answer, ...]:
    wait_until(lambda: not round_.is_open, 300)  # three processes compute for 2 s each, on a busy machine
    return round_.answers


def asked(job: int, prompt: str = "hello", **fields: object) -> Request:
    return replace(Request(job, prompt), **fields)  # type: ignore[arg-type]


def test_all_columns_answer_the_result_in_the_middle(tries: Tries, job: int) -> None:
    answers = ended(tries.ask(ME, asked(job)))

    assert [(answer.column.key, answer.column.mark, answer.column.name) for answer in answers] == [
        ("a", "A", "left"),
        ("merged", "", "mine"),
        ("b", "B", "right"),
    ]
    assert [(answer.state, answer.text) for answer in answers] == [(AnswerState.DONE, "hello")] * 3


def test_a_template_that_hangs_is_left_out_and_the_answer_comes(tries: Tries, job: int) -> None:
    answers = ended(tries.ask(ME, asked(job, "hang template")))

    for answer in answers:
        assert answer.notes == ("The chat template took too long; plain prompt used.",)
        assert (answer.state, answer.text) == (AnswerState.DONE, "hang template")


def test_a_model_that_dies_is_a_sentence_and_the_next_question_has_an_answer(tries: Tries, job: int) -> None:
    [note] = ended(tries.ask(ME, asked(job, "die")))[0].notes
    assert note.startswith("The model process ended unexpectedly (exit code 3).")

    assert ended(tries.ask(ME, asked(job)))[0].state is AnswerState.DONE


def test_stop_stops_at_once_and_what_was_written_stays(tries: Tries, job: int) -> None:
    round_ = tries.ask(ME, asked(job, "long"))
    wait_until(lambda: all("la la" in answer.text for answer in round_.answers), 60)

    start = time.monotonic()
    tries.stop(ME)

    assert time.monotonic() - start < 0.5
    assert not round_.is_open
    assert all(answer.state is AnswerState.STOPPED and answer.text.startswith("la la") for answer in round_.answers)
    assert ended(tries.ask(ME, asked(job)))[0].text == "hello"


def test_a_second_question_waits_for_the_first(tries: Tries, job: int) -> None:
    tries.ask(ME, asked(job, "long"))

    with pytest.raises(TryError, match=r"^An answer is still being written\. Stop it first\.$"):
        tries.ask(ME, asked(job))

    tries.stop(ME)


def test_too_many_people_at_once_are_told_to_wait(tries: Tries, job: int) -> None:
    people = [Person(LOCAL, str(number)) for number in range(9)]
    for person in people[:8]:
        tries.ask(person, asked(job, "long"))

    with pytest.raises(TryError, match=r"^Too many people are trying models at the moment\. Wait until one"):
        tries.ask(people[8], asked(job))


def test_a_chat_remembers_what_this_column_said(tries: Tries, job: int) -> None:
    first = tries.ask(ME, asked(job, "one"))
    ended(first)
    second = tries.ask(ME, asked(job, "two"))
    ended(second)

    conversation = tries.conversation(ME)
    assert conversation.history(second, "merged") == (("one", "one"),)
    assert conversation.history(first, "merged") == ()
    tries.clear(ME)
    assert conversation.rounds == []


def test_each_browser_has_its_own_conversation(tries: Tries, job: int) -> None:
    ended(tries.ask(ME, asked(job)))

    assert len(tries.conversation(ME).rounds) == 1
    assert tries.conversation(Person(LOCAL, "other")).rounds == []


def test_a_blind_vote_is_counted_for_the_recipe(tries: Tries, bench: Bench, job: int) -> None:
    round_ = tries.ask(ME, asked(job, blind=True))
    ended(round_)
    assert round_.is_hidden
    place = [answer.column.key for answer in round_.answers].index("merged")

    tries.vote(ME, round_.number, place)

    assert not round_.is_hidden
    assert tries.votes.of(bench.store.get(job).recipe) == {"merged": 1}
    assert tries.votes.of("another recipe") == {}
    with pytest.raises(TryError, match=r"^There is nothing to vote on here\.$"):
        tries.vote(ME, round_.number, place)


def test_who_sees_no_difference_votes_too(tries: Tries, bench: Bench, job: int) -> None:
    for _ in range(2):
        round_ = tries.ask(ME, asked(job, blind=True))
        ended(round_)
        tries.vote(ME, round_.number, None)

    again = Tries(bench.settings, bench.store, open_reference)  # as after a restart
    assert again.votes.of(bench.store.get(job).recipe) == {EQUAL: 2}


def test_a_vote_before_the_answers_is_refused(tries: Tries, job: int) -> None:
    round_ = tries.ask(ME, asked(job, "long", blind=True))

    with pytest.raises(TryError, match=r"^There is nothing to vote on here\.$"):
        tries.vote(ME, round_.number, 0)


def test_blind_columns_stand_in_any_order(tries: Tries, job: int) -> None:
    orders = set()
    for _ in range(12):  # all six orders by chance alike: 12 times the same one is 1 in 6 ** 11
        round_ = tries.ask(ME, asked(job, blind=True))
        ended(round_)
        orders.add(tuple(answer.column.key for answer in round_.answers))

    assert len(orders) > 1


def test_one_answer_is_streamed(tries: Tries, job: int) -> None:
    assert list(tries.stream(LOCAL, asked(job), "merged"))[-1] == "hello"
    with pytest.raises(TryError, match=r"^Job 1 has no model 'c'\. Choose one of a, merged, b\.$"):
        list(tries.stream(LOCAL, asked(job), "c"))


def test_a_stream_that_is_dropped_lets_the_model_go_on_to_others(tries: Tries, job: int) -> None:
    stream = tries.stream(LOCAL, asked(job, "long"), "merged")
    next(stream)
    stream.close()  # type: ignore[attr-defined]

    assert list(tries.stream(LOCAL, asked(job), "merged"))[-1] == "hello"


def test_fifty_questions_leave_no_process_and_little_memory(tries: Tries, job: int) -> None:
    me = psutil.Process()
    others = set(me.children())  # the server of another test's queue
    for _ in range(5):
        ended(tries.ask(ME, asked(job)))
    before = me.memory_info().rss
    for _ in range(45):
        ended(tries.ask(ME, asked(job)))

    assert len(set(me.children()) - others) == 3
    # The last 30 rounds are kept, of a few kilobytes each.
    assert me.memory_info().rss - before < 20 * 2**20

    assert tries.pool.free() == 3

    assert set(me.children()) <= others


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"prompt": " "}, "Write a prompt first."),
        ({"prompt": "x" * 10**6}, "The prompt has 1,000,000 characters. Use 20,000 at most."),
        ({"seed": -1}, "The seed is a whole number from 0 to 4,294,967,295."),
        ({"seed": 1.5}, "The seed is a whole number from 0 to 4,294,967,295."),
        (
            {"temperature": None},
            "The temperature is a number from 0 to 2. At 0 the likeliest token is taken each time.",
        ),
        (
            {"temperature": float("nan")},
            "The temperature is a number from 0 to 2. At 0 the likeliest token is taken each time.",
        ),
        ({"length": 0}, "The longest answer is a whole number of tokens from 1 to 2,048."),
        ({"length": True}, "The longest answer is a whole number of tokens from 1 to 2,048."),
    ],
)
def test_what_cannot_be_asked_is_a_sentence(tries: Tries, job: int, fields: dict[str, object], sentence: str) -> None:
    with pytest.raises(TryError) as told:
        tries.ask(ME, asked(job, **fields))

    assert str(told.value) == sentence
    assert tries.conversation(ME).rounds == []


def test_another_persons_job_is_no_job(tries: Tries, job: int) -> None:
    assert [held.id for held in tries.offered(LOCAL)] == [job]
    assert tries.offered("browser:other") == []
    with pytest.raises(JobRequestError, match=r"^No such job\.$"):
        tries.ask(Person("browser:other", "me"), asked(job))


def test_a_job_that_is_not_done_cannot_be_tried(tries: Tries, bench: Bench) -> None:
    waiting = bench.add("later")

    with pytest.raises(JobRequestError, match=rf"^Job {waiting} is Waiting\. A merge can be tried when it is Done\.$"):
        tries.ask(ME, asked(waiting))


def test_a_result_that_is_gone_is_a_sentence(tries: Tries, bench: Bench, job: int) -> None:
    (bench.settings.output / "mine").rename(bench.settings.output / "moved")

    with pytest.raises(BlockmergeError, match=r"^The result of job 1 is no longer at .*mine\. Merge it again to try"):
        tries.ask(ME, asked(job))


def test_a_parent_that_is_gone_leaves_the_others(tries: Tries, tmp_path: Path, job: int) -> None:
    (tmp_path / "left").rename(tmp_path / "moved")

    answers = ended(tries.ask(ME, asked(job)))

    assert answers[0].state is AnswerState.FAILED
    assert answers[0].notes == (f"There is no folder {tmp_path / 'left'}. Check the path.",)
    assert [answer.text for answer in answers[1:]] == ["hello", "hello"]


def test_a_conversation_keeps_the_last_rounds_only(tries: Tries, job: int) -> None:
    conversation = tries.conversation(ME)
    for _ in range(40):
        ended(tries.ask(ME, asked(job)))

    assert len(conversation.rounds) == 30
    assert conversation.rounds[-1].number == 40

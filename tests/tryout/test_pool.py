"""Which models are held, and when they are let go."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from blockmerge.checkpoints.folder import open_checkpoint
from blockmerge.core.tensors import Checkpoint
from blockmerge.errors import TryError
from blockmerge.jobs.states import LOCAL
from blockmerge.tryout.memory import PROCESS
from blockmerge.tryout.messages import Ended
from blockmerge.tryout.model_process import StoppedError
from blockmerge.tryout.pool import Pool, Surroundings
from tests.tiny_models import write_llama
from tests.tryout.test_model_process import PARROT, never, said
from tests.ui.conftest import wait_until

MakePool = Callable[..., Pool]


@pytest.fixture
def make_pool(tmp_path: Path) -> Iterator[MakePool]:
    made: list[Pool] = []

    def make(**around: object) -> Pool:
        usual = Surroundings(tmp_path / "try.log", never, lambda: 10**12, module=PARROT)
        made.append(Pool(replace(usual, **around)))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for pool in made:
        pool.close()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Checkpoint]:
    folder = tmp_path_factory.mktemp("models")
    return [open_checkpoint(write_llama(folder / name, layers=1)) for name in "abc"]


def say(pool: Pool, model: Checkpoint, text: str = "hello") -> list[str]:
    """What was told while the model was fetched."""
    told: list[str] = []
    with pool.lend(model, LOCAL, never, told.append) as process:
        assert list(process.ask(said(text), never))[-1] == Ended("end")
    return told


def names(pool: Pool) -> list[str]:
    return sorted(held.name for held in pool.holdings(LOCAL))


def processes() -> int:
    return sum("parrot" in " ".join(child.cmdline()) for child in psutil.Process().children())


def test_a_model_is_loaded_once_and_held(make_pool: MakePool, models: list[Checkpoint]) -> None:
    pool = make_pool()

    assert say(pool, models[0]) == ["Starting a process for this model.", "Loading the model."]
    assert say(pool, models[0]) == []
    assert [(held.name, held.dtype) for held in pool.holdings(LOCAL)] == [("a", "float32")]


def test_fifty_tries_leave_no_process(make_pool: MakePool, models: list[Checkpoint]) -> None:
    pool = make_pool()
    for number in range(50):
        say(pool, models[number % 3])
    assert processes() == 3

    assert pool.free(", as you asked") == 3

    assert processes() == 0
    assert pool.holdings(LOCAL) == []
    assert pool.news(LOCAL) == "a, b, c were let go, as you asked."


def test_a_model_that_is_still_loaded_when_the_pool_closes_is_ended_too(
    make_pool: MakePool, models: list[Checkpoint]
) -> None:
    pool, begun = make_pool(), threading.Event()

    def ask() -> None:
        with suppress(StoppedError, TryError), pool.lend(models[0], LOCAL, never, lambda _: begun.set()):
            pass

    asking = threading.Thread(target=ask)
    asking.start()
    begun.wait(20)  # told just before the process starts
    pool.close()
    asking.join(20)

    assert processes() == 0


def test_two_who_ask_the_same_model_wait_for_each_other(make_pool: MakePool, models: list[Checkpoint]) -> None:
    pool = make_pool()
    threads = [threading.Thread(target=say, args=(pool, models[0])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert names(pool) == ["a"]
    assert processes() == 1


def test_where_memory_is_short_the_longest_unused_goes(make_pool: MakePool, models: list[Checkpoint]) -> None:
    pool = make_pool(free=lambda: int(2.5 * PROCESS))  # a parrot takes little of what is kept for it
    for model in models[:2]:
        say(pool, model)
    say(pool, models[0])
    assert names(pool) == ["a", "b"]

    say(pool, models[2])

    assert names(pool) == ["a", "c"]


def test_a_model_waits_for_the_memory_of_one_that_answers(make_pool: MakePool, models: list[Checkpoint]) -> None:
    pool = make_pool(free=lambda: int(1.5 * PROCESS))
    told: list[str] = []

    def second() -> None:
        with pool.lend(models[1], LOCAL, never, told.append):
            pass

    with pool.lend(models[0], LOCAL, never, lambda _: None):
        thread = threading.Thread(target=second)
        thread.start()
        wait_until(lambda: "Memory is short, so one model answers after the other." in told, 60)
        assert names(pool) == ["a"]
    thread.join(20)

    assert names(pool) == ["b"]
    assert pool.news(LOCAL) == "a was let go: another model needed the memory."


def test_a_model_that_does_not_fit_is_refused_and_leaves_nothing(make_pool: MakePool, models: list[Checkpoint]) -> None:
    pool = make_pool(free=lambda: 10**6)

    with (
        pytest.raises(TryError, match=r"^Trying a needs about \d+ MB of memory, and .* is free\. Close other programs"),
        pool.lend(models[0], LOCAL, never, lambda _: None),
    ):
        pass

    assert processes() == 0


def test_an_idle_model_is_let_go(make_pool: MakePool, models: list[Checkpoint]) -> None:
    pool = make_pool(idle=0.5)
    say(pool, models[0])

    wait_until(lambda: pool.news(LOCAL) == "a was let go after 0 idle minutes.", 60)

    assert pool.holdings(LOCAL) == []
    assert processes() == 0


def test_a_merge_gets_the_memory_but_not_of_one_that_answers(make_pool: MakePool, models: list[Checkpoint]) -> None:
    pool = make_pool(merge_waits=lambda: True)
    with pool.lend(models[0], LOCAL, never, lambda _: None):
        time.sleep(1.5)
        assert names(pool) == ["a"]

    wait_until(lambda: pool.news(LOCAL) == "a was let go: a merge needs the memory.", 60)

    assert pool.holdings(LOCAL) == []


def test_who_no_longer_waits_is_let_off(make_pool: MakePool, models: list[Checkpoint]) -> None:
    pool = make_pool()
    with (
        pool.lend(models[0], LOCAL, never, lambda _: None),
        pytest.raises(StoppedError),
        pool.lend(models[0], LOCAL, lambda: True, lambda _: None),
    ):
        pass


def test_another_file_of_the_same_name_is_another_model(make_pool: MakePool, tmp_path: Path) -> None:
    pool = make_pool()
    say(pool, open_checkpoint(write_llama(tmp_path / "m", layers=1)))
    say(pool, open_checkpoint(write_llama(tmp_path / "m", layers=1, seed=1)))

    assert names(pool) == ["m", "m"]


def test_other_people_see_that_memory_is_taken_but_not_by_what(make_pool: MakePool, models: list[Checkpoint]) -> None:
    pool = make_pool()
    say(pool, models[0])

    [held] = pool.holdings("browser:other")
    assert (held.name, held.dtype) == ("", "float32")
    pool.free(", as you asked")
    assert pool.news("browser:other") == ""

"""Which workers stand beside which page, and jobs that wait for one of them."""

import stat
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from blockmerge.engine.devices import CUDA, Found
from blockmerge.errors import SettingsError
from blockmerge.jobs import watch
from blockmerge.jobs.homes import ID_FILE, home_of, homes_for, random_bytes_at
from blockmerge.jobs.own_jobs import OwnJobs
from blockmerge.jobs.states import JobState, NewJob, Ticket
from blockmerge.jobs.store import Store
from blockmerge.jobs.watch import Missed, keep_in_line
from blockmerge.settings import Settings, read_settings


@dataclass
class Line:
    """A queue that remembers what was put, and hands nothing out."""

    put_for: dict[Ticket, str | None] = field(default_factory=dict)

    def put(self, ticket: Ticket, turn: int, home: str | None = None) -> None:
        self.put_for.setdefault(ticket, home)

    def is_active(self, tickets: list[Ticket], workers: set[str], homes: set[str]) -> dict[Ticket, bool]:
        return {ticket: self.put_for[ticket] in {None, *homes} for ticket in tickets if ticket in self.put_for}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    environ = {"BLOCKMERGE_HOME": str(tmp_path / "home"), "BLOCKMERGE_OUTPUT": str(tmp_path / "output")}
    return read_settings({**environ, "BLOCKMERGE_QUEUE": "postgresql://box/queue"})


def bound_job(store: Store, settings: Settings) -> int:
    """One that another worker has given back, as it needs a token."""
    number = OwnJobs(store, settings, "browser:ann").add(NewJob("mine", "", settings.output / "mine", ("a", "b")))
    store.move(Ticket(number, 1), {JobState.WAITING}, JobState.CHECKING)
    store.move(Ticket(number, 1), {JobState.CHECKING}, JobState.WAITING, stays_home=True)
    return number


def look(store: Store, line: Line, missed: Missed) -> None:
    keep_in_line(store, line, {"one"}, (), missed)  # type: ignore[arg-type]


def test_a_home_has_a_name_of_its_own_that_stays(settings: Settings, tmp_path: Path) -> None:
    name = home_of(settings)

    assert name is not None
    assert home_of(settings) == name
    assert home_of(replace(settings, home=tmp_path / "other")) not in (name, None)
    assert stat.S_IMODE((settings.home / ID_FILE).stat().st_mode) == 0o600


def test_the_one_worker_of_a_queue_in_a_file_takes_every_job(settings: Settings, tmp_path: Path) -> None:
    assert home_of(replace(settings, queue=f"sqlite:///{tmp_path}/queue.db")) is None
    assert not settings.home.exists()


def test_a_file_of_the_wrong_length_is_refused(tmp_path: Path) -> None:
    (tmp_path / "some.id").write_bytes(b"short")

    with pytest.raises(SettingsError) as caught:
        random_bytes_at(tmp_path / "some.id", 8)
    assert str(caught.value) == (
        f"{tmp_path / 'some.id'} holds 5 bytes, 8 were expected. Delete it: a new one is made."
    )


def test_a_job_that_needs_its_page_is_put_only_for_the_workers_there(store: Store, settings: Settings) -> None:
    number, line, missed = bound_job(store, settings), Line(), Missed()
    store.beat("one", "elsewhere")

    look(store, line, missed)
    assert line.put_for == {}
    store.beat("two", home_of(settings))
    look(store, line, missed)

    assert line.put_for == {Ticket(number, 2): home_of(settings)}
    assert store.get(number).crashes == 0


def test_where_no_worker_has_stood_beside_the_page_for_a_minute_the_job_says_so(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, line, missed = bound_job(store, settings), Line(), Missed()
    store.beat("one", "elsewhere")
    look(store, line, missed)
    assert store.get(number).state is JobState.WAITING

    monkeypatch.setattr(watch, "LEFT_AFTER", 0.0)
    look(store, line, missed)

    stopped = store.get(number)
    assert stopped.state is JobState.NEEDS_SIGN_IN
    assert stopped.error == (
        "This job needs the token of whoever asked for it, and on the machine of that page no worker has run for a "
        "minute. Start the page there, sign in (on the Settings tab), then continue this job."
    )
    elsewhere = replace(settings, home=settings.home.with_name("other"))
    OwnJobs(store, elsewhere, "browser:ann").retry(number)
    assert homes_for(store.get(number), ()) == (home_of(elsewhere),)  # where they are signed in now


def gpu_job(store: Store, settings: Settings) -> int:
    return store.add(NewJob("quick", "", settings.output / "quick", ("a", "b"), device=CUDA, home=home_of(settings)))


def test_a_job_for_a_gpu_is_put_only_for_the_workers_that_have_one(store: Store, settings: Settings) -> None:
    number, other, line = gpu_job(store, settings), store.add(NewJob("slow", "", settings.output / "slow", ())), Line()
    store.beat("one", "without", found=Found(why="torch is built without CUDA"))
    store.beat("two", "with")
    look(store, line, Missed())
    assert line.put_for == {Ticket(other, 1): None}  # whoever has not looked yet may have one

    store.beat("two", "with", found=Found(gpu="NVIDIA H200"))
    look(store, line, Missed())

    assert line.put_for == {Ticket(number, 1): "with", Ticket(other, 1): None}


def test_where_all_workers_have_a_gpu_any_may_take_its_jobs(store: Store, settings: Settings) -> None:
    number, line = gpu_job(store, settings), Line()
    for name, home in (("one", "here"), ("two", "there")):
        store.beat(name, home, found=Found(gpu="NVIDIA H200"))

    look(store, line, Missed())

    assert line.put_for == {Ticket(number, 1): None}


def test_a_job_for_a_gpu_goes_on_elsewhere_when_those_with_one_are_gone(store: Store, settings: Settings) -> None:
    number, line, missed = gpu_job(store, settings), Line(), Missed()
    store.beat("one", "without")
    for name, home in (("two", "left"), ("three", "right")):
        store.beat(name, home, found=Found(gpu="NVIDIA H200"))
    look(store, line, missed)
    first = line.put_for[Ticket(number, 1)]
    store.remove_worker({"left": "two", "right": "three"}[str(first)])

    look(store, line, missed)  # nobody is where its ticket waits, so it gets another one
    look(store, line, missed)

    assert line.put_for[Ticket(number, 2)] == ({"left", "right"} - {first}).pop()


def test_a_job_whose_ticket_was_used_up_tries_another_home_with_a_gpu(store: Store, settings: Settings) -> None:
    number, line = gpu_job(store, settings), Line()
    store.beat("one", "without")
    for name, home in (("two", "left"), ("three", "right")):
        store.beat(name, home, found=Found(gpu="NVIDIA H200"))

    look(store, line, Missed())
    store.renew(Ticket(number, 1))
    look(store, line, Missed())

    assert sorted(map(str, line.put_for.values())) == ["left", "right"]


def test_a_job_for_a_gpu_that_nobody_has_is_handed_to_anybody_after_a_minute(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, line, missed = gpu_job(store, settings), Line(), Missed()
    store.beat("one", "without", found=Found(why="torch is built without CUDA"))
    look(store, line, missed)
    assert line.put_for == {}

    monkeypatch.setattr(watch, "LEFT_AFTER", 0.0)
    look(store, line, missed)

    assert line.put_for == {Ticket(number, 1): None}
    assert store.get(number).state is JobState.WAITING

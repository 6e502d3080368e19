"""What a person may do with jobs, on both kinds of queue; nobody carries them out here."""

import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from blockmerge.checkpoints.manifest import Manifest, TensorEntry, write_manifest
from blockmerge.core.progress import Progress, Stage
from blockmerge.core.tensors import DType
from blockmerge.engine.devices import Found
from blockmerge.errors import JobRequestError
from blockmerge.jobs.own_jobs import OwnJobs
from blockmerge.jobs.states import LIVE, REPEATABLE, RUNNING, JobState, NewJob, part_folder
from blockmerge.jobs.store import Store
from blockmerge.settings import Settings, read_settings
from tests.jobs.rows import bring, new_job


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return read_settings({"BLOCKMERGE_HOME": str(tmp_path / "home"), "BLOCKMERGE_OUTPUT": str(tmp_path / "output")})


@pytest.fixture
def ann(store: Store, settings: Settings) -> OwnJobs:
    return OwnJobs(store, settings, "ann")


@pytest.fixture
def bob(store: Store, settings: Settings) -> OwnJobs:
    return OwnJobs(store, settings, "bob")


def _line(store: Store) -> list[str]:
    return [job.name for job in store.live() if job.state is JobState.WAITING]


def _finish(person: OwnJobs, folder: Path) -> int:
    """A Done job with a result of its own."""
    out = folder / "mine"
    out.mkdir(parents=True)
    (out / "config.json").write_text("{}")
    manifest = Manifest("0", "blockmerge: 1\n", "0", "x86_64", {"w": TensorEntry(DType.FLOAT32, (1,), "00")})
    write_manifest(out, manifest)
    job = person.store.add(replace(new_job("mine", person.owner, nbytes=10), out=out))
    ticket = bring(person.store, job, JobState.UPLOADING)
    assert person.store.move(ticket, {JobState.UPLOADING}, JobState.DONE, digest=manifest.result_digest)
    return job


def on_gpu(name: str) -> NewJob:
    return replace(new_job(name), device="cuda")


def test_a_gpu_is_refused_where_no_worker_has_one(ann: OwnJobs, store: Store) -> None:
    store.beat("one")
    with pytest.raises(JobRequestError) as unknown:
        ann.add(on_gpu("early"))

    store.beat("one", found=Found(why="torch 2.13.0+cpu is built without CUDA"))
    with pytest.raises(JobRequestError) as none:
        ann.add(on_gpu("late"))

    assert str(unknown.value) == (
        "device cuda: no worker has said yet whether it has a GPU. Try again in a moment, or use cpu."
    )
    assert str(none.value) == (
        "device cuda: no worker has a GPU (torch 2.13.0+cpu is built without CUDA). "
        "Merge on the processors (device cpu), or start a worker where there is a GPU."
    )
    with pytest.raises(JobRequestError, match=r"^device tpu: there is no such device\. Use cpu or cuda\.$"):
        ann.device_for("linear", "tpu")
    assert store.live() == ()


def test_a_job_stays_on_its_device(ann: OwnJobs, store: Store) -> None:
    store.beat("one", found=Found(gpu="NVIDIA H200"))
    job = ann.add(on_gpu("job"))

    copy = ann.clone(job)
    ann.edit(job, on_gpu("renamed"))
    store.ask_cancel(job)
    ann.retry(job)

    assert [store.get(number).device for number in (job, copy)] == ["cuda", "cuda"]
    store.ask_cancel(job)
    store.beat("one", found=Found(why="its driver is gone"))
    for again in (ann.retry, ann.clone):
        with pytest.raises(JobRequestError, match=r"^device cuda: no worker has a GPU \(its driver is gone\)\."):
            again(job)


def test_a_method_that_gains_nothing_by_a_gpu_is_a_job_for_the_processors(ann: OwnJobs, store: Store) -> None:
    store.beat("one", found=Found(gpu="NVIDIA H200"))

    assert [ann.device_for(method, "cuda") for method in ("linear", "ties")] == ["cpu", "cuda"]
    assert ann.device_for("ties", "cpu") == "cpu"
    assert store.get(ann.add(new_job("usual"))).device == "cpu"


def test_people_take_turns(ann: OwnJobs, bob: OwnJobs, store: Store) -> None:
    ann.add_many([new_job(f"a{number}") for number in range(3)])
    bob.add_many([new_job(f"b{number}") for number in range(2)])

    assert _line(store) == ["a0", "b0", "a1", "b1", "a2"]


def test_who_adds_a_job_each_time_the_last_one_begins_does_not_overtake_who_waits(
    ann: OwnJobs, bob: OwnJobs, store: Store
) -> None:
    ann.add_many([new_job("a0"), new_job("a1")])
    bring(store, bob.add(new_job("b0")), JobState.DONE)

    bob.add(new_job("b1"))

    assert _line(store) == ["a0", "a1", "b1"]


@settings_of_hypothesis(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), max_size=25))
def test_nobody_waits_for_two_jobs_of_another_between_two_of_their_own(moves: Sequence[tuple[str, bool]]) -> None:
    with tempfile.TemporaryDirectory() as folder, Store(f"sqlite:///{folder}/queue.db") as store:
        started: list[str] = []
        for number, (owner, begins) in enumerate(moves):
            store.add(new_job(f"{owner}{number}", owner))
            if begins:
                _begin(store, started)
        waiting = {job.name[0] for job in store.live()}
        first = len(started)
        while store.live():
            _begin(store, started)

        # The law: while a person waits, everybody else begins at most two jobs before that person's next one.
        for owner in waiting:
            until = started.index(next(name for name in started[first:] if name[0] == owner), first)
            for other in "abcd":
                assert sum(name[0] == other for name in started[first:until]) <= 2 or other == owner


def _begin(store: Store, started: list[str]) -> None:
    job = store.live()[0]
    started.append(job.name)
    bring(store, job.id, JobState.CHECKING)
    store.move(job.ticket, {JobState.CHECKING}, JobState.CANCELLED)


def test_the_page_shows_the_own_jobs_their_places_and_how_many_others_there_are(
    ann: OwnJobs, bob: OwnJobs, store: Store
) -> None:
    done, running = bob.add(new_job("done")), bob.add(new_job("running"))
    bring(store, done, JobState.DONE)
    bring(store, running, JobState.MERGING)
    others = ann.add_many([new_job("a0"), new_job("a1")])
    waiting = bob.add(new_job("waiting"))
    store.report_progress(running, Progress(Stage.MERGE, 3, 10))

    page = bob.page()

    assert [job.id for job in page.jobs] == [waiting, running, done]
    assert page.places == {waiting: store.place_in_line(waiting)}
    assert (page.matches, page.others_running, page.others_waiting) == (3, 0, 2)
    assert [job.progress.done for job in page.jobs if job.progress] == [3]
    assert ann.page().places == {job: store.place_in_line(job) for job in others}


def test_a_page_says_whether_a_worker_lives(ann: OwnJobs, store: Store) -> None:
    assert not ann.page().worker_is_alive

    store.beat("one")

    assert ann.page().worker_is_alive


@pytest.mark.parametrize(
    ("search", "found"),
    [("RED", ["red-1"]), ("%", []), ("_", []), ("b", ["red-1", "blue"]), (" ris ", ["red-1", "blue"])],
)
def test_the_history_is_searched_by_name_model_and_shape(ann: OwnJobs, search: str, found: list[str]) -> None:
    ann.add(new_job("blue"))
    ann.add(new_job("red-1"))

    assert [job.name for job in ann.page(search).jobs] == found


def test_the_history_can_be_narrowed_to_some_states_and_shows_live_jobs_however_old(ann: OwnJobs, store: Store) -> None:
    oldest = ann.add(new_job("oldest"))
    for number in range(3):
        bring(store, ann.add(new_job(f"job-{number}")), JobState.FAILED)

    assert [job.name for job in ann.page(limit=2).jobs] == ["oldest", "job-2"]
    assert ann.page(limit=2).matches == 4
    assert [job.name for job in ann.page(states={JobState.FAILED}).jobs] == ["job-2", "job-1", "job-0"]
    assert ann.page(states=LIVE).jobs[0].id == oldest


_ACTIONS: list[Callable[[OwnJobs, int], object]] = [
    OwnJobs.get,
    OwnJobs.log,
    OwnJobs.cancel,
    OwnJobs.retry,
    OwnJobs.clone,
    OwnJobs.move_up,
    OwnJobs.move_down,
    OwnJobs.delete_files,
    OwnJobs.forget,
    lambda person, job: person.edit(job, new_job("other")),
]


@pytest.mark.parametrize("act", _ACTIONS)
def test_another_person_s_job_is_as_if_there_were_none(
    ann: OwnJobs, bob: OwnJobs, store: Store, act: Callable[[OwnJobs, int], object]
) -> None:
    job = ann.add(new_job("mine"))
    before = store.get(job)

    for number in (job, 99):
        with pytest.raises(JobRequestError, match=r"^No such job\.$"):
            act(bob, number)

    assert store.get(job) == before
    assert bob.page().jobs == ()


def test_an_edited_job_keeps_its_place_and_its_old_ticket_is_worth_nothing(ann: OwnJobs, store: Store) -> None:
    first, second = ann.add_many([new_job("first"), new_job("second")])
    before = store.get(first).ticket

    ann.edit(first, replace(new_job("other"), recipe="blockmerge: 1\nseed: 7\n"))

    job = store.get(first)
    assert (job.name, job.recipe, job.out) == ("other", "blockmerge: 1\nseed: 7\n", Path("/out/other"))
    assert store.place_in_line(second) == 2
    assert not store.move(before, {JobState.WAITING}, JobState.CHECKING)


def test_a_job_that_has_begun_is_not_edited(ann: OwnJobs, store: Store) -> None:
    running, stopped = ann.add_many([new_job("running"), new_job("stopped")])
    bring(store, running, JobState.MERGING)
    store.move(bring(store, stopped, JobState.MERGING), RUNNING, JobState.WAITING)

    with pytest.raises(JobRequestError, match=r"^Job 1 is Merging, so it cannot be edited\. Clone it, and edit the"):
        ann.edit(running, new_job("other"))
    with pytest.raises(JobRequestError, match=r"^Job 2 has begun already, so it is as it is\. Clone it, and edit the"):
        ann.edit(stopped, new_job("other"))


def test_an_edit_cannot_take_another_job_s_name(ann: OwnJobs) -> None:
    ann.add_many([new_job("first"), new_job("second")])

    with pytest.raises(JobRequestError, match=r"^A job with this name is waiting already\. Choose another name\.$"):
        ann.edit(1, new_job("second"))


def test_own_jobs_change_places_and_others_stay_where_they_are(ann: OwnJobs, bob: OwnJobs, store: Store) -> None:
    first, _, third = ann.add_many([new_job(f"a{number}") for number in range(3)])
    bob.add_many([new_job("b0"), new_job("b1")])

    ann.move_up(third)
    assert _line(store) == ["a0", "b0", "a2", "b1", "a1"]
    ann.move_down(first)
    assert _line(store) == ["a2", "b0", "a0", "b1", "a1"]
    ann.move_up(third)
    assert _line(store) == ["a2", "b0", "a0", "b1", "a1"]


def test_a_running_job_has_no_place_to_change(ann: OwnJobs, store: Store) -> None:
    bring(store, ann.add(new_job("running")), JobState.MERGING)

    with pytest.raises(JobRequestError, match=r"^Job 1 is not waiting any more, so it has no place in the line\.$"):
        ann.move_up(1)


@pytest.mark.parametrize("end", sorted(REPEATABLE))
def test_what_did_not_end_well_can_go_on_behind_those_who_wait(
    ann: OwnJobs, bob: OwnJobs, store: Store, end: JobState
) -> None:
    ticket = bring(store, ann.add(new_job("again")), JobState.CHECKING)
    store.move(ticket, {JobState.CHECKING}, end, error="why", crashes=3)
    bob.add(new_job("other"))

    ann.retry(ticket.job)

    job = store.get(ticket.job)
    assert (job.state, job.attempt, job.crashes, job.error) == (JobState.WAITING, 2, 0, None)
    assert _line(store) == ["other", "again"]


@pytest.mark.parametrize("state", sorted(set(JobState) - REPEATABLE))
def test_nothing_else_is_tried_again(ann: OwnJobs, store: Store, state: JobState) -> None:
    bring(store, ann.add(new_job("job")), state)

    with pytest.raises(JobRequestError, match=f"^Job 1 is {state}: only a job that failed or was cancelled can go on"):
        ann.retry(1)


def test_a_job_whose_name_another_one_has_taken_is_not_tried_again(ann: OwnJobs, store: Store) -> None:
    bring(store, ann.add(new_job("same")), JobState.FAILED)
    ann.add(new_job("same"))

    with pytest.raises(JobRequestError, match=r"^A job with this name is waiting already\."):
        ann.retry(1)


def test_a_clone_is_the_same_under_the_next_free_name(ann: OwnJobs, settings: Settings, store: Store) -> None:
    settings.output.mkdir()
    (settings.output / "mine-2").mkdir()
    part_folder(settings.output / "mine-3").mkdir()
    ann.add(replace(new_job("mine-4"), out=settings.output / "mine-4"))
    original = ann.add(replace(new_job("mine", nbytes=7), out=settings.output / "mine"))

    clone = store.get(ann.clone(original))

    assert (clone.name, clone.out, clone.owner) == ("mine-5", settings.output / "mine-5", "ann")
    assert (clone.recipe, clone.models, clone.nbytes) == ("blockmerge: 1", ("a", "b"), 7)


def test_several_jobs_come_into_the_line_together_or_not_at_all(ann: OwnJobs, store: Store) -> None:
    ann.add(new_job("taken"))

    with pytest.raises(JobRequestError, match=r"^A job with this name is waiting already\."):
        ann.add_many([new_job("first"), new_job("taken"), new_job("third")])

    assert _line(store) == ["taken"]


def test_a_person_has_a_limited_number_of_waiting_jobs(ann: OwnJobs, bob: OwnJobs) -> None:
    few = replace(ann, settings=replace(ann.settings, waiting_limit=2))
    few.add_many([new_job("a0"), new_job("a1")])
    bob.add(new_job("b0"))

    with pytest.raises(JobRequestError, match=r"^2 of your jobs are waiting, and 2 may\. Wait until some are done, or"):
        few.add(new_job("a2"))


def test_the_limit_holds_when_many_pages_add_at_once(ann: OwnJobs, store: Store) -> None:
    few = replace(ann, settings=replace(ann.settings, waiting_limit=3))
    start = threading.Barrier(6)

    def add(number: int) -> None:
        start.wait()
        with suppress(JobRequestError):
            few.add(new_job(f"job-{number}"))

    threads = [threading.Thread(target=add, args=[number]) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(_line(store)) == 3
    assert sorted(job.turn for job in store.live()) == [1, 2, 3]


def test_all_results_together_stay_within_the_disk_budget(ann: OwnJobs, bob: OwnJobs, store: Store) -> None:
    tight = replace(ann, settings=replace(ann.settings, disk_budget=10 * 10**9))
    bring(store, bob.add(new_job("done", nbytes=6 * 10**9)), JobState.DONE)
    bring(store, bob.add(new_job("failed", nbytes=6 * 10**9)), JobState.FAILED)
    tight.add(new_job("first", nbytes=3 * 10**9))

    with pytest.raises(JobRequestError) as caught:
        tight.add(new_job("second", nbytes=2 * 10**9))

    assert str(caught.value) == (
        "All results may take 10.0 GB, and 1.0 GB of it is free; 2.0 GB more is needed. "
        "Delete the files of a job that is done."
    )


def test_the_files_of_a_result_are_deleted_and_the_job_is_remembered(
    ann: OwnJobs, tmp_path: Path, store: Store
) -> None:
    job = _finish(ann, tmp_path)

    ann.delete_files(job)

    assert not (tmp_path / "mine").exists()
    assert store.get(job).deleted is not None
    assert [held.id for held in ann.page().jobs] == [job]


def test_what_a_person_put_beside_a_result_stays(ann: OwnJobs, tmp_path: Path) -> None:
    job = _finish(ann, tmp_path)
    (tmp_path / "mine" / "thesis.txt").write_text("mine")

    ann.delete_files(job)

    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_a_folder_that_is_not_the_job_s_result_any_more_is_left_alone(ann: OwnJobs, tmp_path: Path) -> None:
    job = _finish(ann, tmp_path)
    entry = TensorEntry(DType.FLOAT32, (1,), "11")
    (tmp_path / "mine" / "blockmerge.json").unlink()
    with pytest.raises(
        JobRequestError, match=r"mine is no result any more, so it is left alone\. Look at it yourself\.$"
    ):
        ann.delete_files(job)
    write_manifest(tmp_path / "mine", Manifest("0", "blockmerge: 1\n", "0", "x86_64", {"w": entry}))

    with pytest.raises(JobRequestError, match=r"mine is not the result of job 1, so it is left alone\.$"):
        ann.delete_files(job)

    assert (tmp_path / "mine" / "config.json").exists()


@pytest.mark.parametrize("act", [OwnJobs.delete_files, OwnJobs.forget])
def test_a_live_job_keeps_its_files_and_its_place_in_the_history(
    ann: OwnJobs, act: Callable[[OwnJobs, int], object]
) -> None:
    job = ann.add(new_job("mine"))

    with pytest.raises(JobRequestError, match=r"^Job 1 is Waiting: cancel it first\.$"):
        act(ann, job)


def test_a_job_can_be_taken_out_of_the_history(ann: OwnJobs, store: Store) -> None:
    bring(store, ann.add(new_job("mine")), JobState.DONE)
    store.write_log(1, "a line")

    ann.forget(1)

    assert ann.page().jobs == ()
    assert ann.log(1) == ()


def test_a_queue_of_the_first_version_is_brought_up_to_date(queue: str) -> None:
    old = sa.create_engine(queue.replace("postgresql:", "postgresql+psycopg:"))
    home = Path(queue.removeprefix("sqlite:///")).parent
    if queue.startswith("sqlite"):
        home.mkdir(parents=True)
    with old.begin() as connection:
        connection.exec_driver_sql(_FIRST_VERSION)
        connection.exec_driver_sql(
            "INSERT INTO bm_jobs VALUES (1, 'old', 'Waiting', 1, 0, false, 'r', '/out/old', '[]', '[]', '', 1.0, NULL, "
            "NULL, NULL, NULL, NULL, NULL, '[]')"
        )
    old.dispose()

    with Store(queue) as store:
        job = store.get(1)

    assert (job.name, job.owner, job.nbytes, job.begun) == ("old", "local", 0, False)


_FIRST_VERSION = """
CREATE TABLE bm_jobs (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, state TEXT NOT NULL, attempt INTEGER NOT NULL,
    crashes INTEGER NOT NULL, cancel_asked BOOLEAN NOT NULL, recipe TEXT NOT NULL, out TEXT NOT NULL,
    models JSON NOT NULL, weights JSON NOT NULL, shape TEXT NOT NULL, created FLOAT NOT NULL, started FLOAT,
    finished FLOAT, error TEXT, digest TEXT, nbytes BIGINT, seconds FLOAT, warnings JSON NOT NULL
)
"""

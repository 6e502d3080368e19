"""A token is written nowhere: not by what is said about jobs, not in the queue, not in what a worker leaves."""

import logging
import re
from pathlib import Path

import pytest
import sqlalchemy as sa

from blockmerge.errors import JobRequestError
from blockmerge.jobs.job_log import SHOWN, JobLog
from blockmerge.jobs.secrets import mask_log_records, mask_secrets
from blockmerge.jobs.states import JobState
from blockmerge.jobs.store import Store, open_store
from blockmerge.jobs.tables import META
from blockmerge.settings import read_settings
from tests.jobs.bench import Bench
from tests.jobs.postgres import PASSWORD

TOKEN = "hf_" + "aB3xY9" * 6
Models = tuple[Path, Path]


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (f"GET with {TOKEN}.", "GET with hf_***."),
        ("token hf_oauth_eyJhbGci.eyJzdWIi.c2lnbmF0dXJl-x_y was refused", "token hf_*** was refused"),
        (f"{{'Authorization': 'Bearer {TOKEN}'}}", "{'Authorization': '***'}"),
        ("authorization: Basic dXNlcjpwYXNz", "authorization: ***"),
        ("Bearer abcdefgh12345678 was refused", "Bearer *** was refused"),
        ("postgresql://me:secret@box/jobs is down", "postgresql://me:***@box/jobs is down"),
        ("https://user:pa55@hub.example/x", "https://user:***@hub.example/x"),
        ("password-123 is wrong", "*** is wrong"),
        ("nothing to hide, hf_ and 10:30@noon", "nothing to hide, hf_ and 10:30@noon"),
    ],
)
def test_what_must_not_be_written_is_masked(text: str, masked: str) -> None:
    assert mask_secrets(text, {"BLOCKMERGE_PASSWORD": "password-123"}) == masked


def test_a_job_s_log_holds_no_secret_and_its_end_can_be_read_from_the_queue(store: Store, tmp_path: Path) -> None:
    with JobLog(tmp_path, store, 1) as log:
        for number in range(SHOWN):
            log.write(f"line {number}")
        log.write(f"Traceback\n  headers = {TOKEN}")

    written = (tmp_path / "job-1.log").read_text().splitlines()
    assert written[-1] == "  headers = hf_***"
    assert store.read_log(1) == tuple(written[-SHOWN:])


def test_a_log_goes_on_where_the_last_attempt_s_ended(store: Store, tmp_path: Path) -> None:
    for attempt in ("first", "second"):
        with JobLog(tmp_path, store, 1) as log:
            log.write(attempt)

    assert store.read_log(1) == ("first", "second")


def test_what_a_process_logs_is_masked_with_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = root.handlers[:]
    root.handlers = [logging.StreamHandler()]
    try:
        mask_log_records()
        try:
            raise ValueError(TOKEN)
        except ValueError:
            logging.getLogger("any").exception("It failed with %s", TOKEN)
    finally:
        root.handlers = before

    said = capsys.readouterr().err
    assert "It failed with hf_***" in said
    assert "ValueError: hf_***" in said
    assert TOKEN not in said


def test_a_whole_job_leaves_no_trace_of_the_worker_s_token(
    bench: Bench, small_models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    done = bench.add("done", small_models)
    failed = bench.add_recipe("failed", "models: {a: /nowhere}")
    bench.start_worker()
    for job in (done, failed):
        bench.wait_for(job, JobState.DONE, JobState.FAILED)

    files = [path for path in tmp_path.rglob("*") if path.is_file() and "models" not in path.parts]
    assert any(path.suffix == ".log" for path in files)
    assert [path for path in files if TOKEN.encode() in path.read_bytes()] == []
    assert TOKEN not in _all_rows(bench.store)


def _all_rows(store: Store) -> str:
    with store.database.quick.connect() as connection:
        return repr([connection.execute(sa.select(table)).all() for table in META.sorted_tables])


@pytest.mark.parametrize("queue", ["postgres"], indirect=True)
def test_a_queue_that_cannot_be_reached_is_told_without_its_password(queue: str) -> None:
    wrong = queue.replace("tester", "stranger")

    with pytest.raises(JobRequestError) as caught:
        open_store(read_settings({"BLOCKMERGE_QUEUE": wrong}))

    said = str(caught.value)
    assert re.match(r"The queue postgresql://127\.0\.0\.1:\d+/queue_\w+ cannot be reached: ", said)
    assert said.endswith("Check that its server runs and that BLOCKMERGE_QUEUE is right.")
    assert PASSWORD not in said

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockmerge.errors import SettingsError
from blockmerge.settings import Settings, environment_of, read_settings

_names = st.text("abc/._- é", min_size=1, max_size=12).map(lambda text: Path("/srv") / text.strip("/"))
_number = st.integers(1, 10**12)
_settings = st.builds(
    lambda models, output, home, hosts, numbers: Settings(
        tuple(models), output, home, f"sqlite:///{home.as_posix()}/q.db", hosts, *numbers
    ),
    st.lists(_names, max_size=3),
    _names,
    _names,
    st.lists(st.from_regex(r"[a-z]{1,9}(\.[a-z]{1,5})?", fullmatch=True), max_size=3).map(tuple),
    st.tuples(_number, st.none() | _number, _number, _number, st.none() | _number, st.none() | _number, st.booleans()),
)


def test_an_empty_environment_gives_defaults_with_absolute_paths() -> None:
    settings = read_settings({})

    assert settings.models == ()
    assert settings.hosts == ()
    assert settings.output == Path("output").absolute()
    assert settings.home.is_absolute()
    assert settings.queue_file == settings.home / "queue.db"
    assert settings.logs == settings.home / "logs"


def test_every_variable_is_read(tmp_path: Path) -> None:
    settings = read_settings(
        {
            "BLOCKMERGE_MODELS": f"{tmp_path / 'a'}{os.pathsep}{tmp_path / 'b'}",
            "BLOCKMERGE_OUTPUT": str(tmp_path / "out"),
            "BLOCKMERGE_HOME": str(tmp_path / "home"),
            "BLOCKMERGE_QUEUE": f"sqlite:///{tmp_path}/elsewhere.db",
            "BLOCKMERGE_HOSTS": "Box.example, merge.example",
        }
    )

    assert settings.models == (tmp_path / "a", tmp_path / "b")
    assert settings.output == tmp_path / "out"
    assert settings.queue_file == tmp_path / "elsewhere.db"
    assert settings.hosts == ("box.example", "merge.example")


@pytest.mark.parametrize("is_attached", [True, False])
def test_what_is_attached_to_a_space_is_its_bucket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_attached: bool
) -> None:
    monkeypatch.setattr("blockmerge.settings.SPACE_BUCKET", tmp_path)
    monkeypatch.setattr(Path, "is_mount", lambda _: is_attached)

    assert read_settings({"SPACE_ID": "ann/merge"}).bucket == (tmp_path / "blockmerge" if is_attached else None)
    assert read_settings({}).bucket is None
    assert read_settings({"BLOCKMERGE_BUCKET": str(tmp_path / "own")}).bucket == tmp_path / "own"


def test_results_that_outlasted_the_machine_are_offered_after_those_that_are_here() -> None:
    environ = {"BLOCKMERGE_MODELS": "/models", "BLOCKMERGE_OUTPUT": "/output", "BLOCKMERGE_BUCKET": "/bucket"}

    assert read_settings(environ).shelves == tuple(Path(name).absolute() for name in ("/models", "/output", "/bucket"))


def test_an_empty_variable_counts_as_not_set() -> None:
    names = ("MODELS", "OUTPUT", "HOME", "QUEUE", "HOSTS")

    assert read_settings({f"BLOCKMERGE_{name}": "" for name in names}) == read_settings({})


@given(_settings)
def test_a_child_reads_the_settings_of_its_parent(settings: Settings) -> None:
    assert read_settings(environment_of(settings)) == settings


def test_a_relative_queue_file_does_not_depend_on_the_worker_s_folder() -> None:
    assert read_settings({"BLOCKMERGE_QUEUE": "sqlite:///here.db"}).queue_file == Path("here.db").absolute()


def test_a_postgres_queue_is_shown_without_its_password() -> None:
    settings = read_settings({"BLOCKMERGE_QUEUE": "postgresql://me:secret@box:5432/jobs?sslmode=require"})

    assert settings.is_shared
    assert settings.queue == "postgresql://me:secret@box:5432/jobs?sslmode=require"
    assert settings.shown_queue == "postgresql://box:5432/jobs"


@pytest.mark.parametrize(
    "queue", ["postgresql://me:secret@box", "postgres://me:secret@box/jobs", "mysql://me:secret@b/j"]
)
def test_a_wrong_address_is_refused_without_repeating_its_password(queue: str) -> None:
    with pytest.raises(SettingsError, match=r"^BLOCKMERGE_QUEUE: expected ") as caught:
        read_settings({"BLOCKMERGE_QUEUE": queue})

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("JOBS_AT_ONCE", "many", "BLOCKMERGE_JOBS_AT_ONCE: expected a number of jobs, such as 2, found 'many'."),
        ("WAITING_LIMIT", "0", "BLOCKMERGE_WAITING_LIMIT: expected a number of jobs, such as 20, found '0'."),
        ("KEEP_DAYS", "2 weeks", "BLOCKMERGE_KEEP_DAYS: expected a number of days, such as 30, found '2 weeks'."),
        ("DISK_BUDGET", "-1", "BLOCKMERGE_DISK_BUDGET: expected a size such as 500GB, found '-1'."),
        ("SPLIT_FROM", "all", "BLOCKMERGE_SPLIT_FROM: expected a size such as 20GB, found 'all'."),
        ("JOB_MEMORY", "8 gigs", "BLOCKMERGE_JOB_MEMORY: expected a size such as 8GB, found '8 gigs'."),
    ],
)
def test_a_number_that_is_none_is_told(name: str, text: str, sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings({f"BLOCKMERGE_{name}": text})

    assert caught.value.problems == (sentence,)


def test_numbers_are_read_with_their_units() -> None:
    settings = read_settings(
        {
            "BLOCKMERGE_JOBS_AT_ONCE": "2",
            "BLOCKMERGE_DISK_BUDGET": "500 GB",
            "BLOCKMERGE_JOB_MEMORY": "8GiB",
            "BLOCKMERGE_SPLIT_FROM": "1 TB",
            "BLOCKMERGE_KEEP_DAYS": "30",
            "BLOCKMERGE_METRICS": "1",
        }
    )

    assert (settings.jobs_at_once, settings.keep_days, settings.metrics) == (2, 30, True)
    assert (settings.disk_budget, settings.job_memory, settings.split_from) == (500 * 10**9, 8 * 2**30, 10**12)


@pytest.mark.parametrize("queue", ["queue.db", "mysql://box/jobs", "sqlite://", "sqlite:///:memory:", "sqlite:///a?b"])
def test_a_queue_that_is_no_file_is_refused(queue: str) -> None:
    with pytest.raises(
        SettingsError, match=r"BLOCKMERGE_QUEUE: expected sqlite:///FILE or postgresql://…, found .* Leave it out"
    ):
        read_settings({"BLOCKMERGE_QUEUE": queue})


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings({"BLOCKMERGE_QUEUE": "queue.db", "BLOCKMERGE_HOSTS": "https://box.example,box:7860,good.example"})

    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "BLOCKMERGE_QUEUE",
        "BLOCKMERGE_HOSTS",
        "BLOCKMERGE_HOSTS",
    ]
    assert "found 'box:7860'. Leave out https:// and the port." in caught.value.problems[2]

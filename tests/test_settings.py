import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockmerge.errors import SettingsError
from blockmerge.settings import Settings, environment_of, read_settings

_names = st.text("abc/._- é", min_size=1, max_size=12).map(lambda text: Path("/srv") / text.strip("/"))
_settings = st.builds(
    lambda models, output, home, hosts: Settings(
        tuple(models), output, home, f"sqlite:///{home.as_posix()}/q.db", hosts
    ),
    st.lists(_names, max_size=3),
    _names,
    _names,
    st.lists(st.from_regex(r"[a-z]{1,9}(\.[a-z]{1,5})?", fullmatch=True), max_size=3).map(tuple),
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


def test_an_empty_variable_counts_as_not_set() -> None:
    names = ("MODELS", "OUTPUT", "HOME", "QUEUE", "HOSTS")

    assert read_settings({f"BLOCKMERGE_{name}": "" for name in names}) == read_settings({})


@given(_settings)
def test_a_child_reads_the_settings_of_its_parent(settings: Settings) -> None:
    assert read_settings(environment_of(settings)) == settings


def test_a_relative_queue_file_does_not_depend_on_the_worker_s_folder() -> None:
    assert read_settings({"BLOCKMERGE_QUEUE": "sqlite:///here.db"}).queue_file == Path("here.db").absolute()


def test_a_postgres_queue_is_refused_without_repeating_its_password() -> None:
    with pytest.raises(SettingsError, match=r"a Postgres queue is not supported yet\. Use sqlite:///FILE") as caught:
        read_settings({"BLOCKMERGE_QUEUE": "postgresql://me:secret@box/jobs"})

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("queue", ["queue.db", "mysql://box/jobs", "sqlite://", "sqlite:///:memory:", "sqlite:///a?b"])
def test_a_queue_that_is_no_file_is_refused(queue: str) -> None:
    with pytest.raises(SettingsError, match=r"BLOCKMERGE_QUEUE: expected sqlite:///FILE, found .* Leave it out"):
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

"""A merge that keeps nothing on this disk, as the page shows it and lets it into the queue."""

from dataclasses import replace
from pathlib import Path

import pytest

from blockmerge.core.wish import Wish
from blockmerge.engine.estimate import estimate_by_shard
from blockmerge.errors import JobRequestError
from blockmerge.jobs.own_jobs import OwnJobs
from blockmerge.jobs.states import LOCAL
from blockmerge.ui.draft import Draft, Drafting
from blockmerge.ui.forms import Form
from blockmerge.ui.identity import Identity
from blockmerge.ui.new_jobs import edited_job, shape_jobs
from blockmerge.ui.tabs import Context
from tests.hub.test_straight import large
from tests.hub_server import HubServer
from tests.tiny_models import write_llama
from tests.ui.test_draft import fold, said

__all__ = ["large"]  # the fixture of another file

FORM = Form(
    {"a": "org/large-a", "b": "org/large-b"},
    shard_size="8 MB",
    keeps_nothing=True,
    repository="ann/merged",
    licence="mit",
)


@pytest.fixture
def ann(large: HubServer, context: Context) -> Drafting:
    """She has given her token on this machine."""
    context.identity.sign_in(LOCAL, large.store.add_user("ann").token, "ann")
    return Drafting(context)


def figure(draft: Draft, name: str) -> str:
    [found] = [text.removeprefix(name) for text in said(draft.bar) if text.startswith(name)]
    return found


def test_the_plan_needs_the_disk_for_two_weight_files_and_downloads_nothing(ann: Drafting) -> None:
    kept, straight = ann.look(replace(FORM, keeps_nothing=False)), ann.look(FORM)

    assert straight.ready
    assert straight.plan is not None
    shard = max(shard.nbytes for shard in straight.plan.shards)
    need = estimate_by_shard(straight.plan, ann.context.settings.output)
    assert shard < need.disk < 2 * shard
    assert f"{need.disk / 1e6:.1f} MB meanwhile, of " in figure(straight, "Disk")
    assert [text for text in said(kept.bar) if text.startswith("Download")]
    assert not [text for text in said(straight.bar) if text.startswith("Download")]
    checks = [line.text for line in fold(straight).inside]
    assert "Place: ann/merged. Whether your token may write there is asked before anything is merged." in checks


def test_the_estimate_is_never_less_than_what_the_merge_asks_for(
    ann: Drafting, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from blockmerge.engine.by_shard import _windows, check_room
    from blockmerge.engine.windows import weight_of
    from blockmerge.errors import StorageError

    for method in ("linear", "slerp"):
        plan = ann.look(replace(FORM, method=method)).plan
        assert plan is not None
        remote = {key: held.origin for key, held in plan.checkpoints.items() if held.origin}
        windows = dict(_windows(plan, remote))
        weights = {unit.number: weight_of(unit, remote) for units in windows.values() for unit in units}
        need = estimate_by_shard(plan, tmp_path)
        free = need.disk + need.scratch + 64 * 10**6
        monkeypatch.setattr(
            "blockmerge.engine.by_shard.disk_usage", lambda _, free=free: type("Disk", (), {"free": free})
        )
        check_room(plan, windows, weights, tmp_path / "x.partial")
        monkeypatch.setattr("blockmerge.engine.by_shard.disk_usage", lambda _: type("Disk", (), {"free": 0}))
        with pytest.raises(StorageError):
            check_room(plan, windows, weights, tmp_path / "x.partial")


def test_what_is_kept_nowhere_takes_no_gpu(ann: Drafting) -> None:
    form = replace(FORM, method="karcher", device="cuda")

    draft = ann.look(form)
    number = ann.add(replace(form, grid=draft.grid))

    assert draft.ready
    assert ann.context.store.get(number).device == "cpu"


def test_the_licence_is_asked_for_only_where_the_models_do_not_agree(
    server: HubServer, context: Context, tmp_path: Path
) -> None:
    context.identity.sign_in(LOCAL, server.store.add_user("ann").token, "ann")
    for name, licence in (("one", "mit"), ("two", "mit"), ("three", "apache-2.0")):
        folder = write_llama(tmp_path / name, seed=len(name))
        (folder / "README.md").write_text(f"---\nlicense: {licence}\n---\n")
        server.store.add_folder(f"org/{name}", folder)
    form = replace(FORM, models={"a": "org/one", "b": "org/two"}, licence="")

    same = Drafting(context).look(form)
    other = Drafting(context).look(replace(form, models={"a": "org/one", "b": "org/three"}))

    assert same.ready
    assert not other.ready
    assert said(other.bar) == [
        "The licence of the result is yours to choose, by those of its models "
        "(org/one: mit; org/three: apache-2.0). Write it under Licence."
    ]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"repository": ""}, "Give the repository as ORG/NAME."),
        ({"repository": "merged"}, "'merged' is no place on the Hub. Give one as ORG/NAME."),
        (
            {"licence": "my own"},
            "Choose a licence by its name on the Hub, such as apache-2.0. The card is written with it.",
        ),
        (
            {"licence": ""},
            "The licence of the result is yours to choose, by those of its models "
            "(org/large-a: unknown; org/large-b: unknown). Write it under Licence.",
        ),
    ],
)
def test_a_place_that_is_none_is_told(ann: Drafting, changes: dict[str, str], sentence: str) -> None:
    form = replace(FORM, **changes)  # type: ignore[arg-type]

    draft = ann.look(form)

    assert said(draft.bar) == [sentence]
    assert not draft.ready
    with pytest.raises(JobRequestError) as caught:
        ann.add(replace(form, grid=draft.grid))
    assert caught.value.problems == (sentence,)


def test_nobody_publishes(large: HubServer, context: Context) -> None:
    draft = Drafting(replace(context, identity=Identity(context.settings.home, is_private=False)), "browser:bob").look(
        FORM
    )

    assert said(draft.bar) == ["Only people who are signed in may push. Sign in (on the Settings tab)."]
    assert not draft.ready


def test_a_disk_without_room_for_two_weight_files_is_told(ann: Drafting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "blockmerge.engine.estimate.shutil.disk_usage", lambda _: type("Disk", (), {"free": 70 * 10**6})
    )

    draft = ann.look(FORM)

    assert said(draft.bar) == [
        "The largest weight file and what it is merged from do not fit on this disk. Choose smaller weight files, or "
        "free some space."
    ]
    assert not draft.ready


def test_the_job_says_where_it_goes_counts_for_no_disk_and_stays_so_when_it_is_edited(ann: Drafting) -> None:
    number = ann.add(replace(FORM, grid=ann.look(FORM).grid))

    own = OwnJobs(ann.context.store, ann.context.settings, LOCAL)
    job = own.get(number)
    assert job.wish == Wish("ann/merged", "mit")
    assert (job.stays_home, job.nbytes) == (True, 0)
    edited = edited_job(ann.context, job, "other", job.recipe)
    own.edit(number, edited)
    assert own.get(number).wish == job.wish
    assert own.get(number).nbytes == 0
    with pytest.raises(JobRequestError) as caught:
        shape_jobs(ann.context, own, job, ["rise"])
    assert str(caught.value) == (
        "Each shape would go to the same repository. Choose a job whose result is kept in a folder."
    )

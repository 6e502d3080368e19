"""The models that were downloaded: what the Settings tab lists, and what it deletes for whom."""

import json
from dataclasses import replace

import pytest

from blockmerge.errors import HubRefusalError, JobRequestError
from blockmerge.hub.sources import with_weights
from blockmerge.jobs.states import LOCAL, NewJob
from blockmerge.ui.identity import Identity
from blockmerge.ui.models import Models
from blockmerge.ui.tabs import Context
from blockmerge.ui.tabs.settings import delete, view
from tests.hub_server import HubServer


@pytest.fixture
def full(context: Context) -> Context:
    """With both models downloaded."""
    models = {key: Models(context, LOCAL).open(f"org/{key}") for key in "ab"}
    with_weights(models, context.identity.hub_of(LOCAL), report=lambda _: None, is_cancelled=lambda: False)
    return context


def listed(context: Context) -> dict[str, bool]:
    """Name → whether a job needs it."""
    rows = view(context, LOCAL)["cached"]
    assert isinstance(rows, list)
    return {row["name"]: row["needed"] for row in rows}


def ask(name: str) -> dict[str, object]:
    return {"do": "delete_cached", "name": name}


def test_where_nothing_was_downloaded_there_is_nothing_to_delete(context: Context) -> None:
    assert listed(context) == {}
    with pytest.raises(HubRefusalError) as caught:
        delete(context, LOCAL, ask("org/a"))
    assert str(caught.value) == "org/a is not here any more. Reload the page."


def test_a_model_is_deleted_alone_and_can_be_downloaded_again(server: HubServer, full: Context) -> None:
    told = delete(full, LOCAL, ask("org/a"))

    assert told.startswith("org/a is deleted; ")
    assert listed(full) == {"org/b": False}
    known = Models(full, LOCAL).open("org/a")
    assert Models(full, LOCAL).here(known) is None


def test_what_a_live_job_needs_stays(full: Context) -> None:
    recipe = json.dumps({"blockmerge": 1, "models": {"a": "org/a@main", "b": "/b"}, "weights": {"layers": 0.5}})
    number = full.store.add(NewJob("out", recipe, full.settings.output / "out", ("a", "b")))

    with pytest.raises(JobRequestError) as caught:
        delete(full, LOCAL, ask("org/a"))

    assert str(caught.value) == "A job needs org/a. Wait until it is over, or cancel it."
    assert listed(full) == {"org/a": True, "org/b": False}
    full.store.ask_cancel(number)
    assert delete(full, LOCAL, ask("org/a")).startswith("org/a is deleted")


def test_other_people_see_and_delete_nothing(full: Context) -> None:
    shared = replace(full, identity=Identity(full.settings.home, is_private=False))

    assert view(shared, "somebody")["cached"] is None
    with pytest.raises(JobRequestError, match="was not understood"):
        delete(shared, "somebody", ask("org/a"))
    assert listed(full) == {"org/a": False, "org/b": False}

"""What the search below the model boxes answers, whoever asks."""

import pytest

from blockmerge.errors import HubRefusalError, JobRequestError
from blockmerge.jobs.states import LOCAL
from blockmerge.ui.finder.finder import Chosen, read_chosen, recipe_of, search
from blockmerge.ui.models import Models
from blockmerge.ui.tabs import Context
from tests.hub_server import HubServer

WRONG = "This was not understood. Reload the page."


def test_what_is_found_is_told_with_its_downloads(server: HubServer, context: Context) -> None:
    server.store.create("org/famous").downloads = 1_200_000

    assert search(Models(context, LOCAL), "famous") == {
        "query": "famous",
        "found": [{"name": "org/famous", "note": "1.2 M downloads a month"}],
        "problem": "",
    }


def test_nothing_found_and_a_hub_that_is_away_are_said_in_a_sentence(server: HubServer, context: Context) -> None:
    models = Models(context, LOCAL)
    nothing = search(models, "zebra")
    server.stop()
    away = search(models, "zebra")

    assert nothing["problem"] == ("No model has these letters. Check the spelling, or paste the address of its page.")
    assert str(away["problem"]).startswith(f"The Hub at {server.endpoint} cannot be reached.")


@pytest.mark.parametrize("text", ["", "ab", "x" * 201, "a\0bc", 3, None])
def test_what_no_page_sends_asks_the_hub_nothing(server: HubServer, context: Context, text: object) -> None:
    assert search(Models(context, LOCAL), text)["problem"] == WRONG
    assert server.asked == []


@pytest.mark.parametrize(
    "told",
    [None, {"name": "org/a"}, {"name": "org/a", "key": "c"}, {"name": "/etc", "key": "a"}, {"name": 1, "key": "a"}],
)
def test_a_forged_choice_is_refused(told: object) -> None:
    with pytest.raises(JobRequestError, match=WRONG):
        read_chosen(told)


def test_a_choice_names_a_model_and_a_box() -> None:
    assert read_chosen({"name": "org/a@main", "key": "b"}) == Chosen("org/a@main", "b")


def test_a_recipe_is_of_a_model_of_the_hub_that_has_one(server: HubServer, context: Context) -> None:
    server.store.commit(server.store.repositories["org/a"], {"recipe.yaml": b"blockmerge: 1\n"})

    assert recipe_of(Models(context, LOCAL), {"name": "org/a"}) == "blockmerge: 1\n"
    with pytest.raises(HubRefusalError, match=r"^org/b holds no recipe"):
        recipe_of(Models(context, LOCAL), {"name": "org/b"})
    with pytest.raises(JobRequestError, match=WRONG):
        recipe_of(Models(context, LOCAL), {"name": "/etc/passwd"})

"""What is found on the Hub by a few letters, and recipes of results that were pushed there."""

from dataclasses import replace

import pytest

from blockmerge.errors import HubError, HubRefusalError, SignInError
from blockmerge.hub.client import Hub
from blockmerge.hub.search import Found, read_recipe, search_models
from tests.hub.conftest import hub_of
from tests.hub.test_commands import commit_of
from tests.hub_server import HubServer

RECIPE = b"blockmerge: 1\n"


def test_letters_find_the_models_that_are_downloaded_most(server: HubServer, hub: Hub) -> None:
    for number in range(12):
        server.store.create(f"org/small-{number}").downloads = number

    found = search_models(hub, "small")

    assert found == [Found(f"org/small-{number}", number) for number in range(11, 1, -1)]
    assert search_models(hub, "large") == []


def test_an_id_or_an_address_names_itself_first(server: HubServer, hub: Hub) -> None:
    assert search_models(hub, "org/a")[0] == Found("org/a", 0)
    assert search_models(hub, f"{server.endpoint}/org/b/tree/main")[0] == Found("org/b@main", 0)


def test_private_models_are_found_by_those_who_may_see_them(server: HubServer, hub: Hub) -> None:
    ann = hub_of(server, hub.kept, server.store.add_user("ann"))
    server.store.create("ann/secret", private=True)

    assert search_models(hub, "secret") == []
    assert search_models(ann, "secret") == [Found("ann/secret", 0)]


def test_the_hub_is_not_asked_where_it_must_not_be_or_cannot_be_reached(server: HubServer, hub: Hub) -> None:
    server.asked.clear()

    with pytest.raises(HubRefusalError) as caught:
        search_models(replace(hub, offline=True), "small")

    assert server.asked == []
    assert str(caught.value) == (
        "The Hub is not searched, as HF_HUB_OFFLINE is set. Unset it, and start the page again."
    )
    server.stop()
    with pytest.raises(HubError, match=f"^The Hub at {server.endpoint} cannot be reached"):
        search_models(hub, "small")


def test_the_recipe_of_a_result_is_read_from_its_repository(server: HubServer, hub: Hub) -> None:
    server.store.commit(server.store.repositories["org/a"], {"recipe.yaml": RECIPE})

    assert read_recipe(hub, f"org/a@{commit_of(server, 'org/a')}") == RECIPE.decode()
    assert read_recipe(hub, f"{server.endpoint}/org/a") == RECIPE.decode()
    assert server.weights_given == 0


def test_a_model_without_a_recipe_says_so(server: HubServer, hub: Hub) -> None:
    with pytest.raises(HubRefusalError) as caught:
        read_recipe(hub, "org/b")

    assert str(caught.value) == ("org/b holds no recipe: only what blockmerge made does. Choose it as a model instead.")
    with pytest.raises(SignInError):
        read_recipe(hub, "org/nobody")

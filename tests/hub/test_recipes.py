"""The recipe of a merged repository, from its file or from its weights."""

from pathlib import Path

import pytest

from blockmerge.checkpoints.manifest import read_manifest
from blockmerge.core.recipe import parse_recipe
from blockmerge.errors import HubRefusalError, SignInError
from blockmerge.hub.client import Hub
from blockmerge.hub.search import read_recipe
from tests.hub.results import merge_result
from tests.hub_server import HubServer

MERGED = "org/merged"


@pytest.fixture
def recipe(server: HubServer, tmp_path: Path) -> str:
    folder = merge_result(server, tmp_path)
    server.store.add_folder(MERGED, folder)
    return read_manifest(folder).recipe


def test_the_weights_say_which_recipe_made_them_and_none_of_their_bytes_are_read(
    server: HubServer, hub: Hub, recipe: str
) -> None:
    assert read_recipe(hub, MERGED) == recipe
    assert server.weights_given == 0


def test_a_recipe_that_lies_beside_them_is_read_alone(server: HubServer, hub: Hub, recipe: str) -> None:
    server.store.commit(server.store.repositories[MERGED], {"recipe.yaml": recipe.encode()})
    server.asked.clear()

    assert parse_recipe(read_recipe(hub, MERGED)) == parse_recipe(recipe)
    assert len(server.asked) == 2


@pytest.mark.parametrize("content", [b"", b"x" * 1_000_001])
def test_a_file_that_is_no_page_of_text_is_passed_over(
    server: HubServer, hub: Hub, recipe: str, content: bytes
) -> None:
    server.store.commit(server.store.repositories[MERGED], {"recipe.yaml": content})

    assert read_recipe(hub, MERGED) == recipe


def test_a_model_that_blockmerge_did_not_make_has_none(server: HubServer, hub: Hub) -> None:
    with pytest.raises(HubRefusalError) as caught:
        read_recipe(hub, "org/a")
    assert str(caught.value) == "org/a holds no recipe: only what blockmerge made does. Choose it as a model instead."


def test_a_private_repository_keeps_its_recipe_to_itself(server: HubServer, hub: Hub, recipe: str) -> None:
    server.store.repositories[MERGED].private = True

    with pytest.raises(SignInError):
        read_recipe(hub, MERGED)

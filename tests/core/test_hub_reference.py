"""Ids and addresses of models on the Hub, read once into one type."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockmerge.core.hub_reference import HubReference, parse_hub_reference
from blockmerge.errors import CheckpointError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "repository", "revision"),
    [
        ("org/name", "org/name", None),
        ("HuggingFaceTB/SmolLM2-135M", "HuggingFaceTB/SmolLM2-135M", None),
        ("org/name@v1.0", "org/name", "v1.0"),
        ("org/name@refs/pr/7", "org/name", "refs/pr/7"),
        (f"org/name@{COMMIT}", "org/name", COMMIT),
        ("hf://org/name@v1", "org/name", "v1"),
        ("https://huggingface.co/org/name", "org/name", None),
        ("https://huggingface.co/org/name/", "org/name", None),
        ("https://huggingface.co/models/org/name?library=transformers#top", "org/name", None),
        ("https://hf.co/org/name/tree/v1", "org/name", "v1"),
        ("https://huggingface.co/org/name/tree/refs%2Fpr%2F7", "org/name", "refs/pr/7"),
        ("https://huggingface.co/org/name/tree/refs/pr/7", "org/name", "refs/pr/7"),
        (f"https://huggingface.co/org/name/blob/{COMMIT}/config.json", "org/name", COMMIT),
        ("http://127.0.0.1:7870/org/name", "org/name", None),
    ],
)
def test_ids_and_pasted_addresses_name_a_repository(text: str, repository: str, revision: str | None) -> None:
    hosts = {"huggingface.co", "hf.co", "127.0.0.1:7870"}

    assert parse_hub_reference(text, hosts) == HubReference(repository, revision)


@pytest.mark.parametrize("text", ["name", "./org/name", "../org/name", "/org/name", "~/org/name", "a/b/c", "a\\b", ""])
def test_what_looks_like_a_folder_is_one(text: str) -> None:
    assert parse_hub_reference(text) is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("оpenai/x", "'\\u043epenai/x' is not a valid Hub id. Give a Hub id such as org/name, or a folder."),
        ("org/na\u200bme", "'org/na\\u200bme' is not a valid Hub id. Give a Hub id such as org/name, or a folder."),
        ("org/a..b", "'org/a..b' is not a valid Hub id. Give a Hub id such as org/name, or a folder."),
        ("org/a--b", "'org/a--b' is not a valid Hub id. Give a Hub id such as org/name, or a folder."),
        ("org/name.git", "'org/name.git' is not a valid Hub id. Give a Hub id such as org/name, or a folder."),
        ("org/-name", "'org/-name' is not a valid Hub id. Give a Hub id such as org/name, or a folder."),
        (
            "org/name@",
            "'org/name@' has no valid revision after the @: a branch, tag or commit was expected.",
        ),
        (
            "org/name@../x",
            "'org/name@../x' has no valid revision after the @: a branch, tag or commit was expected.",
        ),
        (
            "http://169.254.169.254/latest/meta-data",
            "'http://169.254.169.254/latest/meta-data' is not an address of the Hub. "
            "Give a Hub id such as org/name, or a folder.",
        ),
        (
            "https://huggingface.co@evil.example/org/name",
            "'https://huggingface.co@evil.example/org/name' is not an address of the Hub. "
            "Give a Hub id such as org/name, or a folder.",
        ),
        (
            "file:///etc/passwd",
            "'file:///etc/passwd' is not an address of the Hub. Give a Hub id such as org/name, or a folder.",
        ),
        ("http://[x/y", "'http://[x/y' is not an address. Give a Hub id such as org/name, or a folder."),
        (
            "https://huggingface.co/datasets/org/name",
            "'https://huggingface.co/datasets/org/name' is the address of a dataset, not of a model. "
            "Give a Hub id such as org/name, or a folder.",
        ),
    ],
)
def test_what_is_neither_is_refused_with_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        parse_hub_reference(text)

    assert str(caught.value) == sentence


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(CheckpointError):
        found = parse_hub_reference(text)

        assert found is None or parse_hub_reference(str(found)) == found


def test_only_a_whole_commit_pins() -> None:
    assert HubReference("org/name", COMMIT).is_pinned
    assert not HubReference("org/name", COMMIT[:7]).is_pinned
    assert not HubReference("org/name").is_pinned

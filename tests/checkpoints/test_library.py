"""Which models can be chosen by name, and that a name is never a way to another folder."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from blockmerge.checkpoints.library import EXAMPLE_PAIR, Library
from blockmerge.errors import CheckpointError
from tests.tiny_models import write_llama


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("plain", "org/model", "half.partial", ".hidden", "org/deep/er"):
        write_llama(tmp_path / "root" / name, layers=2)
    (tmp_path / "root" / "empty").mkdir()
    return tmp_path / "root"


def test_folders_with_a_config_are_offered_one_or_two_levels_deep(root: Path) -> None:
    assert list(Library((root,), any_path=False).offered()) == ["org/model", "plain", *EXAMPLE_PAIR]


def test_of_two_folders_of_one_name_the_first_root_counts(root: Path, tmp_path: Path) -> None:
    other = write_llama(tmp_path / "other" / "plain", layers=2)

    assert Library((tmp_path / "other", root), any_path=False).find("plain") == other


def test_a_root_that_is_not_there_offers_nothing(tmp_path: Path) -> None:
    assert list(Library((tmp_path / "none",), any_path=False).offered()) == list(EXAMPLE_PAIR)


def test_the_example_pair_can_be_merged_without_any_root() -> None:
    library = Library((), any_path=False)
    a, b = (library.open(library.find(name)) for name in EXAMPLE_PAIR)

    assert list(a.tensors) == list(b.tensors)
    assert a.nbytes + b.nbytes <= 6 * 10**6


@pytest.mark.parametrize("reference", ["/etc", "../plain", "root/../plain", "./plain", "plain/", "none"])
def test_where_others_can_reach_the_page_only_listed_names_are_found(root: Path, reference: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        Library((root,), any_path=False).find(reference)

    assert str(caught.value) == (
        f"There is no model {reference!r} here. Choose one from the list; whoever runs this page can add folders with "
        "BLOCKMERGE_MODELS."
    )


@pytest.mark.parametrize("reference", ["a\nb", "a\0b", "\u202ea", "x" * 1001])
def test_what_cannot_be_a_name_is_refused_before_the_disk_is_asked(reference: str) -> None:
    with pytest.raises(CheckpointError, match=r"^This is not the name of a model\. Choose one from the list\.$"):
        Library((), any_path=True).find(reference)


def test_on_ones_own_machine_a_path_is_a_name(root: Path) -> None:
    assert Library((), any_path=True).find(str(root / "plain")) == root / "plain"


def test_headers_are_read_again_only_when_a_file_changed(root: Path) -> None:
    library = Library((root,), any_path=False)
    folder = library.find("plain")
    first = library.open(folder)

    assert library.open(folder) is first
    write_llama(root / "next", layers=3)
    (root / "next" / "model.safetensors").replace(folder / "model.safetensors")
    shutil.copy(root / "next" / "config.json", folder / "config.json")
    assert len(library.open(folder).tensors) > len(first.tensors)


def test_only_a_bin_that_was_not_read_yet_takes_seconds(root: Path) -> None:
    library = Library((root,), any_path=False)
    folder = library.find("plain")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")

    assert not library.takes_seconds("plain")  # its safetensors are read instead
    (folder / "model.safetensors").unlink()
    assert library.takes_seconds("plain")
    library.open(folder)
    assert not library.takes_seconds("plain")
    assert not library.takes_seconds("gone")

import os
from pathlib import Path

import pytest

from blockmerge.checkpoints.side_files import SideFiles, find_side_files
from blockmerge.core.tensors import SideFile


def write(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def names_of(found: SideFiles) -> list[str]:
    return [file.name for file in found.files]


def test_everything_but_weights_is_carried_along_with_its_size(tmp_path: Path) -> None:
    write(tmp_path, "config.json", "tokenizer.model", "LICENSE", "model.safetensors", "1_Pooling/config.json")

    found = find_side_files(tmp_path, ["model.safetensors"])

    assert found == SideFiles(
        (
            SideFile("1_Pooling/config.json", 21),
            SideFile("LICENSE", 7),
            SideFile("config.json", 11),
            SideFile("tokenizer.model", 15),
        ),
        (),
        (),
    )


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("modeling_mine.py", "code files are never carried along"),
        ("sub/Code.PY", "code files are never carried along"),
        ("vocab.pkl", "code files are never carried along"),
        ("README.md", "it describes the input, not the result"),
        ("blockmerge.json", "it describes the input, not the result"),
        ("mergekit_config.yml", "it describes the input, not the result"),
        ("model.safetensors.index.json", "it lists the input's weight files"),
        ("pytorch_model.bin.index.json", "it lists the input's weight files"),
        ("consolidated.safetensors", "these weights are not part of the model that is read"),
        ("pytorch_model.BIN", "these weights are not part of the model that is read"),
        ("original/consolidated.00.pth", "these weights are not part of the model that is read"),
        ("a/b/c/deep.json", "it lies over 3 folders deep"),
    ],
)
def test_what_stays_behind_has_a_reason(tmp_path: Path, name: str, reason: str) -> None:
    write(tmp_path, name)

    found = find_side_files(tmp_path, [])

    assert found == SideFiles((), ((name.removesuffix("/deep.json"), reason),), ())


@pytest.mark.parametrize(
    "suffix", ["bin", "ckpt", "gguf", "h5", "mlmodel", "msgpack", "onnx", "ot", "pt", "pth", "safetensors", "tflite"]
)
def test_weights_of_every_format_stay_behind(tmp_path: Path, suffix: str) -> None:
    write(tmp_path, f"x.{suffix}")

    assert names_of(find_side_files(tmp_path, [])) == []


def test_hidden_files_do_not_exist(tmp_path: Path) -> None:
    write(tmp_path, ".gitattributes", ".git/config", ".env")

    assert find_side_files(tmp_path, []) == SideFiles((), (), ())


def test_a_link_out_of_the_folder_stays_behind(tmp_path: Path) -> None:
    folder = write(tmp_path / "model", "inside.txt")
    write(tmp_path, "secret.txt", "other/x.txt")
    (folder / "tokenizer.json").symlink_to("../secret.txt")
    (folder / "sub").symlink_to("../other")
    (folder / "gone.txt").symlink_to("nowhere")
    (folder / "loop.txt").symlink_to("loop.txt")
    (folder / "link.txt").symlink_to("inside.txt")

    found = find_side_files(folder, [])

    assert names_of(found) == ["inside.txt", "link.txt"]
    assert dict(found.skipped) == {
        "gone.txt": "this link leads nowhere",
        "loop.txt": "this link leads nowhere",
        "sub": "links to folders are not followed",
        "tokenizer.json": "this link leads out of the folder",
    }


def test_links_into_the_blobs_of_its_own_cache_are_followed(tmp_path: Path) -> None:
    write(tmp_path, "models--a--b/blobs/1", "models--a--b/snapshots/c0ffee/x.txt", "models--secret/blobs/2")
    write(tmp_path, "blobs/3c/3cd")
    folder = tmp_path / "models--a--b/snapshots/c0ffee"
    (folder / "tokenizer.json").symlink_to("../../blobs/1")
    (folder / "shared.json").symlink_to("../../../blobs/3c/3cd")
    (folder / "stolen.json").symlink_to("../../../models--secret/blobs/2")

    found = find_side_files(folder, [])

    assert names_of(found) == ["shared.json", "tokenizer.json", "x.txt"]
    assert found.skipped == (("stolen.json", "this link leads out of the folder"),)


def test_a_fifo_stays_behind(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")

    assert find_side_files(tmp_path, []).skipped == (("pipe.txt", "it is not a regular file"),)


def test_59_a_name_that_is_not_text_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    try:
        (folder / os.fsdecode(b"vocab\xff.txt")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")

    assert find_side_files(folder, []).problems == (
        r"model holds a file named 'vocab\udcff.txt', which is not plain text. Rename it.",
    )


def test_61_names_that_differ_only_in_case_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "model", "Vocab.txt", "vocab.txt")
    if len(list(folder.iterdir())) == 1:
        pytest.skip("this file system does not tell them apart")

    assert find_side_files(folder, []).problems == (
        "model holds Vocab.txt and vocab.txt, which differ only in case. Rename one.",
    )

import hashlib
import json
import os
from pathlib import Path

import pytest

from blockmerge.checkpoints.folder import check_unchanged, open_checkpoint
from blockmerge.core.tensors import Checkpoint, ShardFile
from blockmerge.errors import CheckpointError, SourceChangedError
from tests.checkpoints.raw_files import file_of, float_file, write_folder
from tests.tiny_models import write_gpt2, write_llama, write_neox

LAYERS = float_file("embed", *(f"model.layers.{layer}.{part}" for layer in range(4) for part in ("q", "k")))


def problems_of(folder: Path) -> tuple[str, ...]:
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(folder)
    return caught.value.problems


def problem_of(folder: Path) -> str:
    [problem] = problems_of(folder)
    return problem


def test_a_sharded_model_is_read_whole(tmp_path: Path) -> None:
    folder = write_llama(tmp_path / "mine", layers=3, shards=2)

    checkpoint = open_checkpoint(folder)

    assert checkpoint.name == "mine"
    assert checkpoint.model_type == "llama"
    assert len(checkpoint.tensors) == 3 * 9 + 3
    assert [shard.name for shard in checkpoint.shards] == [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]
    status = (folder / checkpoint.shards[0].name).stat()
    assert checkpoint.shards[0] == ShardFile(
        "model-00001-of-00002.safetensors", status.st_size, status.st_mtime_ns, status.st_ino
    )
    assert [file.name for file in checkpoint.side_files] == ["config.json"]
    assert checkpoint.skipped == (("model.safetensors.index.json", "it lists the input's weight files"),)
    assert checkpoint.warnings == ()


@pytest.mark.parametrize("write", [write_llama, write_gpt2, write_neox])
def test_models_of_other_kinds_are_opened(tmp_path: Path, write: object) -> None:
    assert callable(write)
    assert open_checkpoint(write(tmp_path)).warnings == ()


def test_the_header_digest_is_that_of_names_dtypes_shapes_and_offsets(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, model__safetensors=float_file("a", "b"))

    checkpoint = open_checkpoint(folder)

    start = checkpoint.tensors["a"].offset
    entries = f'[["a","F32",[2],{start}],["b","F32",[2],{start + 8}]]'
    assert checkpoint.header_digest == hashlib.sha256(entries.encode()).hexdigest()


def test_a_relative_folder_keeps_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path / "mine" / "sub")
    write_folder(tmp_path / "mine", model__safetensors=float_file("a"))

    monkeypatch.chdir(tmp_path / "mine")
    assert open_checkpoint(Path()).name == "mine"
    monkeypatch.chdir(tmp_path / "mine" / "sub")
    assert open_checkpoint(Path("..")).name == "mine"


def test_a_path_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    assert problem_of(tmp_path / "gone") == f"There is no folder {tmp_path / 'gone'}. Check the path."
    assert problem_of(Path("a\0b")) == r"There is no folder 'a\x00b'. Check the path."


def test_a_path_that_the_system_refuses_is_told(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 300)

    assert problem_of(path) == f"{path} cannot be opened: File name too long. Choose another folder."


@pytest.mark.parametrize("text", ["org/name", "org/name@main", "HuggingFaceTB/SmolLM2-135M"])
def test_a_hub_id_is_told_from_a_path(text: str) -> None:
    assert problem_of(Path(text)) == (
        f"There is no folder {text}. Models on the Hub are not read by this version: "
        "download the model and choose its folder."
    )


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    write_folder(tmp_path)

    assert problem_of(tmp_path / "config.json") == (
        f"{tmp_path / 'config.json'} is a file. Choose the folder that holds it."
    )


def test_8_a_config_that_is_a_fifo_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    (tmp_path / "model.safetensors").write_bytes(float_file("a"))

    assert problem_of(tmp_path) == "config.json is not a regular file. Put the file itself there."


def test_8_weights_and_config_that_lie_elsewhere_are_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "mine", model__safetensors=float_file("a"))
    for name in ("config.json", "model.safetensors"):
        (folder / name).rename(tmp_path / name)
        (folder / name).symlink_to(tmp_path / name)

    assert problems_of(folder) == (
        "config.json is a link that leads out of mine. Put the file itself there.",
        "model.safetensors is a link that leads out of mine. Put the file itself there.",
    )


def test_a_snapshot_of_the_hugging_face_cache_is_opened(tmp_path: Path) -> None:
    blobs = write_folder(tmp_path / "blobs", weights=float_file("a"))
    folder = tmp_path / "snapshots" / "c0ffee"
    folder.mkdir(parents=True)
    (folder / "config.json").symlink_to(blobs / "config.json")
    (folder / "model.safetensors").symlink_to(blobs / "weights")

    assert open_checkpoint(folder).tensors["a"].file == "model.safetensors"


def test_14_a_config_that_is_not_strict_json_is_refused(tmp_path: Path) -> None:
    twice = '{"num_hidden_layers": 1, "num_hidden_layers": 2}'
    folder = write_folder(tmp_path, config__json=twice, model__safetensors=b"")

    assert problems_of(folder) == (
        "config.json is not valid: duplicate key num_hidden_layers.",
        "model.safetensors is empty. Download it again.",
    )


@pytest.mark.parametrize(
    ("said", "text"),
    [(1_000_000_000, "1,000,000,000"), (-1, "-1"), (0, "0"), (5, "5"), (3, "3"), ("four", "'four'"), (4.0, "4.0")],
)
def test_15_54_a_config_with_another_number_of_layers_is_refused(tmp_path: Path, said: object, text: str) -> None:
    folder = write_folder(tmp_path, config__json={"num_hidden_layers": said}, model__safetensors=LAYERS)

    assert problem_of(folder) == (
        f"config.json says {text} layers, the files hold 4. Use the config.json that belongs to them."
    )


@pytest.mark.parametrize(
    "config",
    [
        {"n_layer": 4},
        {"num_hidden_layers": 3, "num_nextn_predict_layers": 1},
        {"num_hidden_layers": 16, "num_layers_per_stack": 4},
        {"num_hidden_layers": {"language": 4, "vision": 2}},
        {"num_hidden_layers": None},
        {},
    ],
)
def test_54_a_config_that_agrees_or_says_nothing_is_accepted(tmp_path: Path, config: dict[str, object]) -> None:
    write_folder(tmp_path, config__json=config, model__safetensors=LAYERS)

    assert len(open_checkpoint(tmp_path).tensors) == 9


def test_a_layer_that_runs_many_times_is_no_contradiction(tmp_path: Path) -> None:
    names = ("albert_layer_groups.0.albert_layers.0.ffn", "albert_layer_groups.0.albert_layers.0.attention")
    write_folder(tmp_path, config__json={"num_hidden_layers": 12}, model__safetensors=float_file(*names))

    assert len(open_checkpoint(tmp_path).tensors) == 2


def test_53_a_folder_without_config_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()

    assert problem_of(folder) == (
        "mine has no config.json. Choose the folder that holds config.json and the weight files."
    )


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    assert problem_of(write_folder(tmp_path / "mine")) == (
        "mine has no weight files: model*.safetensors or pytorch_model*.bin. "
        "Choose the folder that holds config.json and the weight files."
    )


def test_52_bin_files_of_an_optimizer_are_no_model(tmp_path: Path) -> None:
    assert problem_of(write_folder(tmp_path / "mine", training_args__bin=b"x")) == (
        "mine has no weight files: model*.safetensors or pytorch_model*.bin. "
        "Choose the folder that holds config.json and the weight files."
    )


def test_37_gguf_files_alone_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "model-Q4_K.GGUF").write_bytes(b"GGUF")

    assert problem_of(folder) == "mine has only GGUF files. Use the original weights, in safetensors files."


def test_51_an_adapter_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "mine", adapter_config__json="{}", adapter_model__safetensors=float_file("a"))

    assert problem_of(folder) == (
        "mine holds an adapter, not a model. Merge it into its base model first, and choose the result."
    )


def test_51_an_adapter_beside_a_model_stays_behind(tmp_path: Path) -> None:
    write_folder(
        tmp_path,
        adapter_config__json="{}",
        adapter_model__safetensors=float_file("a"),
        model__safetensors=float_file("b"),
    )

    checkpoint = open_checkpoint(tmp_path)

    assert list(checkpoint.tensors) == ["b"]
    assert dict(checkpoint.skipped)["adapter_model.safetensors"] == (
        "these weights are not part of the model that is read"
    )


def test_56_a_diffusers_folder_is_refused(tmp_path: Path) -> None:
    assert problem_of(write_folder(tmp_path / "mine", model_index__json="{}")) == (
        "mine is an image model (diffusers). Choose a language model."
    )


@pytest.mark.parametrize(
    ("config", "method"),
    [
        ({"quantization_config": {"quant_method": "gptq"}}, "GPTQ"),
        ({"quantization_config": {"quant_method": "awq"}}, "AWQ"),
        ({"quantization_config": {"quant_method": "mxfp4"}}, "MXFP4"),
        ({"quantization_config": {"quant_method": "compressed-tensors"}}, "compressed-tensors"),
        ({"quantization_config": {"load_in_4bit": True}}, "bitsandbytes"),
        ({"quantization_config": {"quant_method": "a\nb"}}, "an unknown method"),
        ({"text_config": {"quantization_config": {"quant_method": "fp8"}}}, "FP8"),
    ],
)
def test_36_a_quantised_model_is_known_by_its_config(tmp_path: Path, config: dict[str, object], method: str) -> None:
    folder = write_folder(tmp_path, config__json=config, model__safetensors=float_file("a"))

    assert problem_of(folder) == f"This model is quantised ({method}). Use the original weights."


@pytest.mark.parametrize(
    ("names", "method"),
    [
        (("layers.0.q.qweight", "layers.0.q.scales"), "GPTQ or AWQ"),
        (("layers.0.q.qzeros",), "GPTQ or AWQ"),
        (("layers.0.q.weight.absmax",), "bitsandbytes"),
        (("layers.0.q.SCB",), "bitsandbytes"),
        (("experts.gate_up_proj_blocks", "experts.gate_up_proj_scales"), "MXFP4"),
        (("layers.0.q.weight", "layers.0.q.weight_scale_inv"), "FP8"),
        (("layers.0.q.weight_packed",), "compressed-tensors"),
    ],
)
def test_36_a_quantised_model_is_known_by_its_tensors(tmp_path: Path, names: tuple[str, ...], method: str) -> None:
    folder = write_folder(tmp_path, model__safetensors=float_file(*names))

    assert problem_of(folder) == f"This model is quantised ({method}). Use the original weights."


@pytest.mark.parametrize("config", [{"quantization_config": None}, {"quantization_config": {}}])
def test_36_an_empty_quantisation_is_none(tmp_path: Path, config: dict[str, object]) -> None:
    write_folder(tmp_path, config__json=config, model__safetensors=float_file("a_blocks"))

    assert list(open_checkpoint(tmp_path).tensors) == ["a_blocks"]


@pytest.mark.parametrize(("code", "label"), [("F8_E4M3", "fp8"), ("F8_E5M2", "fp8"), ("F8_E8M0", "fp8"), ("F4", "fp4")])
def test_35_low_precision_weights_are_refused(tmp_path: Path, code: str, label: str) -> None:
    nbytes = 1 if code == "F4" else 2
    raw = file_of({"a": {"dtype": code, "shape": [2], "data_offsets": [0, nbytes]}}, nbytes)

    assert problem_of(write_folder(tmp_path, model__safetensors=raw)) == (
        f"{label} weights cannot be averaged. Use the original weights."
    )


def test_61_tensors_whose_names_differ_only_in_case_are_two_tensors(tmp_path: Path) -> None:
    write_folder(tmp_path, model__safetensors=float_file("a", "A"))

    assert list(open_checkpoint(tmp_path).tensors) == ["a", "A"]


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    folder = write_folder(
        tmp_path / "mine",
        config__json={"num_hidden_layers": 7, "quantization_config": {"quant_method": "gptq"}},
        model__safetensors=LAYERS,
        vocab__txt=b"",
        Vocab__txt=b"",
    )

    assert problems_of(folder) == (
        "mine holds Vocab.txt and vocab.txt, which differ only in case. Rename one.",
        "This model is quantised (GPTQ). Use the original weights.",
        "config.json says 7 layers, the files hold 4. Use the config.json that belongs to them.",
    )


@pytest.fixture
def opened(tmp_path: Path) -> Checkpoint:
    return open_checkpoint(write_folder(tmp_path / "mine", model__safetensors=float_file("a")))


def test_an_untouched_checkpoint_is_unchanged(opened: Checkpoint) -> None:
    check_unchanged(opened)


@pytest.mark.parametrize("change", ["time", "length", "inode", "gone"])
def test_64_a_source_that_changed_is_named(opened: Checkpoint, change: str) -> None:
    path = opened.folder / "model.safetensors"
    status = path.stat()
    match change:
        case "time":
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1000))
        case "length":
            with path.open("ab") as file:
                file.write(b"x")
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        case "inode":
            copy = path.with_name("copy")
            copy.write_bytes(path.read_bytes())
            os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))
            copy.replace(path)
        case "gone":
            path.unlink()

    with pytest.raises(SourceChangedError) as caught:
        check_unchanged(opened)

    assert str(caught.value) == (
        "model.safetensors of mine changed during the merge. Let nothing change the models, then start it again."
    )


def test_a_random_config_survives_as_it_is(tmp_path: Path) -> None:
    config = {"model_type": "llama", "rope": {"theta": 1e-05, "list": [1, None, True, "ü"]}}
    folder = write_folder(tmp_path, config__json=json.dumps(config), model__safetensors=float_file("a"))

    assert open_checkpoint(folder).config == config

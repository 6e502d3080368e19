"""The command line as people and scripts meet it: a process, its output, its exit code."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from blockmerge.checkpoints.manifest import Manifest, write_manifest
from blockmerge.core.methods import METHODS
from tests.engine.merges import contents, recipe_text
from tests.engine.oracle import read_raw
from tests.jobs.bench import write_hollow_model
from tests.tiny_models import write_llama, write_tokenizer

Models = tuple[Path, Path]


def start(*arguments: object, **environ: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "blockmerge", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environ},
    )


def run(*arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    with start(*arguments) as process:
        out, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    return process.returncode, out, err


def printed(*arguments: object) -> str:
    """What a command prints that is done without a word on stderr."""
    code, out, err = run(*arguments)
    assert (code, err) == (0, "")
    return out


@pytest.fixture
def models(tmp_path: Path) -> Models:
    a, b = write_llama(tmp_path / "a"), write_llama(tmp_path / "b", seed=1)
    write_tokenizer(a)
    write_tokenizer(b)
    return a, b


@pytest.fixture
def recipe(tmp_path: Path, models: Models) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe_text(*models, {"layers": [0, 0.5, 0.5, 1], "head": 0.25}))
    return path


def test_inspect_shows_the_names_that_a_recipe_may_use(models: Models) -> None:
    assert printed("inspect", models[0]) == (
        "a: llama, 41.2 k parameters, bfloat16\n"
        "39 tensors, 82.5 kB in 1 file(s)\n"
        "stack layers: 4 layers; lanes attention, mlp, norm\n"
        "rows outside the layers: embeddings, final_norm, head\n"
        "vocabulary: 64; the head is its own\n"
    )


def test_inspect_prints_one_json_value(models: Models) -> None:
    value = json.loads(printed("inspect", models[0], "--json"))

    assert value["stacks"] == [{"name": "layers", "layers": 4, "lanes": ["attention", "mlp", "norm"], "rows": []}]
    assert value["rows"] == ["embeddings", "final_norm", "head"]
    assert (value["dtype"], value["parameters"], value["vocabulary"], value["tied"]) == ("bfloat16", 41248, 64, False)


def test_a_template_is_a_recipe_that_plans_and_merges(tmp_path: Path, models: Models) -> None:
    recipe, out = tmp_path / "recipe.yaml", tmp_path / "out"

    assert printed("template", *models, "-o", recipe) == ""
    plan = printed("plan", recipe)
    merged = printed("merge", recipe, "--out", out)

    assert recipe.read_text() == printed("template", *models)
    assert "    - 0.5  # layer 3\n" in recipe.read_text()
    assert "39 tensors, 82.5 kB: 39 blended, 0 copied, 0 converted.\n" in plan
    assert merged.startswith(f"{out}: 82.5 kB in ")
    digest = json.loads((out / "blockmerge.json").read_text())["result_digest"]
    assert merged.endswith(f" s, digest {digest}\n")


def test_a_template_does_not_replace_a_file(models: Models, recipe: Path) -> None:
    before = contents(recipe.parent)

    assert run("template", *models, "-o", recipe) == (2, "", f"{recipe} exists already. Choose another name.\n")
    assert contents(recipe.parent) == before


def test_a_template_for_a_folder_that_is_not_there_is_refused(models: Models, tmp_path: Path) -> None:
    path = tmp_path / "not" / "there.yaml"

    assert run("template", *models, "-o", path) == (
        2,
        "",
        f"{path} cannot be written: No such file or directory. Choose another name.\n",
    )


def test_a_template_of_an_unknown_method_names_the_known_ones(models: Models) -> None:
    known = ", ".join(METHODS)

    assert run("template", *models, "--method", "slerpy") == (
        2,
        "",
        f"--method slerpy: there is no such merge method. Known: {known}.\n",
    )


def test_the_plan_as_json_accounts_for_every_tensor_and_file(recipe: Path, models: Models) -> None:
    before = contents(recipe.parent)

    plan = json.loads(printed("plan", recipe, "--json"))

    assert contents(recipe.parent) == before
    names = {step["name"] for step in plan["steps"]}
    assert names == read_raw(models[0]).keys() == read_raw(models[1]).keys()
    actions = {step["name"]: (step["action"], step["weight"]) for step in plan["steps"]}
    assert actions["model.layers.0.mlp.up_proj.weight"] == ("copy", 0.0)
    assert actions["model.layers.3.mlp.up_proj.weight"] == ("copy", 1.0)
    assert actions["lm_head.weight"] == ("blend", 0.25)
    assert {file["name"] for file in plan["side_files"]} == {"config.json", "tokenizer.json", "tokenizer_config.json"}
    assert len(plan["left_out"]) == 3  # the same files of B
    assert plan["estimate"]["disk"] > plan["bytes"] == 82496


def test_a_merge_as_json_says_where_what_and_how_long(
    tmp_path: Path, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The paths of models and output are taken from the current folder."""
    (tmp_path / "recipe.yaml").write_text(recipe_text(Path("a"), Path("./b"), 1))
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    monkeypatch.chdir(tmp_path)

    value = json.loads(printed("merge", "recipe.yaml", "--out", "new/out", "--json"))

    assert value.keys() == {"path", "digest", "bytes", "seconds", "warnings"}
    assert (value["path"], value["bytes"], value["warnings"]) == (str(Path("new/out")), 82496, [])
    assert value["seconds"].keys() == {"check", "merge", "sync", "verify", "save"}
    assert value["digest"] == json.loads((tmp_path / "new/out/blockmerge.json").read_text())["result_digest"]
    assert read_raw(tmp_path / "new/out") == read_raw(models[1])


def without_config(a: Path, b: Path) -> str:
    (b / "config.json").unlink()
    return "models.b: b has no config.json. Choose the folder that holds config.json and the weight files.\n"


def of_another_depth(a: Path, b: Path) -> str:
    write_llama(b, layers=6)
    return "A has 4 layers, B has 6. A blend needs the same number. Choose another B.\n"


def with_a_cut_shard(a: Path, b: Path) -> str:
    shard = b / "model.safetensors"
    size = shard.stat().st_size
    os.truncate(shard, size - 1000)
    return (
        f"models.b: model.safetensors is cut short: {size - 1000:,} of {size:,} bytes are there. Download it again.\n"
    )


def with_two_faults(a: Path, b: Path) -> str:
    (a / "model.safetensors").unlink()
    (b / "model.safetensors").write_bytes(b"")
    return (
        "models.a: a has no weight files: model*.safetensors or pytorch_model*.bin. "
        "Choose the folder that holds config.json and the weight files.\n"
        "models.b: model.safetensors is empty. Download it again.\n"
    )


@pytest.mark.parametrize("spoil", [without_config, of_another_depth, with_a_cut_shard, with_two_faults])
def test_wrong_models_get_every_reason_and_nothing_is_made(
    models: Models, recipe: Path, spoil: Callable[[Path, Path], str]
) -> None:
    sentences = spoil(*models)
    before = contents(recipe.parent)

    assert run("template", *models) == (2, "", sentences)
    assert run("plan", recipe, "--json") == (2, "", sentences)
    assert run("merge", recipe, "--out", recipe.parent / "out" / "deep") == (2, "", sentences)
    assert contents(recipe.parent) == before
    assert not (recipe.parent / "out").exists()


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        (
            "blockmerge: 1\nmodels: {a: A, b: B}\nweights: {layers: 0.5, atention: 1}\noutptu: {}\n",
            "weights.atention: this key is unknown. Did you mean 'attention'?\n"
            "outptu: this key is unknown. Did you mean 'output'?\n",
        ),
        ("blockmerge: 1\nmodels: [\n", "The recipe is not valid YAML at line 3, column 1: "),
        ("", "The recipe must be a mapping that starts with 'blockmerge: 1'. docs/recipe.md shows one.\n"),
    ],
)
def test_a_wrong_recipe_gets_every_reason_and_nothing_is_made(tmp_path: Path, text: str, sentences: str) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text)

    for command in (("plan", recipe), ("merge", recipe, "--out", tmp_path / "out")):
        code, out, err = run(*command)
        assert (code, out) == (2, "")
        assert err.startswith(sentences)
        assert err.count("\n") == sentences.count("\n") or not sentences.endswith("\n")
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]


def test_a_recipe_that_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")

    for name, sentence in {
        "none": f"{tmp_path / 'none'} cannot be read: No such file or directory. Check the path.\n",
        "": f"{tmp_path} cannot be read: Is a directory. Check the path.\n",
        "bytes": f"{tmp_path / 'bytes'} is not a text in UTF-8. Is this the right file?\n",
    }.items():
        assert run("plan", tmp_path / name) == (2, "", sentence)


def test_what_is_in_the_way_is_kept_unless_told_otherwise(tmp_path: Path, recipe: Path) -> None:
    out, partial = tmp_path / "out", tmp_path / "out.partial"
    for folder in (out, partial):
        folder.mkdir()
        (folder / "mine.txt").write_text("mine")

    foreign = run("merge", recipe, "--out", out, "--overwrite")
    write_manifest(out, Manifest("0", "", "0", "", {}))
    before = contents(tmp_path)
    taken = run("merge", recipe, "--out", out)
    unfinished = run("merge", recipe, "--out", out, "--overwrite")

    assert foreign == (
        2,
        "",
        f"{out} holds no result of blockmerge, so it is not replaced. "
        "Choose another name, or delete that folder yourself.\n",
    )
    assert taken == (2, "", f"{out} exists already. Choose another name, or add --overwrite to replace it.\n")
    assert unfinished == (
        2,
        "",
        f"{partial} is left from a merge that did not finish. Add --discard to delete it and start anew.\n",
    )
    assert contents(tmp_path) == before

    printed("merge", recipe, "--out", out, "--overwrite", "--discard")

    assert not (out / "mine.txt").exists()
    assert (out / "model.safetensors").is_file()
    assert not partial.exists()


@pytest.mark.parametrize("out", ["/", "."])
def test_no_folder_of_the_system_is_a_place_for_a_result(recipe: Path, out: str) -> None:
    code, _, err = run("merge", recipe, "--out", out, "--overwrite", "--discard")

    assert code == 2
    assert err.endswith(("Choose another folder.\n", "Choose another name.\n"))


def test_numbers_that_are_not_finite_fail_the_merge_or_are_warned_of(tmp_path: Path) -> None:
    a, b = write_llama(tmp_path / "a", dtype="float32"), write_llama(tmp_path / "b", dtype="float32", seed=1)
    raw = bytearray((a / "model.safetensors").read_bytes())
    raw[-4:] = b"\x00\x00\x80\x7f"  # Inf, as the last number of the head
    (a / "model.safetensors").write_bytes(raw)
    refuse, warn = tmp_path / "refuse.yaml", tmp_path / "warn.yaml"
    refuse.write_text(recipe_text(a, b, 0.5))
    warn.write_text(recipe_text(a, b, 0.5, nonfinite="warn"))
    sentence = "lm_head.weight of a holds 1 NaN or Inf value.\n"

    assert run("merge", refuse, "--out", tmp_path / "out") == (
        1,
        "",
        f"{sentence}Leave that model out there, with a weight that copies another, or write 'nonfinite: warn' under "
        "output to keep them.\n",
    )
    assert not (tmp_path / "out").exists()

    code, out, err = run("merge", warn, "--out", tmp_path / "out", "--json")

    assert (code, err) == (0, sentence)
    assert json.loads(out)["warnings"] == [sentence.strip()]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("merg",), "Error: No such command 'merg'. Did you mean 'merge'?\n"),
        (("push", "folder"), "Error: Missing argument 'ORG/NAME'.\n"),
        (("inspect", "a", "--jsn"), "Error: No such option: --jsn (Possible options: --json)\n"),
    ],
)
def test_wrong_arguments_are_told_in_plain_lines(arguments: tuple[str, ...], sentence: str) -> None:
    code, out, err = run(*arguments)

    assert (code, out) == (2, "")
    assert err.startswith("Usage: python -m blockmerge ")
    assert err.endswith(sentence)


@pytest.fixture(scope="session")
def large_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large")
    sizes = (2048, 8192, 256)
    a, b = write_hollow_model(folder / "a", 8, sizes), write_hollow_model(folder / "b", 8, sizes)
    (folder / "recipe.yaml").write_text(recipe_text(a, b, 0.5))
    return folder / "recipe.yaml"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_merge_says_so_and_goes_on_when_it_is_started_again(
    tmp_path: Path, large_recipe: Path, number: int
) -> None:
    out = tmp_path / "new" / "out"
    shard = tmp_path / "new" / "out.partial" / "model.safetensors"

    with start("merge", large_recipe, "--out", out) as process:
        while not shard.exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        printed, said = process.communicate(timeout=30)

    assert (process.returncode, printed) == (1, "")
    assert said == "The merge was stopped. Started again, it goes on from what is finished.\n"
    assert not out.exists()
    assert run("merge", large_recipe, "--out", out)[0] == 0
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out"]

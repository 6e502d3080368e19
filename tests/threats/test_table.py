"""The table of threats, a row a test: the input, and exactly what comes of it, against the running page.

Names that start with a number are that row. Rows 11 and 12 (models that are tried) and parts of 6, 17 and 22 are in
test_hostile_models.py, rows 18, 20 and 21 (the Hub) in test_hub_table.py.
"""

import ast
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

import blockmerge
from blockmerge.jobs.states import JobState, part_folder
from tests.checkpoints.raw_files import header
from tests.threats.conftest import Running, Visitor
from tests.tiny_models import write_json, write_llama

PAIR = "models: {a: example/lowercase, b: example/capitals}"
RECIPE = f"blockmerge: 1\n{PAIR}\nweights: {{layers: 0.5}}\n"
EVIL = "http://evil.example"
UPLOAD = '--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\na\r\n--x--\r\n'
NO_FILE = "The page takes no file in a call. Send a text instead."
NO_CALL = "This is not a call that the page can answer. docs/api.md shows the calls that there are."
FOREIGN = "Another web site made this request, so it was refused. Open the page itself.\n"


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../../etc/passwd", "%2e%2e/%2e%2e/etc/passwd", "/proc/self/environ", "C:%5cwindows%5cwin.ini"],
)
def test_01_no_file_of_the_server_is_served(running: Running, path: str) -> None:
    assert running.ask("GET", f"/gradio_api/file={path}")[0] in (403, 404)
    assert running.ask("GET", f"/static/{path.lstrip('/')}")[0] in (403, 404)
    assert running.ask("GET", f"/assets/{path.lstrip('/')}")[0] in (403, 404)


def test_01_a_result_is_not_served_by_gradio_either(running: Running) -> None:
    secret = running.bench.settings.output / "secret.txt"
    secret.parent.mkdir(parents=True, exist_ok=True)
    secret.write_text("secret")

    assert running.ask("GET", f"/gradio_api/file={quote(str(secret))}")[0] == 403


def test_02_a_forged_file_is_no_argument(running: Running) -> None:
    forged = {"path": "/etc/passwd", "url": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}

    assert running.visitor().call("inspect", forged) == NO_FILE
    assert running.visitor().call("plan", forged) == NO_FILE


def test_02_a_forged_file_at_an_address_of_this_machine_is_not_fetched(running: Running) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/x"
        forged = {"path": address, "url": address, "meta": {"_type": "gradio.FileData"}}

        told = running.visitor().call("inspect", forged)

        listener.setblocking(False)
        with pytest.raises(BlockingIOError):  # nobody has come
            listener.accept()
    assert told == NO_FILE


@pytest.mark.parametrize("address", ["http://169.254.169.254/", "file:///etc/passwd"])
def test_03_no_address_but_one_of_the_hub_is_fetched(running: Running, address: str) -> None:
    assert running.visitor().call("inspect", address) == (
        f"'{address}' is not an address of the Hub. Give a Hub id such as org/name, or a folder."
    )


def test_03_no_share_of_another_machine_is_opened(running: Running) -> None:
    sentence = running.visitor().call("inspect", "\\\\evil.example\\share")

    assert sentence.startswith("There is no model '\\\\\\\\evil.example\\\\share' here. Choose one from the list; ")


@pytest.mark.parametrize(
    ("path", "kind", "body"),
    [
        ("/gradio_api/queue/join", "application/json", '{"data": [], "fn_index": 0, "session_hash": "s"}'),
        ("/gradio_api/run/queue", "application/json", json.dumps({"data": [RECIPE, "evil", "cpu"]})),
        ("/gradio_api/upload", "multipart/form-data; boundary=x", UPLOAD),
        ("/gradio_api/run/queue", "text/plain", json.dumps({"data": [RECIPE, "evil", "cpu"]})),
        ("/gradio_api/run/queue", "application/x-www-form-urlencoded", "data=x"),
    ],
)
def test_04_what_another_site_sends_is_refused(running: Running, path: str, kind: str, body: str) -> None:
    before = running.jobs()

    assert running.post(path, body, kind, Origin=EVIL) == (403, FOREIGN)
    assert running.jobs() == before


def test_05_another_sites_name_for_this_machine_is_refused(running: Running) -> None:
    status, text = running.ask("GET", "/", headers={"Host": "evil.example"})

    assert status == 400
    assert text.startswith("This page does not answer to that host name.")


def test_06_a_name_from_a_recipe_is_json_and_never_markup(running: Running) -> None:
    """That the browser shows names as text: test_hostile_models.py."""
    name = "<img src=x onerror=document.title='pwn'>"
    status, text = running.post("/gradio_api/run/inspect", json.dumps({"data": [name]}))

    assert status == 500
    assert json.loads(text)["error"].startswith("There is no model ")


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "a\\b", "a\0b", "~", "/tmp/x", "x\u202egnp", "ａ", "a b", "-x", "$(id)"]
)
def test_07_a_result_has_a_plain_name(running: Running, name: str) -> None:
    answer = running.visitor().call("queue", RECIPE, name, "cpu")

    assert answer == "Use letters, digits, dot, dash and underscore only."


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("con", "con is the name of a device on Windows. Choose another name."),
        ("a..b", "A name has no two dots in a row and no dot at its end. Choose another name."),
        ("x" * 300, "The name has 300 characters. Use 96 at most."),
        ("x.partial", "Names that end in .partial or .old are kept for unfinished and replaced results."),
    ],
)
def test_07_a_name_that_some_system_cannot_have_is_refused(running: Running, name: str, sentence: str) -> None:
    assert running.visitor().call("queue", RECIPE, name, "cpu") == sentence


def test_08_a_link_out_of_a_models_folder_is_not_followed(running: Running) -> None:
    model = write_llama(running.models / "linked")
    (model / "config.json").unlink()
    (model / "config.json").symlink_to("/etc/passwd")

    assert running.visitor().call("inspect", "linked") == (
        "config.json is a link that leads out of linked. Put the file itself there."
    )


def test_08_a_pipe_in_a_models_folder_hangs_nobody(running: Running) -> None:
    model = write_llama(running.models / "pipe")
    (model / "model.safetensors").unlink()
    os.mkfifo(model / "model.safetensors")

    assert running.visitor().call("inspect", "pipe") == (
        "model.safetensors is not a regular file. Put the file itself there."
    )


def test_09_nothing_unpickles_or_evaluates() -> None:
    """torch.load is called in one place, with weights_only=True: design rule 3.8."""
    loads = []
    for path in Path(blockmerge.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                if (name, len(node.args)) == ("yaml.load", 2) and ast.unparse(node.args[1]) == "_Loader":
                    continue  # core/yaml_reader.py's own, which is yaml.SafeLoader without aliases
                assert name not in {"eval", "exec", "pickle.load", "pickle.loads", "yaml.load", "marshal.loads"}
                if name == "torch.load":
                    loads.append({key.arg: ast.unparse(key.value) for key in node.keywords})
    assert loads
    assert all(keywords.get("weights_only") == "True" for keywords in loads)


def test_10_code_of_a_model_is_not_run(running: Running) -> None:
    canary = running.models / "canary"
    model = write_llama(running.models / "coded")
    config = json.loads((model / "config.json").read_text())
    write_json(model / "config.json", {**config, "auto_map": {"AutoConfig": "canary.Config"}})
    (model / "canary.py").write_text(f"open({str(canary)!r}, 'w')\n")

    plan = running.visitor().call("plan", RECIPE.replace(PAIR, "models: {a: coded, b: coded}"))

    assert not canary.exists()
    assert "canary.py" not in [file["name"] for file in plan["side_files"]]


def test_13_a_header_bomb_is_refused_unread(running: Running) -> None:
    model = write_llama(running.models / "bomb")
    (model / "model.safetensors").write_bytes((65 * 10**6).to_bytes(8, "little") + b"{" * 100)

    assert running.visitor().call("inspect", "bomb") == (
        "model.safetensors is not a safetensors file: its header would have 65,000,000 bytes, at most 16,000,000 are "
        "read. Download it again."
    )


def test_13_a_header_of_too_many_tensors_is_refused(running: Running) -> None:
    model = write_llama(running.models / "crowd")
    entry = '"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    (model / "model.safetensors").write_bytes(header("{" + ",".join(entry % n for n in range(200_001)) + "}"))

    assert running.visitor().call("inspect", "crowd") == (
        "The header of model.safetensors lists too many tensors: 200,001, at most 200,000 are read."
    )


@pytest.mark.parametrize(
    ("recipe", "sentence"),
    [
        ("a: &a [1, 2]\nb: *a\n", "alias"),
        ("a: !!python/object/apply:os.system [id]\n", "tag"),
        (f"blockmerge: 1\n{PAIR}\nweights: {{layers: {'[' * 5000}{']' * 5000}}}\n", "The recipe"),
        ("#" * 70_000, "The recipe"),
        (f"blockmerge: 1\nblockmerge: 1\n{PAIR}\n", "blockmerge"),
        (f"blockmerge: 1\n{PAIR}\nweights: {{layers: .nan}}\n", "weights.layers"),
    ],
)
def test_14_a_recipe_is_read_strictly(running: Running, recipe: str, sentence: str) -> None:
    answer = running.visitor().call("plan", recipe)

    assert isinstance(answer, str)
    assert sentence in answer


def test_14_a_config_with_a_key_twice_is_refused(running: Running) -> None:
    model = write_llama(running.models / "twice")
    text = (model / "config.json").read_text()
    (model / "config.json").write_text(text.replace("{", '{"num_hidden_layers": 3, ', 1))

    assert running.visitor().call("inspect", "twice") == "config.json is not valid: duplicate key num_hidden_layers."


@pytest.mark.parametrize("layers", [10**9, -1, 10**30])
def test_15_a_config_that_lies_about_its_layers_is_refused(running: Running, layers: int) -> None:
    model = write_llama(running.models / f"lying{layers}")
    config = json.loads((model / "config.json").read_text())
    write_json(model / "config.json", {**config, "num_hidden_layers": layers})

    assert running.visitor().call("inspect", f"lying{layers}").startswith("config.json says ")


def test_16_a_flood_is_refused_before_it_is_read(running: Running) -> None:
    status, text = running.post("/gradio_api/run/inspect", "x" * 3_000_000)

    assert (status, text) == (413, "The request is larger than 2 MB. Send less at once.\n")


def test_16_nobody_can_fill_the_disk_with_uploads(running: Running) -> None:
    status, text = running.post("/gradio_api/upload", UPLOAD, "multipart/form-data; boundary=x")

    assert (status, json.loads(text)["error"]) == (404, NO_CALL)


def test_17_a_token_in_an_error_does_not_reach_the_browser(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("Bearer hf_secretsecretsecret")

    monkeypatch.setattr("blockmerge.checkpoints.library.Library.offered", fail)

    status, text = running.post("/gradio_api/run/models", '{"data": []}')

    assert status == 500
    assert "hf_" not in text
    assert json.loads(text)["error"] == "This did not work. Reload the page and try again; the server's log says more."


@pytest.mark.parametrize("name", ["job", "log", "cancel", "retry", "clone", "move_up", "delete_files", "files"])
def test_19_another_persons_job_is_none_at_all(running: Running, name: str) -> None:
    owner, stranger = running.visitor(), running.visitor()
    job = owner.call("queue", RECIPE, f"mine-{name.replace('_', '-')}", "cpu")

    assert stranger.call(name, job) == "No such job."
    assert running.bench.store.get(job).state is JobState.WAITING


@pytest.mark.parametrize("change", [lambda v: v[:-1] + "0", lambda v: "0" * 32 + v[32:], lambda _: "x", lambda _: ""])
def test_19_a_forged_cookie_is_a_new_visitor(running: Running, change: Callable[[str], str]) -> None:
    owner = running.visitor()
    name, _, value = owner.cookie.partition("=")
    job = owner.call("queue", RECIPE, "", "cpu")
    forged = change(value) if change(value) != value else value[:-1] + "1"

    assert Visitor(running, f"{name}={forged}").call("cancel", job) == "No such job."
    assert running.ask("GET", f"/files/{job}/", headers={"Cookie": f"{name}={forged}"}) == (404, "No such job.\n")


def test_22_a_planted_link_is_not_written_through(running: Running) -> None:
    output = running.bench.settings.output
    output.mkdir(parents=True, exist_ok=True)
    part_folder(output / "planted").symlink_to("/etc")
    (output / "taken").symlink_to("/etc")

    assert "is left from a merge that did not finish" in running.visitor().call("queue", RECIPE, "planted", "cpu")
    assert "exists already" in running.visitor().call("queue", RECIPE, "taken", "cpu")


@pytest.mark.parametrize(
    "path",
    ["/login", "/logout", "/login/huggingface", "/login/callback", "/monitoring", "/monitoring/summary"]
    + [
        f"/gradio_api/{end}"
        for end in ("dev/reload", "runs", "token", "user", "deep_link", "proxy=http://x", "vibe-code")
    ],
)
def test_doors_of_gradio_that_nobody_uses_are_closed(running: Running, path: str) -> None:
    """No sign-in off a Space, where it could be forged; no history of calls, no proxy, no monitoring."""
    status, text = running.ask("GET", path)

    assert (status, json.loads(text)) == (404, {"error": NO_CALL})


def test_23_wrong_calls_are_answered_with_sentences_and_a_line_in_the_log(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    for path in ("queue/join", "run/nothing", "call/nothing", "call/v2/nothing"):
        status, text = running.post(f"/gradio_api/{path}", '{"data": [], "fn_index": 999, "session_hash": "s"}')

        assert status in (404, 500)
        assert json.loads(text)["error"].endswith("the server's log says more.")
    assert not any(record.exc_info for record in caplog.records)
    assert running.ask("GET", "/healthz")[0] == 200

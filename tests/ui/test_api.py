"""The endpoints on a real server: typed arguments, the page's sentences, the values of the command line."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from typer.testing import CliRunner

from blockmerge.checkpoints.library import EXAMPLE
from blockmerge.cli import app
from blockmerge.engine.devices import Found
from blockmerge.jobs.states import JobState
from blockmerge.jobs.store import Store
from blockmerge.settings import read_settings
from blockmerge.ui.web import build_app
from tests.ui.conftest import Bench, serving

PAIR = ["example/lowercase", "example/capitals"]
RECIPE = "blockmerge: 1\nmodels: {a: example/lowercase, b: example/capitals}\nweights: {layers: 0.25}\n"


@dataclass(frozen=True)
class Server:
    """`cookie` says who asks; two servers of other cookies are one server as two people see it."""

    bench: Bench
    address: str
    cookie: str

    def call(self, name: str, *arguments: object) -> Any:
        """The answer, or the sentence that says what is wrong."""
        request = urllib.request.Request(
            f"{self.address}/gradio_api/run/{name}",
            json.dumps({"data": arguments}).encode(),
            {"Content-Type": "application/json", "Cookie": self.cookie},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)["data"][0]
        except urllib.error.HTTPError as error:
            with error:
                return json.load(error)["error"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Reachable by other machines, so that only names of listed models are models."""
    home = tmp_path_factory.mktemp("api")
    settings = read_settings({"BLOCKMERGE_HOME": str(home / "home"), "BLOCKMERGE_OUTPUT": str(home / "output")})
    with (
        Store(settings.queue) as store,
        serving(lambda: build_app(settings, store, listen="0.0.0.0")) as port,
    ):
        address = f"http://127.0.0.1:{port}"
        yield Server(Bench(settings, store), address, new_cookie(address))


def new_cookie(address: str) -> str:
    with urllib.request.urlopen(f"{address}/healthz", timeout=30) as answer:
        return str(answer.headers["Set-Cookie"]).partition(";")[0]


def own_job(server: Server, name: str) -> int:
    """A waiting job of the person that the server's cookie names."""
    return int(server.call("queue", RECIPE, name, "cpu"))


def printed(*arguments: str) -> Any:
    return json.loads(CliRunner().invoke(app, arguments).stdout)


def test_the_example_pair_can_be_named(server: Server) -> None:
    assert server.call("models") == PAIR


def test_inspect_says_what_the_command_line_says(server: Server) -> None:
    assert server.call("inspect", PAIR[0]) == printed("inspect", str(EXAMPLE / "lowercase"), "--json")


def test_the_plan_of_a_template_is_that_of_the_command_line(server: Server, tmp_path: Path) -> None:
    recipe = server.call("template", PAIR, "linear", None)
    file = tmp_path / "recipe.yaml"
    file.write_text(recipe.replace("example/", f"{EXAMPLE.as_posix()}/"))

    plan, own = server.call("plan", recipe), printed("plan", str(file), "--json")

    assert {**plan, "estimate": None} == {**own, "estimate": None, "fits": True}
    assert plan["estimate"]["disk"] == own["estimate"]["disk"]


def test_a_template_of_a_method_with_a_base_names_it(server: Server) -> None:
    recipe = server.call("template", PAIR, "ties", PAIR[0])

    assert 'base: "example/lowercase"' in recipe
    assert server.call("plan", recipe)["owner"] == "base"


def test_methods_and_shapes_are_listed_by_the_names_that_recipes_use(server: Server) -> None:
    methods = {method["name"]: method for method in server.call("methods")}
    shapes = {shape["name"] for shape in server.call("shapes")}

    assert methods["ties"]["base"] == "required"
    assert methods["linear"]["models"] == "2 or more models"
    assert {"rise", "fall"} <= shapes


def test_a_queued_recipe_becomes_a_job_that_can_be_cancelled(server: Server) -> None:
    number = server.call("queue", RECIPE, "", "cpu")
    job = server.call("job", number)

    assert job["name"].startswith("lowercase-x-capitals")  # with a number where another test was first
    assert job["state"] == "Waiting"
    assert (job["models"], job["weights"], job["shape"]) == (["lowercase", "capitals"], [0.25] * 6, "Linear")
    assert str(EXAMPLE / "capitals") in job["recipe"]
    assert number in [other["id"] for other in server.call("jobs", "")]
    assert server.call("cancel", number)["state"] == "Cancelled"
    assert server.bench.store.get(number).state is JobState.CANCELLED


def test_a_job_for_a_gpu_says_so(server: Server) -> None:
    server.bench.store.beat("worker", found=Found(gpu="NVIDIA H200"))

    heavy = server.call("queue", f"{RECIPE}method: karcher\n", "heavy", "cuda")
    light = server.call("queue", RECIPE, "light", "cuda")
    server.bench.store.remove_worker("worker")

    assert [server.call("job", number)["device"] for number in (heavy, light)] == ["cuda", "cpu"]
    assert {method["name"] for method in server.call("methods") if not method["gains_on_gpu"]} == {
        *("linear", "slerp", "task_arithmetic", "nearswap", "passthrough")
    }


def test_a_second_merge_without_a_name_gets_one_of_its_own(server: Server) -> None:
    first, second = server.call("queue", RECIPE, "", "cpu"), server.call("queue", RECIPE, "", "cpu")

    assert server.call("job", first)["name"] != server.call("job", second)["name"]


def test_a_finished_job_lists_its_files(server: Server) -> None:
    job = own_job(server, "finished")
    server.bench.advance(job, JobState.DONE)
    server.bench.write_result("finished", model_safetensors=b"0123456789")

    files = {file["name"]: file for file in server.call("files", job)}

    assert files["model.safetensors"] == {
        "name": "model.safetensors",
        "bytes": 10,
        "address": f"files/{job}/model.safetensors",
    }


def test_a_cancelled_job_goes_on_again_and_can_be_cloned(server: Server) -> None:
    job = own_job(server, "twice")

    assert server.call("cancel", job)["state"] == "Cancelled"
    assert server.call("retry", job)["state"] == "Waiting"
    assert server.call("job", server.call("clone", job))["name"] == "twice-2"


def test_two_jobs_of_one_person_change_places(server: Server) -> None:
    first, second = own_job(server, "earlier"), own_job(server, "later")
    place = server.call("job", first)["place"]

    assert server.call("move_up", second)["place"] == place
    assert server.call("job", first)["place"] == place + 1


@pytest.mark.parametrize("name", ["job", "log", "cancel", "retry", "clone", "move_up", "delete_files", "files"])
def test_another_persons_job_is_none_at_all(server: Server, name: str) -> None:
    job = own_job(server, f"mine-{name.replace('_', '-')}")
    stranger = replace(server, cookie=new_cookie(server.address))
    before = server.bench.store.get(job)

    assert stranger.call(name, job) == "No such job."
    assert job not in [other["id"] for other in stranger.call("jobs", "")]
    assert server.bench.store.get(job) == before


def test_a_client_calls_by_name_and_is_told_what_is_wrong(server: Server) -> None:
    client = Client(server.address, verbose=False, analytics_enabled=False)

    assert client.predict(PAIR, api_name="/template").startswith("blockmerge: 1\n")
    with pytest.raises(AppError, match=r"^There is no model 'gone' here\. Choose one from"):
        client.predict("gone", api_name="/inspect")

    client.close()


@pytest.mark.parametrize(
    ("name", "arguments", "sentence"),
    [
        ("inspect", [1], "model: expected a text, found a number."),
        ("inspect", [{"a": [[[1]]]}], "model: expected a text, found a mapping."),
        ("inspect", ["/etc"], "There is no model '/etc' here. Choose one from the list; whoever runs this page"),
        ("inspect", ["http://169.254.169.254/"], "'http://169.254.169.254/' is not an address of the Hub."),
        ("inspect", ["a\0b"], "This is not the name of a model. Choose one from the list."),
        ("template", ["a", "linear", None], "models: expected a list of texts, found a text."),
        ("template", [PAIR, "linear", 3], "base: expected a text or nothing, found a number."),
        ("template", [PAIR, "slerpy", None], "method: there is no merge method 'slerpy'. Did you mean 'slerp'?"),
        ("template", [PAIR, "ties", None], "base: ties needs the model that the others were tuned from."),
        ("template", [PAIR * 14, "linear", None], "models: 26 at most, found 28."),
        ("template", [["gone", "lost"], "linear", None], "models.a: There is no model 'gone' here."),
        ("plan", [""], "The recipe must be a mapping that starts with 'blockmerge: 1'. docs/recipe.md shows one."),
        ("plan", [RECIPE.replace("example/capitals", "/etc")], "models.b: There is no model '/etc' here."),
        ("plan", [RECIPE.replace("layers", "layer")], "weights.layer: this key is unknown. Did you mean 'layers'?"),
        ("queue", [RECIPE, "../up", "cpu"], "Use letters, digits, dot, dash and underscore only."),
        ("queue", [RECIPE, 7, "cpu"], "name: expected a text, found a number."),
        ("queue", [RECIPE, "", 7], "device: expected a text, found a number."),
        ("queue", [RECIPE, "", "tpu"], "device tpu: there is no such device. Use cpu or cuda."),
        ("queue", [RECIPE, "", "cuda"], "device cuda: no worker has said yet whether it has a GPU."),
        ("job", [True], "job: expected a whole number, found true or false."),
        ("job", [1.5], "job: expected a whole number, found a number."),
        ("job", [0], "No such job."),
        ("job", [10**30], "No such job."),
        ("cancel", [10**6], "No such job."),
        ("files", [None], "job: expected a whole number, found nothing."),
    ],
)
def test_a_wrong_argument_is_refused_in_words(
    server: Server, name: str, arguments: list[object], sentence: str
) -> None:
    before = server.bench.store.recent(1000)

    assert server.call(name, *arguments).startswith(sentence)
    assert server.bench.store.recent(1000) == before


def test_a_job_that_is_not_done_has_no_files(server: Server) -> None:
    job = own_job(server, "unfinished")

    assert server.call("files", job) == f"Job {job} is Waiting: it has no files."


def test_a_result_that_does_not_fit_is_not_queued(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blockmerge.engine.estimate.HEADROOM", 10**18)

    assert server.call("queue", RECIPE, "too-large", "cpu").startswith("The result does not fit on this disk.")


def test_the_calls_are_described_as_openapi(server: Server) -> None:
    with urllib.request.urlopen(f"{server.address}/gradio_api/openapi.json", timeout=30) as answer:
        paths = json.load(answer)["paths"]

    named = {path.rpartition("/")[2] for path in paths}
    assert {"models", "inspect", "template", "plan", "queue", "jobs", "job", "cancel", "files"} <= named

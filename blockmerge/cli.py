"""The command line: the same calls as the page. Exit 0 done, 1 failed, 2 the recipe, models or arguments are wrong.

Commands import what they call when they run: `--help` needs none of it, and pydantic and torch take their time.
"""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blockmerge.core.methods import METHODS
from blockmerge.core.progress import IsCancelled
from blockmerge.core.wish import Wish
from blockmerge.engine.lean_torch import lean_torch
from blockmerge.errors import RecipeError
from blockmerge.lasting import made_to_last
from blockmerge.terminal import exit_codes, on_signals, progress_bar

if TYPE_CHECKING:
    from blockmerge.core.plan import Plan
    from blockmerge.core.tensors import Checkpoint
    from blockmerge.engine.by_shard import Merged
    from blockmerge.engine.merge import Result
    from blockmerge.engine.target import Target
    from blockmerge.hub.client import Hub
    from blockmerge.hub.push import Pushed

# Without rich markup, errors are plain lines that scripts can read, and help comes in half the time.
app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)

Model = Annotated[
    str, typer.Argument(help="A folder with config.json and weight files, org/name, or org/name@revision.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value instead of text.")]
Public = Annotated[bool, typer.Option("--public", help="A new repository is for all to see.")]
PullRequest = Annotated[bool, typer.Option("--pull-request", help="Ask the owner of the repository to take it in.")]
Licence = Annotated[str | None, typer.Option("--license", help="Of the result, where its models have different ones.")]
Card = Annotated[Path | None, typer.Option("--card", help="A card that you wrote, with its licence in it.")]
DeviceName = Annotated[
    str, typer.Option("--device", help="Where to compute: cpu, or cuda for methods that gain by it.")
]
RecipeFile = Annotated[Path, typer.Argument(help="A recipe, version 1; docs/recipe.md explains it.")]


@app.callback()
def main() -> None:
    """Blend language models block by block. `python app.py` opens the page."""


@app.command()
def inspect(model: Model, as_json: AsJson = False) -> None:
    """Show stacks, layers, modules, rows, dtype, size and vocabulary: the names that a recipe may use."""
    from blockmerge.core.describe import count_text, describe_checkpoint, size_text

    with exit_codes():
        value = describe_checkpoint(_open_models({"model": model})["model"])
    if as_json:
        typer.echo(json.dumps(value, ensure_ascii=False, indent=1))
        return
    typer.echo(
        f"{value['model']}: {value['model_type']}, {count_text(value['parameters'])} parameters, {value['dtype']}"
    )
    typer.echo(f"{value['tensors']} tensors, {size_text(value['bytes'])} in {len(value['shards'])} file(s)")
    for stack in value["stacks"]:
        typer.echo(f"stack {stack['name']}: {stack['layers']} layers; lanes {', '.join(stack['lanes'])}")
    rows = [row for stack in value["stacks"] for row in stack["rows"]] + value["rows"]
    typer.echo(f"rows outside the layers: {', '.join(rows)}")
    typer.echo(
        f"vocabulary: {value['vocabulary']}; the head is {'the embeddings (tied)' if value['tied'] else 'its own'}"
    )
    for warning in value["warnings"]:
        typer.echo(warning)


@app.command()
def template(
    models: Annotated[list[str], typer.Argument(help="The models: folders, org/name, or org/name@revision.")],
    base: Annotated[
        str | None, typer.Option(help="The model that the others were tuned from, for methods that need it.")
    ] = None,
    method: Annotated[str, typer.Option(help=f"One of {', '.join(METHODS)}.")] = "linear",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write here instead of to the terminal.")
    ] = None,
) -> None:
    """Write a recipe for some models, to be edited by hand: every layer on a line of its own, all at 0.5."""
    from blockmerge.core.blocks import list_blocks
    from blockmerge.core.plan import check_models
    from blockmerge.core.template import write_template

    keys = dict(zip("abcdefghijklmnopqrstuvwxyz", models, strict=False))
    with exit_codes():
        if method not in METHODS:
            raise RecipeError(f"--method {method}: there is no such merge method. Known: {', '.join(METHODS)}.")
        problems = tuple(METHODS[method].misuses(len(models), base is not None))
        if problems:
            raise RecipeError(*problems)
        references = keys if base is None else {"base": base, **keys}
        opened = _open_models(references)
        layout = check_models(tuple(references), opened)
        pinned = {key: str(opened[key].origin or reference) for key, reference in references.items()}
        text = write_template({key: pinned[key] for key in keys}, method, list_blocks(layout), pinned.get("base"))
        if output is None:
            typer.echo(text, nl=False)
        else:
            _write_new(output, text)


def _write_new(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise RecipeError(f"{path} exists already. Choose another name.") from error
    except OSError as error:
        raise RecipeError(f"{path} cannot be written: {error.strerror}. Choose another name.") from error


def _open_models(references: Mapping[str, str]) -> "Mapping[str, Checkpoint]":
    from blockmerge.hub.anywhere import open_anywhere

    return open_anywhere(references, _hub)


def _hub() -> "Hub":
    from blockmerge.hub.client import own_hub
    from blockmerge.settings import read_settings

    return own_hub(read_settings(os.environ).home / "hub")


def _plan(recipe: Path) -> "Plan":
    with made_to_last():
        from blockmerge.core.plan import make_plan
        from blockmerge.core.recipe import parse_recipe

        parsed = parse_recipe(_read_text(recipe))
        return make_plan(parsed, _open_models(parsed.references))


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror}. Check the path.") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path} is not a text in UTF-8. Is this the right file?") from error


@app.command()
def plan(recipe: RecipeFile, device: DeviceName = "cpu", as_json: AsJson = False) -> None:
    """Say what would happen to every tensor, or every reason why it can't. Reads no weights."""
    from blockmerge.core.describe import describe_plan, plan_sentences, size_text
    from blockmerge.engine.devices import ask_gpu, check_device, check_found, device_sentence, used_device
    from blockmerge.engine.estimate import estimate
    from blockmerge.settings import read_settings

    with exit_codes():
        check_device(device)
        if device != "cpu":
            check_found(device, ask_gpu())
        made = _plan(recipe)
        need = estimate(made, read_settings(os.environ).output, device)
    if as_json:
        used = used_device(made.recipe.method, device)
        value = describe_plan(made) | {"device": used, "estimate": asdict(need)}
        typer.echo(json.dumps(value, ensure_ascii=False, indent=1))
        return
    for sentence in plan_sentences(made):
        typer.echo(sentence)
    typer.echo(
        f"Disk: {size_text(need.disk + need.scratch)} of {size_text(need.free)} free. "
        f"Memory: {size_text(need.memory)}. Time: about {need.seconds:.0f} s."
    )
    if device != "cpu":
        memory = f" Its memory: {size_text(need.gpu)}." if need.gpu else ""
        typer.echo(f"{device_sentence(made.recipe.method, device)}{memory}")


@app.command()
def merge(  # noqa: PLR0913 - one for each option
    recipe: RecipeFile,
    out: Annotated[Path | None, typer.Option(help="The folder of the result; it must not exist yet.")] = None,
    to: Annotated[str | None, typer.Option(help="Instead of --out: ORG/NAME on the Hub, shard by shard.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace the folder if it exists, once the result is whole.")] = False,
    discard: Annotated[bool, typer.Option(help="Delete what an unfinished merge left behind.")] = False,
    device: DeviceName = "cpu",
    public: Public = False,
    pull_request: PullRequest = False,
    licence: Licence = None,
    card: Card = None,
    as_json: AsJson = False,
) -> None:
    """Merge here and now, with a progress bar: into a folder, or straight to the Hub on a small disk."""
    from blockmerge.engine.devices import check_device
    from blockmerge.engine.target import Target

    with exit_codes():
        check_device(device)
        if to is not None and device != "cpu":
            raise RecipeError(
                "--device is of a merge into a folder: --to waits for the network, so a GPU gains nothing."
            )
        if (out is None) == (to is None) or (to is not None and overwrite):
            raise RecipeError("Say where to: --out DIR (with --overwrite to replace it), or --to ORG/NAME on the Hub.")
        if out is not None and (public or pull_request or licence or card):
            raise RecipeError(
                "--public, --pull-request, --license and --card are of a merge --to ORG/NAME, or of push."
            )
        if out is not None:
            _merge_here(recipe, Target(out, overwrite, discard), device, as_json)
            return
        _merge_to(recipe, _wish(to or "", public, pull_request, licence, card), discard, as_json)


def _merge_here(recipe: Path, target: "Target", device: str, as_json: bool) -> None:
    from blockmerge.engine.first_reads import begin_reading
    from blockmerge.engine.target import check_target

    stopped = on_signals()
    made = _plan(recipe)
    check_target(made, target)
    if device != "cpu":
        _check_gpu(made, device)  # before a download that may take hours
    made = _with_weights(made, target.path, lambda: bool(stopped), as_json)
    begin_reading(made)
    # Only now, as whoever is refused need not wait for torch.
    with lean_torch():
        from blockmerge.engine.gpu import device_for
        from blockmerge.engine.merge import carry_out

    with progress_bar(made.nbytes, hidden=as_json) as report:
        result = carry_out(
            *(made, target),
            report=report,
            is_cancelled=lambda: False,
            is_paused=lambda: bool(stopped),
            device=device_for(made, device),
        )
    _tell_merged({"path": str(target.path)}, str(target.path), result, as_json)


def _check_gpu(made: "Plan", device: str) -> None:
    from blockmerge.engine.devices import device_sentence

    with lean_torch():
        from blockmerge.engine.gpu import device_for
    device_for(made, device)
    typer.echo(device_sentence(made.recipe.method, device), err=True)


def _merge_to(recipe: Path, wish: Wish, discard: bool, as_json: bool) -> None:
    from blockmerge.settings import read_settings

    stopped = on_signals()
    made, hub = _plan(recipe), _hub()
    with lean_torch():
        from blockmerge.jobs.straight import merge_to_hub, part_target

    target = part_target(read_settings(os.environ).output, wish.repository, discard)
    with progress_bar(made.nbytes, hidden=as_json) as report:
        pushed, merged = merge_to_hub(made, hub, wish, target, report=report, is_paused=lambda: bool(stopped))
    _tell_merged(asdict(pushed), _pushed_text(pushed, wish), merged, as_json)


def _tell_merged(place: Mapping[str, object], text: str, result: "Result | Merged", as_json: bool) -> None:
    from blockmerge.core.describe import size_text

    value = {**place, "digest": result.digest, "bytes": result.nbytes, "seconds": dict(result.seconds)}
    for warning in result.warnings:
        typer.echo(warning, err=True)
    if as_json:
        typer.echo(json.dumps(value | {"warnings": list(result.warnings)}, ensure_ascii=False))
    else:
        seconds = sum(result.seconds.values())
        typer.echo(f"{text}: {size_text(result.nbytes)} in {seconds:.1f} s, digest {result.digest}")


def _with_weights(made: "Plan", out: Path, is_cancelled: IsCancelled, as_json: bool) -> "Plan":
    """The same plan with the weights of every model on this machine."""
    from blockmerge.hub.anywhere import bring_here

    with progress_bar(0, hidden=as_json) as report:
        return bring_here(made, _hub, out, report=report, is_cancelled=is_cancelled)


@app.command()
def diff(a: Model, b: Model, as_json: AsJson = False) -> None:
    """Show how far apart two models are, block by block: ‖A − B‖ / ‖A‖ and the cosine."""
    from blockmerge.core.describe import difference_sentences
    from blockmerge.settings import read_settings

    with exit_codes():
        opened = _open_models({"a": a, "b": b})
        if any(held.is_headers_only for held in opened.values()):
            from blockmerge.hub.sources import with_weights

            with progress_bar(0, hidden=as_json) as report:
                opened = with_weights(opened, _hub(), report=report, is_cancelled=lambda: False)
        cache = read_settings(os.environ).home / "differences"
        # Only now, and only here: torch takes most of a second to import.
        with lean_torch():
            from blockmerge.engine.difference import measure

        with progress_bar(sum(held.nbytes for held in opened.values()), hidden=as_json) as report:
            difference = measure(opened, cache, report=report)
    if as_json:
        typer.echo(json.dumps(asdict(difference), ensure_ascii=False, indent=1))
        return
    for sentence in difference_sentences(difference):
        typer.echo(sentence)


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="The folder of a result.")],
    read_data: Annotated[
        bool, typer.Option("--read-data", help="Read every byte again; look for NaN and Inf.")
    ] = False,
    load: Annotated[bool, typer.Option("--load", help="Ask transformers whether it finds every tensor.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say whether a result is whole and what its recipe says."""
    from blockmerge.checkpoints.verify_folder import verify_folder
    from blockmerge.core.describe import size_text

    with exit_codes():
        with progress_bar(0, hidden=as_json or not read_data) as report:
            verified = verify_folder(folder, report=report, read_data=read_data)
        warnings = [f"{name} holds {count} values that are NaN or Inf." for name, count in verified.nonfinite.items()]
        if load:
            from blockmerge.engine.loading import Transformers, check_loading

            with Transformers() as transformers:
                warnings += check_loading(folder, transformers)
    for warning in warnings:
        typer.echo(warning, err=True)
    digest = verified.manifest.result_digest
    if as_json:
        value = {"path": str(folder), "digest": digest, "bytes": verified.nbytes, "warnings": warnings}
        typer.echo(json.dumps(value, ensure_ascii=False))
        return
    read = "every byte was read" if read_data else "headers and side files were read"
    typer.echo(f"{folder} is whole: {len(verified.manifest.tensors)} tensors, {size_text(verified.nbytes)}; {read}.")
    typer.echo(f"digest {digest}")


@app.command()
def push(  # noqa: PLR0913 - one for each option
    folder: Annotated[Path, typer.Argument(help="The folder of a result.")],
    repository: Annotated[str, typer.Argument(metavar="ORG/NAME", help="Where to on the Hub.")],
    public: Public = False,
    pull_request: PullRequest = False,
    licence: Licence = None,
    card: Card = None,
    preview: Annotated[bool, typer.Option("--preview", help="Print the card, and send nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Upload a result with its card, into a new private repository or as a commit to one that is there."""
    with exit_codes():
        from blockmerge.hub.publish import preview_card, publish

        hub = _hub()
        wish = _wish(repository, public, pull_request, licence, card)
        if preview:
            typer.echo(preview_card(hub, folder, wish), nl=False)
            return
        cancelled = on_signals()
        with progress_bar(0, hidden=as_json) as report:
            pushed = publish(hub, folder, wish, report=report, is_cancelled=lambda: bool(cancelled))
    text = _pushed_text(pushed, wish)
    typer.echo(json.dumps(asdict(pushed), ensure_ascii=False) if as_json else text)


def _wish(repository: str, public: bool, pull_request: bool, licence: str | None, card: Path | None) -> Wish:
    return Wish(repository, licence, public, pull_request, None if card is None else _read_text(card))


def _pushed_text(pushed: "Pushed", wish: Wish) -> str:
    if wish.is_public and pushed.is_private:
        typer.echo(
            f"{pushed.repository} was there and is private. It stays so; its owner can change that on the Hub.",
            err=True,
        )
    return f"{pushed.address} ({'new, ' if pushed.is_new else ''}{'private' if pushed.is_private else 'public'})"


@app.command()
def worker() -> None:
    """Take jobs from the queue until told to stop."""
    from blockmerge.jobs.worker import run_worker
    from blockmerge.settings import read_settings

    with exit_codes():
        sys.exit(run_worker(read_settings(os.environ)))

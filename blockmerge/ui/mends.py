"""What the buttons beside a problem do: a form in, the mended form out."""

from collections.abc import Sequence
from dataclasses import replace

from blockmerge.core.method import WeightKind
from blockmerge.engine.devices import CPU
from blockmerge.errors import JobRequestError
from blockmerge.ui.equaliser.grid import Grid
from blockmerge.ui.forms import BASE, Form
from blockmerge.ui.globs import without_globs
from blockmerge.ui.lines.line import Act
from blockmerge.ui.wording import say


def mends_of(form: Form) -> Sequence[Act]:
    """The buttons for a form that has a grid and no plan, as far as one helps."""
    acts = []
    if form.grid is not None and not form.entry.weight_low < 0 and form.grid != _brought_inside(form.grid):
        acts.append(Act(say("merge.bring_inside"), do="inside"))
    models = len([key for key in form.references if key != BASE])
    if form.entry.kind is WeightKind.SHARE and models > 2 and form.parameters.get("normalize") is False:
        acts.append(Act(say("merge.normalize"), do="normalize"))
    return acts


def mended(form: Form, do: str) -> Form:
    """The form after what a button asks. Raises JobRequestError where there is no such button."""
    match do:
        case "globs":
            return replace(form, origin=without_globs(form.origin))
        case "processors":
            return replace(form, device=CPU)
        case "tokenizer" if len(form.references) > 1:
            [other, *_] = [key for key in form.references if key != form.tokenizer]
            return replace(form, tokenizer=other)
        case "normalize":
            return replace(form, parameters={**form.parameters, "normalize": True})
        case "inside" if form.grid is not None:
            return replace(form, grid=_brought_inside(form.grid))
    raise JobRequestError(say("merge.wrong_request"))


def _brought_inside(grid: Grid) -> Grid:
    """Weights beyond 0 to 1 at the nearer end; a grid without any stays itself."""
    lines = {key: tuple(_inside(weight) for weight in line) for key, line in grid.lines.items()}
    rows = {key: None if weight is None else _inside(weight) for key, weight in grid.rows.items()}
    return replace(grid, lines=lines, rows=rows)


def _inside(weight: float) -> float:
    return min(1.0, max(0.0, weight))

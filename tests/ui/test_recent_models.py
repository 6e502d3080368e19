"""Which models come first where one is chosen."""

import time
from pathlib import Path

from blockmerge.jobs.own_jobs import OwnJobs
from blockmerge.jobs.states import LOCAL, NewJob
from blockmerge.ui.recent_models import MOST_RECENT, recent_first
from blockmerge.ui.recipe_shelf import RecipeShelf
from tests.ui.conftest import Bench
from tests.ui.scenes import recipe_of

OFFERED = {name: Path("/models") / name for name in ("apple", "org/berry", "cherry", "example/lowercase")}
RECIPE = "blockmerge: 1\nmodels: {{a: {}, b: {}}}\nweights: {{layers: 0.5}}\n"


def queue(bench: Bench, name: str, recipe: str) -> None:
    bench.store.add(NewJob(name, recipe, bench.settings.output / name, ("a", "b")))
    time.sleep(0.01)  # so that no two are as old


def first(bench: Bench) -> list[str]:
    jobs = OwnJobs(bench.store, bench.settings, LOCAL).page().jobs
    return list(recent_first(OFFERED, jobs, RecipeShelf(bench.settings.home, LOCAL).recipes()))


def test_without_jobs_and_recipes_the_order_is_that_of_the_folders(bench: Bench) -> None:
    assert first(bench) == list(OFFERED)


def test_models_of_the_newest_job_or_recipe_come_first_and_none_is_lost_or_twice(bench: Bench) -> None:
    queue(bench, "old", RECIPE.format("/models/cherry", "/models/org/berry"))
    RecipeShelf(bench.settings.home, LOCAL).add("new", recipe_of("layers: 0.5", "cherry", "example/lowercase"))

    assert first(bench) == ["cherry", "example/lowercase", "org/berry", "apple"]


def test_what_is_not_offered_any_more_is_not_put_first(bench: Bench) -> None:
    queue(bench, "gone", RECIPE.format("/models/gone", "/models/cherry"))
    queue(bench, "unreadable", "recipe of another age")

    assert first(bench) == ["cherry", "apple", "org/berry", "example/lowercase"]


def test_models_of_the_hub_are_put_among_them_without_the_commit_of_a_job(bench: Bench) -> None:
    queue(bench, "hub", RECIPE.format(f"org/name@{'ab' * 20}", "/models/cherry"))

    assert first(bench) == ["org/name", "cherry", "apple", "org/berry", "example/lowercase"]


def test_only_so_many_come_before_the_order_of_the_folders(bench: Bench) -> None:
    offered = {f"m{number:02}": Path(f"/models/m{number:02}") for number in range(30)}
    for number in range(20):
        queue(bench, f"job-{number}", RECIPE.format(f"/models/m{number:02}", "/models/m29"))

    ordered = recent_first(offered, OwnJobs(bench.store, bench.settings, LOCAL).page().jobs, ())

    assert ordered[:3] == ["m19", "m29", "m18"]
    assert list(ordered[MOST_RECENT:]) == [name for name in offered if name not in ordered[:MOST_RECENT]]

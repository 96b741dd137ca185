"""Recipes: what they refuse and in which words, and the learning rate worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from training.lessons import LESSONS, read_lessons, recipe_of
from training.recipe import Recipe, Schedule

RECIPES = Path(__file__).resolve().parents[2] / "training" / "recipes"
VALUES = next(v for v in yaml.safe_load_all((RECIPES / "debug.yaml").read_text()) if v["detector"] == "ss_avd")


@pytest.fixture
def write_recipe(tmp_path):
    def write(changes: dict | None = None, without: str = "", text: str | None = None, **lesson) -> Path:
        path = tmp_path / "recipe.yaml"
        values = {**VALUES, **(changes or {}), "lesson": {**VALUES["lesson"], **lesson}}
        values.pop(without, None)
        path.write_text(yaml.safe_dump(values) if text is None else text, encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize("path", sorted(p for p in RECIPES.glob("*.yaml") if p.stem in {*LESSONS, "debug"}),
                         ids=lambda p: p.name)
def test_committed_recipes_are_valid(path):
    recipes = read_lessons(path)
    assert [r.detector for r in recipes] == [path.stem] or path.stem == "debug"
    assert all(r.schedule.warmup_steps < r.steps for r in recipes)


def test_every_detector_has_its_recipe_and_its_part_of_the_debug_recipe():
    assert all((RECIPES / f"{name}.yaml").is_file() for name in LESSONS)
    assert {r.detector for r in read_lessons(RECIPES / "debug.yaml")} == LESSONS.keys()


def test_values_are_read_and_come_back_from_a_card(write_recipe):
    [recipe] = read_lessons(write_recipe())
    assert recipe == LESSONS["ss_avd"].schema.model_validate(VALUES)
    assert recipe_of({"recipe": recipe.model_dump()}) == recipe


@pytest.mark.parametrize("changes, lesson, words", [
    ({"learning_rat": 1}, {}, "learning_rat: Extra inputs are not permitted"),
    ({}, {"smell": 1}, "lesson.smell: Extra inputs are not permitted"),
    ({}, {"presence": {**VALUES["lesson"]["presence"], "smell": 0}},
     "lesson.presence.smell: Extra inputs are not permitted"),
    ({"batch": 5}, {}, "batch: Input should be a multiple of 2"),
    ({"batch": 0}, {}, "batch: Input should be greater than 0"),
    ({"steps": "many"}, {}, "steps: Input should be a valid integer"),
    ({"precision": "fp8"}, {}, "precision: Input should be 'fp32' or 'bf16'"),
    ({"schedule": {"warmup_steps": 1, "shape": "stairs", "final": 0}}, {},
     "schedule.shape: Input should be 'linear' or 'cosine'"),
    ({"folds": 1}, {}, "folds: Input should be greater than or equal to 2"),
    ({}, {"forged_share": 1.1}, "lesson.forged_share: Input should be less than or equal to 1"),
    ({}, {"presence": {"picture": 0.5, "sound": 0.5, "both": 0.5}},
     "lesson.presence: Value error, the shares add up to 1.5, not"),
])
def test_a_wrong_value_is_named(write_recipe, changes, lesson, words):
    path = write_recipe(changes, **lesson)
    with pytest.raises(ValueError) as error:
        read_lessons(path)
    told = str(error.value).replace("ss_avd.", "")  # the place begins with the detector where there are several
    assert told.startswith(f"{path}: ") and words in told


def test_an_unknown_detector_is_refused_and_the_choice_named(write_recipe):
    with pytest.raises(ValueError, match="'other'|'ss_avd'"):
        read_lessons(write_recipe({"detector": "other"}))


def test_a_missing_key_is_named(write_recipe):
    with pytest.raises(ValueError, match="schedule: Field required"):
        read_lessons(write_recipe(without="schedule"))


def test_all_problems_are_told_at_once(write_recipe):
    with pytest.raises(ValueError, match=r"seed: .*; .*threads: "):
        read_lessons(write_recipe({"seed": "x", "threads": 0}))


@pytest.mark.parametrize("text, words", [
    ("a: [", "is not valid YAML"), ("", "holds no recipe"), ("- 1", "valid dictionary"),
])
def test_what_is_no_recipe_is_refused(write_recipe, text, words):
    with pytest.raises(ValueError, match=words):
        read_lessons(write_recipe(text=text))


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"gone\.yaml cannot be read: No such file"):
        read_lessons(tmp_path / "gone.yaml")


@pytest.mark.parametrize("shape, step, expected", [
    ("linear", 0, 0.1), ("linear", 4, 0.5), ("linear", 9, 1.0),  # warm-up over 10 steps
    ("linear", 10, 1.0), ("linear", 60, 0.55), ("linear", 110, 0.1),  # then down to a tenth over 100 steps
    ("cosine", 4, 0.5), ("cosine", 10, 1.0), ("cosine", 60, 0.55), ("cosine", 110, 0.1),
    ("cosine", 35, 0.1 + 0.9 * (1 + 0.5**0.5) / 2),  # a quarter of the way: cos 45°
])
def test_the_rate_rises_in_a_straight_line_and_falls_as_the_shape_says(shape, step, expected):
    schedule = Schedule(warmup_steps=10, shape=shape, final=0.1)
    assert schedule.share_at(step, 110) == pytest.approx(expected)


def test_without_warm_up_the_rate_starts_at_its_full_value():
    values = {**VALUES, "steps": 110, "learning_rate": 0.01,
              "schedule": {"warmup_steps": 0, "shape": "linear", "final": 0.1}, "lesson": {}}
    recipe = Recipe.model_validate(values)
    assert recipe.rate_at(0) == 0.01 and recipe.rate_at(55) == pytest.approx(0.0055)

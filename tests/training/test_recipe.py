"""Recipes: what they refuse and in which words, and the learning rate worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from training.recipe import Recipe, read_recipe

RECIPES = Path(__file__).resolve().parents[2] / "training" / "recipes"
VALUES = yaml.safe_load((RECIPES / "debug.yaml").read_text()) | {
    "steps": 110, "warmup_steps": 10, "learning_rate": 0.01, "final_rate": 0.1,
}


@pytest.fixture
def write_recipe(tmp_path):
    def write(changes: dict | None = None, without: str = "", text: str | None = None) -> Path:
        path = tmp_path / "recipe.yaml"
        values = {k: v for k, v in {**VALUES, **(changes or {})}.items() if k != without}
        path.write_text(yaml.safe_dump(values) if text is None else text, encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda p: p.name)
def test_committed_recipes_are_valid(path):
    assert read_recipe(path).batch % 2 == 0


def test_values_are_read(write_recipe):
    assert read_recipe(write_recipe()) == Recipe.model_validate(VALUES)


@pytest.mark.parametrize("changes, words", [
    ({"learning_rat": 1}, "learning_rat: Extra inputs are not permitted"),
    ({"presence": {**VALUES["presence"], "smell": 0}}, "presence.smell: Extra inputs are not permitted"),
    ({"batch": 5}, "batch: Input should be a multiple of 2"),
    ({"batch": 2}, "batch: Input should be greater than or equal to 4"),
    ({"steps": "many"}, "steps: Input should be a valid integer"),
    ({"detector": "other"}, "detector: Input should be 'ss_avd'"),
    ({"forged_share": 1.1}, "forged_share: Input should be less than or equal to 1"),
    ({"presence": {"picture": 0.5, "sound": 0.5, "both": 0.5}}, "presence: Value error, the shares add up to 1.5, not"),
])
def test_a_wrong_value_is_named(write_recipe, changes, words):
    path = write_recipe(changes)
    with pytest.raises(ValueError) as error:
        read_recipe(path)
    assert str(error.value).startswith(f"{path}: ") and words in str(error.value)


def test_a_missing_key_is_named(write_recipe):
    with pytest.raises(ValueError, match="warmup_steps: Field required"):
        read_recipe(write_recipe(without="warmup_steps"))


def test_all_problems_are_told_at_once(write_recipe):
    with pytest.raises(ValueError, match=r"seed: .*; .*threads: "):
        read_recipe(write_recipe({"seed": "x", "threads": 0}))


@pytest.mark.parametrize("text, words", [
    ("a: [", "is not valid YAML"), ("", "holds 0 recipes, not one"), ("- 1", "valid dictionary"),
])
def test_what_is_no_recipe_is_refused(write_recipe, text, words):
    with pytest.raises(ValueError, match=words):
        read_recipe(write_recipe(text=text))


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"gone\.yaml cannot be read: No such file"):
        read_recipe(tmp_path / "gone.yaml")


@pytest.mark.parametrize("step, expected", [
    (0, 0.001), (4, 0.005), (9, 0.01),  # warm-up over 10 steps
    (10, 0.01), (60, 0.0055), (110, 0.001),  # then down to a tenth over 100 steps
])
def test_the_rate_rises_then_falls_in_straight_lines(step, expected):
    assert Recipe.model_validate(VALUES).rate_at(step) == pytest.approx(expected)


def test_without_warm_up_the_rate_starts_at_its_full_value():
    recipe = Recipe.model_validate({**VALUES, "warmup_steps": 0})
    assert recipe.rate_at(0) == 0.01 and recipe.rate_at(55) == pytest.approx(0.0055)

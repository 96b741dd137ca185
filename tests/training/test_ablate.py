"""Changes of a recipe: all of them are ones that its lesson knows, and each becomes a row of the table."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from detectors.checkpoint import read_card
from tests.training.tiny_lesson import TinySSAVD
from training import ablate as module
from training import crossval
from training import train as loop
from training.ablate import CHANGES, UNCHANGED, main, variants
from training.lessons import LESSONS, read_lessons
from training.sampling import read_samples

RECIPES = Path(CHANGES).parent


@pytest.mark.parametrize("detector", yaml.safe_load(CHANGES.read_text()))
def test_every_change_is_one_and_keeps_the_rest(detector):
    [recipe] = read_lessons(RECIPES / f"{detector}.yaml")
    found = variants(recipe, steps=9)
    assert len(found) > 2 and found.pop(UNCHANGED) == recipe.model_copy(update={"steps": 9})
    for changed in found.values():
        assert changed.steps == 9 and changed.lesson != recipe.lesson
        assert changed.model_copy(update={"lesson": recipe.lesson, "steps": recipe.steps}) == recipe


def test_a_change_that_the_lesson_does_not_know_is_refused(monkeypatch, tmp_path, recipe):
    changes = tmp_path / "changes.yaml"
    changes.write_text("ss_avd: {faster: {hurry: true}}")
    monkeypatch.setattr(module, "CHANGES", changes)
    with pytest.raises(ValueError, match="hurry"):
        variants(recipe())


def test_the_recipe_and_its_changes_are_trained_and_measured(monkeypatch, tmp_path, recipe, four_kinds, capsys):
    changes, written, out = tmp_path / "changes.yaml", tmp_path / "recipe.yaml", tmp_path / "runs"
    changes.write_text("ss_avd: {put side by side: {fusion: concat}, never asked for: {window: 2}}")
    monkeypatch.setattr(module, "CHANGES", changes)
    for lessons in (LESSONS, loop.LESSONS, crossval.LESSONS):
        monkeypatch.setitem(lessons, "ss_avd", TinySSAVD)
    written.write_text(yaml.safe_dump(recipe().model_dump(mode="json")))
    asked = [str(written), "--samples", str(four_kinds), "--out", str(out), "--steps", "1"]
    assert main([*asked, "--only", UNCHANGED, "put side by side"]) == 0
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in capsys.readouterr().out.splitlines()]
    header, rule, plain, changed = (row for row in rows if len(row) == 13)
    assert header[1] == "published, video" and set(rule) == {"---"}
    assert [plain[0], changed[0]] == [UNCHANGED, "put side by side"]
    assert 0 <= float(plain[1].split()[0]) <= 1 and plain[3] == "–"  # SS-AVD does not listen for sync
    cards = [read_card(out / "ss_avd" / name / "best.safetensors") for name in ("as-it-is", "put-side-by-side")]
    assert [card["architecture"]["fusion"] for card in cards] == ["saavm", "concat"]
    assert all(card["step"] == 1 and card["fold"] == 0 for card in cards)
    family = next(s.family for s in read_samples(four_kinds) if s.video_fake == 1)
    assert main([*asked, "--families", "--only", f"{family} alone"]) == 0
    [header, _, alone] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert family in header and alone.startswith(f"| {family} alone |")
    assert read_card(out / "ss_avd" / f"{family}-alone" / "best.safetensors")["recipe"]["picture_family"] == family
    with pytest.raises(SystemExit):  # with nothing to learn from
        main([*asked, "--samples", str(four_kinds), "--families", "--only", f"{family} alone", "--fold", "7"])
    assert f"{family} alone is left out" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*asked, "--only", "something else"])
    assert "something else" in capsys.readouterr().err and not (out / "ss_avd" / "never-asked-for").exists()

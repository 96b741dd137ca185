"""README.md: the Space's front matter is valid and agrees with the code; what it names exists."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
FRONT = yaml.safe_load(README.split("---")[1])


def test_the_front_matter_is_what_a_space_needs():
    assert {"title", "emoji", "sdk", "sdk_version", "python_version", "app_file", "license",
            "short_description"} <= FRONT.keys()
    assert FRONT["sdk"] == "gradio" and (ROOT / FRONT["app_file"]).is_file()
    assert len(FRONT["short_description"]) <= 60
    assert str(FRONT["python_version"]) in ("3.10", "3.12")  # what ZeroGPU has


def test_the_space_and_the_requirements_ask_for_the_same_gradio():
    pinned = re.search(r"^gradio==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert pinned.group(1) == FRONT["sdk_version"]


def test_files_that_the_readme_names_exist():
    links = re.findall(r"\]\((?!https?:|#)([^)\s]+)\)|src=\"(?!https?:)([^\"]+)\"", README)
    names = {a or b for a, b in links}
    assert len(names) >= 5
    for name in names:
        assert (ROOT / name.split("#")[0]).exists(), name


def test_commands_that_the_readme_shows_are_modules_of_this_project():
    modules = set(re.findall(r"python -m ([\w.]+)", README)) - {"venv", "pip", "pytest"}
    assert modules
    for module in modules:
        path = ROOT.joinpath(*module.split("."))
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module

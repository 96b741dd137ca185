"""The house holds: imports point one way, nothing unpickles, gradio stays in ui/ and app.py, texts name no machine."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("media", "detectors", "explain", "ui", "training", "benchmarks", "tests", "assets")
MAY_IMPORT = {
    "media": set(),
    "detectors": {"media"},
    "explain": {"media", "detectors"},
    "ui": {"media", "detectors", "explain"},
    "app.py": {"media", "detectors", "explain", "ui"},
    "scan.py": {"media", "detectors", "explain"},
    "training": {"media", "detectors"},
    "benchmarks": {"media", "detectors", "explain", "training", "app", "scan"},
}


def sources() -> list[Path]:
    """Python files of the project itself, tests left out."""
    files = [p for room in ROOMS if room != "tests" for p in (ROOT / room).rglob("*.py")]
    return sorted([*files, ROOT / "app.py", ROOT / "scan.py"])


def imported(tree: ast.AST) -> set[str]:
    """Top-level names of all imports, those inside functions too."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


def dangers(tree: ast.AST) -> list[str]:
    """Calls that run what a file says: unpickling, unsafe YAML, eval, a shell."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
        if name in ("eval", "exec", "yaml.load", "os.system") or name.startswith(("pickle.", "joblib.")):
            found.append(name)
        if name == "torch.load" and keywords.get("weights_only") != "True":
            found.append("torch.load without weights_only=True")
        if name.endswith("np.load") and "allow_pickle" in keywords:
            found.append("np.load with allow_pickle")
        if keywords.get("shell") == "True" or name.endswith((".extractall", "from_pretrained", "hf_hub_download")):
            found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_one_way(path):
    room = path.relative_to(ROOT).parts[0]
    if room == "assets":  # scripts that make the demo clips and pictures
        return
    inner = imported(ast.parse(path.read_text(encoding="utf-8"))) & {*ROOMS, "app", "scan"}
    assert inner <= MAY_IMPORT[room] | {room.removesuffix(".py")}


def test_gradio_lives_in_ui_and_app_only():
    def users(name: str) -> set[str]:
        return {p.relative_to(ROOT).parts[0] for p in sources()
                if name in imported(ast.parse(p.read_text(encoding="utf-8")))}

    assert users("gradio") == {"ui", "app.py"}
    assert users("gradio_client") == {"benchmarks"}  # one of them asks the running app


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_runs_what_a_file_says(path):
    assert dangers(ast.parse(path.read_text(encoding="utf-8"))) == []


def test_the_oldest_python_reads_every_file():
    """Spaces run 3.10 or 3.12; what later grammars add would only be noticed there."""
    for path in [*sources(), *(ROOT / "tests").rglob("*.py")]:
        ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=(3, 10))
    with pytest.raises(SyntaxError):
        ast.parse("try:\n    pass\nexcept* ValueError:\n    pass", feature_version=(3, 10))


def test_nothing_is_imported_that_the_oldest_python_lacks():
    newer = {"tomllib", "StrEnum", "Self", "assert_never", "ExceptionGroup", "batched", "override", "TypeAliasType"}
    for path in sources():
        named = {a.name for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                 if isinstance(node, (ast.Import, ast.ImportFrom)) for a in node.names}
        assert not named & newer, f"{path.name} imports {named & newer}"


@pytest.mark.parametrize("planted", [
    "torch.load(p)", "torch.load(p, weights_only=False)", "pickle.loads(b)", "np.load(p, allow_pickle=True)",
    "yaml.load(t)", "eval(t)", "subprocess.run(c, shell=True)", "tar.extractall(d)", "timm.from_pretrained(n)",
])
def test_the_scanner_sees_a_planted_danger(planted):
    assert dangers(ast.parse(planted))


def test_no_file_names_a_machine_s_path():
    files = subprocess.run(["git", "ls-files", "-z", "*.py", "*.md", "*.yaml", "*.txt", "Makefile"], cwd=ROOT,
                           capture_output=True, text=True).stdout.split("\0")
    for name in filter(None, files):
        text = (ROOT / name).read_text(encoding="utf-8")
        for planted in ("/work" + "/", "/home" + "/", "/root" + "/"):
            assert planted not in text, f"{name} speaks of {planted}"

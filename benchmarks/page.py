"""The tables of docs/figures.md, from what the benchmarks measured.

The page is written by hand, but for what stands between `<!-- NAME -->` and `<!-- end -->`: that is written from
benchmarks/results/NAME.json, and says so where nothing was measured. A figure that is None is left out as a dash.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "figures.md"
RESULTS = Path(__file__).resolve().parent / "results"
_BLOCK = re.compile(r"<!-- (\w+) -->\n.*?<!-- end -->", re.DOTALL)

Rows = Sequence[tuple[str, object, str]]  # what, its figure, its goal


def read_results() -> dict[str, dict]:
    """Name -> the record that python -m benchmarks NAME kept."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))}


def fill(page: str, results: Mapping[str, dict]) -> str:
    """The page with its blocks written anew. Raises: KeyError for a block that names no benchmark."""
    return _BLOCK.sub(lambda found: f"<!-- {found[1]} -->\n{write_block(found[1], results)}\n<!-- end -->", page)


def write_block(name: str, results: Mapping[str, dict]) -> str:
    tables = TABLES[name]
    if name not in results:
        return f"Not measured yet: `python -m benchmarks {name}`."
    record = results[name]
    return f"{provenance(record)}\n\n{tables(record['figures'])}"


def provenance(record: dict) -> str:
    """What a figure was measured with, in a line."""
    told = record["machine"]
    gpu = f", {told['gpu']}" if told["gpu"] else ""
    commit = f", commit `{record['commit']}`" if record["commit"] else ""
    return (f"`{record['command']}`, {record['day']}{commit}: {told['cores']} cores of {told['processor']}, "
            f"{told['memory_gb']} GB{gpu}, load {told['load']} before the run; Python {told['python']}, "
            f"torch {told['torch']}, PyAV {told['av']}, {record['seconds']:.0f} s.")


# ---- tables -----------------------------------------------------------------------------------------------------


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(text(cell) for cell in line)} |" for line in lines)


def text(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)


def percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}".replace(".0%", "%").replace("%", " %")


def _unit(value: float | None, unit: str) -> str | None:
    return None if value is None else f"{value:g} {unit}"


def goals(rows: Rows) -> str:
    return table(("", "measured", "goal"), rows)


def prepare(f: dict) -> str:
    clip = f"a clip of {f['duration_s']:g} s, {f['width_px']} × {f['height_px']}"
    naive = goals((
        (f"preparing {clip}", f"{f['prepare_s']:g} s", ""),
        ("naive: moviepy, MTCNN on every frame", f"{f['naive_s']:g} s", ""),
        ("preparing beside naive", f["vs_naive"], "0.25 at most"),
    ))
    rates = table(("bits of the clip (Mbit/s)", "bare decoding (s)", "preparing (s)", "ratio (goal: 3 at most)"),
                  [(one["mbit_s"], one["decode_s"], one["prepare_s"], one["vs_decode"]) for one in (f, *f["rates"])])
    return f"{naive}\n\n{rates}"


def speed(f: dict) -> str:
    first = goals((
        ("device", f["device"], ""),
        ("a whole analysis, per second of clip", f"{f['realtime_factor']:g} s", ""),
        ("all detectors beside one forward pass of SS-AVD per window", f["vs_ss_avd"], "4 at most"),
        ("another detector on the same clip, beside the first analysis", f["second_detector_share"], ""),
        ("of which preparing again", f"{f['second_prepare_s']:g} s", "none"),
        ("a further minute of clip", _unit(f["slope_per_min"], "s"), ""),
        ("cost of a minute: longest clip beside shortest", f["cost_growth"], "constant"),
        ("most memory", f"{f['peak_mb']} MB", "1,500 MB at 10 minutes"),
        ("of which not pages of files", f"{f['peak_anonymous_mb']} MB", ""),
    ))
    stages = table((f"stage, of a clip of {f['duration_s']:g} s", "seconds"), list(f["stages_s"].items()))
    lengths = table(("length of clip (s)", "seconds", "seconds a minute", "memory (MB)", "without files (MB)"),
                    [(one["duration_s"], one["seconds"], one["seconds_per_min"], one["peak_mb"],
                      one["peak_anonymous_mb"]) for one in f["lengths"]])
    return "\n\n".join((first, stages, lengths))


def start(f: dict) -> str:
    return table(("", "seconds"), (
        ("importing app.py", f["import_s"]), ("importing scan.py", f["scan_import_s"]),
        ("from the command to an answered page", f["page_s"]),
        ("from the page's request to its first paint", f["paint_s"])))


def explain(f: dict) -> str:
    rows = []
    for name, figures in f.items():
        best = figures["default"] or {}
        rows.append((name, f"{figures['artefacts'] + figures['evidence']} of {figures['planted']}", best.get("method"),
                     best.get("pointing"), best.get("random_pointing"), percent(best.get("faithful_share")),
                     best.get("seconds")))
    stages = ("share", "ablation", "all")
    costs = [(name, *(_cost(figures["times"][stage]) for stage in stages)) for name, figures in f.items()]
    return "\n\n".join((
        table(("detector", "noticed of planted", "method", "points at it", "a random place", "pass their test",
               "seconds"), rows),
        table(("of 3 s, in seconds (in forward passes)", "modality share", "readable map", "all, with tests"),
              [*costs, ("goal", "2", "5", "15")])))


def _cost(row: dict) -> str:
    return f"{row['seconds']:.1f} ({row['forwards']:.0f})"


def robustness(f: dict) -> str:
    names = list(f)
    copies = {"all copies": {name: f[name] for name in names}}
    copies |= {copy: {name: f[name]["copies"][copy] for name in names} for copy in f[names[0]]["copies"]}
    own = table(("unchanged clips", "clips", "AUC", "95 %", "ECE", "genuine called MANIPULATED", "unlike training"),
                [(name, part["clips"], part["auc"], _interval(part["auc_95"]), part["ece"],
                  percent(part["false_alarms"]), percent(part["unusual_rate"]))
                 for name, part in ((name, f[name]["unchanged"]) for name in names)])
    ranks = table(("AUC, before → after", *names),
                  [(copy, *(_change(part["before"]["auc"], part["auc"]) for part in told.values()))
                   for copy, told in copies.items()])
    alarms = table(("genuine called MANIPULATED, before → after", *names),
                   [(copy, *(f"{percent(part['before']['false_alarms'])} → {percent(part['false_alarms'])}"
                             for part in told.values())) for copy, told in copies.items()])
    errors = table(("ECE, before → after", *names),
                   [(copy, *(_change(part["before"]["ece"], part["ece"]) for part in told.values()))
                    for copy, told in copies.items()])
    turns = table(("verdicts turned, answers lost, answers on what is unlike training", *names),
                  [(copy, *(", ".join(percent(part[rate]) for rate in ("flip_rate", "lost_rate", "unusual_rate"))
                            for part in told.values())) for copy, told in copies.items()])
    shares = list(f[names[0]]["risk_coverage"]["risk_at"])
    risks = table(("wrong among the most certain", *(percent(float(share)) for share in shares),
                   "the app's verdicts: answered", "wrong"),
                  [(name, *(percent(curve["risk_at"].get(share)) for share in shares),
                    percent(curve["verdicts"]["coverage"]), percent(curve["verdicts"]["risk"]))
                   for name, curve in ((name, f[name]["risk_coverage"]) for name in names)])
    same = table(("the same bytes", "clips", "same JSON twice", "threads", "on one thread as on all"),
                 [(name, told["clips"], told["same"], told["threads"], told["same_on_one_thread"])
                  for name, told in ((name, f[name]["determinism"]) for name in names)])
    return "\n\n".join((own, ranks, errors, alarms, turns, risks, same))


def _interval(pair: Sequence[float | None]) -> str:
    return " to ".join(text(value) for value in pair)


def _change(before: float | None, after: float | None) -> str:
    return " → ".join("–" if value is None else f"{value:.2f}" for value in (before, after))


def archive(f: dict) -> str:
    rows = [(what, *(f[engine][key] for engine in ("local", "ray")))
            for what, key in (("cores taken", "cores"), ("seconds before it is at work", "start_s"),
                              ("seconds a clip", "clip_s"), ("clips a second", "clips_per_s"),
                              ("core-hours per thousand clips", "core_hours_per_1000"))]
    same = ("the same" if f["same_lines"] else "**not the same**" if f["largest_difference"] is None else
            f"the same words and verdicts, and numbers that differ by {f['largest_difference']:g} at most, in their")
    return (table((f"{f['clips']} clips of {f['seconds']:g} s", "scan.py", "scan.py --engine ray"), rows)
            + f"\n\nBoth wrote {same} lines.")


def fuzz(f: dict) -> str:
    return goals((
        ("hostile files", f["cases"], ""), ("crashes", f["crashes"], "0"), ("hangs", f["hangs"], "0"),
        ("files after which the next one was not read", f["unserved"], "0"),
        ("files left behind", f["leaked_files"], "0"), ("most memory", _unit(f["peak_mb"], "MB"), "600 MB"),
    ))


def load(f: dict) -> str:
    return goals((("requests that failed", f["failures"], "0"), ("wrong answers", f["wrong_answers"], "0"),
                  ("half have their answer within", _unit(f["p50_s"], "s"), ""),
                  ("95 % have it within", _unit(f["p95_s"], "s"), ""),
                  ("memory that a request leaves taken", _unit(f["mb_per_request"], "MB"), "under 1 MB")))


TABLES: dict[str, Callable[[dict], str]] = {
    "prepare": prepare, "speed": speed, "start": start, "explain": explain, "robustness": robustness,
    "archive": archive, "fuzz": fuzz, "load": load,
}
NAMES = tuple(TABLES)

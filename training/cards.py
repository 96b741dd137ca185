"""A checkpoint's card as a page: rendered from the metadata that the weights carry, never written by hand."""

from __future__ import annotations

from pathlib import Path

from detectors.checkpoint import read_card, read_checkpoint, save_checkpoint

PROVISIONAL = "**Provisional weights: they show the whole path from clip to answer and have no evidential value.**"
DATA = """Public clips of talking people and published generator outputs. A share of the fake faces was forged while
training, from the genuine clips: self-blend, resampling, a mouth from another moment, swap. Development sources chose
the best step, the calibration and the thresholds; no weight was fitted to them."""
TEACHER = """While it trained, its picture maps also had to tell, through linear maps that are not kept, what a frozen
EfficientNet-Lite0 (ImageNet weights, Apache-2.0) sees in the same faces."""
READING = """Training saw none of its people, and none of its sources and generators but for a few named in the
data's own notes. AUC with 95 % bootstrap interval over identities; 0.5 is chance. A family's fakes are ranked against
all genuine clips."""
LIMITS = """Lip-sync: it is trained to accept sound and picture of different clips. Faces under 36 pixels, sound
without a voice, generators and cameras unlike those above. It learnt from few sources, and part of what it learnt is
their look."""


def store_results(checkpoint: Path, results: dict) -> None:
    """Put measured results into a checkpoint's card, and write the card's page beside it."""
    state, card = read_checkpoint(checkpoint)
    save_checkpoint(checkpoint, state, {**card, "results": results})
    checkpoint.with_suffix(".md").write_text(card_page(read_card(checkpoint)), encoding="utf-8")


def card_page(card: dict) -> str:
    """Markdown."""
    spec, recipe, results, thresholds = (card[k] for k in ("input_spec", "recipe", "results", "thresholds"))
    families = {name.replace(":", ": "): figures for name, figures in results["families"].items()}
    parts = [
        f"# {card['name']} ({card['paper']})",
        PROVISIONAL if card["provisional"] else "",
        f"It sees {spec['frames']} aligned faces of {spec['face_px']} pixels and the sound of {spec['window_s']:g} s, "
        f"every {spec['hop_s']:g} s. It tells P(fake) of the picture, of the sound and of the whole window.",
        "## Data",
        DATA,
        _table(["part", "clips", "sources", "hours", "families"],
               [[name, part["clips"], part["sources"], part["hours"],
                 ", ".join(f"{k} {v}" for k, v in part["families"].items())] for name, part in card["data"].items()]),
        TEACHER if recipe["imitation"] else "",
        f"Commands, at commit `{card['commit']}`:" if card["commit"] else "Commands:",
        "```\n" + "\n".join(card["commands"]) + "\n```",
        f"Seed {recipe['seed']}, {card['step']} steps of {recipe['batch']} windows in "
        f"each of {card['processes']} processes.",
        "## Results",
        f"Measured on {results['clips']} clips, {_share(results['every'])} of the validation split, "
        "through the same path as the app. " + READING,
        _table(["", "AUC", "95 %", "fake", "genuine"],
               [_row(name, figures) for name, figures in
                {"whole clip": results, "picture": results["video"], "sound": results["audio"], **families}.items()]),
        "Within one source (real against fake of the same site, which no look of a web site explains): picture "
        f"{_number(results['video']['within_source_auc'])}, sound {_number(results['audio']['within_source_auc'])}.",
        f"Equal error rate {results['eer']:.2f}. Expected calibration error {results['ece']:.2f}; scores assume as "
        "many fake as genuine clips.",
        "## What the verdicts are worth",
        f"MANIPULATED from {thresholds['manipulated']:.3f} on, SUSPICIOUS from {thresholds['suspicious']:.3f} on: "
        "at least 0.8 and 0.6, and such that at most 5 % and 15 % of genuine development clips reach them. "
        f"A span is marked from {thresholds['segment_on']:.3f} on, which at most 15 % of them reach anywhere. On the "
        "validation split:",
        _table(["called", *results["genuine_called"]],
               [[name, *(f"{share:.1%}" for share in results[key].values())]
                for name, key in (("genuine clips", "genuine_called"), ("fake clips", "fake_called"))]),
        "## What it cannot see",
        LIMITS,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _row(name: str, figures: dict) -> list:
    low, high = figures["auc_95"]
    return [name, _number(figures["auc"]), f"{_number(low)} to {_number(high)}", figures["fake"], figures["genuine"]]


def _share(every: int) -> str:
    return "all" if every == 1 else f"one in {every}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _table(head: list, rows: list[list]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)

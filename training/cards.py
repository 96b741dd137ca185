"""A checkpoint's card as a page: rendered from the metadata that the weights carry, never written by hand.

    python -m training.cards                                            writes the pages of all shipped cards again
    python -m training.cards --check --data ROOT                        measures every card again, on the clips ...
    python -m training.cards --check --prepared SHARDS [--detector D]   ... or on prepared shards, as the card says

A check measures by the route and on the part of the material that the card names, and exits with 1 where a figure does
not reproduce: counts exactly; AUC, error rates and shares within 0.01; ends of intervals within 0.03; marked seconds
per minute within 0.2. Figures of the shortcut baseline need the shards that it learns from: with --data they are
compared where --shortcuts SHARDS is given.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from detectors import MODULES, Verdict
from detectors.checkpoint import CHECKPOINTS, read_card, read_checkpoint, ship_checkpoint
from detectors.consensus import CONSENSUS, FITS
from detectors.contract import MODALITIES
from training.pretrained import DISTILL_MOS, FIRST_STAGES, Source

VERDICTS = tuple(str(verdict) for verdict in Verdict)
TOLERANCE = 0.01
TOLERANCES = {"auc_95": 0.03, "ap_50_interval": 0.03, "ar_20_interval": 0.03, "genuine_marked_s_per_min": 0.2,
              "reliability": 0.1}  # of a group of ten, one clip may change sides with its neighbour

PROVISIONAL = "**Provisional weights: they show the whole path from clip to answer and have no evidential value.**"
PUBLISHED = "Public clips of talking people and published generator outputs."
FORGED = """Public clips of talking people, published generator outputs, and forgeries made from the genuine clips, each
put through the same final encoding as its original."""
CHOSEN = """Development sources chose the best step, the calibration and the thresholds; no weight was fitted to
them."""
CHOSEN_PARTS = ("Which parts of a face are read was chosen on held-out training sources and with a look at val: its "
                "figures below are a little too good.")
READING = """Training saw none of its people, and none of its sources and generators but for a few named in the
data's own notes. AUC with 95 % bootstrap interval over identities; 0.5 is chance. A family's fakes are ranked against
all genuine clips. The shortcut is what file, timing, pose and border alone tell of the same clips: what the detector is
worth is what lies above it."""
UNUSUAL = "A clip that is unlike those learnt from is SUSPICIOUS at most (detectors/familiarity.py)."
LIMITS = """Faces under 36 pixels, sound without a voice, generators and cameras unlike those above. It learnt from few
sources, and part of what it learnt is their look."""


@dataclass(frozen=True)
class Words:
    """What a page says of a detector beside its figures."""

    tells: str
    departures: str
    blind: str
    encoders: tuple[Source, ...] = ()


WORDS = {
    "ss_avd": Words(
        "It tells P(fake) of the picture, of the sound and of the whole window. One stream, in which sound and picture "
        "attend to each other at four scales.",
        "The network is the first author's earlier public code, taken as SS-AVD: it has the paper's parameters. What "
        "is shipped takes the picture in at its third stage, as a frozen encoder tells it, and reads beside its own "
        "two features what that encoder tells of the inner face and how much the sound's cepstra change; its heads "
        "start from a fit to these, and learn for a short time what its own features add. It filters "
        "the sound at a quarter of the cost, has no style shuffle, starts its fusion as the identity, its branches at "
        f"0.1, and bends the sound's path after each down-sampling. {CHOSEN_PARTS}",
        "Lip-sync: the latent shuffle trains it to accept sound and picture of different clips.",
        (FIRST_STAGES,),
    ),
    "mmms_ba": Words(
        "It tells P(fake) of each 0.32 s, of picture, sound and both, and proposes where a manipulation begins and "
        "ends. Face, lips and sound attend to each other across the window; how well lips and sound agree stands "
        "beside that, and gives the score for sync.",
        "The paper says nothing of what comes before its recurrent layers; here they are frozen encoders and a "
        f"lip-sound pair, and all layers are narrower. {CHOSEN_PARTS} Beside the spans that its sequences tell, the "
        "stretch is proposed that differs most from its own clip, by a linear map of ours. The softmax is masked. The "
        "heads for picture and sound are ours. The more suspicious half of the sequences decides, not the highest one, "
        "whose false alarms grow with the length of the clip.",
        "Good sync says nothing: faces driven by the sound are in better sync than genuine ones, so that score is "
        "evidence of mismatch alone. It needs a voice and a face.",
        (FIRST_STAGES, DISTILL_MOS),
    ),
    "joint_av": Words(
        "It tells P(fake) of the picture, of the sound, of either, and whether the sound belongs to these lips. Two "
        "streams with a label each, and a third that joins them from fine to coarse.",
        "A reconstruction: the paper's text could not be read, and there is no official code, so no number of its "
        "widths is the paper's. What is shipped is far smaller and reads the sound as energies in linear bands. Beside "
        "its streams it reads what a frozen encoder tells of the inner face and how much the sound's cepstra change; "
        f"its heads start from a fit to these. {CHOSEN_PARTS} It carries a lip-sound pair, trained on genuine clips "
        "alone, which gives the score for sync.",
        "What is finer than its faces' pixels. Sync is evidence of mismatch alone: faces driven by the sound are in "
        "better sync than genuine ones. It is told from some seconds around a window, of speech only; a silent face "
        "has no sync.",
        (FIRST_STAGES,),
    ),
    "mis_avoidd": Words(
        "It tells P(fake) of the whole window, of the picture and of the sound. Each modality has a code of its own "
        "and one from an encoder that both share; the four attend to each other.",
        "The design of MISA with two modalities, after the public summary of MIS-AVoiDD, whose body could not be read: "
        "every width is ours. The heads for picture and sound are ours. Faces and sound come through frozen encoders "
        "instead of Xception, the cepstra are linear in frequency, and only genuine clips are pulled together. "
        f"{CHOSEN_PARTS}",
        "Anything in time: it compares summaries of a window, so sound that is late by half a second looks the same.",
        (FIRST_STAGES, DISTILL_MOS),
    ),
}


def store_results(checkpoint: Path, results: dict, command: str) -> None:
    """Put measured results into a checkpoint's card, the command that measured them behind those that made the weights,
    and write the card's page beside it."""
    state, card = read_checkpoint(checkpoint)
    made = [line for line in card["commands"] if "training.evaluate" not in line]
    ship_checkpoint(checkpoint, state, {**card, "results": results, "commands": [*made, command]})
    write_page(checkpoint)


def store_consensus(path: Path, results: dict) -> None:
    """Likewise for the file of the consensus."""
    path.write_text(json.dumps({**read_any_card(path), "results": results}, indent=1, sort_keys=True) + "\n",
                    encoding="utf-8")
    write_page(path)


def write_page(path: Path) -> None:
    path.with_suffix(".md").write_text(page_of(path), encoding="utf-8")


def page_of(path: Path) -> str:
    """Of a checkpoint or of the consensus."""
    card = read_any_card(path)
    return consensus_page(card) if path.name == FITS else card_page(card)


def read_any_card(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8")) if path.name == FITS else read_card(path)


def path_of(name: str) -> Path:
    """Of a detector's checkpoint, or of the consensus."""
    return CHECKPOINTS / (FITS if name == CONSENSUS else f"{name}.safetensors")


# ---- the page ---------------------------------------------------------------------------------------------------


def card_page(card: dict) -> str:
    """Markdown."""
    results, words = card["results"], WORDS[card["recipe"]["detector"]]
    parts = [
        f"# {card['name']} ({card['paper']})",
        PROVISIONAL if card["provisional"] else "",
        f"{_input(card['input_spec'])} {words.tells}",
        _size(card["size"]),
        *(f"It holds a frozen {source.network}, trained on {source.trained_on}; {source.licence}."
          for source in words.encoders),
        "## Departures from the paper",
        words.departures,
        "## Data",
        f"{FORGED if card['data']['training'].get('forged') else PUBLISHED} {CHOSEN}",
        _table(["part", "clips", "sources", "hours", "families"],
               [[name, part["clips"], part["sources"], part["hours"],
                 ", ".join(f"{k or 'unknown'} {v}" for k, v in part["families"].items())]
                for name in ("training", "development") if (part := card["data"].get(name))]),
        f"Commands, at commit `{card['commit']}`:" if card["commit"] else "Commands:",
        "```\n" + "\n".join(card["commands"]) + "\n```",
        _run(card),
        "## Results",
        _material(results) + " " + READING,
        _figures_table(results),
        *_controls(results),
        *_localization(results),
        f"Equal error rate {_number(results['eer'])}; AUC up to 10 % false alarms (standardised, 0.5 is chance) "
        f"{_number(results['pauc'])}. {_calibration(results)}",
        "## What the verdicts are worth",
        *_verdicts(card["thresholds"], results),
        *_explanations(card.get("explanations")),
        "## What it cannot see",
        f"{words.blind} {LIMITS}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def consensus_page(card: dict) -> str:
    """Markdown: what the shipped detectors are worth together."""
    fits, results = card["fits"], card["results"]
    everybody = fits[max(fits, key=lambda name: len(fits[name]["weights"]))]
    rows = [[name.replace("+", ", "), *(f"{fit['weights'].get(detector, 0):.2f}" for detector in card["weights"]),
             worth["clips"], _number(worth["auc"]), _number(worth["auc_within_source"])]
            for name, fit in fits.items() if (worth := card["development"][name])]
    return "\n\n".join([
        "# The consensus",
        "What several detectors say together: the sum of their calibrated log-odds, weighted, and a threshold of its "
        "own for each set of them (detectors/consensus.py). Weights were fitted on development clips that none of the "
        "detectors learnt from; the AUC beside them is of the same clips. Where those who listen for it "
        "find, on average, more surely that the sound does not belong to the picture, that is the answer.",
        _table(["of", *card["weights"], "clips", "AUC", "within a source"], rows),
        *([f"Without a say, as little or nothing is known that it and the others all held out: "
           f"{', '.join(card['left_out'])}."] if card["left_out"] else []),
        f"```\n{card['command']}\n```",
        "## Results of all together",
        _material(results) + " " + READING,
        _figures_table(results),
        f"Equal error rate {_number(results['eer'])}. {_calibration(results)}",
        f"MANIPULATED from {everybody['manipulated']:.3f} on, where two detectors find the clip at least suspicious by "
        f"themselves; SUSPICIOUS from {everybody['suspicious']:.3f} on, where one does. {UNUSUAL}",
        _called(results),
    ]) + "\n"


def _input(spec: dict) -> str:
    lips = f", {spec['lips']} pictures of the lips of {spec['lips_px']} pixels" if spec.get("lips") else ""
    return (f"It sees {spec['frames']} aligned faces of {spec['face_px']} pixels{lips} and the sound of "
            f"{spec['window_s']:g} s, every {spec['hop_s']:g} s.")


def _size(size: dict) -> str:
    return (f"{size['shipped_parameters']:,} parameters and {size['gflops_per_window']:g} GFLOP a window, frozen "
            f"encoders included; in the paper's configuration, as far as it is known, {size['paper_parameters']:,} and "
            f"{size['paper_gflops_per_window']:g}.")


def _run(card: dict) -> str:
    recipe = card["recipe"]
    hours = "" if card["hours"] is None else f", {card['hours']:g} hours"
    processes = f"{card['processes']} process{'es' if card['processes'] > 1 else ''}"
    return (f"Seed {recipe['seed']}, {card['step']} steps of {recipe['batch']} windows, {_held(card)}, "
            f"{processes}{hours}.")


def _held(run: dict) -> str:
    return "learnt from all folds" if run["fold"] is None else f"fold {run['fold']} held out"


def _material(results: dict) -> str:
    material = results["material"]
    share = "all" if material["every"] == 1 else f"one in {material['every']}"
    route = ("through the same path as the app" if material["route"] == "clips" else
             "from prepared shards, of which the first face alone is judged, and else as in the app")
    return (f"Measured on {results['clips']} clips, {share} of the split `{material['split']}` of "
            f"{material['dataset']}, {route}.")


def _figures_table(results: dict) -> str:
    heads = {"whole clip": results, **{_title(name): results[name] for name in MODALITIES if name in results}}
    rows = {**heads,
            **{f"{name}, within a source": figures["within_source"] for name, figures in heads.items()},
            **{f"{name}, within a pair": figures["within_pair"] for name, figures in heads.items()},
            **{_title(name): figures for name, figures in results["families"].items()},
            **{f"{_title(name)} compression": figures for name, figures in results["compression"].items()}}
    return _table(["", "AUC", "95 %", "shortcut", "fake", "genuine"],
                  [_row(name, figures) for name, figures in rows.items()])


def _calibration(results: dict) -> str:
    mean, most = results["ece_by_chance"]
    return (f"Expected calibration error {_number(results['ece'])}; scores that are exactly right would show "
            f"{_number(mean)} on as many clips, and in 95 of 100 cases up to {_number(most)}. Scores assume as many "
            "fake as genuine clips.")


def _row(name: str, figures: dict) -> list:
    low, high = figures["auc_95"]
    return [name, _number(figures["auc"]), f"{_number(low)} to {_number(high)}", _number(figures["shortcut_auc"]),
            figures.get("fake", ""), figures.get("genuine", "")]


def _controls(results: dict) -> Iterator[str]:
    """What is left of the figures when something is taken away."""
    if results["controls"]:
        yield ("Controls: the same clips with their sound alone, with their picture alone, and with silence in place "
               "of every voice and no picture, which should tell nothing.")
        yield _table(["", "AUC", "95 %", "shortcut", "fake", "genuine"],
                     [_row(_title(name), figures) for name, figures in results["controls"].items()])


def _localization(results: dict) -> Iterator[str]:
    told = {name: results["segments"][name] for name in ("any", *MODALITIES)
            if results["segments"].get(name, {}).get("spans")}
    if not told:
        yield "Where a clip is manipulated was not measured: no clip of this material says it."
        return
    yield ("Where: over genuine clips and those of which a known part is fake, by the definitions of AV-Deepfake1M "
           "(training/localization.py).")
    names = ("ap_50", "ap_75", "ap_90", "ap_95", "ar_100", "ar_50", "ar_20", "ar_10", "ar_5")
    yield _table(["", "spans", "clips", *(_measure(name) for name in names)],
                 [["any modality" if name == "any" else _title(name), figures["spans"], figures["clips"],
                   *(_number(figures[key]) for key in names)] for name, figures in told.items()])


def _measure(name: str) -> str:
    kind, number = name.split("_")
    return f"AP@.{number}" if kind == "ap" else f"AR@{number}"


def _verdicts(thresholds: dict, results: dict) -> Iterator[str]:
    yield (f"MANIPULATED from {thresholds['manipulated']:.3f} on, SUSPICIOUS from {thresholds['suspicious']:.3f} on: "
           "at least 0.8 and 0.6, and such that at most 5 % and 15 % of the genuine clips reach them in four of five "
           "random draws of the development sources. A span "
           f"is marked from {thresholds['segment_on']:.3f} on: between 0.7 and 0.95, and within that such that at most "
           f"15 % of them reach it anywhere. {UNUSUAL} On the clips above:")
    yield _called(results)
    yield "Whose score is at least that, whatever it is called:"
    yield _table(["at", "accuracy", "true positives", "false positives"],
                 [[name.upper(), *(_number(results[f"at_{name}"][key]) for key in ("accuracy", "tpr", "fpr"))]
                  for name in ("manipulated", "suspicious")])
    yield (f"{results['genuine_marked']:.1%} of the genuine clips had a marked span, "
           f"{results['genuine_marked_s_per_min']:g} s a minute.")


def _called(results: dict) -> str:
    return _table(["called", *VERDICTS],
                  [[name, *(f"{results[key][verdict]:.1%}" for verdict in VERDICTS)]
                   for name, key in (("genuine clips", "genuine_called"), ("fake clips", "fake_called"))])


def _explanations(found: dict | None) -> Iterator[str]:
    """What the maps are worth that are shown for this detector, as benchmarks.explain measured it."""
    if not found:
        return
    yield "## What its explanations are worth"
    default = "no map is shown first: none beats chance" if found["default"] is None else (
        f"the app shows {found['default']['method'].replace('_', ' ')} first")
    yield (f"Of {found['planted']} places in an unaltered clip, the detector noticed {found['artefacts']} planted "
           f"artefacts, and evidence made for it in {found['evidence']} more. How often the highest value of a map lay "
           f"inside, how often a random place would, and how many maps passed their own test; {default}.")
    yield _table(["map", "inside", "by chance", "passed", "seconds"],
                 [[name.replace("_", " "), *(_number(row[key]) for key in
                                             ("pointing", "random_pointing", "faithful_share", "seconds"))]
                  for name, row in found["methods"].items()])


def _title(name: str) -> str:
    """ "video:face_swap" -> "picture: face swap" """
    head, _, rest = name.partition(":")
    head = {"video": "picture", "audio": "sound", "whole": "whole clip"}.get(head, head)
    return f"{head}: {rest.replace('_', ' ')}" if rest else head


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _table(head: list, rows: list[list]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


# ---- the check --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mismatch:
    """A figure of a card that does not reproduce."""

    detector: str
    figure: str  # its place in the results: "video.within_source.auc"
    card: object
    measured: object


def compare(detector: str, card: dict, measured: dict, shortcuts: bool = True) -> list[Mismatch]:
    """Results of a card against those measured again, both as training.evaluate gives them. What only one of them has
    is a mismatch, too; without `shortcuts`, figures of the baseline are left out."""
    before, now = dict(_figures(card)), dict(_figures(measured))
    names = [name for name in {**before, **now} if shortcuts or not name.endswith("shortcut_auc")]
    return [Mismatch(detector, name, before.get(name), now.get(name)) for name in names
            if name not in before or name not in now or not _agree(name, before[name], now[name])]


def _figures(results: object, place: str = "") -> Iterator[tuple[str, object]]:
    """("video.auc_95.0", 0.51), ... of nested results."""
    inner = results.items() if isinstance(results, dict) else enumerate(results) if isinstance(results, list) else None
    if inner is None:
        yield place, results
        return
    for name, value in inner:
        yield from _figures(value, f"{place}.{name}" if place else str(name))


def _agree(place: str, card: object, measured: object) -> bool:
    if not isinstance(card, float) and not isinstance(measured, float):
        return card == measured  # counts, words, and what neither could tell
    if card is None or measured is None:
        return False
    tolerance = next((TOLERANCES[name] for name in place.split(".") if name in TOLERANCES), TOLERANCE)
    return abs(card - measured) <= tolerance + 1e-9


def measured_card(detector: str) -> dict:
    """A shipped card. Raises: ValueError where it says nothing of how it was measured."""
    card = read_any_card(path_of(detector))
    if "material" not in card.get("results", {}):
        raise ValueError(f"the card of {detector} does not say how it was measured: python -m training.evaluate "
                         f"{detector} ... --card")
    return card


def check(detectors: Sequence[str], data: Path | None, prepared: Path | None, shortcuts: Path | None,
          jobs: int) -> list[Mismatch]:
    """Measures these detectors again, each as its card says; those that were measured alike, in one go.

    Raises: ValueError where a card asks for material that is not given, or says nothing of how it was measured.
    """
    from training.evaluate import Material, evaluate  # which stores results through this module

    alike: dict[Material, list[str]] = {}
    found = []
    for name in detectors:
        card = measured_card(name)
        material = Material(**card["results"]["material"])
        if (data if material.route == "clips" else prepared) is None:
            raise ValueError(f"the card of {name} was measured on {material.route}: give "
                             + ("--data ROOT" if material.route == "clips" else "--prepared SHARDS"))
        alike.setdefault(material, []).append(name)
        page = path_of(name).with_suffix(".md")
        if not page.is_file() or page.read_text(encoding="utf-8") != page_of(path_of(name)):
            found.append(Mismatch(name, "page", "as it is rendered", "another text, or none"))
    for material, names in alike.items():
        root = data if material.route == "clips" else prepared
        for name, results in evaluate(names, material, root, jobs, shortcuts).items():
            found += compare(name, measured_card(name)["results"], results,
                             material.route == "prepared" or shortcuts is not None)
    return found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.cards", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="measure again; without it, the pages are written again")
    parser.add_argument("--detector", choices=[*MODULES, CONSENSUS], help="this one alone")
    parser.add_argument("--data", type=Path, metavar="ROOT", help="the data set's folder")
    parser.add_argument("--prepared", type=Path, metavar="SHARDS", help="what training.prepare wrote")
    parser.add_argument("--shortcuts", type=Path, metavar="SHARDS", help="with --data: what the baseline learns from")
    parser.add_argument("--jobs", type=int, default=max(multiprocessing.cpu_count(), 1))
    parser.add_argument("--json", action="store_true", help="print the mismatches as one JSON line, last")
    args = parser.parse_args(argv)
    names = [name for name in (*MODULES, CONSENSUS) if args.detector in (None, name) and path_of(name).is_file()]
    if not names:
        parser.error("there is no such checkpoint")
    try:
        if not args.check:
            for name in names:
                measured_card(name)
                write_page(path_of(name))
                print(path_of(name).with_suffix(".md"))
            return 0
        found = check(names, args.data, args.prepared, args.shortcuts, args.jobs)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    for mismatch in found:
        print(f"{mismatch.detector:12} {mismatch.figure:40} card {mismatch.card}, measured {mismatch.measured}")
    print(f"{len(found)} mismatches in the cards of {', '.join(names)}")
    if args.json:
        print(json.dumps({"mismatches": [vars(mismatch) for mismatch in found], "checked": names}))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

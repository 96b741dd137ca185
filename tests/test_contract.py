"""The contracts: of every detector's behaviour, and of the JSON object that scan.py prints and the API returns."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import jsonschema
import pytest
import torch

from detectors import MODULES, analyse, joint_av, mis_avoidd, mmms_ba, ss_avd
from detectors.check import check_detector
from detectors.sync import SyncConfig
from media import Reason
from media.variants import VARIANTS
from tests.media.corpus import ffmpeg

PROBABILITY = {"type": ["number", "null"], "minimum": 0, "maximum": 1}
SECONDS = {"type": "number", "minimum": 0}
VERDICT = {"enum": ["MANIPULATED", "SUSPICIOUS", "NO_SIGNS", "CANNOT_EVALUATE"]}
REASONS = {"type": "array", "items": {"enum": [str(r) for r in Reason]}}
HASH = {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"}


def strict(properties: dict, **optional: dict) -> dict:
    return {"type": "object", "properties": properties | optional, "required": list(properties),
            "additionalProperties": False}


SEGMENT = strict({
    "start_s": SECONDS, "end_s": SECONDS, "score": {"type": "number", "minimum": 0, "maximum": 1},
    "modality": {"enum": ["video", "audio", "sync"]}, "track": {"type": ["integer", "null"]},
})
CURVE = {"type": ["array", "null"], "items": PROBABILITY}
WINDOWS = strict({
    "track": {"type": ["integer", "null"]}, "start_s": {"type": "array", "items": SECONDS},
    "end_s": {"type": "array", "items": SECONDS}, "video": CURVE, "audio": CURVE, "sync": CURVE, "whole": CURVE,
})
DETECTOR = strict({
    "score": PROBABILITY, "video": PROBABILITY, "audio": PROBABILITY, "sync": PROBABILITY, "verdict": VERDICT,
    "provisional": {"type": "boolean"}, "segments": {"type": "array", "items": SEGMENT},
    "windows": {"type": "array", "items": WINDOWS}, "reasons": REASONS,
    "thresholds": {"type": "object", "required": ["manipulated", "suspicious", "segment_on", "segment_off"]},
    "checkpoint": HASH, "offset_s": {"type": ["number", "null"]},
})
TEXT = {"type": "string", "minLength": 1}
TEXTS = {"type": "array", "items": TEXT}
OPTIONAL_TEXT = {"type": ["string", "null"], "minLength": 1}
PROVENANCE = strict({
    "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"}, "not_checked": TEXTS,
    "facts": {"type": "object", "additionalProperties": TEXT, "required": ["Size", "Container"]},
    "traces": {"type": "array", "items": strict({"code": {"type": "string", "pattern": "^[A-Z_]+$"}, "message": TEXT,
                                                 "means": TEXT, "does_not_prove": TEXT})},
    "credentials": strict({
        "state": {"enum": ["none", "intact", "broken", "elsewhere", "unread"]}, "message": TEXT, "limit": TEXT,
        "signer_trusted": {"enum": ["yes", "no", "unknown"]}, "signer": OPTIONAL_TEXT, "signed_at": OPTIONAL_TEXT,
        "generator": OPTIONAL_TEXT, "actions": TEXTS, "ingredients": TEXTS,
        "failures": {"type": "array", "items": strict({"code": {"type": "string"}, "assertion": {"type": "string"},
                                                       "words": TEXT})},
    }),
})
READING = strict({"score": PROBABILITY, "verdict": VERDICT,
                  "lost": {"type": "array", "items": {"enum": ["video", "audio", "sync"]}}})
VARIANT_IDS = {"type": "array", "items": {"enum": [v.id for v in VARIANTS]}}
HOLDS = {"type": ["boolean", "null"]}
OUTCOME = strict({
    "clip": READING, "lowest": PROBABILITY, "highest": PROBABILITY, "flips": VARIANT_IDS, "lost": VARIANT_IDS,
    "tried": {"type": "integer", "minimum": 0}, "holds": HOLDS, "verdict_before": VERDICT, "verdict": VERDICT,
    "sentences": {"type": "object", "additionalProperties": TEXT}, "summary": TEXT,
})
PROBE = strict({
    "span_s": {"type": "array", "items": SECONDS, "minItems": 2, "maxItems": 2}, "verdict": VERDICT, "holds": HOLDS,
    "summary": TEXT, "consensus": OUTCOME,
    "detectors": {"type": "object", "minProperties": 1, "additionalProperties": OUTCOME},
    "variants": {"type": "array", "minItems": len(VARIANTS), "items": strict({
        "id": VARIANT_IDS["items"], "doing": TEXT, "not_tried": OPTIONAL_TEXT, "seconds": SECONDS,
        "consensus": {"anyOf": [READING, {"type": "null"}]},
        "detectors": {"type": "object", "additionalProperties": READING},
    })},
})
FINDING = strict({
    "code": {"enum": [str(r) for r in Reason]}, "message": {"type": "string", "minLength": 10},
    "remedy": {"type": "string", "minLength": 10},
    "blocks": {"type": "array", "items": {"enum": ["video", "audio"]}},
})
MEMORY = strict({"weights_mb": {"type": ["number", "null"], "minimum": 0}, "rise_mb": {"type": "number", "minimum": 0},
                 "of": {"enum": ["process", "card"]}})
COMMON = {
    "clip": {"type": "string"}, "verdict": VERDICT, "score": PROBABILITY, "reasons": REASONS,
    "findings": {"type": "array", "items": FINDING}, "provisional": {"type": "boolean"},
    "consensus": strict({"video": PROBABILITY, "audio": PROBABILITY, "sync": PROBABILITY,
                         "agree": {"type": "integer", "minimum": 0}, "of": {"type": "integer", "minimum": 0},
                         "weights": strict({"score": {"type": "object", "additionalProperties": PROBABILITY}}),
                         "fitted": {"type": "boolean"}},
                        by_sync={"type": "boolean"},
                        thresholds=strict({"manipulated": PROBABILITY, "suspicious": PROBABILITY})),
    "media": {"type": "object"}, "telltale": {"type": "string"}, "timings_s": {"type": "object"},
    "memory": {"type": "object", "additionalProperties": MEMORY},
}
ANSWER = strict({
    **COMMON, "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"}, "duration_s": SECONDS,
    "detectors": {"type": "object", "minProperties": 1, "additionalProperties": DETECTOR}, "provenance": PROVENANCE,
}, probe=PROBE)
ERROR = strict({
    **COMMON, "sha256": {"type": "null"}, "duration_s": {"type": "null"}, "score": {"type": "null"},
    "error": {"type": "string", "minLength": 10}, "detectors": {"type": "object", "maxProperties": 0},
    "provenance": {"type": "null"},
})


@pytest.mark.parametrize("name", ["mouth_redrawn.mp4", "unaltered_face_no_sound.mp4", "speech_only.ogg", "no_face.mp4"])
def test_answers_keep_the_schema_and_segments_lie_inside_the_clip(examples_dir, name):
    answer = json.loads(json.dumps(analyse(examples_dir / name, device="cpu"), allow_nan=False))
    jsonschema.validate(answer, ANSWER)
    for detector in answer["detectors"].values():
        for segment in detector["segments"]:
            assert 0 <= segment["start_s"] < segment["end_s"] <= answer["duration_s"] + 0.01
    assert (answer["score"] is None) == (answer["verdict"] == "CANNOT_EVALUATE")
    assert "probe" not in answer and answer["provenance"]["sha256"] == answer["sha256"]


def test_a_probed_answer_keeps_the_schema_and_its_scores(talking_clip, tmp_path):
    path = tmp_path / "short.mp4"
    ffmpeg("-t", "1.4", "-i", str(talking_clip), "-c", "copy", str(path))
    plain, said = analyse(path, ["ss_avd"], "cpu"), []
    probed = analyse(path, ["ss_avd"], "cpu", probe=True, on_stage=lambda words, spent_s: said.append((words, spent_s)))
    probed = json.loads(json.dumps(probed, allow_nan=False))
    jsonschema.validate(probed, ANSWER)
    assert probed["score"] == plain["score"] and probed["verdict"] == probed["probe"]["verdict"]
    assert probed["probe"]["consensus"]["verdict_before"] == plain["verdict"]
    tried = [v for v in probed["probe"]["variants"] if v["not_tried"] is None]
    assert tried and all(v["detectors"].keys() == probed["detectors"].keys() for v in tried)
    assert [words.startswith("Probing: ") for words, _ in said[-len(VARIANTS):]] == [True] * len(VARIANTS)
    assert [spent for _, spent in said] == sorted(spent for _, spent in said)
    assert probed["timings_s"]["probe"] <= probed["timings_s"]["total"]


def test_errors_keep_the_schema(tmp_path):
    (tmp_path / "x.mp4").write_bytes(b"")
    jsonschema.validate(json.loads(json.dumps(analyse(tmp_path / "x.mp4"), allow_nan=False)), ERROR)


SMALL = {  # each network with few numbers, and the windows that it then sees
    "ss_avd": (replace(ss_avd.PAPER, widths=(4, 8), depths=(1, 1), frames=2, face_px=56, samples=1600,
                       sinc_filters=16, sinc_kernel=51),
               replace(ss_avd.SPEC, window_s=0.1, hop_s=0.05, frames=2, face_px=56)),
    "mis_avoidd": (replace(mis_avoidd.SHIPPED, frames=2, face_px=32, samples=8000, speech_encoder=False),
                   replace(mis_avoidd.SHIPPED_SPEC, window_s=0.5, hop_s=0.25, frames=2, face_px=32)),
    "mmms_ba": (small := replace(mmms_ba.PAPER, sequences=2, faces=1, face_px=32, lips=1, lips_px=32, mels=8, hidden=2,
                                 dense=2, modality_heads=True), small.spec),
    "joint_av": (replace(joint_av.SHIPPED, face_px=16, widths=(4, 4, 8, 8), sound_widths=(4, 8, 8, 8), bands=12,
                         sync_width=8, attention_heads=2, pair=SyncConfig(dim=8, lips_px=16, lip_widths=(4, 4, 4, 8),
                                                                          sound_widths=(8, 8, 8), bands=10)),
                 replace(joint_av.SHIPPED_SPEC, face_px=16, lips_px=16)),
}


@pytest.mark.parametrize("name", MODULES)
def test_every_detector_passes_the_checks_that_one_from_outside_has_to_pass(name):
    torch.manual_seed(0)
    config, spec = SMALL[name]
    card = {"architecture": asdict(config), "input_spec": asdict(spec)}
    state = MODULES[name].build(card).state_dict()
    one, other = (MODULES[name].load_detector(state, card, "cpu") for _ in range(2))
    outcomes = list(check_detector(one, other))
    assert not [str(o) for o in outcomes if o.passed is False]
    assert {o.check for o in outcomes if o.passed} >= {"scores", "determinism", "batch = single", "missing modality",
                                                       "nothing leaks", "explanations"}

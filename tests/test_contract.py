"""The JSON object that scan.py prints and the API returns, held to its schema."""

from __future__ import annotations

import json

import jsonschema
import pytest

from detectors import analyse
from media import Reason

PROBABILITY = {"type": ["number", "null"], "minimum": 0, "maximum": 1}
SECONDS = {"type": "number", "minimum": 0}
VERDICT = {"enum": ["MANIPULATED", "SUSPICIOUS", "NO_SIGNS", "CANNOT_EVALUATE"]}
REASONS = {"type": "array", "items": {"enum": [str(r) for r in Reason]}}
HASH = {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"}


def strict(properties: dict) -> dict:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


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
    "checkpoint": HASH,
})
FINDING = strict({
    "code": {"enum": [str(r) for r in Reason]}, "message": {"type": "string", "minLength": 10},
    "remedy": {"type": "string", "minLength": 10},
    "blocks": {"type": "array", "items": {"enum": ["video", "audio"]}},
})
COMMON = {
    "clip": {"type": "string"}, "verdict": VERDICT, "score": PROBABILITY, "reasons": REASONS,
    "findings": {"type": "array", "items": FINDING}, "provisional": {"type": "boolean"},
    "consensus": strict({"video": PROBABILITY, "audio": PROBABILITY, "sync": PROBABILITY,
                         "agree": {"type": "integer", "minimum": 0}, "of": {"type": "integer", "minimum": 0}}),
    "media": {"type": "object"}, "telltale": {"type": "string"}, "timings_s": {"type": "object"},
}
ANSWER = strict({
    **COMMON, "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"}, "duration_s": SECONDS,
    "detectors": {"type": "object", "minProperties": 1, "additionalProperties": DETECTOR},
})
ERROR = strict({
    **COMMON, "sha256": {"type": "null"}, "duration_s": {"type": "null"}, "score": {"type": "null"},
    "error": {"type": "string", "minLength": 10}, "detectors": {"type": "object", "maxProperties": 0},
})


@pytest.mark.parametrize("name", ["mouth_redrawn.mp4", "unaltered_face_no_sound.mp4", "speech_only.ogg", "no_face.mp4"])
def test_answers_keep_the_schema_and_segments_lie_inside_the_clip(examples_dir, name):
    answer = json.loads(json.dumps(analyse(examples_dir / name, device="cpu"), allow_nan=False))
    jsonschema.validate(answer, ANSWER)
    for detector in answer["detectors"].values():
        for segment in detector["segments"]:
            assert 0 <= segment["start_s"] < segment["end_s"] <= answer["duration_s"] + 0.01
    assert (answer["score"] is None) == (answer["verdict"] == "CANNOT_EVALUATE")


def test_errors_keep_the_schema(tmp_path):
    (tmp_path / "x.mp4").write_bytes(b"")
    jsonschema.validate(json.loads(json.dumps(analyse(tmp_path / "x.mp4"), allow_nan=False)), ERROR)

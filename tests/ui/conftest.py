"""Result objects made by hand, in the shape that the app, the API and scan.py share."""

from __future__ import annotations

import copy

import pytest

THRESHOLDS = {
    "manipulated": 0.7,
    "suspicious": 0.4,
    "segment_on": 0.5,
    "segment_off": 0.35,
    "min_segment_s": 0.5,
    "min_gap_s": 0.5,
}
CARDS = {"ss_avd": {"name": "SS-AVD"}, "joint_av": {"name": "Joint AV"}}
RESULT = {
    "clip": "talk.mp4",
    "sha256": "ab" * 32,
    "duration_s": 10.0,
    "verdict": "SUSPICIOUS",
    "score": 0.61,
    "reasons": ["FACE_LOST"],
    "findings": [
        {"code": "FACE_LOST", "message": "The face is lost for 1.9 s.", "remedy": "Cut the clip.", "blocks": []}
    ],
    "provisional": True,
    "consensus": {"video": 0.6, "audio": 0.1, "sync": None, "agree": 1, "of": 1},
    "detectors": {
        "ss_avd": {
            "score": 0.61,
            "video": 0.6,
            "audio": 0.1,
            "sync": None,
            "verdict": "SUSPICIOUS",
            "provisional": True,
            "segments": [{"start_s": 2.0, "end_s": 4.4, "score": 0.96, "modality": "video", "track": 0}],
            "windows": [
                {
                    "track": 0,
                    "start_s": [0.0, 1.5, 6.0],
                    "end_s": [3.0, 4.5, 9.0],
                    "video": [0.4, 0.96, None],
                    "audio": [0.1, 0.1, 0.2],
                    "sync": None,
                    "whole": [0.4, 0.9, 0.2],
                }
            ],
            "reasons": [],
            "thresholds": THRESHOLDS,
            "checkpoint": "sha256:" + "cd" * 32,
        }
    },
    "media": {
        "container": "mp4",
        "video_codec": "h264",
        "width_px": 1280,
        "height_px": 720,
        "fps": 25.0,
        "variable_fps": False,
        "rotation_deg": 0,
        "audio_codec": "aac",
        "audio_hz": 44100,
        "audio_channels": 2,
        "faces": [{"track": 0, "start_s": 0.0, "end_s": 9.8, "face_px": 120}],
        "speech_s": [[0.4, 4.2]],
        "measures": {
            "duration_s": 10.0,
            "faces": 1,
            "face_px": 120.0,
            "face_coverage": 0.98,
            "face_light": 131.0,
            "face_sharpness": 9.0,
            "level_dbfs": -21.0,
            "speech_s": 3.8,
            "speech_ratio": 0.38,
        },
    },
    "provenance": {
        "sha256": "ab" * 32,
        "facts": {"Size": "1,234 bytes", "Container": "mov,mp4", "Picture": "h264, 1280 × 720", "Tag date": "2026"},
        "traces": [
            {"code": "EDITOR_NAMED", "message": "The file names the editing program “X”.",
             "means": "It was exported from that program.", "does_not_prove": "Cutting is an edit too."}
        ],
        "credentials": {
            "state": "intact", "message": "The Content Credentials are intact.", "limit": "Not that it is true.",
            "signer_trusted": "unknown", "signer": "A camera maker", "signed_at": "2026-01-02", "generator": "Cam 1",
            "actions": ["created, captured by a camera"], "ingredients": ["made from “a.jpg”, without credentials"],
            "failures": [],
        },
        "not_checked": ["The file was too large to look at all its timestamps."],
    },
    "telltale": "0.1.0",
    "timings_s": {},
}
ERROR = {
    **dict.fromkeys(RESULT),
    "clip": "broken.mp4",
    "verdict": "CANNOT_EVALUATE",
    "error": "The file could not be read.",
    "reasons": ["DECODE_FAILED"],
    "findings": [
        {
            "code": "DECODE_FAILED",
            "message": "The file could not be read.",
            "remedy": "Export it again.",
            "blocks": ["audio", "video"],
        }
    ],
    "provisional": False,
    "detectors": {},
    "consensus": {},
    "media": {},
    "provenance": None,
}


@pytest.fixture
def result() -> dict:
    return copy.deepcopy(RESULT)


@pytest.fixture
def error() -> dict:
    return copy.deepcopy(ERROR)


@pytest.fixture
def cards() -> dict:
    return copy.deepcopy(CARDS)

"""What several panels say of the parts of a result object, in the page's words."""

from __future__ import annotations

from ui import texts


def not_judged_reason(result: dict, modality: str) -> str:
    """Why a part has no score, in words (not escaped)."""
    for finding in result.get("findings", []):
        if modality in finding.get("blocks", []):
            return finding["message"].rstrip(".")
    detectors = result.get("detectors", {}).values()
    has_head = any(w.get(modality) is not None for d in detectors for w in d.get("windows", []))
    return texts.NOT_JUDGED_NO_WINDOW if has_head else texts.NOT_JUDGED_NO_HEAD[modality]


def part_name(modality: str, track: int | None, several_faces: bool) -> str:
    """"Picture", or "Picture, face 2" where the clip has more than one."""
    name = texts.MODALITIES[modality]
    if modality == "audio" or track is None or not several_faces:
        return name
    return texts.TIMELINE_LANE_FACE.format(part=name, number=track + 1)

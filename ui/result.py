"""What several panels say of the parts of a result object, in the page's words."""

from __future__ import annotations

from ui import texts


def part_name(modality: str, track: int | None, several_faces: bool) -> str:
    """"Picture", or "Picture, face 2" where the clip has more than one."""
    name = texts.MODALITIES[modality]
    if modality == "audio" or track is None or not several_faces:
        return name
    return texts.TIMELINE_LANE_FACE.format(part=name, number=track + 1)

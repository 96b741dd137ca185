"""What of a clip can be judged: measured values against limits, each with a remedy in words."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from media.clip import ClipInfo, FaceTrack, Finding, Quality, Reason
from media.sound import level_dbfs, speech_to_noise_db

SHORTEST_S = 1.0
SHORTEST_TRACK_S = 0.6
SMALLEST_FACE_PX = 36  # width in the clip's display pixels; below it a mouth is some 12 pixels wide
LEAST_EXTENT = 0.9  # share of the announced duration that must be there...
SHORT_BY_S = 0.2  # ...unless no more than this is missing
LEAST_COVERAGE = 0.8
DARKEST = 40.0  # mean luma of the face crop, 0..255
LEAST_SHARPNESS = 12.0  # variance of the Laplacian of the face crop
SILENCE_DBFS = -60.0
LEAST_SPEECH_S = 0.5
LEAST_SNR_DB = 5.0

_VIDEO, _AUDIO = frozenset({"video"}), frozenset({"audio"})


def judge_quality(
    info: ClipInfo,
    tracks: Sequence[FaceTrack],
    faces: dict[int, np.ndarray],
    waveform: np.ndarray | None,
    speech_s: tuple[tuple[float, float], ...],
    decode_errors: int,
    lost: frozenset[str] = frozenset(),
    announced_s: float = 0.0,
) -> Quality:
    """`lost` names the modalities that the file announces but of which nothing could be decoded; `announced_s` is
    the duration that its header states (0: it does not)."""
    findings: list[Finding] = []
    measures: dict[str, float] = {"duration_s": info.duration_s}
    missing = []
    if decode_errors:
        measures["decode_errors"] = decode_errors
        missing.append(f"Some of the file could not be decoded and was left out (errors: {decode_errors}).")
    if info.duration_s < min(LEAST_EXTENT * announced_s, announced_s - SHORT_BY_S):
        measures["announced_s"] = announced_s
        missing.append(f"The file says {announced_s:.1f} s, {info.duration_s:.1f} s could be decoded.")
    if missing:
        findings.append(Finding(Reason.PARTLY_DECODED, " ".join(missing),
                                "Try the original file, or another download of it."))
    if info.still:
        findings.append(Finding(
            Reason.STILL_PICTURE, "This is a still picture: it has no movement and no sound.",
            "If it is from a video, use at least a second of the video.", _AUDIO))
    elif info.duration_s < SHORTEST_S:
        findings.append(Finding(
            Reason.TOO_SHORT, f"The clip lasts {info.duration_s:.2f} s; at least {SHORTEST_S:.0f} s are needed.",
            "Use a longer part of the recording.", _VIDEO | _AUDIO,
        ))
    findings += [_lost("picture", "video")] if "video" in lost else _judge_picture(info, tracks, faces, measures)
    if not info.still:
        findings += [_lost("sound", "audio")] if "audio" in lost else _judge_sound(info, waveform, speech_s, measures)
    return Quality(tuple(findings), {k: round(float(v), 3) for k, v in measures.items()})


def _lost(what: str, modality: str) -> Finding:
    return Finding(Reason.DECODE_FAILED, f"The file has a {what}, but none of it could be decoded.",
                   "Try the original file, or another download of it.", frozenset({modality}))


def _judge_picture(info: ClipInfo, tracks: Sequence[FaceTrack], faces: dict[int, np.ndarray],
                   measures: dict[str, float]) -> list[Finding]:
    if info.video_codec is None:
        return [Finding(Reason.NO_VIDEO, "The file has no moving picture; only its sound can be judged.",
                        "If there is a video of it, use the video file.", _VIDEO)]
    measures["faces"] = len(tracks)
    if not tracks:
        frames = "" if info.still else f" ({info.frames} frames)"
        return [Finding(
            Reason.NO_FACE, f"The picture was decoded{frames}, but no face was found in it.",
            "Use a part in which the face is seen from the front, upright, and at least "
            f"{SMALLEST_FACE_PX} pixels wide.", _VIDEO)]

    findings = []
    track = tracks[0]
    face_px = max(t.face_px for t in tracks)
    coverage = len(track.times_s) / 25.0 / max(info.duration_s, 1e-6)
    measures |= {"face_px": face_px, "face_coverage": min(coverage, 1.0)}
    if face_px < SMALLEST_FACE_PX:
        findings.append(Finding(
            Reason.FACE_TOO_SMALL, f"The face is {face_px:.0f} pixels wide; at least {SMALLEST_FACE_PX} are needed.",
            "Try the original file, or a copy in higher resolution.", _VIDEO))
    longest_gap_s, gap_start_s = _longest_gap(track, info.duration_s)
    if coverage < LEAST_COVERAGE or longest_gap_s > 1.0:
        findings.append(Finding(
            Reason.FACE_LOST,
            f"The face is in view for {min(coverage, 1.0):.0%} of the clip (longest gap {longest_gap_s:.1f} s, "
            f"from {gap_start_s:.1f} s on); the rest of the picture was not judged.",
            "Look at the timeline for the spans that were judged, or cut to the part with the face."))
    if len(tracks) > 1:
        findings.append(Finding(
            Reason.SEVERAL_FACES, f"{len(tracks)} faces were followed; each is judged by itself.",
            "Compare the tracks on the timeline: the sound belongs to one of them at most."))

    sample = faces[track.track_id][:: max(len(track.times_s) // 12, 1)]
    grey = [cv2.cvtColor(np.asarray(f), cv2.COLOR_RGB2GRAY) for f in sample]
    light = float(np.mean([g.mean() for g in grey]))
    sharpness = float(np.median([cv2.Laplacian(g, cv2.CV_32F).var() for g in grey]))
    measures |= {"face_light": light, "face_sharpness": sharpness}
    if light < DARKEST:
        findings.append(Finding(Reason.DARK, f"The face is dark (mean brightness {light:.0f} of 255).",
                                "Use a brighter part or copy; scores of dark pictures are less certain."))
    if sharpness < LEAST_SHARPNESS:
        findings.append(Finding(
            Reason.BLURRED, f"The face is blurred (sharpness {sharpness:.0f}; from {LEAST_SHARPNESS:.0f} on is usual).",
            "Try the original file: compression and blur hide traces and can also look like them."))
    return findings


def _longest_gap(track: FaceTrack, duration_s: float) -> tuple[float, float]:
    """Length and start of the longest span without the face, seconds."""
    edges = np.concatenate([[0.0], track.times_s, [duration_s]])
    gaps = np.diff(edges)
    longest = int(np.argmax(gaps))
    return float(gaps[longest]), float(edges[longest])


def _judge_sound(info: ClipInfo, waveform: np.ndarray | None, speech_s: tuple[tuple[float, float], ...],
                 measures: dict[str, float]) -> list[Finding]:
    if waveform is None:
        return [Finding(Reason.NO_AUDIO, "The file has no sound; only its picture can be judged.",
                        "If there is a version with sound, use that.", _AUDIO)]
    findings = []
    if info.audio_streams > 1:
        findings.append(Finding(
            Reason.SEVERAL_AUDIO_STREAMS,
            f"The file has {info.audio_streams} sound tracks; the default one was judged.",
            "If another track matters, save it as a file of its own and try that."))
    level = level_dbfs(waveform)
    voiced_s = sum(end - start for start, end in speech_s)
    measures |= {"level_dbfs": level, "speech_s": voiced_s,
                 "speech_ratio": min(voiced_s / max(info.duration_s, 1e-6), 1.0)}
    if level < SILENCE_DBFS:
        findings.append(Finding(
            Reason.SILENT, f"The sound track is silent ({level:.0f} dBFS; a voice needs more than "
            f"{SILENCE_DBFS:.0f}).", "Use a version with sound.", _AUDIO))
    elif voiced_s < LEAST_SPEECH_S:
        findings.append(Finding(
            Reason.NO_SPEECH, f"A voice was heard for {voiced_s:.1f} s; at least {LEAST_SPEECH_S} s are needed.",
            "Use a part in which somebody speaks.", _AUDIO))
    else:
        snr_db = speech_to_noise_db(waveform, speech_s)
        if snr_db is not None:
            measures["snr_db"] = snr_db
            if snr_db < LEAST_SNR_DB:
                findings.append(Finding(
                    Reason.TOO_NOISY, f"The voice is only {snr_db:.0f} dB above the noise or music around it "
                    f"(at least {LEAST_SNR_DB:.0f} dB are usual).",
                    "Use a quieter part; the score of the sound is less certain."))
    return findings

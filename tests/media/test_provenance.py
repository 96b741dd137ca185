"""What a file tells of its making: each trace in a file that has it, and none in a file that has not."""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, replace
from datetime import datetime, timezone
from fractions import Fraction

import av
import pytest

from media import ClipInfo, Finding, Limits, MediaError, Reason, credentials, provenance
from media.container import open_container, sha256_of
from media.provenance import read_provenance
from tests.media.corpus import BOTH, H264, PICTURE, SOUND, Corpus, ffmpeg

ALWAYS = {"CONVERTER_NAMED", "NO_DEVICE_NAMED"}  # in every file that FFmpeg writes


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return Corpus(tmp_path_factory.mktemp("provenance"))


def info_of(path) -> ClipInfo:
    with open_container(path) as container:
        return ClipInfo(str(path), sha256_of(path), path.stat().st_size, container.format.name, 1.2, "h264", 160, 120,
                        25.0)


def look(path):
    return read_provenance(path, info_of(path))


def traces(path) -> dict[str, provenance.EditingTrace]:
    return {t.code: t for t in look(path).traces}


def encoded(tmp_path, *more: str, name: str = "clip.mp4", inputs: str = BOTH):
    path = tmp_path / name
    ffmpeg(*inputs.split(), *more, str(path))
    return path


def test_an_ordinary_copy_has_the_ordinary_traces_and_each_says_what_it_does_not_prove(corpus):
    found = look(corpus["plain"])
    assert {t.code for t in found.traces} == ALWAYS | {"ENCODER_SETTINGS"}
    settings = next(t for t in found.traces if t.code == "ENCODER_SETTINGS")
    assert "x264" in settings.message and "crf=23" in settings.message
    for trace in found.traces:
        assert len(trace.means) > 20 and len(trace.does_not_prove) > 20
    facts = dict(found.facts)
    assert "160 × 120" in facts["Picture"] and "Lavf" in facts["Written by"]
    assert found.sha256 == sha256_of(corpus["plain"])
    assert json.loads(json.dumps(found.to_json()))["facts"]["Container"].startswith("mov")


@pytest.mark.parametrize("case, code, words", [
    ("two_audio_streams", "SEVERAL_SOUND_STREAMS", "2 sound streams"),
    ("cut_by_edit_list", "EDIT_LIST", "of the recorded picture"),
    ("sound_longer", "LENGTHS_DIFFER", "starts together with and ends 1.30 s after"),
    ("sound_starts_later", "LENGTHS_DIFFER", "after"),
])
def test_traces_of_the_corpus(corpus, case, code, words):
    found = [t for t in look(corpus[case]).traces if t.code == code]
    assert found and words in found[0].message


@pytest.mark.parametrize("case", ["video_with_cover", "m4a", "webm_live", "transport_stream", "single_frame", "mp3"])
def test_files_without_edits_have_no_further_traces(corpus, case):
    assert set(traces(corpus[case])) <= ALWAYS | {"ENCODER_SETTINGS"}


def test_a_variable_frame_rate_is_taken_from_what_was_decoded(corpus):
    info = info_of(corpus["plain"])
    codes = {t.code for t in read_provenance(corpus["plain"], replace(info, variable_fps=True)).traces}
    assert "VARIABLE_FRAME_RATE" in codes


def test_missing_pictures_leave_a_gap(tmp_path):
    gone = encoded(tmp_path, "-vf", "select='lt(t,0.4)+gte(t,0.8)'", "-fps_mode", "vfr", *H264.split(), inputs=PICTURE)
    assert "0.44 s without pictures, 0.36 s after" in traces(gone)["PICTURE_GAP"].message


def test_missing_sound_leaves_a_gap(tmp_path):
    """One second of PCM packets of 0.1 s each, of which two are left out."""
    path = tmp_path / "gap.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for i in (0, 1, 2, 3, 6, 7, 8, 9):
            packet = av.Packet(bytes(3200))
            packet.stream, packet.time_base = stream, Fraction(1, 16_000)
            packet.pts = packet.dts = 1600 * i
            packet.duration = 1600
            container.mux(packet)
    assert "0.20 s without sound, 0.40 s after" in traces(path)["SOUND_GAP"].message


def test_times_that_jump_back(corpus, tmp_path):
    """From the middle of a Flash file on, every tag is stamped 0.4 s earlier."""
    data = bytearray(corpus["flash"].read_bytes())
    place, middle = 13, len(data) // 2
    while place + 11 < len(data):
        size = int.from_bytes(data[place + 1:place + 4], "big")
        time_ms = int.from_bytes(data[place + 4:place + 7], "big")
        if place > middle:
            data[place + 4:place + 7] = max(time_ms - 400, 0).to_bytes(3, "big")
        place += 11 + size + 4
    path = tmp_path / "joined.flv"
    path.write_bytes(data)
    assert "jump back (2 times)" in traces(path)["TIMESTAMPS_JUMP_BACK"].message  # once in each stream


def test_two_pictures(tmp_path):
    both = encoded(tmp_path, "-map", "0", "-map", "1", "-map", "0", "-c:v", "libx264", "-preset", "ultrafast",
                   inputs=f"{PICTURE} {SOUND}", name="two.mkv")
    assert "2 video streams" in traces(both)["SEVERAL_VIDEO_STREAMS"].message


@pytest.mark.parametrize("tags, code, words", [
    (["software=HandBrake 1.7.2 2024010100"], "CONVERTER_NAMED", "HandBrake"),
    (["software=CapCut 3.1"], "EDITOR_NAMED", "CapCut"),
    (["handler=ISO Media file produced by Google Inc."], "PLATFORM_COPY", "YouTube"),
    (["software=DeepFaceLab"], "GENERATOR_NAMED", "DeepFaceLab"),
])
def test_programs_that_tags_name(tmp_path, tags, code, words):
    named = [word for tag in tags for word in ("-metadata", tag)]
    path = encoded(tmp_path, *named, "-fflags", "+bitexact", "-movflags", "use_metadata_tags")
    assert words in traces(path)[code].message


def test_what_people_type_names_no_program(tmp_path):
    path = encoded(tmp_path, "-metadata", "title=Sora and Veo in Paris", "-metadata", "comment=made with CapCut")
    assert not {"GENERATOR_NAMED", "EDITOR_NAMED"} & set(traces(path))


@pytest.mark.parametrize("tags, device", [
    (["com.apple.quicktime.make=Apple", "com.apple.quicktime.model=iPhone 13"], "Apple iPhone 13"),
    (["com.android.version=13"], "(Android 13)"),
])
def test_a_recording_device_is_a_fact(tmp_path, tags, device):
    named = [word for tag in tags for word in ("-metadata", tag)]
    found = look(encoded(tmp_path, *named, "-movflags", "use_metadata_tags", name="phone.mov"))
    assert dict(found.facts)["Recording device"] == device
    assert "NO_DEVICE_NAMED" not in {t.code for t in found.traces}


@pytest.mark.parametrize("later_s, code", [(0, None), (100, None), (3600, "MODIFIED_LATER"),
                                           (-60, "MODIFIED_BEFORE_CREATED")])
def test_times_in_the_header(corpus, tmp_path, later_s, code):
    created = int((datetime(2024, 5, 1, tzinfo=timezone.utc) - datetime(1904, 1, 1, tzinfo=timezone.utc))
                  .total_seconds())
    data = bytearray(corpus["plain"].read_bytes())
    place = data.index(b"mvhd") + 8
    data[place:place + 8] = struct.pack(">II", created, created + later_s)
    path = tmp_path / "dated.mp4"
    path.write_bytes(data)
    found = set(traces(path)) & {"MODIFIED_LATER", "MODIFIED_BEFORE_CREATED"}
    assert found == ({code} if code else set())
    assert dict(look(path).facts)["Created"] == "2024-05-01 00:00:00 UTC"


def test_hostile_tags_are_made_harmless_and_short(tmp_path):
    hostile = "software=CapCut <img src=x onerror=alert(1)>{{7*7}}\u202e" + "A" * 5000
    path = encoded(tmp_path, "-metadata", hostile, "-movflags", "use_metadata_tags")
    text = json.dumps(look(path).to_json(), ensure_ascii=False)
    assert "CapCut" in text and "‹img" in text
    assert not set("<>\u202e`") & set(text) and "{{" not in text and "A" * 300 not in text


def test_reading_stops_after_its_time_and_says_so(corpus):
    found = read_provenance(corpus["plain"], info_of(corpus["plain"]), limit_s=0.0)
    assert "too large to look at all its timestamps" in " ".join(found.not_checked)
    assert "LENGTHS_DIFFER" not in {t.code for t in found.traces}


@pytest.mark.parametrize("case", ["far_future", "two_far_frames", "flipped_index", "says_many_samples",
                                  "cut_fragmented", "deep_boxes", "random", "wav_0_hz"])
def test_odd_and_broken_files_raise_nothing(corpus, case):
    path = corpus[case]
    info = ClipInfo(str(path), "0" * 64, path.stat().st_size, "mov,mp4", 1.2)
    json.dumps(read_provenance(path, info).to_json(), allow_nan=False)


def test_without_the_optional_package_a_sentence_says_what_was_not_checked(corpus, monkeypatch):
    monkeypatch.setattr(credentials, "c2pa", None)  # here, so not in a worker
    path = corpus["plain"]
    [record] = provenance.examine(str(path), asdict(info_of(path)), None, 10.0, Limits())
    found = provenance.Provenance.from_json(record.facts)
    assert found.credentials.state == "unread" and "proves nothing" in found.credentials.limit
    assert credentials.INSTALL in found.not_checked[0] and found.not_checked[0] == found.credentials.message


def test_all_that_is_told_survives_the_way_through_json(corpus):
    found = look(corpus["subtitles_and_data"])
    assert found.facts and found.traces
    assert provenance.Provenance.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_a_reader_that_breaks_off_leaves_the_facts_that_are_known(corpus, monkeypatch):
    def break_off(*_, **__):
        raise MediaError(Finding(Reason.DECODE_FAILED, "The decoder broke off.", "Try another copy."))

    monkeypatch.setattr("media.provenance.isolation.read_one", break_off)
    found = look(corpus["plain"])
    assert "160 × 120" in dict(found.facts)["Picture"] and not found.traces
    assert found.credentials.state == "unread" and "could not be read" in found.not_checked[0]


def test_a_list_of_trusted_signers_that_cannot_be_read_is_said(corpus, tmp_path, monkeypatch):
    monkeypatch.setenv(provenance.TRUST_ANCHORS, str(tmp_path / "missing.pem"))
    assert "trusted signers" in look(corpus["plain"]).not_checked[-1]

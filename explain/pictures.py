"""An explanation as pictures: faces, mouths and spectrogram with the map over them, and its tables. Words with each.

All pictures of one explanation have the same time axis, so that one cursor can run through them.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from matplotlib.patches import Rectangle
from PIL import Image, ImageDraw

from explain import words
from explain.explanation import Explanation
from explain.faithfulness import Faithfulness
from explain.fields import (
    covered,
    is_readable,
    mouth_group,
    on_face,
    on_mouth,
    runs,
    scaled,
    step_edges,
    strongest_cells,
    values_at,
)
from explain.maps import Map
from explain.sentences import tell_group
from explain.sheet import BELIEVED, FONT_PX, GREYED, INK, WIDTH_PX, Colours, Sheet, TimeSpan, hatched, letters
from explain.sound import BINS, FFT, mel_edges_hz, spectrum
from media import AUDIO_HZ, PreparedClip

MOST_FRAMES = 6  # in a strip: more would be too small on a phone
FRAME_PX = 150
NEAR_MIDDLE = 0.35  # share of a slot on either side of its middle where its moment is sought: neighbours stay apart
NEAREST_CROP_S = 0.25
SOUND_PX, RANGE_DB = 190, 70
TICKS_HZ = (0, 1000, 2000, 4000, 8000)
TABLE_ROW_PX, ROOM_FOR_NUMBER_PX = 48, 78
LOOP_S, LOOP_HZ, LOOP_PX = 2.0, 12.5, 288
LOOP_QUALITY = 70
PALEST = 0.05  # of the full colour: what is paler all over is not seen


@dataclass(frozen=True)
class Picture:
    """A picture with what it shows in words."""

    data: bytes
    media_type: str  # "image/png" | "image/jpeg" | "image/webp"
    alt: str  # what it shows, with its finding
    caption: str  # how to read it, its finding, and whether its test was passed
    name: str = ""  # faces | lips | spectrogram | regions | bands | mouth
    axis: tuple[TimeSpan, ...] = ()  # where time runs in it, from left to right; empty where it does not
    detector: str = ""  # id of the detector that it explains
    finding: str = ""  # the one sentence of it that is about this clip


def draw(clip: PreparedClip, explanation: Explanation, method: str) -> list[Picture]:
    """The pictures of one method's map, as far as it has them: faces, lips, spectrogram, and of a readable map the
    two tables. Empty where the explanation has no such map (yet)."""
    if method not in explanation.maps:
        return []
    return _Drawing(clip, explanation, method).pictures()


def mouth_loop(clip: PreparedClip, explanation: Explanation, method: str) -> Picture | None:
    """The mouth during the strongest LOOP_S of the explained span, large, as recorded beside the same with the map:
    an animated WebP that loops. None where the map or the clip shows no mouth."""
    if method not in explanation.maps:
        return None
    return _Drawing(clip, explanation, method).mouth_loop()


class _Drawing:
    """What the pictures of one map share: the clip, its explained runs, the colours and the test."""

    def __init__(self, clip: PreparedClip, told: Explanation, method: str) -> None:
        self.clip, self.told, self.found = clip, told, told.maps[method]
        self.shades, self.limit = scaled(self.found)
        self.outline = strongest_cells(self.found) if is_readable(self.found) else None
        self.runs_s = runs(*covered(self.found, told.start_s, told.end_s))
        self.test: Faithfulness | None = told.faithfulness.get(method)
        self.failed = self.test is not None and not self.test.passed
        self.colours: Colours = GREYED if self.failed else BELIEVED
        self.track = next((t for t in clip.tracks if t.track_id == told.track_id), None)

    def pictures(self) -> list[Picture]:
        drawn = [self.strip("face"), self.strip("lips"), self.spectrogram()]
        if is_readable(self.found):
            drawn += [self.table("picture"), self.table("sound")]
        return [picture for picture in drawn if picture is not None]

    # ---- faces and mouths

    def strip(self, part: str) -> Picture | None:
        """Crops of the face or the lips in two rows, as recorded and with the map."""
        wire = self.found.layout.wires.get(part)
        if wire is None or self.track is None:
            return None
        crops = (self.clip.faces if part == "face" else self.clip.lips)[self.track.track_id]
        sheet = self._sheet([FRAME_PX, FRAME_PX], wire.group)
        count = 0
        for column, span in enumerate(sheet.axis):
            slots = self._slots(span)
            px_per_s = (span.right - span.left) * WIDTH_PX / (span.end_s - span.start_s)
            half_s = min(FRAME_PX, px_per_s * (slots[1] - slots[0])) / px_per_s / 2
            ticks = {}
            for begin, end in zip(slots, slots[1:]):
                time_s = self._strongest_moment(wire.group, begin, end)
                crop = self._crop(crops, time_s)
                if crop is None:
                    continue
                middle = (begin + end) / 2
                ticks[middle] = f"{time_s:.{1 if end - begin > 0.3 else 2}f}"
                for row, picture in enumerate((crop, self._covered(crop, part, wire.group, time_s))):
                    sheet.rows[row][column].imshow(picture, extent=(middle - half_s, middle + half_s, 0, 1),
                                                   aspect="auto", interpolation="antialiased")
            for row in sheet.rows:
                row[column].set(xlim=(span.start_s, span.end_s), ylim=(0, 1))
                row[column].set_frame_on(False)
            sheet.rows[1][column].set_xticks(list(ticks), list(ticks.values()))
            count += len(ticks)
        if not count:
            return None
        sheet.name_row(0, words.RECORDED)
        sheet.name_row(1, words.WITH_MAP)
        sheet.unit()
        what = words.FACES if part == "face" else words.LIPS
        return self._finish(sheet, {"face": "faces", "lips": "lips"}[part], what, wire.group, [1], count=count)

    def _slots(self, span: TimeSpan) -> np.ndarray:
        """Edges of equal parts of a run, each to show one moment."""
        total = sum(end - start for start, end in self.runs_s)
        count = max(int(MOST_FRAMES * (span.end_s - span.start_s) / total + 1e-6), 1)
        return np.linspace(span.start_s, span.end_s, count + 1)

    def _strongest_moment(self, group: str, begin_s: float, end_s: float) -> float:
        """The frame with most evidence for manipulation; of equal ones, the one nearest to the middle. Of a fine map,
        one that the detector looked at."""
        steps_s = self.told.start_s[:, None] + self.found.layout.groups[group].steps_s[:, 0]
        looked_at = self.track.times_s if group == "picture" else steps_s.ravel()
        middle, reach_s = (begin_s + end_s) / 2, NEAR_MIDDLE * (end_s - begin_s)
        times = looked_at[np.abs(looked_at - middle) <= reach_s]
        if not len(times):
            return middle
        strength = np.clip(self._at(self.found, group, times), 0, None).sum(axis=1)
        order = np.lexsort((np.abs(times - middle), -np.nan_to_num(strength).round(9)))
        return float(times[order[0]])

    def _crop(self, crops: np.ndarray, time_s: float) -> np.ndarray | None:
        """The crop nearest to a moment, if it is near."""
        row = int(np.abs(self.track.times_s - time_s).argmin())
        return crops[row] if abs(self.track.times_s[row] - time_s) <= NEAREST_CROP_S else None

    def _covered(self, crop: np.ndarray, part: str, group: str, time_s: float) -> np.ndarray:
        """A crop [side, side, 3] in grey with the map over it, and the strongest cell of a readable one outlined."""
        spread = on_face if part == "face" else on_mouth
        moment = np.array([time_s])
        picture = self.colours.over(crop, spread(group, self._at(self.shades, group, moment)[0], len(crop)))
        if self.outline is None:
            return picture
        mark = np.nan_to_num(spread(group, self._at(self.outline, group, moment)[0], len(crop)))
        edges, _ = cv2.findContours((mark > 0.5).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        width_px = max(round(len(crop) / 100), 1)
        cv2.drawContours(picture, edges, -1, (255, 255, 255), 2 * width_px + 1)
        cv2.drawContours(picture, edges, -1, (0, 0, 0), width_px)
        return picture

    def mouth_loop(self) -> Picture | None:
        group = mouth_group(self.found)
        if group is None or self.track is None:
            return None
        begin_s, end_s = self._strongest_stretch(group)
        crops = self.clip.lips[self.track.track_id]
        frames = []
        for time_s in np.arange(begin_s, end_s - 1e-6, 1 / LOOP_HZ):
            crop = self._crop(crops, time_s)
            if crop is not None:
                large = cv2.resize(crop, (LOOP_PX, LOOP_PX), interpolation=cv2.INTER_CUBIC)
                covered = self._covered(large, "lips", group, time_s)
                frames.append(self._side_by_side(large, hatched(covered) if self.failed else covered, time_s))
        if not frames:
            return None
        held = io.BytesIO()
        frames[0].save(held, format="WEBP", save_all=True, append_images=frames[1:], loop=0, quality=LOOP_QUALITY,
                       duration=round(1000 / LOOP_HZ))
        what = words.MOUTH_LOOP.format(start=f"{begin_s:.1f}", end=f"{end_s:.1f}", map=self._name)
        return Picture(held.getvalue(), "image/webp", name="mouth", detector=self.told.detector,
                       **self._told(what, self._finding(group)))

    def _strongest_stretch(self, group: str) -> tuple[float, float]:
        """At most LOOP_S inside one run, where the map has most evidence in the picture."""
        best = None
        for begin, end in self.runs_s:
            for start in np.arange(begin, max(end - LOOP_S, begin) + 1e-6, 1 / LOOP_HZ):
                stop = min(start + LOOP_S, end)
                times = np.arange(start, stop, 1 / LOOP_HZ)
                strength = np.nansum(np.clip(self._at(self.found, group, times), 0, None))
                if best is None or strength > best[0] + 1e-9:
                    best = strength, float(start), float(stop)
        return best[1:]

    def _side_by_side(self, left: np.ndarray, right: np.ndarray, time_s: float) -> Image.Image:
        gap_px, foot_px = 8, 36
        sheet = Image.new("RGB", (2 * LOOP_PX + gap_px, LOOP_PX + foot_px), "white")
        sheet.paste(Image.fromarray(left), (0, 0))
        sheet.paste(Image.fromarray(right), (LOOP_PX + gap_px, 0))
        pen = ImageDraw.Draw(sheet)
        font = letters(22)
        pen.text((4, LOOP_PX + 5), f"{words.RECORDED}, {time_s:.1f} s", fill=INK, font=font)
        note = words.MAP_FAILED if self.failed else words.WITH_MAP
        pen.text((LOOP_PX + gap_px + 4, LOOP_PX + 5), note, fill=INK, font=font)
        return sheet

    # ---- sound

    def spectrogram(self) -> Picture | None:
        """Loudness over time and frequency (mel scale), as recorded and with the map."""
        wire = self.found.layout.wires.get("audio")
        if wire is None or self.clip.waveform is None:
            return None
        sheet = self._sheet([SOUND_PX, SOUND_PX], wire.group, gap_px=24)
        loud_db = [self._levels(span.start_s, span.end_s) for span in sheet.axis]  # [SOUND_PX, T] each
        top_db = max(float(db.max()) for db in loud_db)
        rows = np.arange(SOUND_PX) + 0.5
        band = np.searchsorted(_mel_share(mel_edges_hz(len(self.found.layout.groups[wire.group].places))),
                               rows / SOUND_PX) - 1
        for column, (span, db) in enumerate(zip(sheet.axis, loud_db)):
            grey = 1 - np.clip((db - top_db) / RANGE_DB + 1, 0, 1)
            photo = (255 * grey[..., None].repeat(3, axis=-1)).astype(np.uint8)
            edges = np.linspace(span.start_s, span.end_s, db.shape[1] + 1)
            times = (edges[:-1] + edges[1:]) / 2
            shade = self._at(self.shades, wire.group, times).T[band]
            for row, picture in enumerate((photo, self.colours.over(photo, shade))):
                axes = sheet.rows[row][column]
                axes.imshow(picture, extent=(span.start_s, span.end_s, 0, 1), aspect="auto", origin="lower")
                if column == 0:
                    axes.set_yticks(_mel_share(np.array(TICKS_HZ)), [f"{hz / 1000:g}" for hz in TICKS_HZ])
                    axes.set_ylabel(f"{(words.RECORDED, words.WITH_MAP)[row]}, kHz", fontsize=FONT_PX, color=INK,
                                    labelpad=14)
            mark = np.zeros_like(shade) if self.outline is None else self._at(self.outline, wire.group, times).T[band]
            if (mark > 0.5).any():
                for ink, width in (("white", 5), ("black", 2)):
                    sheet.rows[1][column].contour(times, rows / SOUND_PX, mark, [0.5], colors=ink, linewidths=width)
        sheet.tick_seconds()
        return self._finish(sheet, "spectrogram", words.SPECTROGRAM, wire.group, [1])

    def _levels(self, start_s: float, end_s: float) -> np.ndarray:
        """[SOUND_PX, T] dB on evenly spaced mels, low ones first."""
        part = self.clip.waveform[round(start_s * AUDIO_HZ):round(end_s * AUDIO_HZ)]
        part = np.pad(part, (0, max(FFT - len(part), 0)))
        power = spectrum(torch.from_numpy(np.array(part, np.float32))[None])[0].abs().square().numpy()  # T BINS
        hz = _mel_hz((np.arange(SOUND_PX) + 0.5) / SOUND_PX)
        bins_hz = np.arange(BINS) * AUDIO_HZ / FFT
        return 10 * np.log10(np.stack([np.interp(hz, bins_hz, row) for row in power], axis=1) + 1e-10)

    # ---- tables

    def table(self, group: str) -> Picture | None:
        """Places x time of a readable map, a number in each cell that has room."""
        if group not in self.found.values:
            return None
        places = self.found.layout.groups[group].places
        upwards = group == "sound"  # low frequencies below, as in the spectrogram
        sheet = self._sheet([TABLE_ROW_PX * len(places)], group)
        edges = step_edges(self.found, group, self.told.start_s, self.told.end_s)
        for axes, span in zip(sheet.rows[0], sheet.axis):
            within = edges[(edges >= span.start_s - 1e-3) & (edges <= span.end_s + 1e-3)]
            middles = (within[:-1] + within[1:]) / 2
            values, mark = (self._at(m, group, middles).T for m in (self.found, self.outline))  # [places, m]
            axes.pcolormesh(within, np.arange(len(places) + 1), values, cmap=self.colours.scale, vmin=-self.limit,
                            vmax=self.limit, edgecolors="white", linewidth=1.5)
            px_per_s = (span.right - span.left) * WIDTH_PX / (span.end_s - span.start_s)
            for (place, step), value in np.ndenumerate(values):
                width_s = within[step + 1] - within[step]
                if width_s * px_per_s >= ROOM_FOR_NUMBER_PX:
                    dark = abs(value) > 0.75 * self.limit
                    axes.text(middles[step], place + 0.5, _signed(value), fontsize=FONT_PX - 2, ha="center",
                              va="center_baseline", color="white" if dark else INK)
                if mark[place, step] > 0:
                    axes.add_patch(Rectangle((within[step], place), width_s, 1, fill=False, edgecolor="black",
                                             linewidth=3.5, clip_on=False, zorder=3))
            axes.set_xlim(span.start_s, span.end_s)
            axes.set_ylim((0, len(places)) if upwards else (len(places), 0))
        sheet.rows[0][0].set_yticks(np.arange(len(places)) + 0.5, places)
        sheet.rows[0][0].tick_params(axis="y", length=0)
        sheet.tick_seconds()
        name, what = ("regions", words.REGION_TABLE) if group == "picture" else ("bands", words.BAND_TABLE)
        return self._finish(sheet, name, what, group, [0], finding=self._strongest_cell(group))

    def _strongest_cell(self, group: str) -> str:
        values, layout = self.found.values[group], self.found.layout.groups[group]
        window, step, place = np.unravel_index(values.argmax(), values.shape)
        if values.max() <= 0:
            return words.STRONGEST_NONE
        start, end = self.told.start_s[window] + layout.steps_s[step]
        return words.STRONGEST.format(place=layout.places[place], start=f"{start:.1f}", end=f"{end:.1f}",
                                      value=_signed(values.max()))

    # ---- what all share

    def _at(self, found: Map, group: str, times_s: np.ndarray) -> np.ndarray:
        return values_at(found, group, self.told.start_s, self.told.end_s, times_s)

    def _sheet(self, rows_px: list[int], group: str, gap_px: int = 8) -> Sheet:
        return Sheet(self.runs_s, rows_px, gap_px, self._headline(group))

    def _headline(self, group: str) -> str:
        """What must be known before looking; a picture without any colour is not to be taken for one that failed."""
        if self.test is None:
            return words.UNTESTED
        if self.failed:
            return words.FAILED
        return "" if np.abs(self.shades.values[group]).max() >= PALEST else words.NO_EFFECT

    @property
    def _name(self) -> str:
        return words.MAPS[self.found.method]

    def _finding(self, group: str) -> str:
        return tell_group(self.found, group, self.told.start_s, self.told.share)

    def _told(self, what: str, finding: str) -> dict[str, str]:
        """A Picture's words."""
        outcome = words.NOT_TESTED if self.test is None else self.test.sentence
        colours = words.COLOURS_GREYED if self.failed else words.COLOURS_MEAN
        reading = f"{colours}; {words.READING[is_readable(self.found)]}."
        return {"alt": f"{what} {finding} {outcome}", "caption": f"{what} {reading} {finding} {outcome}",
                "finding": finding}

    def _finish(self, sheet: Sheet, name: str, what: str, group: str, with_map: list[int], *, finding: str = "",
                **facts: object) -> Picture:
        if self.failed:
            for row in with_map:
                sheet.hatch(row)
        low, high = words.AGAINST, words.FOR
        if is_readable(self.found):  # a block's own value would say nothing
            low, high = f"{low} {_signed(-self.limit)}", f"{_signed(self.limit)} {high}"
        sheet.legend(self.colours, low, high)
        what = what.format(start=f"{self.runs_s[0][0]:.1f}", end=f"{self.runs_s[-1][1]:.1f}", map=self._name, **facts)
        told = self._told(what, finding or self._finding(group))
        return Picture(sheet.png(), "image/png", name=name, axis=sheet.axis, detector=self.told.detector, **told)


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−") if abs(value) >= 0.005 else "0.00"


def _mel_share(hz: np.ndarray) -> np.ndarray:
    """Where frequencies lie on the mel scale, 0 to 1 for 0 to half the sample rate."""
    return np.log10(1 + hz / 700) / np.log10(1 + AUDIO_HZ / 2 / 700)


def _mel_hz(share: np.ndarray) -> np.ndarray:
    """The reverse."""
    return 700 * ((1 + AUDIO_HZ / 2 / 700) ** share - 1)

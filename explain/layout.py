"""Coarser presences: one number for a modality, for a region during part of a second, for a block of pixels.

A group of cells is a table [steps, places]. A part of the input reads one group: frame t of the part belongs to the
group's step when[t], pixel or frequency bin x to its place where[x]. So presence of cells spreads over the input by
looking up, and what was found per pixel is summed up per cell by the reverse. A frame that no step covers, for which
when[t] is the number of steps, is always there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from explain.regions import REGIONS, face_regions, lip_crop_regions
from explain.sound import BINS, HOP_S, band_of_bin, mel_edges_hz
from explain.target import Target

STEP_S, MOST_STEPS = 0.6, 8  # of the readable table; a longer span has longer steps
BANDS = 6  # of the readable table: about 0-0.4, 0.4-0.9, 0.9-1.8, 1.8-3.1, 3.1-5 and 5-8 kHz
FACE_BLOCKS, LIPS_BLOCKS = 16, 8  # blocks along a crop's side
FINE_BANDS, FINE_STEP_S = 24, 0.04


@dataclass(frozen=True)
class Group:
    """The cells of a table, in seconds from the window's start."""

    steps_s: np.ndarray  # [steps, 2] start and end
    places: tuple[str, ...]  # names of the columns

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.steps_s), len(self.places)


@dataclass(frozen=True)
class Wire:
    """Which cells of which group a part of the input reads."""

    group: str
    when: Tensor  # [T] int64
    where: Tensor  # [px, px] or [BINS] int64


@dataclass(frozen=True)
class Layout:
    groups: dict[str, Group]
    wires: dict[str, Wire]  # part -> wire

    def ones(self, target: Target) -> tuple[Tensor, ...]:
        """Everything there: per group [n, steps, places]."""
        return tuple(torch.ones(len(target), *g.shape, device=target.device) for g in self.groups.values())

    def spread(self, cells: Sequence[Tensor], groups: Collection[str] | None = None,
               uncovered: float = 1.0) -> dict[str, Tensor]:
        """Per group [k, steps, places] -> per part [k, T, px, px] or [k, T, BINS]; of these groups alone if given.
        uncovered: what stands at frames that no step covers."""
        tables = {group: F.pad(table, (0, 0, 0, 1), value=uncovered) for group, table in zip(self.groups, cells)}
        spread = {}
        for part, wire in self.wires.items():
            if groups is not None and wire.group not in groups:
                continue
            seen = tables[wire.group].index_select(1, wire.when).index_select(2, wire.where.flatten())
            spread[part] = seen.unflatten(2, wire.where.shape)
        return spread

    def gather(self, fine: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Sums per cell: per part [k, T, ...] -> per group [k, steps, places]."""
        sums: dict[str, Tensor] = {}
        for part, values in fine.items():
            wire = self.wires[part]
            steps, places = self.groups[wire.group].shape
            flat = values.flatten(2)
            by_place = flat.new_zeros(*flat.shape[:2], places).index_add(2, wire.where.flatten(), flat)
            table = flat.new_zeros(len(flat), steps + 1, places).index_add(1, wire.when, by_place)
            sums[wire.group] = sums.get(wire.group, 0) + table[:, :steps]
        return sums

    def function(self, target: Target) -> Callable[..., Tensor]:
        """(*cells, rows) -> [k] logit. A head that does not read some part gets a gradient of 0 there, no error."""

        def logit(*cells_and_rows: Tensor) -> Tensor:
            *cells, rows = cells_and_rows
            if torch.is_grad_enabled():
                unread = sum(c.flatten(1).sum(1) for c in cells) * 0.0
                return target.logit(self.spread(cells), rows) + unread
            less = {group for group, table in zip(self.groups, cells) if bool((table != 1).any())}
            return target.logit(self.spread(cells, less), rows)

        return logit


def modalities(target: Target) -> Layout:
    """One cell for each modality."""
    whole = np.array([[0.0, target.length_s]])
    places = {"face": _side(target, "face"), "lips": _side(target, "lips"), "audio": (BINS,)}
    return Layout(
        {part: Group(whole, (part,)) for part in target.parts},
        {part: _wire(target, part, np.zeros(len(target.moments_s(part))), np.zeros(places[part]))
         for part in target.parts},
    )


def cells(target: Target) -> Layout:
    """Time steps x face regions for the pictures, of faces and lips at once, and time steps x mel bands: of what was
    asked for, or of the whole windows."""
    begin_s, end_s = 0.0, target.length_s
    if target.asked_s is not None:
        begin_s, end_s = np.subtract(target.asked_s, target.start_s[0])
    count = min(max(round((end_s - begin_s) / STEP_S), 1), MOST_STEPS)
    edges_s = np.linspace(begin_s, end_s, count + 1)
    steps_s = np.stack([edges_s[:-1], edges_s[1:]], axis=1)
    groups, wires = {}, {}
    for part, regions in (("face", face_regions), ("lips", lip_crop_regions)):
        if part in target.parts:
            groups["picture"] = Group(steps_s, REGIONS)
            wires[part] = _wire(target, part, _step_of(target, part, edges_s), regions(_side(target, part)[0]),
                                group="picture")
    if "audio" in target.parts:
        edges_hz = mel_edges_hz(BANDS)
        groups["sound"] = Group(steps_s, band_names(edges_hz))
        wires["audio"] = _wire(target, "audio", _step_of(target, "audio", edges_s), band_of_bin(edges_hz),
                               group="sound")
    return Layout(groups, wires)


def blocks(target: Target) -> Layout:
    """Blocks of pixels in every frame, and mel bands x 40 ms: the grid of the fine maps."""
    groups, wires = {}, {}
    for part, count in (("face", FACE_BLOCKS), ("lips", LIPS_BLOCKS)):
        if part in target.parts:
            moments_s = target.moments_s(part)
            ends_s = np.append(moments_s[1:], 2 * moments_s[-1] - moments_s[-2] if len(moments_s) > 1
                               else target.length_s)
            (side_px, _) = _side(target, part)
            along = np.arange(side_px) * count // side_px
            groups[part] = Group(np.stack([moments_s, ends_s], axis=1),
                                 tuple(f"row {r}, column {c}" for r in range(count) for c in range(count)))
            wires[part] = _wire(target, part, np.arange(len(moments_s)), along[:, None] * count + along)
    if "audio" in target.parts:
        edges_s = np.arange(0, target.moments_s("audio").max() + HOP_S / 2 + FINE_STEP_S, FINE_STEP_S)
        edges_hz = mel_edges_hz(FINE_BANDS)
        groups["audio"] = Group(np.stack([edges_s[:-1], edges_s[1:]], axis=1), band_names(edges_hz))
        wires["audio"] = _wire(target, "audio", _step_of(target, "audio", edges_s), band_of_bin(edges_hz))
    return Layout(groups, wires)


def band_names(edges_hz: np.ndarray) -> tuple[str, ...]:
    """As in "3.1–5 kHz"; below 1 kHz in hertz."""
    return tuple(name_band(low, high) for low, high in zip(edges_hz, edges_hz[1:]))


def name_band(low_hz: float, high_hz: float) -> str:
    if high_hz < 1000:
        return f"{round(low_hz, -1):.0f}–{round(high_hz, -1):.0f} Hz"
    return f"{round(low_hz / 1000, 1):g}–{round(high_hz / 1000, 1):g} kHz"


def _wire(target: Target, part: str, when: np.ndarray, where: np.ndarray, group: str | None = None) -> Wire:
    to_index = lambda array: torch.from_numpy(np.asarray(array).astype(np.int64)).to(target.device)  # noqa: E731
    return Wire(group or part, to_index(when), to_index(where))


def _step_of(target: Target, part: str, edges_s: np.ndarray) -> np.ndarray:
    """[T] the step that each moment lies in, or their number where none does. Of whole windows, those after the last
    edge, in padding, count to the last step."""
    step, count = np.searchsorted(edges_s, target.moments_s(part) + 1e-6, side="right") - 1, len(edges_s) - 1
    return np.clip(step, 0, count - 1) if target.asked_s is None else np.where(step < 0, count, step)


def _side(target: Target, part: str) -> tuple[int, int]:
    pictures = target.inputs.lips if part == "lips" else target.inputs.faces
    return (0, 0) if pictures is None else tuple(pictures.shape[-2:])

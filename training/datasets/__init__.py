"""Corpora: one file each, every clip one Record. A reader opens tables and folders, never a clip.

The files say how to get each corpus and by which protocol papers measure on it. Where a corpus has no official
splits (`split` is ""), training.datasets.splits makes identity-disjoint ones.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from training.datasets.asvspoof import read_asvspoof2019_la, read_asvspoof2021_df, read_asvspoof2021_la
from training.datasets.av_deepfake1m import read_av_deepfake1m
from training.datasets.df_timit import read_df_timit
from training.datasets.dfdc import read_dfdc, read_dfdc_preview
from training.datasets.fakeavceleb import read_fakeavceleb
from training.datasets.folder import read_folder
from training.datasets.in_the_wild import read_in_the_wild
from training.datasets.kodf import read_kodf
from training.datasets.lav_df import read_lav_df
from training.datasets.manifest import read_manifests
from training.datasets.record import Record
from training.datasets.tvil import read_tvil

DATASETS: dict[str, Callable[[Path], list[Record]]] = {
    "fakeavceleb": read_fakeavceleb,
    "lav_df": read_lav_df,
    "av_deepfake1m": read_av_deepfake1m,
    "dfdc": read_dfdc,
    "dfdc_preview": read_dfdc_preview,
    "df_timit": read_df_timit,
    "tvil": read_tvil,
    "kodf": read_kodf,
    "asvspoof2019_la": read_asvspoof2019_la,
    "asvspoof2021_la": read_asvspoof2021_la,
    "asvspoof2021_df": read_asvspoof2021_df,
    "in_the_wild": read_in_the_wild,
    "manifest": read_manifests,
    "folder": read_folder,
}


def read_dataset(name: str, root: Path) -> list[Record]:
    """Every clip of a corpus.

    Raises: ValueError for an unknown name, listing the choices, or for a table that cannot be understood;
    FileNotFoundError for a folder that does not look like the corpus, saying what was expected where.
    """
    if name not in DATASETS:
        raise ValueError(f"unknown data set {name!r}; choose from {', '.join(DATASETS)}")
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder")
    return DATASETS[name](root)


__all__ = ["DATASETS", "Record", "read_dataset"]

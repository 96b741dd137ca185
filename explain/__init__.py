"""Why a detector says so: which modality, where and when, and whether that can be believed. Through Captum."""

from explain.baselines import REPLACEMENTS
from explain.explanation import Explanation, NothingToExplain, aim, default_method, explain, usual_methods
from explain.faithfulness import Faithfulness, examine, pointing, temporal_pointing
from explain.maps import METHODS, Map, NoMap
from explain.share import Share, share_modalities
from explain.target import Cancelled, Target

__all__ = [
    "METHODS", "REPLACEMENTS", "Cancelled", "Explanation", "Faithfulness", "Map", "NoMap", "NothingToExplain",
    "Share", "Target", "aim", "default_method", "examine", "explain", "pointing", "share_modalities",
    "temporal_pointing", "usual_methods",
]

"""The English of an answer: what the page and the report say in the same words, then the report's own."""

from __future__ import annotations

# Verdicts: what it says, and what it means
VERDICTS = {
    "MANIPULATED": (
        "Strong signs of manipulation",
        "Taken together, the chosen detectors find what they know from manipulated clips.",
    ),
    "SUSPICIOUS": (
        "Some signs of manipulation",
        "There are signs, but not enough for a firm answer. Find the original or a better copy.",
    ),
    "NO_SIGNS": (
        "No signs of manipulation found",
        "This is not proof that the clip is genuine: a method that the detectors do not know leaves no signs "
        "that they can see.",
    ),
    "CANNOT_EVALUATE": (
        "This clip cannot be judged",
        "There is no overall score, and so no verdict. The reasons stand below.",
    ),
}
DISPUTED = (  # in the place of NO_SIGNS, where a detector finds some
    "No agreed signs of manipulation",
    "A part of the detectors finds signs that the others do not, so the clip as a whole is not called suspicious. This "
    "is no proof that it is genuine.",
)
BY_ONE = {  # in the place of what it means, where one detector alone judged
    "MANIPULATED": "One detector judged this clip, and finds what it knows from manipulated clips.",
    "NO_SIGNS": "This is not proof that the clip is genuine: one detector judged it, and a method that it does not "
                "know leaves no signs that it can see.",
}
LOOK = {  # after what signs mean, by whether a span is marked
    True: "Look at the marked spans yourself before you rely on this.",
    False: "No span is marked: look at the whole clip yourself before you rely on this.",
}
LOWERED = {  # in the place of what it means, where copies of the clip turned its answer
    "SUSPICIOUS": "The clip itself shows strong signs, but cheap copies of the same recording get another answer. A "
    "strong answer that another copy turns is not one to rely on.",
    "CANNOT_EVALUATE": "The clip itself has a score, but cheap copies of the same recording get another answer or "
    "cannot be judged. An answer that another copy turns is not one to rely on.",
}
DETECTOR_BEFORE = "{verdict} (before the copies were tried: {before})"
PROBABILITY_WORDS = (  # below this probability, these words
    (0.1, "very low"),
    (0.3, "low"),
    (0.45, "below even"),
    (0.55, "about even"),
    (0.7, "rather high"),
    (0.9, "high"),
    (1.01, "very high"),
)
BAND_LABELS = ("no signs", "some signs", "strong signs")
MODALITIES = {"video": "Picture", "audio": "Sound", "sync": "Lip-sync"}
AGREEMENT = "{agree} of {of} detectors give exactly this verdict."
_NEEDS = "Whatever the score, some signs need a detector that sees some by itself, and strong signs need two."
RULE = {  # by what decides: see explain.answer.verdict_rule
    "middle": "Where they differ it is the middle one, or the milder of the two in the middle.",
    "scores": f"It follows from all their scores together. {_NEEDS}",
    "some scores": f"It follows from what {{names}} say; the others do not weigh in it. {_NEEDS}",
    "one score": f"It follows from what {{names}} says; the others do not weigh in it. {_NEEDS}",
    "sync": "The lip-sync decides: that the sound does not belong to the picture is the stronger sign here. "
            f"{_NEEDS}",
}
SYNC_UNMEASURED = "How often the lip-sync of {names} is right was not measured on mismatched clips."
MORE_ALARMED = {False: "By itself, {names} finds {signs}.", True: "By themselves, {names} find {signs}."}
PROVISIONAL_BADGE = "Demonstration weights"
PROVISIONAL = (
    "They were trained on little data: on people that they had not seen they were often wrong. A demonstration, not "
    "evidence."
)
NOT_JUDGED = "not judged"
STILL_SCORE = "score, no probability: see below"
NOT_JUDGED_NO_HEAD = {
    "video": "no chosen detector judges the picture on its own",
    "audio": "no chosen detector judges the sound on its own",
    "sync": "no chosen detector judges whether lips and voice fit",
}
NOT_JUDGED_NO_WINDOW = "no part of the clip was long and clear enough"
OFFSET = "Sound against picture, as {detector} estimates: {offset} ({meaning})."
OFFSET_TOGETHER = "sound and picture come together"
OFFSET_APART = "the sound comes {seconds} s {side} the picture"
OFFSET_AFTER, OFFSET_BEFORE = "after", "before"
OFFSET_NOT_FOUND = "no match within {most} s either way", "nothing was found, so nothing follows"
OFFSET_USUAL = "within what careless recording and sending leave"
OFFSET_LARGE = "more than is usual: sound or picture was moved, or comes from elsewhere, or the estimate is wrong"

# The report
REPORT = "Telltale report"
MADE = "Made on {moment} by Telltale {version}."
VERDICT = "The answer"
PROBABILITY = "Estimated probability of manipulation: {percent} %, {words} (0 = no signs, 100 = manipulated)."
NO_PROBABILITY = "No probability is given."
NO_STRONG_BAND = "No score is called strong signs, as the clip is unlike those that the detectors learnt from."
BANDS = {  # by whether a score could be called strong signs
    True: "Below {suspicious} %: no signs. From {suspicious} to {manipulated} %: some signs. From {manipulated} %: "
          "strong signs.",
    False: "Below {suspicious} %: no signs. From {suspicious} % on: some signs. " + NO_STRONG_BAND,
}
THIS_CLIP = "This clip: {percent} %."
LOWERED_BEFORE = "Before the copies were tried, the answer was: {before}."
SPREAD = "Estimated probability of manipulation: {lowest} to {highest} % over the clip and its copies."
BANDS_DIFFER = "The detectors have bands of their own; they stand with the settings below."
MEANS_NOT_HEADING = "What this does not say"
MEANS_NOT = (
    "It does not say that the clip is genuine, whatever the number: no signs found is not proof.",
    "It does not say who made or changed the clip, nor why.",
    "It is one lead, to be weighed beside the source, the context and other checks.",
)
NUMBER_RESTS = (  # among what is not said, where there is a probability
    "The probability rests on clips of which it is known how they were made. On other kinds of clips it can be off by "
    "much."
)
PARTS = "Part by part"
PARTS_CAPTION = "The mean over the detectors that judge the part. Scores are estimated probabilities, 0 to 1."
PARTS_HEADERS = ("Part", "Score", "In words")
DETECTORS = "Detector by detector"
DETECTORS_CAPTION = "Each detector's own answer."
DETECTORS_HEADERS = ("Detector", "Answer", "Whole", "Picture", "Sound", "Lip-sync")
TIMELINES = "Timelines"
TIMELINES_HINT = (
    "The line is the score of each window, 0 below and 1 above. Hatched in grey: not judged. Boxed and hatched: a "
    "marked span, with its score. The broken level line is where a span opens; there is none for a detector that "
    "proposes spans of its own."
)
LANE_FACE = "{part}, face {number}"
LANE_ALT = "{name}, over {duration} s."
LANE_RANGE = "Lowest {low}, highest {high} at {at} s."
LANE_OPENS = "A span opens at {level}."
LANE_MARKED = "Marked: {spans}."
LANE_UNMARKED = "No span is marked."
LANE_GAPS = "Not judged: {spans}."
LANE_NONE = "Not judged at any time."
SPAN = "{start} to {end} s"
SEGMENTS = "Marked spans"
SEGMENTS_CAPTION = (
    "Spans that a detector marks as manipulated, each with its highest score, or with a score of its own from a "
    "detector that proposes spans."
)
SEGMENTS_HEADERS = ("From (s)", "To (s)", "Part", "Highest score", "Detector")
SEGMENTS_NONE = "No span is marked."
PICTURES = "Pictures"
QUALITY = "Quality of the clip, and what limits the answer"
QUALITY_NONE = "Nothing in the quality of the clip limits the answer."
MEASURES_CAPTION = "Measured values"
MEASURES = {
    "duration_s": "Duration, s",
    "announced_s": "Duration that the file states, s",
    "decode_errors": "Errors while decoding",
    "faces": "Faces",
    "face_px": "Width of the main face, px",
    "face_coverage": "Share of the clip in which the main face is seen",
    "face_light": "Light on the face, 0 to 255",
    "face_sharpness": "Sharpness of the face, variance of the Laplacian",
    "face_distance": "Distance of the face from those learnt from, deviations",
    "level_dbfs": "Level of the sound, dBFS",
    "speech_s": "Speech, s",
    "speech_ratio": "Share of the clip with speech",
    "snr_db": "Speech above noise, dB",
    "sound_distance": "Distance of the sound from those learnt from, deviations",
}
PROBE = "Does the answer hold on altered copies?"
PROBE_SPAN = "Tried on {start} to {end} s of the clip."
PROBE_CAPTION = "Altered copies of this clip, judged again"
PROBE_HEADERS = ("Change", "Score", "Answer")
PROBE_NONE = "The robustness probe was not run."
FILE = "The file"
FILE_CAPTION = "Facts of the file as it was received"
FILE_NAME, FILE_HASH, FILE_DURATION, FILE_FACES, FILE_SPEECH = "Name", "SHA-256", "Duration", "Faces", "Speech"
FILE_FACE = "{number}: {start} to {end} s, {width} px wide"
FILE_HASH_NOTE = "The hash is of the bytes that were given, before anything touched them."
TRACES = "Traces of how the file was made"
TRACES_NOTE = "A trace is not a sign of manipulation: nearly every clip on the web was encoded again by somebody."
TRACES_NONE = "None was found."
TRACE_MEANS = "What it means: {means}"
TRACE_NOT = "What it does not prove: {limit}"
CREDENTIALS = "Content Credentials (C2PA)"
CREDENTIALS_INTACT = "Manifest"
CREDENTIALS_STATES = {
    "none": "none in the file", "intact": "intact", "broken": "broken", "elsewhere": "kept elsewhere, not fetched",
    "unread": "not read",
}
CREDENTIALS_TRUSTED = "Signer trusted"
CREDENTIALS_TRUST = {"yes": "yes", "no": "no, not on the list that was given", "unknown": "not known"}
CREDENTIALS_ROWS = {
    "signer": "Signer", "signed_at": "Signed at", "generator": "Claim made by", "actions": "Actions",
    "ingredients": "Made from",
}
CREDENTIALS_FAILURE = "Does not hold: {words} ({code})"
METHOD = "How this answer was made"
METHOD_VERSIONS = "Versions"
METHOD_ROWS = {
    "checkpoint": "Checkpoint", "paper": "Method", "weights": "Weights", "commit": "Trained at commit",
    "window": "Windows", "bands": "Bands", "spans": "Spans", "training": "Training data", "measured": "Measured",
}
WEIGHTS = {True: "demonstration weights", False: "released weights"}
WINDOW = "{window} s, every {hop} s"
POINTS = {True: "some signs from {suspicious}, strong signs from {manipulated}",
          False: "some signs from {suspicious}, strong signs never: the clip is unlike those that it learnt from"}
HYSTERESIS = "open at {segment_on}, close below {segment_off}; at least {min_segment_s} s, at least {min_gap_s} s apart"
TRAINING = "{clips} clips, {hours} h"
MEASURED = "AUC {auc}{interval} on {clips} clips that were kept out of training"
INTERVAL = " (95 % interval {low} to {high})"
TIMINGS_CAPTION = "Seconds that each step took"
LIMITS = "What was not checked"
LIMIT_PART = "{part}: {reason}."
LIMIT_DETECTORS = "Detectors that were not run: {names}."
LIMIT_PROBE = "Whether the answer holds on altered copies of the clip."
LIMIT_PROVENANCE = "Where the file comes from, its editing history and Content Credentials."
LIMITS_ALWAYS = (
    "Who speaks, what is said, and whether the clip is shown in its true context.",
    "Scenes without a face, and everything in the frame outside the face.",
)
JSON = "The same answer for programs"
JSON_NOTE = "This file holds the whole answer as JSON, in its element “telltale-answer”."
JSON_DOWNLOAD = "Save the answer (JSON)"

# Pictures of an explanation
MAPS = {
    "ablation": "map by region and band", "integrated_gradients": "fine map", "grad_cam": "Grad-CAM",
    "smooth_grad": "SmoothGrad",
}
COLOURS_MEAN = "Orange speaks for manipulation, blue against it"
COLOURS_GREYED = "Grey and hatched, because the map did not pass its test; dark was to speak for manipulation"
READING = {True: "outlined is the strongest cell", False: "the strongest blocks are what the test takes away"}
NOT_TESTED = "This map has not been tested yet."
UNTESTED, FAILED = "This map is not tested yet", "This map did not pass its test"
NO_EFFECT = "Nothing here moves the score"
RECORDED, WITH_MAP, MAP_FAILED = "recorded", "map", "map, test not passed"
AGAINST, FOR = "against", "for manipulation"
FACES = "{count} moments of the face from {start} to {end} s, above as recorded, below in grey with the {map}."
LIPS = "{count} close-ups of the mouth from {start} to {end} s, above as recorded, below in grey with the {map}."
SPECTROGRAM = (
    "The sound from {start} to {end} s as a spectrogram, 0 to 8 kHz, above as recorded, below with the {map}."
)
REGION_TABLE = (
    "What each region of the face is worth over time, {start} to {end} s: the log-odds of manipulation that are lost "
    "when it is replaced."
)
BAND_TABLE = (
    "What each band of the sound is worth over time, {start} to {end} s: the log-odds of manipulation that are lost "
    "when it is replaced."
)
STRONGEST = "The strongest cell: {place}, {start} to {end} s, {value}."
STRONGEST_NONE = "No cell raises the score."
MOUTH_LOOP = "The mouth from {start} to {end} s in a loop, left as recorded, right in grey with the {map}."

# Explanations in the report
EXPLANATIONS = "What the detectors reacted to"
EXPLANATIONS_NOTE = (
    "An explanation tells what a detector reacted to. It does not prove that something was changed there. Each map was "
    "tested: what it marks was taken away, and so were equally large places at random."
)
EXPLAINED = "Explained: {head}, {spans}. Score: {score}."
SCORE_ALONE = "{alone} from this part alone; {clip} with the rest of the clip"
EXPLAINED_HEADS = {**{name: told.lower() for name, told in MODALITIES.items()}, "whole": "the whole"}
SHARES_CAPTION = "What each part adds to the log-odds of manipulation (Shapley values), and its part of all they do"
SHARES_HEADERS = ("Part", "Log-odds", "Part of all")
SHARES_PARTS = {"face": "Face", "lips": "Close-up of the mouth", "audio": "Sound"}
TESTS_CAPTION = "Each map's test"
TESTS_HEADERS = ("Map", "What its test says")
PASSED = {True: "Passed. {sentence}", False: "Not passed. {sentence}"}
NOT_EXPLAINED = "Not explained: {reason}"

# The annotated video
BOX_FACE = "face {number}"
BOX_MARKED = "marked: {parts}"
VIDEO_TITLE = "Telltale: {verdict}."
VIDEO_PROVISIONAL = f"{PROVISIONAL_BADGE}."
NOW = "{time} of {duration} s."
NOW_MARKED = "Marked now: {parts}."
NOW_MAP = "Map of {detector}: orange for manipulation, blue against."
NOW_MAP_UNTESTED = "Map of {detector}, not tested yet: orange for, blue against."
FOOTER_LEGEND = "Orange stripes: marked. Grey stripes: not judged."
SOUND_ALONE = "Sound alone, no picture"

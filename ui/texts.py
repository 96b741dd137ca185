"""Every English sentence of the app, in one place; what the report says too lies in explain/words.py.

Values are filled in with str.format; callers escape.
"""

from explain.words import (  # noqa: F401 (the report says these too)
    BAND_LABELS,
    FILE_CAPTION,
    LOWERED,
    LOWERED_BEFORE,
    MODALITIES,
    NOT_JUDGED,
    NOT_JUDGED_NO_HEAD,
    PROBABILITY_WORDS,
    PROVISIONAL,
    PROVISIONAL_BADGE,
    STILL_SCORE,
    THIS_CLIP,
    VERDICTS,
)

TITLE = "Telltale"
TAGLINE = "Looks for signs that a clip of someone talking was manipulated, and shows where."

# Input
VIDEO_TAB = "Video"
AUDIO_TAB = "Sound only"
PICTURE_TAB = "Picture"
VIDEO_LABEL = "A clip of someone talking"
AUDIO_LABEL = "A recording of someone talking"
PICTURE_LABEL = "A still picture with a face"
LIMITS = (
    "Up to 100 MB and 10 minutes. Video: MP4, MOV, WebM, MKV, AVI. Sound: WAV, MP3, M4A, FLAC, OGG. Picture: JPEG, "
    "PNG, WebP."
)
WRONG_KIND = "This kind of file does not belong here. Video, sound and pictures each have a tab of their own."
NO_PREVIEW = "Your browser cannot show this file here. Telltale may read it all the same: press Analyse."
PRIVACY = (
    "The file stays on the machine that runs Telltale, unchanged. It is deleted, with all that was cut out of it, when "
    "you close this page, at the latest after 30 minutes; so are the answers, at the latest 30 minutes after you last "
    "used the page. No log holds its content or name."
)
DEMO_HEADING = "Or try a demo clip"
DEMO_HINT = "What was done to each is known, and shown beside the answer."
DEMO_LOADED = "Demo clip loaded: {title}. Press Analyse."
SETTINGS = "Detectors and device"
DETECTORS_LABEL = "Detectors"
DETECTORS_INFO = "None ticked means all."
DEVICE_LABEL = "Runs on"
DEVICES = {"auto": "Automatic", "cpu": "Processor", "cuda": "Graphics card"}
ANALYSE = "Analyse"
STOP = "Stop"

# Progress
STATUS_LABEL = "Progress"
WAITING = "Waiting for a free place"
GPU = "Scoring on the lent graphics card"
FINISHED = "Finished in {seconds} s."
STAGES = "What took how long"
STOPPED = "Stopped. No answer was made."
NO_CLIP = "Choose a clip first: drop a file above, record one, or take a demo clip."
UPLOAD_GONE = "The file is no longer here, it was deleted after its time. Please choose it again."
CRASHED = (
    "Something inside Telltale went wrong, not with your clip. Try again; if it happens twice, please report it "
    "with the kind of file (never the file itself): {kind}."
)

# Before the answer
PENDING = "The answer will appear here."
WELCOME_HEADING = "What you will get"
WELCOME = (
    "<strong>An answer in words</strong>, with an estimated probability and the reasons behind it.",
    "<strong>Where to look</strong>: marked spans on a timeline. Click one and the player jumps there.",
    "<strong>An honest “cannot judge”</strong> when the face is too small, the sound too noisy or the clip "
    "too short.",
)
WELCOME_LIMIT = (
    "Telltale never says that a clip is genuine: no signs found is not proof. Use the answer as one lead "
    "beside the source, the context and other checks."
)

# Verdicts
PROBABILITY = "Estimated probability of manipulation: <strong>{percent} %</strong>, {words}"
PROBABILITY_SCALE = "0 = no signs, 100 = manipulated"
SCALE_ALT = "Scale from 0 to 100 %."
SPREAD = "Estimated probability of manipulation: <strong>{lowest} to {highest} %</strong> over the clip and its copies"
SPREAD_ALT = "The clip and its copies: from {lowest} to {highest} %, the clip itself {percent} %."
SHORT_VERDICTS = {
    "MANIPULATED": "strong signs",
    "SUSPICIOUS": "some signs",
    "NO_SIGNS": "no signs",
    "CANNOT_EVALUATE": "cannot be judged",
}
OWN_HEADING = "Each detector on its own scale"
OWN_HINT = (
    "Each has bands of its own, set so that alarms on genuine clips are rare: the same number can be a sign for one "
    "and none for another."
)
ADDED_BADGE = "Added here"
ADDED = {
    False: "{names} did not come with Telltale, which has not measured it. It counts as one detector, like the others.",
    True: "{names} did not come with Telltale, which has not measured them. Each counts as one, like the others.",
}

SUBJECT = "Answer to"
SUBJECT_HASH = "SHA-256 {sha256}…"
RECORD = (
    "How often the answer of all detectors together is wrong: on clips of people that training had not seen, it called "
    "{strong} % of the genuine ones strong signs and {some} % some signs, and found no signs in {missed} % of the "
    "manipulated ones."
)
RECORD_OF_ALL = "The detectors that judged this clip were not measured together without the others."

MODALITIES_HEADING = "Part by part"
NUMBER_HEADING = "What the number means"
NUMBER_MADE = "What it is made of: {made}."
NUMBER = (
    "It rests on other clips, of which it is known how they were made. On kinds of clips that were not among them it "
    "can be off by much.",
    "It assumes that manipulated clips are as common as genuine ones. Where they are rarer it is too high, where they "
    "are more common too low.",
)
REASON_MISSING = "The detectors gave no score and no reason. Try another copy of the clip, and please report this."
REASONS_HEADING = "What limits this answer"
REASONS_HEADING_NONE = "Why, and what you can do"
NOT_CHECKED_HEADING = "What was not checked"
NOT_CHECKED_ALWAYS = (
    "Who speaks, what is said, and whether the clip is shown in its true context.",
    "Where the file comes from. Its traces of editing and Content Credentials are told under “Quality and file”, and "
    "do not count in this answer.",
    "Scenes without a face, and everything in the frame outside the face.",
)
NOT_CHECKED_PART = "{part}: {reason}."
NOT_CHECKED_DETECTORS = "Detectors that you did not choose: {names}."

# Player and timeline
PLAYER_LABEL = "Your clip, the original file"
PICTURE_ALT = "Your picture, the original file"
PLAYER_CAPTIONS = "Marked spans"
PLAYER_CAPTION = "Marked: {part}, score {score}"
PLAYER_CANNOT = (
    "Your browser cannot play this format, so there is no picture here. The times and scores below hold all "
    "the same: open the file in your own player beside them."
)
MOUTH_WAITING = "Press a marked span or a second below: the mouth of that moment plays here, large."
MOUTH_NONE = "No face is seen at that moment."
MOUTH_CAPTION = "Mouth, {start} to {end} s, as recorded."
MOUTH_HINT = (
    "No finding, but a place to look: teeth that blur or change, an edge around the mouth, lips that stay open on m, b "
    "and p."
)
MOUTH_ALT = "The mouth from {start} to {end} s, large, over and over."
MOUTH_STILL_ALT = "The mouth at {start} s, large."
MOUTH_BUTTON = "Pause or play"
TIMELINE_HEADING = "Timeline"
TIMELINE_HINT = "Press a marked span, or a second on the axis, and the player jumps there."
TIMELINE_NO_SEGMENTS = "No span is marked. Press a second on the axis to look for yourself."
TIMELINE_PROPOSES = {
    False: "{names} finds its spans in another way than by its score, so its line has no level that opens one.",
    True: "{names} find their spans in another way than by their scores, so their lines have no level that opens one.",
}
TIMELINE_CURSOR = "Player at"
ZOOM_LABEL = "Zoom of the timeline. Keys: plus, minus, 0 for the whole clip, S for the span, < and > to move"
ZOOM_BUTTONS = {
    "in": ("+", "Zoom in"),
    "out": ("−", "Zoom out"),
    "span": ("Zoom to span", "Zoom to the span pressed last, or the first one"),
    "all": ("Whole clip", "Show the whole clip"),
    "earlier": ("‹", "Earlier"),
    "later": ("›", "Later"),
}
ZOOM_ALL = "whole clip"
TIMELINE_SEGMENT = "{part}, {start} to {end} s, score {score}"
TIMELINE_TICK = "Jump to {time}"
TIMELINE_LANE_FACE = "{part}, face {number}"
TIMELINE_LANE_NONE = "not judged"
LEGEND_MARKED = "marked span"
LEGEND_SCORE = "score, 0 to 1"
LEGEND_THRESHOLD = "a span opens here"
LEGEND_HATCHED = "not judged"
LEGEND_PLANTED = "really changed (known for a demo clip)"
PLANTED = "This is a demo clip. Really changed: {spans}."
PLANTED_NONE = "nothing"
PLANTED_SPAN = "{part} from {start} to {end} s"

# Tabs
TAB_SCORES = "Scores"
TAB_SEGMENTS = "Spans"
TAB_ANALYSE = "One clip"
TAB_DETECTORS = "Each detector"
TAB_FILE = "Quality and file"
FIGURE_X = "seconds"
FIGURE_HINT = "The score of each window over the clip, from 0 to 1: higher means more signs of manipulation."
FIGURE_WORDS = "The figure in words"
FIGURE_ALT = "Score of each window over the clip's {duration} s. {parts}"
FIGURE_ALT_PART = "{name}: lowest {low}, highest {high} at {at} s."
FIGURE_ALT_NONE = "No window could be scored."
FIGURE_ON = "span opens"
FIGURE_OFF = "span closes"
TABLE_CAPTION = "Spans that a detector marks as manipulated. Press a time to jump there."
TABLE_HEADERS = ("From", "To", "Part", "Score", "Detector")
TABLE_EMPTY = "No span is marked."
DETECTOR_HEADERS = ("Detector", "Verdict", "Whole", "Picture", "Sound", "Lip-sync", "Weights file")
DETECTOR_CAPTION = "Each detector's own answer. Scores are estimated probabilities of manipulation, 0 to 1."
FILE_ROWS = {
    "clip": "Name",
    "sha256": "SHA-256",
    "duration_s": "Duration",
    "faces": "Faces",
    "speech": "Speech",
    "telltale": "Telltale version",
}
FILE_HASH_NOTE = "The hash is of the bytes that you gave, before anything touched them."
COPY = "Copy"
COPY_LABEL = "Copy the SHA-256"
COPIED = "Copied"
DOWNLOAD_REPORT = "Download the report (HTML)"
DOWNLOAD_JSON = "Download the result (JSON)"

# API
UNKNOWN_DETECTOR = "Unknown detector: {names}. Choose from: {choices}."
FOREIGN_FILE = "Send the file with the call (gradio_client.handle_file), not a path or an address."
NOT_TAKEN = (
    "This could not be done: either what was sent is not what Telltale takes here, or something inside went wrong. "
    "Try again with what the page offers; if it happens twice, please report what you did (never the file itself)."
)
NO_SESSION = "This call needs a session of its own: a page that is open, or gradio_client."
QUEUE_FULL = "Too many people are waiting for an answer just now. Please try again in a few minutes."
NO_ROUTE = "Telltale has nothing at this address."
NO_LENGTH = "Say how long the body is (Content-Length)."
CALL_TOO_LONG = "These arguments are too long. Upload the file first; the call then takes its path."
UPLOAD_TOO_LONG = "This is more than Telltale takes at once: files of up to 100 MB, 2 GB together. Send fewer files."
FETCH_TOO_LONG = (
    "What lies at this address is more than 100 MB, or takes more than a minute to come. Send the file with the call."
)
NO_ROOM = "Telltale has no room for this file just now. Others' files are deleted within half an hour: try again then."

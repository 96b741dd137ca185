"""An open page, and what people do on it."""

from __future__ import annotations

from dataclasses import dataclass, field

ANSWER_MS = 180_000  # two shared processor cores, first run loads the models
QUICK = "Joint AV"  # the detector that answers soonest
KINDS = {(".wav", ".ogg", ".mp3"): ("Sound only", "#sound"), (".jpg", ".png"): ("Picture", "#picture")}


@dataclass
class Visit:
    """An open page with what it asked other hosts for and what it complained about."""

    page: object
    url: str
    foreign: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def open(self, query: str = "") -> Visit:
        self.page.goto(self.url + "/" + query)
        self.page.wait_for_selector("#analyse")
        return self

    def choose(self, path) -> Visit:
        """Uploads a file through the input of its kind and waits until the page holds it."""
        tab, box = next((known for ends, known in KINDS.items() if str(path).endswith(ends)), (None, "#clip"))
        if tab:
            self.page.get_by_role("tab", name=tab).click()
        box = self.page.locator(box)
        box.locator("input[type=file]").set_input_files(str(path))
        box.locator("input[type=file]").wait_for(state="detached")
        return self

    def only(self, *names: str, where: str = "#detectors") -> Visit:
        """Leaves these detectors ticked, and no other."""
        if where == "#detectors" and not self.page.locator(where).is_visible():
            self.page.get_by_text("Detectors and device").click()
        # all() takes what is there, which right after opening may be nothing: then all would stay ticked.
        self.page.locator(f"{where} label").first.wait_for()
        for label in self.page.locator(f"{where} label").all():
            label.locator("input").set_checked(label.inner_text().strip() in names)
        return self

    def open_tab(self, name: str, within: str = "#pages") -> Visit:
        """Also where it is in the menu of those for which there was no room."""
        bar = self.page.locator(f"{within} > .tab-wrapper")
        shown = bar.get_by_role("tab", name=name, exact=True)
        if shown.count() == 0:
            bar.locator(".overflow-menu > button").click()
            bar.locator(".overflow-dropdown button", has_text=name).click()
        else:
            shown.first.click()
        return self

    def paint(self, dark: bool) -> Visit:
        self.page.evaluate("(dark) => document.body.classList.toggle('dark', dark)", dark)
        return self

    def analyse(self) -> Visit:
        self.page.evaluate("document.querySelectorAll('#verdict h2').forEach((h) => (h.dataset.old = 1))")
        self.page.click("#analyse")
        self.page.wait_for_selector("#verdict h2:not([data-old])", timeout=ANSWER_MS)
        return self

    def media_time(self) -> float:
        return self.page.evaluate("document.querySelector('#player video, #player audio').currentTime")

"""What is inside a report page."""

import json
from html.parser import HTMLParser


class Page(HTMLParser):
    """The tags, links, scripts and visible text of a page, and the data of its charts and tables."""

    def __init__(self, text):
        super().__init__()
        self.sources, self.text, self.tags, self.scripts, self._inside = [], "", [], [], ""
        self.feed(text)
        self.data = json.loads(self.scripts[0], parse_constant=lambda name: 1 / 0)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self._inside = tag
        self.sources += [value for name, value in attrs if name in ("src", "href") and not value.startswith("#")]
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data):
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside != "style":
            self.text += data

    def handle_endtag(self, tag):
        self._inside = ""

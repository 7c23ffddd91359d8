"""The page: one file that needs nothing else, with the worst clips first and playable."""

import re
from html.parser import HTMLParser

import pytest

from descant.audio import Clip
from descant.studies.evaluation.choice import Settings
from descant.studies.evaluation.evaluate import evaluate
from descant.studies.evaluation.page import page
from descant.studies.evaluation.plots import strip_plot
from descant.studies.evaluation.sets import open_set
from tests.studies.evaluation.conftest import sound
from tests.studies.evaluation.embedders import RATE_HZ
from tests.studies.listening.browser import PROGRAM, Browser

ODD = "band 0 </script><b>{{CLIPS}}"


@pytest.fixture(scope="module")
def found(pair, embedders, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page") / "a <b> & c"
    folder.mkdir()
    for number in range(12):
        text = ODD if number == 0 else f"band {number % 6}"
        noise = 1.0 if number == 5 else 0.0
        clip = Clip(0.5 * sound(number % 6, 50 + number, 3.0, noise), RATE_HZ, info={"text": text})
        clip.leveled(None)[0].save(folder / f"{number:02d}.wav")
    return evaluate(open_set(folder), open_set(pair[1]), Settings(metrics=("fad", "kl", "checks"), embedders=embedders))


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.all: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.all.append((tag, dict(attributes)))


def test_the_page_contains_everything_it_shows(found):
    tags = Tags(page(found, num_players=4)).all
    sources = [attributes["src"] for _, attributes in tags if attributes.get("src")]
    assert len(sources) == sum(tag == "audio" for tag, _ in tags) == 4
    assert all(source.startswith("data:audio/mpeg;base64,") for source in sources)
    assert not any("href" in attributes for _, attributes in tags)
    assert sum(tag == "svg" for tag, _ in tags) == len(found.columns)
    # Nothing of a name or a text becomes an element.
    assert not any(tag == "b" for tag, _ in tags)


def test_the_worst_clips_come_first(found):
    assert found.clips[0].name == "05"
    text = page(found, num_players=0)
    names = re.findall(r'<td></td><td class="" data-value="(\d\d)">', text)
    assert names == [clip.name for clip in found.clips]
    assert "The last 12 clips have no player" in text


def test_a_plot_shows_every_value_within_its_frame():
    svg = strip_plot("length <s>", [("ours", [1.0, 2.0, 5.0], None), ("theirs", [3.0], None)])
    places = [float(place) for place in re.findall(r'cx="([\d.]+)"', svg)]
    assert len(places) == 4
    assert min(places) == places[0] == 110
    assert max(places) == places[2] == 620
    assert "length &lt;s&gt;" in svg
    assert strip_plot("equal", [("ours", [2.0, 2.0], None)]).count("<circle") == 2


@pytest.mark.skipif(PROGRAM is None, reason="chromium is not installed")
def test_the_page_sorts_by_any_number_without_a_network(found, tmp_path):
    (tmp_path / "page.html").write_text(page(found, num_players=2), encoding="utf-8")
    browser = Browser(tmp_path)
    try:
        browser.open((tmp_path / "page.html").as_uri())
        names = "[...document.querySelectorAll('#clips tbody tr')].map((row) => row.cells[1].textContent)"
        heads = "[...document.querySelectorAll('#clips th button')]"
        assert browser.value(names) == [clip.name for clip in found.clips]
        browser.value(f"{heads}[0].click()")
        assert browser.value(names) == sorted(clip.name for clip in found.clips)
        place = [column.key for column in found.columns].index("kl") + 3
        browser.value(f"{heads}[{place}].click()")
        assert browser.value(names) == [clip.name for clip in sorted(found.clips, key=lambda clip: clip.values["kl"])]
        browser.value(f"{heads}[{place}].click()")
        assert browser.value(names)[0] == max(found.clips, key=lambda clip: clip.values["kl"]).name
        requested = [
            event["params"]["request"]["url"]
            for event in browser.events
            if event.get("method") == "Network.requestWillBeSent"
        ]
        assert [url for url in requested if not url.startswith(("file:", "data:"))] == []
    finally:
        browser.close()

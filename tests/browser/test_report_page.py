"""The page of a comparison in a browser: the demo's, and a large one."""

from itertools import pairwise
from pathlib import Path

import pytest
from axe import violations
from large_comparison import large

from fewstep.evaluation.report.page import page as html_of

pytestmark = pytest.mark.browser
DEMO = Path(__file__).parents[2] / "runs" / "digits" / "compare" / "report.html"
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def demo():
    """The address of the page that `make demo` writes."""
    if not DEMO.exists():
        raise FileNotFoundError(f"{DEMO}: run `make demo` first")
    assert DEMO.stat().st_size < 8e6
    return DEMO.as_uri()


def lines_in_colour(page):
    return page.locator('#legend button[aria-pressed="true"]').all_text_contents()


def test_the_first_screen_answers(opened, demo):
    """Without a scroll or a click: the answer, the curve, the best sampler at 8 calls, how sure, and its command."""
    page = opened(demo)
    inside = [page.locator(at) for at in ("#sentence", "#curve svg", "#leaders", "#verdict", "#verdict code")]
    assert all(box.bounding_box()["y"] + box.bounding_box()["height"] <= 800 for box in inside)
    page.locator('#leaders button[aria-label="8 calls"]').click()
    best, sure = (page.locator("#leaders tr[aria-current] td").nth(i).text_content() for i in (1, 3))
    verdict = page.locator("#verdict").text_content()
    assert f"At 8 calls: {best}, FD-pixels 0." in verdict
    assert "95 % interval" in verdict
    assert verdict.count("Undecided" if sure.startswith("or ") else "Clear") == 1
    assert page.locator("#verdict code").text_content() == f"fewstep sample runs/digits --sampler {best} --nfe 8"


def test_metrics_axes_and_lines_are_chosen(opened, demo):
    page = opened(demo)
    label = page.locator("#curve .plot")
    page.select_option('select[name="metric"]', "SW-pixels")
    assert "SW-pixels by network calls" in label.get_attribute("aria-label")
    page.get_by_label("milliseconds").first.check(force=True)
    assert "by milliseconds per image" in label.get_attribute("aria-label")
    ticks = page.locator('#curve [aria-label="y-axis tick label"] text')
    logarithmic = ticks.all_text_contents()
    assert len(logarithmic) >= 3
    page.get_by_label("linear").check(force=True)
    assert ticks.all_text_contents() != logarithmic
    before = lines_in_colour(page)
    page.locator("#legend button", has_text=before[0]).first.click()
    assert lines_in_colour(page) == before[1:]
    assert page.locator("#strips .strip").count() == len(before) - 1
    page.get_by_role("button", name="Lines as at first").click()
    assert lines_in_colour(page) == before


def test_a_point_under_the_pointer_says_its_number_and_interval(opened, demo):
    page = opened(demo)
    dot = page.locator('#curve svg [aria-label="dot"] > *').last.bounding_box()
    page.mouse.move(dot["x"] + dot["width"] / 2, dot["y"] + dot["height"] / 2)
    tip = page.locator("#curve .tip").text_content()
    assert tip.count("\n") == 2
    assert "FD-pixels 0." in tip
    assert "95 %:" in tip
    assert "ms per image" in tip


def test_the_slider_shows_other_images_of_the_same_seeds(opened, demo):
    page = opened(demo)
    slider, tile = page.locator("#calls"), page.locator("#strips .tile").first
    style = "el => getComputedStyle(el).backgroundImage"
    slider.fill("0")
    blurred = tile.evaluate(style)
    slider.fill("6")
    assert page.locator("#calls-said").text_content() == "64 calls"
    assert tile.evaluate(style) != blurred
    page.get_by_role("heading", name="Every sampler at 64 calls").wait_for()
    assert tile.bounding_box()["width"] >= 60
    assert tile.evaluate("el => getComputedStyle(el).imageRendering") == "pixelated"
    page.get_by_label("one sampler at all calls").check(force=True)
    assert page.locator("#strips .strip").count() == 7


def test_reading_aloud(opened, demo):
    """What a screen reader is given of the parts that are pictures."""
    page = opened(demo)
    assert "Arrow keys move" in page.locator("#curve .plot").get_attribute("aria-label")
    names = [tiles.get_attribute("aria-label") for tiles in page.locator("#strips .tiles[role=img]").all()]
    assert names == [f"10 samples of {line} at 8 calls" for line in lines_in_colour(page)]
    assert page.locator("#calls").get_attribute("aria-valuetext") == "8 calls"
    assert page.locator("#verdict").get_attribute("aria-live") == "polite"


def test_tables_are_sorted_and_copied(opened, demo):
    page = opened(demo)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    header = page.locator("#all thead button", has_text="16")
    header.click()
    column = [float(text.split()[0]) for text in page.locator("#all tbody tr td:nth-child(6)").all_inner_texts()]
    assert column == sorted(column)
    page.locator("#all thead button", has_text="16").click()
    column = [float(text.split()[0]) for text in page.locator("#all tbody tr td:nth-child(6)").all_inner_texts()]
    assert column == sorted(column, reverse=True)
    page.locator("#all").get_by_role("button", name="Copy as CSV").click()
    page.wait_for_function("document.getElementById('said').textContent === 'Copied'")
    text = page.evaluate("navigator.clipboard.readText()")
    assert text.splitlines()[0] == "sampler,1,2,4,8,16,32,64"
    assert len(text.splitlines()) == page.locator("#all tbody tr").count() + 1


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_the_curve_is_saved(opened, demo, kind, tmp_path):
    page = opened(demo, accept_downloads=True, color_scheme="dark")
    with page.expect_download() as found:
        page.locator("#curve").get_by_role("button", name=f"Save {kind.upper()}").click()
    found.value.save_as(tmp_path / "curve")
    data = (tmp_path / "curve").read_bytes()
    if kind == "png":
        assert data.startswith(b"\x89PNG")
    else:
        assert b"var(" not in data
        assert all(name.encode() in data for name in lines_in_colour(page))


def test_the_legend_of_a_saved_curve_has_room_for_its_names(opened, demo, tmp_path):
    page = opened(demo, accept_downloads=True)
    names = lines_in_colour(page)
    with page.expect_download() as found:
        page.locator("#curve").get_by_role("button", name="Save SVG").click()
    found.value.save_as(tmp_path / "curve.svg")
    assert 'class="chosen"' not in (tmp_path / "curve.svg").read_text()
    page = opened((tmp_path / "curve.svg").as_uri())
    boxes = [page.get_by_text(name, exact=True).bounding_box() for name in names]
    for one, other in pairwise(boxes):
        assert other["y"] > one["y"] or other["x"] > one["x"] + one["width"] + 30  # the swatch of the other


def test_samples_are_printed(opened, demo):
    page = opened(demo)
    page.emulate_media(media="print")
    assert page.locator("#strips .tile").first.evaluate("el => getComputedStyle(el).printColorAdjust") == "exact"


def test_the_pareto_table_is_shown_whole_on_a_screen(opened, demo):
    page = opened(demo)
    page.wait_for_selector("#pareto-table table")
    assert page.locator("#pareto-table .scroll").evaluate("el => el.scrollWidth <= el.clientWidth")


def test_the_keyboard_is_enough(opened, demo):
    page = opened(demo)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.locator("#curve .plot").focus()
    tips = []
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowLeft"):
        page.keyboard.press(key)
        tips.append(page.locator("#curve .tip").text_content())
    assert len(set(tips)) == 4
    page.keyboard.press("Enter")
    assert page.locator("#verdict").text_content().startswith("At ")
    for _ in range(60):  # everything that can be operated is reached
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "calls":
            break
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert page.locator("#calls-said").text_content() == "2 calls"
    button = page.locator("#all thead button").nth(3)
    button.focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.textContent") == button.text_content()
    assert page.locator('#all th[aria-sort="ascending"] button').text_content() == button.text_content()


def test_dark_and_light(opened, demo):
    page = opened(demo, color_scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(background)
    page.locator("#theme").click()
    light = page.evaluate(background)
    assert sum(map(int, dark[4:-1].split(","))) < 120
    assert light == "rgb(255, 255, 255)"
    page.locator("#theme").click()
    assert page.evaluate(background) == dark


def test_nothing_runs_off_a_phone(opened, demo):
    page = opened(demo, **PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    sizes = page.evaluate(
        "[...document.querySelectorAll('#curve svg text')].map(t => parseFloat(getComputedStyle(t).fontSize))"
    )
    assert min(sizes) >= 11
    assert page.locator("#curve svg").bounding_box()["width"] <= 390
    assert page.locator("#strips .tile").first.bounding_box()["width"] >= 55
    page.locator('#leaders button[aria-label="8 calls"]').tap()
    assert "At 8 calls" in page.locator("#verdict").text_content()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", ["screen", "phone"])
def test_axe_finds_no_serious_issue(opened, demo, scheme, size):
    page = opened(demo, color_scheme=scheme, **(PHONE if size == "phone" else {}))
    assert violations(page, "serious", "critical", "moderate") == []


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    path = tmp_path_factory.mktemp("large") / "report.html"
    path.write_text(html_of(large()))
    return path


def test_a_large_page_stays_small_and_responsive(opened, many):
    """56 lines x 7 budgets: under 15 MB, and under 100 ms from an action to the new layout."""
    assert many.stat().st_size < 15e6
    page = opened(many.as_uri())
    assert len(lines_in_colour(page)) == 6
    assert page.locator("#legend button[data-key]").count() == 56
    page.wait_for_function("document.querySelectorAll('#sweeps svg').length > 0")
    page.evaluate("window.setTimeout = () => 0")  # what is further down is drawn by tasks of their own, timed below
    actions = {
        'select[name="metric"]': "el.selectedIndex = 1 - el.selectedIndex; el.dispatchEvent(new Event('change'))",
        "#at": "drawTableAt()",
        "#all": "drawTables()",
        "#progress": "drawSwatches()",
        "#pareto": "drawPareto()",
        "#sweeps": "drawSweeps()",
        "#calls": "el.value = 6 - el.value; el.dispatchEvent(new Event('input'))",
        '#legend button[data-key="40"]': "el.click()",
        'input[value="passes"]': "el.click(); document.querySelector('input[value=calls]').click()",
        "#all thead th:nth-child(4) button": "el.click()",
        "#curve .plot": "el.dispatchEvent(new PointerEvent('pointermove', {clientX: 200, clientY: 300}))",
    }
    client = page.context.new_cdp_session(page)
    client.send("Performance.enable", {"timeDomain": "threadTicks"})  # of the page's own thread: others do not count

    def milliseconds(action, at):
        spent = [_spent(client)]
        for _ in range(5):
            page.evaluate(
                f"at => {{ const el = document.querySelector(at); {action}; document.body.offsetHeight; }}", at
            )
            spent.append(_spent(client))
        return 1000 * min(after - before for before, after in pairwise(spent))

    taken = {at: milliseconds(action, at) for at, action in actions.items()}
    assert max(taken.values()) < 100, taken


def _spent(client):
    """Seconds that the thread has spent on tasks."""
    found = {metric["name"]: metric["value"] for metric in client.send("Performance.getMetrics")["metrics"]}
    return found["TaskDuration"]

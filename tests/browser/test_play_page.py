"""The page of `fewstep play` in Chromium, as a person uses it."""

import time

import pytest
from play_client import serving
from trained_run import trained

from fewstep.cli.config.open_run import open_run
from fewstep.cli.options import Opening
from fewstep.cli.play.drawing import Easel

pytestmark = pytest.mark.browser
COMPILED = 120_000  # milliseconds for the first draw
SETTINGS = [
    "UNet.base=8", "UNet.blocks=1", "UNet.mult=(1,)", "UNet.attention=()", "train.steps=6", "train.save_every=6",
    "train.log_every=6", "train.preview_every=6", "train.batch_size=16",
]  # fmt: skip


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "digits"
    trained("configs/digits/flow.gin", folder, SETTINGS)
    with serving(Easel([open_run(folder)], Opening(), batch=16)) as client:
        yield f"http://{client.host}:{client.port}{client.path}"


@pytest.fixture
def page(opened, address):
    """The page with its first images."""
    page = opened(address, viewport={"width": 1280, "height": 900})
    page.wait_for_selector("#facts-A b", timeout=COMPILED)
    return page


def image(page, side="A"):
    return page.locator(f"#picture-{side} img").get_attribute("src")


def settled(page):
    """Wait until nothing is drawn."""
    page.wait_for_timeout(400)
    page.wait_for_selector("figure.busy", state="detached", timeout=COMPILED)


def calls(page, side=0):
    return page.locator(".side").nth(side).get_by_label("Calls", exact=True)


def test_calls_from_1_to_32_change_the_image_within_a_second(page):
    seconds, slider = [], calls(page)
    for _ in range(3):
        slider.fill("1")
        settled(page)
        before, start = image(page), time.monotonic()
        slider.fill("32")
        while image(page) == before:
            assert time.monotonic() - start < 60
        seconds.append(time.monotonic() - start)
        assert "32 calls" in page.locator("#facts-A").inner_text().replace("\n", " ")
    assert min(seconds) < 1, seconds


def test_every_setting_is_reached_by_the_keyboard(page):
    calls(page).focus()
    page.keyboard.press("ArrowLeft")
    settled(page)
    assert calls(page).input_value() == "15"
    assert "--nfe 15" in page.locator("#command-A pre").text_content()
    page.keyboard.press("Tab")  # the grid
    page.keyboard.press("Tab")  # the levers, of which cfg is the first
    page.keyboard.press("Tab")  # to add one
    page.keyboard.press("Enter")
    settled(page)
    assert "--lever 'cfg(scale=1.5)'" in page.locator("#command-A pre").text_content()
    page.get_by_role("button", name="Remove cfg").focus()
    page.keyboard.press("Enter")
    settled(page)
    assert "--lever" not in page.locator("#command-A pre").text_content()
    page.locator("#compare").focus()
    page.keyboard.press("Space")
    settled(page)
    page.locator("#wipe").focus()
    page.keyboard.press("End")
    assert page.locator("#divider").bounding_box()["x"] > page.locator("#picture-A").bounding_box()["x"] + 400


def test_b_begins_as_a_and_has_settings_of_its_own(page):
    page.check("#compare")
    settled(page)
    assert image(page) == image(page, "B")
    calls(page, 1).fill("2")
    settled(page)
    assert image(page) != image(page, "B")
    page.locator("#seed").fill("100")
    settled(page)
    commands = [page.locator(f"#command-{side} pre").text_content() for side in "AB"]
    assert all("--seed 100" in command for command in commands)
    assert ["--nfe 2 " in command.replace("--", " --") for command in commands] == [False, True]
    page.uncheck("#compare")
    assert not page.locator("#command-B pre").count()


def test_settings_that_do_not_fit_are_one_line_and_go_away(page):
    page.locator(".sampler select").first.select_option("heun")
    calls(page).fill("1")
    page.wait_for_selector("#picture-A.wrong")
    assert "no table of 1 network calls" in page.locator("#facts-A").inner_text()
    calls(page).fill("8")
    page.wait_for_selector("#picture-A.wrong", state="detached")
    assert "7 calls" in page.locator("#facts-A").inner_text().replace("\n", " ")


def test_a_telephone_shows_the_whole_width_and_the_dark_is_dark(page):
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme="dark")
    page.check("#compare")
    settled(page)
    for view in ("wipe", "both"):
        page.check(f"[value={view}]")
        assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.evaluate("window.scrollTo(0, 700)")
    assert page.locator("#picture-A").bounding_box()["y"] < 60  # the images stay in sight of the sliders
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(21, 24, 27)"


def test_numbers_that_do_not_fit_become_such_that_do(page):
    number = page.locator(".calls input[type=number]").first
    for typed, kept in (("3.7", "4"), ("-5", "1"), ("1e9", "64")):
        number.fill(typed)
        number.blur()
        settled(page)
        assert number.input_value() == kept
        assert f"--nfe {kept} " in page.locator("#command-A pre").text_content()
    page.locator("#seed").fill("7")
    for typed in ("-1", "1.5", ""):
        page.locator("#seed").fill(typed)
        page.locator("#seed").blur()
        assert page.locator("#seed").input_value() == "7"
    number.fill("1")
    number.blur()
    settled(page)
    assert "--seed 7" in page.locator("#command-A pre").text_content()
    assert "1 call 1 pass per image" in " ".join(page.locator("#facts-A").inner_text().split())

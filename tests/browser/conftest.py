"""A headless Chromium, given to Playwright by its path: Debian's package, which .ci/run installs."""

import shutil

import pytest


@pytest.fixture(scope="session")
def chromium():
    """The browser; RuntimeError if it is not installed."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        raise RuntimeError("tests/browser need Chromium: apt install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium):
    """opened(url, **context) -> a page whose console errors and requests to elsewhere fail the test at its end."""
    contexts, wrong = [], []

    def make(url, **options):
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: message.type in ("error", "warning") and wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        origin = url.partition("?")[0]
        inside = ("data:", "blob:", origin if url.startswith("file:") else url[: url.index("/", 8)])
        page.on("request", lambda request: request.url.startswith(inside) or wrong.append(request.url))
        page.goto(url)
        return page

    yield make
    for context in contexts:
        context.close()
    assert wrong == []

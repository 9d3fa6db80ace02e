"""A browser of the system's, and a picture of what it showed when a test fails."""

import contextlib
import os
import shutil
from collections.abc import Generator, Iterator

import pytest
from playwright.sync_api import Browser, Error, Page, expect, sync_playwright

from tests.support.parts import missing

VARIABLE = "TEST_BROWSER"
NAMES = ("chromium", "google-chrome", "chromium-browser")
PATIENCE_MS = 60_000
"""A page is there within a second on a quiet machine; the suite's other workers may leave it little of the processor."""


def find_browser() -> str | None:
    """Return the program of `TEST_BROWSER`, of the first Chromium on the path if unset, None if there is none."""
    return os.environ.get(VARIABLE) or next(filter(None, map(shutil.which, NAMES)), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = find_browser() or missing(
        f"no browser: none of {', '.join(NAMES)} is on the path, and {VARIABLE} names none; apt-get install chromium"
    )
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=program) as browser:
        yield browser


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep what the page showed when its test failed, in the test's `tmp_path`."""
    report = yield
    arguments: dict[str, object] = getattr(item, "funcargs", {})
    page = arguments.get("page")
    if report.when == "call" and report.failed and isinstance(page, Page):
        picture = f"{arguments['tmp_path']}/page.png"
        # A browser that has died cannot be asked any more.
        with contextlib.suppress(Error):
            page.screenshot(path=picture)
            report.sections.append(("the page when it failed", f"{page.url}\n{picture}"))
    return report

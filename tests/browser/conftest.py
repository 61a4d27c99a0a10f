"""A headless Chromium, where there is one.

Where there is none the tests in a browser are left out and say so; with CUFIT_NEED_BROWSER=1 that is a failure."""
import os
import shutil

import pytest


def left_out(why):
    (pytest.fail if os.environ.get("CUFIT_NEED_BROWSER") == "1" else pytest.skip)(f"{why}: the site and the lessons are not tried in a browser")


@pytest.fixture(scope="module")
def chromium():   # not for the session: Playwright keeps an event loop running, in the way of tests that talk to a kernel
    try: from playwright.sync_api import sync_playwright
    except ImportError: left_out("playwright is not installed; make test installs it")
    path = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)
    if not path: left_out("no Chromium on this machine; on Debian, apt-get install chromium")
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-background-networking"])
        yield browser
        browser.close()

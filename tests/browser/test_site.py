"The site in a browser: pages, links, anchors, search, dark mode, a phone."
import functools
import http.server
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin

import pytest

pytest.importorskip("myst_nb", reason="the site's packages are not installed: make docs installs them")
ROOT = Path(__file__).parents[2]
SITE = ROOT/"_docs"


@pytest.fixture(scope="module")
def site(chromium):
    "The site, built and served."
    done = subprocess.run([sys.executable, ROOT/"tools"/"make_site.py"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args): pass
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(SITE)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


def visit(browser, address, **options):
    "The opened page, and what went wrong on the way."
    page, wrong = browser.new_page(**options), []
    page.on("console", lambda m: wrong.append(f"console: {m.text}") if m.type == "error" else None)
    page.on("pageerror", lambda e: wrong.append(f"error: {e}"))
    page.on("request", lambda r: wrong.append(f"fetched from elsewhere: {r.url}") if not r.url.startswith((address.split("/", 3)[0]+"//"+address.split("/")[2], "data:", "blob:")) else None)
    page.on("response", lambda r: wrong.append(f"{r.status}: {r.url}") if r.status >= 400 else None)
    page.goto(address, wait_until="load")
    return page, wrong


def pages(): return sorted(p.relative_to(SITE).as_posix() for p in SITE.rglob("*.html") if "_static" not in p.parts)


def test_every_page_opens_and_every_link_leads_somewhere(site, chromium):
    ids, links, seen = {}, [], 0
    for name in pages():
        page, wrong = visit(chromium, site+name)
        assert not wrong, f"{name}: {wrong[:3]}"
        ids[site+name] = set(page.eval_on_selector_all("[id]", "els => els.map(e => e.id)"))
        links += [(name, h) for h in page.eval_on_selector_all("a[href]", "els => els.map(e => e.href)") if h.startswith(site)]
        broken = page.eval_on_selector_all("img", "els => els.filter(e => e.complete && !e.naturalWidth).map(e => e.src.slice(0, 80))")
        assert not broken, f"{name}: pictures that do not load: {broken}"
        seen += 1
        page.close()
    assert seen > 30 and len(links) > 500
    lost = set()
    for name, href in links:
        address, anchor = urldefrag(href)
        address = urljoin(address, "index.html") if address.endswith("/") else address
        if not (SITE/unquote(address[len(site):])).is_file(): lost.add((name, href))
        elif anchor and address in ids and unquote(anchor) not in ids[address]: lost.add((name, href))
    assert not lost, sorted(lost)[:10]


def test_search_finds_a_function(site, chromium):
    page, wrong = visit(chromium, site+"search.html?q=label_precision")
    page.wait_for_selector("#search-results li a", timeout=20_000)
    assert any("metrics" in a for a in page.eval_on_selector_all("#search-results li a", "els => els.map(e => e.href)"))
    assert not wrong


def test_math_is_set_without_a_network(site, chromium):
    page, wrong = visit(chromium, site+"10_adapters.html")
    page.wait_for_selector("mjx-container", timeout=20_000)
    assert not wrong


def test_dark_mode_is_dark(site, chromium):
    page, _ = visit(chromium, site+"04_noise.html")
    def background(mode):
        page.locator(".theme-switch-button:visible").first.click()
        page.locator(".dropdown-item", has_text=mode).first.click()
        page.wait_for_function(f"document.documentElement.dataset.theme == '{mode.lower()}'")
        page.wait_for_timeout(500)   # colours fade
        return page.evaluate("getComputedStyle(document.body).backgroundColor")
    light, dark = background("Light"), background("Dark")
    brightness = lambda rgb: sum(int(v) for v in rgb[rgb.index("(")+1:-1].split(",")[:3])
    assert brightness(dark) < 200 < 600 < brightness(light)


@pytest.mark.parametrize("name", ["index.html", "11_curriculum.html", "api/learner.html", "results.html"])
def test_a_phone_scrolls_in_one_direction(site, chromium, name):
    page, _ = visit(chromium, site+name, viewport=dict(width=390, height=800))
    assert page.evaluate("document.documentElement.scrollWidth") <= 392

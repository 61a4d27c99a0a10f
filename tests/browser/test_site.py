"The site in a browser: pages, links, anchors, search, frames that move, solutions, buttons, dark mode, a phone."
import functools
import http.server
import importlib
import re
import subprocess
import sys
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin

import pytest
from house import PARTS, ROOT, modules, notebooks
from lessons import LESSONS

pytest.importorskip("myst_nb", reason="the site's packages are not installed: make docs installs them")
SITE = ROOT/"_docs"
WIDGETS = ("noise", "probe", "curriculum", "method")
SLOW = pytest.mark.slow


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


class Page(HTMLParser):
    "What a page offers and where it leads: its ids, links and pictures."
    def __init__(self, path):
        super().__init__()
        self.ids, self.links = set(), []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids |= {found[k] for k in ("id", "name") if found.get(k)}
        if tag in ("a", "link") and found.get("href"): self.links.append(found["href"])
        if tag in ("img", "script") and found.get("src"): self.links.append(found["src"])


def test_every_link_leads_somewhere(site):
    "Read from the files, without a browser: pages, anchors, pictures, scripts and downloads."
    found = {name: Page(SITE/name) for name in pages()}
    links = [(name, urljoin(name, href)) for name, page in found.items() for href in page.links if not re.match(r"\w+:", href)]
    assert len(found) > 80 and len(links) > 5000
    lost = set()
    for name, href in links:
        address, anchor = urldefrag(href.partition("?")[0] + ("#"+href.partition("#")[2])*("#" in href) if "?" in href else href)
        address = unquote(address) or name
        if not (SITE/address).is_file(): lost.add((name, href))
        elif anchor and address in found and unquote(anchor) not in found[address].ids: lost.add((name, href))
    assert not lost, sorted(lost)[:10]


def test_the_sidebar_has_the_parts_of_the_house(site):
    home = (SITE/"index.html").read_text()
    captions = re.findall(r'caption-text">([^<]+)<', home)
    assert captions == [c for part, c in PARTS.items() if (ROOT/"nbs"/part).is_dir()] + ["Results and project"]
    assert re.findall(r'href="lessons/(\d)_\w+.html">\s*\1\. ', home) == [n.split("/")[1][0] for n in LESSONS]
    missing = [p.relative_to(ROOT/"nbs").as_posix() for p in notebooks() if not (SITE/p.relative_to(ROOT/"nbs").with_suffix(".html")).is_file()]
    assert not missing, "the site lacks the pages of these notebooks"


def test_folded_code_says_what_it_holds(site):
    text = "".join((SITE/name).read_text() for name in pages())
    assert "Show code cell" not in text and text.count("Show the code: ") > 30


def opened(site, chromium, name):
    "A page in the browser: nothing fails on it, nothing comes from elsewhere, and its pictures load and say what they show."
    page, wrong = visit(chromium, site+name)
    assert not wrong, f"{name}: {wrong[:3]}"
    broken = page.eval_on_selector_all("img", "els => els.filter(e => e.complete && !e.naturalWidth).map(e => e.src.slice(0, 80))")
    assert not broken, f"{name}: pictures that do not load: {broken}"
    mute = page.eval_on_selector_all("img", "els => els.map(e => e.alt).filter(a => a.length < 5 || a.startsWith('_images'))")
    assert not mute, f"{name}: pictures that do not say what they show: {mute}"
    page.close()


@pytest.mark.parametrize("name", ["index.html", "lessons/5_curriculum.html", "api/sources.readers.html", "reference/house.html"])
def test_a_page_opens(site, chromium, name): opened(site, chromium, name)


@SLOW
def test_every_page_opens(site, chromium):
    for name in pages(): opened(site, chromium, name)


def test_search_finds_a_function(site, chromium):
    page, wrong = visit(chromium, site+"search.html?q=label_precision")
    page.wait_for_selector("#search-results li a", timeout=20_000)
    assert any("metrics" in a for a in page.eval_on_selector_all("#search-results li a", "els => els.map(e => e.href)"))
    assert not wrong


def test_math_is_set_without_a_network(site, chromium):
    page, wrong = visit(chromium, site+"lessons/4_adapters.html")
    page.wait_for_selector("mjx-container", timeout=20_000)
    assert not wrong


def test_every_public_name_has_an_entry(site):
    assert len(modules()) > 30
    for name in modules():
        page = (SITE/"reference"/f"{name}.html").read_text()
        public = importlib.import_module(f"cufit.{name}").__all__
        lost = [n for n in public if not any(f'id="api-{name.replace(".", "-")}-{kind}-{n.lower().replace("_", "-")}"' in page for kind in ("function", "class", "constant"))]
        assert not lost, (name, lost)


def look(figure): return figure.locator("div:has(> img)").screenshot()


@pytest.mark.parametrize("view", [pytest.param(w, marks=SLOW) if w != "noise" else w for w in WIDGETS])
def test_frames_move(site, chromium, view):
    page, wrong = visit(chromium, site+"gallery.html")
    figure = page.locator(f"figure.frames[data-view={view}_view]")
    slider, words = figure.locator("input[type=range]"), figure.locator("figcaption")
    slider.focus(); slider.press("Home")
    seen, said = [look(figure)], [words.inner_text()]
    while slider.input_value() != slider.get_attribute("max"):
        slider.press("ArrowRight"); seen.append(look(figure)); said.append(words.inner_text())
    assert len(seen) > 1 and len(set(seen)) == len(seen) and len(set(said)) == len(said)
    figure.locator("button").click()   # from the end it begins anew, and goes on by itself
    page.wait_for_function("f => f.querySelector('input').value == 1", arg=figure.element_handle(), timeout=10_000)
    figure.locator("button").click()
    assert look(figure) == seen[1] and figure.locator("button").inner_text().endswith("Play") and not wrong


@SLOW
def test_frames_without_motion_or_script(site, chromium):
    page = chromium.new_page(reduced_motion="reduce"); page.goto(site+"gallery.html")
    assert page.locator("figure.frames button:visible").count() == 0 and page.locator("figure.frames input:visible").count() == len(WIDGETS)
    page = chromium.new_page(java_script_enabled=False); page.goto(site+"gallery.html")
    boxes = [b.bounding_box() for b in page.locator("figure.frames > div").all()]
    assert len(boxes) == len(WIDGETS) and all(300 < b["width"] < 760 and b["height"] < b["width"] for b in boxes)


def test_frames_stand_where_a_lesson_has_its_widget(site, chromium):
    page, _ = visit(chromium, site+"lessons/2_noise.html")
    figure = page.locator("figure.frames[data-view=noise_view]")
    before = look(figure)
    figure.locator("input[type=range]").press("ArrowLeft")
    assert look(figure) != before and page.locator("p.note a[href='../gallery.html']").count() == 1


def test_some_lessons_were_found(): assert len(LESSONS) >= 5


@SLOW
@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_offers_colab_a_download_solutions_and_answers(site, chromium, name):
    page, wrong = visit(chromium, site+f"{name}.html")
    colab, download = page.locator(".offers a").all()
    assert colab.get_attribute("href").startswith("https://colab.research.google.com/github/") and colab.get_attribute("href").endswith(f"/nbs/{name}.ipynb")
    with page.expect_download() as loading: download.click()
    assert Path(loading.value.path()).read_bytes() == (ROOT/"nbs"/f"{name}.ipynb").read_bytes()
    solutions = page.locator("details:has(> summary:text('Solution'))").all()
    questions = page.locator("details:has(> summary)").filter(has=page.locator("summary", has_text=re.compile(r"^\s*[1-5]\. "))).all()
    assert len(solutions) == 3*(name != "lessons/0_start_here") and len(questions) == 5
    for s in solutions + questions:
        inside = s.locator("xpath=./*[not(self::summary)]")
        assert inside.count() and not inside.first.is_visible()
        s.locator("summary").click()
        assert inside.first.is_visible() and "```" not in s.inner_text() and "</details>" not in s.inner_text()
    assert not wrong


def test_the_build_leaves_nothing_beside_the_site(site):
    assert not (ROOT/"jupyter_execute").exists() and not (SITE.parent/"_docs"/"jupyter_execute").exists()


def brightness(rgb): return sum(int(v) for v in rgb[rgb.index("(")+1:-1].split(",")[:3])


@SLOW
def test_dark_mode_is_dark(site, chromium):
    page, _ = visit(chromium, site+"lessons/2_noise.html")
    def background(mode):
        page.locator(".theme-switch-button:visible").first.click()
        page.locator(".dropdown-item", has_text=mode).first.click()
        page.wait_for_function(f"document.documentElement.dataset.theme == '{mode.lower()}'")
        page.wait_for_timeout(500)   # colours fade
        return page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert brightness(background("Light")) > 600 and brightness(background("Dark")) < 200


@SLOW
@pytest.mark.parametrize("name", ["gallery.html", "lessons/2_noise.html"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_and_a_frame_fills_its_box(site, chromium, name, scheme):
    page, _ = visit(chromium, site+name, color_scheme=scheme)
    page.wait_for_timeout(500)
    found = page.evaluate("""() => [...document.querySelectorAll(".frames :is(figcaption p, output), .note, details:not([open]) > summary")].map(e => {
        let ground = e; while (ground.parentElement && /, 0\\)|transparent/.test(getComputedStyle(ground).backgroundColor)) ground = ground.parentElement;
        return [e.innerText.slice(0, 40), getComputedStyle(e).color, getComputedStyle(ground).backgroundColor]; })""")
    assert len(found) > 3 and not [f for f in found if abs(brightness(f[1])-brightness(f[2])) < 250], found
    for box in page.locator(".frames > div:has(> img)").all():
        assert box.evaluate("b => Math.abs(b.firstChild.offsetWidth - b.offsetWidth) < 1 && getComputedStyle(b.firstChild).padding == '0px'")


@pytest.mark.parametrize("name", ["index.html", "reference/train.loop.html", *(pytest.param(n, marks=SLOW) for n in (
    "gallery.html", "lessons/2_noise.html", "lessons/5_curriculum.html", "howto/own_images.html", "reference/house.html", "reference/data.html", "results.html"))])
def test_a_phone_scrolls_in_one_direction(site, chromium, name):
    page, _ = visit(chromium, site+name, viewport=dict(width=390, height=800))
    assert page.evaluate("document.documentElement.scrollWidth") <= 392
    assert page.evaluate("[...document.querySelectorAll('.bd-article section > p, .bd-article section > :is(h1, h2, h3)')].every(e => e.getBoundingClientRect().right <= 392)")

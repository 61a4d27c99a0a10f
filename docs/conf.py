"Configuration of the site; its pages are made from the notebooks by tools/make_site.py."
from configparser import ConfigParser
from pathlib import Path

root = Path(__file__).parents[1]
settings = ConfigParser(delimiters=["="])
settings.read(root/"settings.ini", encoding="utf-8")
cfg = settings["DEFAULT"]

project, author, release, copyright = cfg["lib_name"], cfg["author"], cfg["version"], cfg["copyright"]
extensions = ["myst_nb", "sphinx-mathjax-offline"]   # MathJax from a package: the site needs no network
nb_execution_mode = "off"                             # notebooks are committed with their outputs
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None)]
myst_enable_extensions = ["dollarmath", "colon_fence", "attrs_inline"]
myst_heading_anchors = 4
suppress_warnings = ["myst.header"]                   # lessons begin sections below the level that Sphinx would like
html_theme = "sphinx_book_theme"
html_title = project
html_static_path = [str(root/"docs"/"static"), str(root/"_site_src"/"static")]   # the second: notebooks as they are, to download
html_css_files = ["site.css"]
html_favicon = str(root/"docs"/"static"/"icon.svg")   # without one a browser asks for favicon.ico, and its console says that there is none
html_context = dict(default_mode="auto")
html_copy_source = False
html_show_sourcelink = False
html_theme_options = dict(
    repository_url=cfg["git_url"], repository_branch=cfg["branch"], use_repository_button=True, use_download_button=False, use_fullscreen_button=False,
    show_toc_level=2, home_page_in_toc=True, pygments_light_style="default", pygments_dark_style="monokai",
)

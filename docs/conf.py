"""How the site is built: ``python -m sphinx -W -j auto -b html docs docs/_build/html``."""

import os
import re
import sys
import tempfile
from pathlib import Path

from docutils import nodes
from nbclient import NotebookClient

import ilastik_lazy

project = "ilastik_lazy"
author = "The ilastik_lazy developers"
version = release = ilastik_lazy.__version__

extensions = ["myst_nb", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx_design"]
exclude_patterns = ["_build", "jupyter_execute"]
suppress_warnings = ["config.cache"]

# Each page is executed from the top in an empty folder, and an error in it ends the build.
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 600
# What a command prints arrives in pieces, which are one output.
NotebookClient.coalesce_streams = True
# Two pages at a time, on a machine that does other things too: a kernel may start late.
NotebookClient.startup_timeout = 600
nb_code_prompt_show = "Show the code that makes the files of this page"
nb_code_prompt_hide = "Hide it"
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

# Commands in a page are those of this environment.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
os.environ["PYTHONWARNINGS"] = "ignore::DeprecationWarning"

autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False
default_role = "py:obj"
highlight_language = "none"

# The site links to the pages of others only where the network may be used.
if os.environ.get("DOCS_INTERSPHINX"):
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "xarray": ("https://docs.xarray.dev/en/stable", None),
        "dask": ("https://docs.dask.org/en/stable", None),
        "pandas": ("https://pandas.pydata.org/docs", None),
    }

html_theme = "pydata_sphinx_theme"
html_title = "ilastik_lazy"
# Search engines list one of the versions that Read the Docs keeps.
html_baseurl = os.environ.get("READTHEDOCS_CANONICAL_URL", "")
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_sidebars = {"index": [], "tutorial": [], "changes": []}
html_show_sourcelink = False
html_theme_options = {
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}


def _as_in_a_terminal(app, doctree):
    """Show cells that a shell runs as a terminal has them, without the line that says so to the notebook."""
    for block in doctree.findall(nodes.literal_block):
        if block.astext().startswith("%%sh\n"):
            text = block.astext().removeprefix("%%sh\n")
            block.children, block.rawsource, block["language"] = [nodes.Text(text)], text, "sh"


# Paths of the build, and what a reader would see in their place.
_PATHS = {
    rf"{re.escape(tempfile.gettempdir())}/tmp\w{{8}}\b": "/home/me",
    rf"{re.escape(tempfile.gettempdir())}/ipykernel_\d+/\d+\.py": "script.py",
    rf"{re.escape(str(Path(ilastik_lazy.__file__).parent))}(?=/data/)": "/home/me/venv/ilastik_lazy",
    rf"{re.escape(sys.prefix)}(?=/bin/)": "/home/me/venv",
}


def _with_paths_of_a_reader(app, pagename, templatename, context, doctree):
    for pattern, path in _PATHS.items():
        context["body"] = re.sub(pattern, path, context.get("body") or "")


def _without_package(app, docname, source):
    """Call the page of a function by the name after `ilastik_lazy.`, so that the navigation can be read."""
    if docname.startswith("reference/generated/"):
        source[0] = source[0].replace(r"ilastik\_lazy.", "", 1)


def setup(app):
    """Connect these to the build."""
    app.connect("source-read", _without_package)
    app.connect("doctree-read", _as_in_a_terminal)
    app.connect("html-page-context", _with_paths_of_a_reader)

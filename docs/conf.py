"""Settings of Sphinx: ``sphinx-build -W -b html docs docs/_build``, with the extra ``[docs]``."""

import os
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "docs/_ext"))


def repository() -> str:
    """Address of the repository, for links to it: as CI says it, or git; empty where there is none that is public."""
    of_github = "/".join(os.environ.get(f"GITHUB_{name}", "") for name in ("SERVER_URL", "REPOSITORY"))
    said = [of_github, os.environ.get("READTHEDOCS_GIT_CLONE_URL", "")]
    if (ROOT / ".git").exists():
        command = ["git", "-C", str(ROOT), "remote", "get-url", "origin"]
        said.append(subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip())
    for address in said:  # a name or a token in front of the host is left out
        found = re.fullmatch(
            r"(?:https://(?:[^@/]+@)?|git@)(github\.com|gitlab\.com)[/:]([\w.-]+/[\w.-]+?)(?:\.git)?/?", address
        )
        if found is not None:
            return f"https://{found[1]}/{found[2]}"
    return ""


project = "spikingjelly-ckd"
author = "the spikingjelly-ckd contributors"
copyright = author
release = re.search(r'^__version__ = "(.+)"$', (ROOT / "spikingjelly_ckd/__init__.py").read_text("utf8"), re.M)[1]

extensions = [
    *("mathml", "plain_diff"),  # in docs/_ext
    *("myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"),
]
exclude_patterns = ["_build"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_maximum_signature_line_length = 100

html_theme = "furo"
html_title = f"{project} {release}"
html_static_path = ["_static", str(files("ziamath.fonts") / "STIXTwoMath-Regular.ttf")]  # the font is free (OFL 1.1)
html_css_files = ["site.css"]
html_math_renderer = "mathml"
if repository():
    html_theme_options = {
        "source_repository": repository(),
        "source_branch": os.environ.get("GITHUB_REF_NAME", "main"),
        "source_directory": "docs/",
        "footer_icons": [{"name": "Repository", "url": repository(), "html": "Repository", "class": ""}],
    }

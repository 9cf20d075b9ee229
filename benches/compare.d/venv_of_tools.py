"""Ansible and pyinfra at the versions that are pinned, in `target/bench-venv`; for all benches."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from contenders import VENV
from lab import ROOT, Failed, command, say

REQUIREMENTS = ROOT / "benches/compare.d/requirements.txt"
# ansible-core asks for it.
OLDEST_PYTHON = (3, 12)


def python():
    """A Python that ansible-core runs on, by name or from pyenv."""
    candidates = [os.environ.get("BENCH_PYTHON"), sys.executable]
    candidates += [f"python3.{minor}" for minor in (13, 12, 14)]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    candidates += sorted(map(str, pyenv.glob("3.1[2-9].*/bin/python3")), reverse=True)
    for candidate in filter(None, candidates):
        asked = [candidate, "-c", f"import sys, venv; sys.exit(sys.version_info < {OLDEST_PYTHON})"]
        if shutil.which(candidate) and subprocess.run(asked, capture_output=True).returncode == 0:
            return candidate
    raise Failed("no Python from 3.12 on here, which ansible-core needs; name one in BENCH_PYTHON")


def prepare_venv():
    """The pinned tools, once: the requirements are kept beside them."""
    installed = VENV / "requirements.txt"
    if installed.exists() and installed.read_text() == REQUIREMENTS.read_text():
        return
    say(f"installing {REQUIREMENTS.relative_to(ROOT)}")
    command(python(), "-m", "venv", "--clear", VENV)
    command(VENV / "bin/pip", "install", "--quiet", "--disable-pip-version-check", "-r", REQUIREMENTS)
    shutil.copy(REQUIREMENTS, installed)

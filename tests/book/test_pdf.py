"""The book as one PDF."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def make_pdf(**environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / "book" / "pdf.py"]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)


def test_without_a_browser_it_says_what_is_missing(tmp_path):
    done = make_pdf(PATH=str(tmp_path))
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == "the PDF needs a browser: none of chromium, chromium-browser, google-chrome is on the path\n"


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), reason="no browser")
def test_pdf_has_every_page_of_the_book(html):
    done = make_pdf()
    assert done.returncode == 0, done.stderr
    pdf = (ROOT / done.stdout.splitlines()[-1]).read_bytes()
    pages, pictures = len(re.findall(rb"/Type /Page\b", pdf)), len(re.findall(rb"/Subtype /Image\b", pdf))
    assert pdf.startswith(b"%PDF-") and 200 < pages < 350 and pictures > 150

"""Chromium without a window and without requests of its own, for tests of pages."""

import shutil

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, _NAMES)), None)
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium on PATH (Debian: apt-get install chromium)"
)
PLAIN = ("--disable-gpu",)
# Scenes in WebGL are drawn in software; no page but ours is found.
SCENES = (
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
_QUIET = (
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


def launched(playwright, more: tuple[str, ...] = PLAIN):
    """A browser; `more` are flags for what its pages need."""
    return playwright.chromium.launch(executable_path=CHROMIUM, args=[*_QUIET, *more])

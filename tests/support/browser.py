"""Debian's Chromium, driven by Playwright, for tests of pages."""

import contextlib
import shutil
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Page, async_playwright

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


@contextlib.asynccontextmanager
async def browser_page() -> AsyncIterator[tuple[Page, list[str]]]:
    """A page, and what goes wrong in it: errors, lines on the console, requests that leave this machine."""
    complaints: list[str] = []
    async with async_playwright() as playwright:
        # As root, as in a container, Chromium starts only without its sandbox; the pages are our own.
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            page = await browser.new_page(color_scheme="light")
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("console", lambda message: complaints.append(message.text))
            page.on(
                "request",
                lambda request: None if request.url.startswith(("file:", "data:")) else complaints.append(request.url),
            )
            yield page, complaints
        finally:
            await browser.close()

"""The web page in a real browser, which hears a recording as its microphone."""

import contextlib
import itertools
import json
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image
from playwright.async_api import Page, WebSocket, async_playwright, expect

from services.common.audio import resample
from tests.conftest import SAMPLES
from tests.support.realtime import realtime_port
from tests.support.servers import RunningServer

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.asyncio(loop_scope="package"),
    pytest.mark.models,
    pytest.mark.timeout(300),
    pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium"),
]
MICROPHONE = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
RATE_HZ = 48_000
FIRST, SECOND = SAMPLES / "austen_0930.wav", SAMPLES / "austen_0870.wav"
STAGE_COLOURS = ((14, 165, 233), (139, 92, 246), (245, 158, 11), (16, 185, 129))
"""Of the waterfall's bars in style.css; that of endpointing is grey, as other things are."""
ANSWERED_MS = 60_000
"""On a machine that is busy with other things."""


@dataclass
class Browser:
    """A page, what its console has complained of, and what has gone over its WebSocket: the types of what came, and the
    characters of the audio that went.
    """

    page: Page
    complaints: list[str] = field(default_factory=list)
    exchanged: list[str | int] = field(default_factory=list)

    def watch(self, socket: WebSocket) -> None:
        """Note what goes over it."""

        def sent(frame: str | bytes) -> None:
            if (event := json.loads(frame))["type"] == "input_audio_buffer.append":
                self.exchanged.append(len(event["audio"]))

        socket.on("framereceived", lambda frame: self.exchanged.append(json.loads(frame)["type"]))
        socket.on("framesent", sent)

    def sizes(self, begin: str, end: str) -> list[int]:
        """Of the audio that went between the first event of a type and the next one of another."""
        after = itertools.dropwhile(lambda entry: entry != begin, self.exchanged)
        between = itertools.takewhile(lambda entry: entry != end, after)
        return [entry for entry in between if isinstance(entry, int)]


@contextlib.asynccontextmanager
async def browser(orchestrator: RunningServer, *arguments: str, script: str = "") -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required", *arguments]
        )
        page = await chromium.new_page(viewport={"width": 900, "height": 900})
        opened = Browser(page)
        page.on("websocket", opened.watch)
        page.on("console", lambda line: line.type == "error" and opened.complaints.append(line.text))
        page.on("pageerror", lambda error: opened.complaints.append(str(error)))
        if script:
            await page.add_init_script(script)
        await page.goto(f"http://127.0.0.1:{realtime_port(orchestrator)}/")
        try:
            yield opened
        finally:
            await chromium.close()


def spoken(folder: Path, *parts: Path | float) -> Path:
    """A recording of recordings and silences (seconds)."""
    pieces = []
    for part in parts:
        if isinstance(part, Path):
            samples, rate = soundfile.read(part, dtype="float32")
            pieces.append(resample(samples, rate, RATE_HZ))
        else:
            pieces.append(np.zeros(round(part * RATE_HZ), np.float32))
    path = folder / "spoken.wav"
    soundfile.write(path, np.concatenate(pieces), RATE_HZ, subtype="PCM_16")
    return path


async def test_a_spoken_conversation_with_an_interruption(orchestrator: RunningServer, tmp_path: Path) -> None:
    recording = spoken(tmp_path, 1.0, FIRST, 7.0, SECOND, 120.0)
    microphone = (*MICROPHONE, f"--use-file-for-fake-audio-capture={recording}%noloop")
    async with browser(orchestrator, *microphone) as opened:
        page = opened.page
        await page.get_by_role("button", name="Talk").click()
        said, answers = page.locator("#captions li.user p"), page.locator("#captions li.assistant")
        await expect(said.first).to_contain_text("amiable", timeout=ANSWERED_MS)
        await expect(answers.first.locator("p")).not_to_be_empty(timeout=ANSWERED_MS)
        assert await answers.first.get_attribute("aria-busy") == "true", "captions come while it is said"
        # The second recording is said over the answer.
        await expect(answers.first.locator("p.cut")).to_be_visible(timeout=ANSWERED_MS)
        await expect(answers.first.locator(".waterfall")).to_contain_text("language model")
        await expect(said.nth(1)).not_to_be_empty()
        await expect(answers.nth(1).locator("p")).not_to_be_empty(timeout=ANSWERED_MS)
        # Then the button.
        await page.get_by_role("button", name="Interrupt").click()
        await expect(answers.nth(1).locator("p.cut")).to_be_visible(timeout=ANSWERED_MS)
        await expect(answers.nth(1).locator(".waterfall")).to_be_visible()
        await expect(page.get_by_role("button", name="Interrupt")).to_be_disabled()
        screenshot = tmp_path / "page.png"
        await page.screenshot(path=screenshot)
        shown = np.asarray(Image.open(screenshot).convert("RGB")).reshape(-1, 3)
        drawn = [(np.abs(shown.astype(int) - colour).sum(axis=1) < 12).sum() for colour in STAGE_COLOURS]
        # Of each stage as much as it took: some are short.
        assert sum(pixels > 20 for pixels in drawn) >= 2, f"the waterfall is in the picture: {drawn}"
        await page.get_by_role("button", name="Stop").click()
        await expect(page.get_by_role("status")).to_have_text("Ready when you are.")
        assert opened.complaints == []
    voice, words = "input_audio_buffer.speech_started", "conversation.item.input_audio_transcription.completed"
    frame = min(opened.sizes(voice, words))
    assert set(opened.sizes("session.created", voice)) == {10 * frame}, "while nobody speaks frames wait for company"
    for begin, end in ((voice, words), ("response.created", "response.done")):
        assert set(opened.sizes(begin, end)[2:]) == {frame}, "while somebody speaks each goes at once"


async def test_a_page_without_a_microphone_says_so_and_lets_its_user_write(orchestrator: RunningServer) -> None:
    without = "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', 'NotFoundError') }"
    async with browser(orchestrator, script=without) as opened:
        page = opened.page
        await page.get_by_role("button", name="Talk").focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_have_text("No microphone was found. You can write.")
        await expect(page.get_by_label("Your words")).to_be_focused()
        await expect(page.get_by_role("status")).to_have_text("Write something.")
        await page.keyboard.type("Tell me a story.")
        await page.keyboard.press("Enter")
        await expect(page.locator("#captions li.assistant p")).not_to_be_empty(timeout=ANSWERED_MS)
        await page.keyboard.press("Escape")
        await expect(page.locator("#captions p.cut")).to_be_visible(timeout=ANSWERED_MS)
        assert opened.complaints == []


async def test_settings_are_the_sessions(orchestrator: RunningServer) -> None:
    async with browser(orchestrator, *MICROPHONE) as opened:
        page = opened.page
        await page.get_by_text("Settings").click()
        await page.get_by_label("Voice").select_option("heart")
        await page.get_by_label("Instructions").fill("Answer in rhymes.")
        async with page.expect_websocket() as opening:
            await page.get_by_role("button", name="Talk").click()
        socket = await opening.value
        async with socket.expect_event("framereceived", lambda frame: "session.updated" in frame) as answer:
            pass
        frame = await answer.value
        assert "Answer in rhymes." in frame
        assert '"voice":"heart"' in frame
        assert opened.complaints == []

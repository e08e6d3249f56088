"""`make demo` lived in a browser: the story, the clock, the kill, the restart."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER), reason="no Chromium with chromedriver (Debian: chromium chromium-driver)"
    ),
    pytest.mark.timeout(240),
]
ROOT = Path(__file__).parents[2]
PATIENCE = 25
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1400,900",
)


class Demo:
    """The demo as a process tree of its own, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[str] | None = None
        self.url = ""

    def start(self, *options: str) -> None:
        environ = os.environ | {"PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bot", "demo", "--port", "0", *options],
            cwd=self.folder,
            env=environ,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if "http://127.0.0.1:" in line:
                self.url = line.split()[-1]
                return
        raise AssertionError("the demo did not print its address")

    def kill_the_whole_tree(self) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self._gone()

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self._gone()

    def _gone(self) -> int:
        assert self.process is not None
        code = self.process.wait(20)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process = None
        return code


@pytest.fixture
def demo() -> Iterator[Demo]:
    with tempfile.TemporaryDirectory() as folder:
        made = Demo(Path(folder))
        yield made
        if made.process is not None:
            made.kill_the_whole_tree()


@pytest.fixture
def browser() -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for flag in FLAGS:
        options.add_argument(flag)
    with tempfile.TemporaryDirectory() as profile:
        options.add_argument(f"--user-data-dir={profile}")
        driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        yield driver
        driver.quit()


class Reader:
    """Somebody who looks at the page and presses what they see."""

    def __init__(self, driver: Any, url: str) -> None:
        self.driver = driver
        self.url = url

    def be(self, person: str, room: str) -> None:
        self.driver.get("about:blank")
        self.driver.get(f"{self.url}/#{person}/{room}")

    def text(self) -> str:
        return str(self.driver.find_element("css selector", "main").text)

    def sees(self, *words: str) -> None:
        self._until(lambda: all(word in self.text() for word in words), f"sees {words}")

    def never_sees(self, word: str) -> None:
        assert word not in self.text()

    def _until(self, holds: Callable[[], bool], what: str) -> None:
        from selenium.common.exceptions import StaleElementReferenceException, TimeoutException
        from selenium.webdriver.support.ui import WebDriverWait

        waiting = WebDriverWait(
            self.driver, PATIENCE, 0.1, ignored_exceptions=[StaleElementReferenceException]
        )
        try:
            waiting.until(lambda _: holds())
        except TimeoutException:
            raise AssertionError(f"{what}; the page says:\n{self.text()}") from None

    def press(self, label: str) -> None:
        """Press the last button of this name; the page may be drawn anew between finding and clicking."""
        path = f"//button[normalize-space(.)='{label}']"

        def pressed() -> bool:
            found = self.driver.find_elements("xpath", path)
            if found:
                found[-1].click()
            return bool(found)

        self._until(pressed, f"presses {label}")

    def says(self, text: str) -> None:
        box = self.driver.find_element("css selector", "#composer textarea, #composer input")
        box.send_keys(text)
        self.driver.find_element("css selector", "#composer button").click()

    def status(self, word: str) -> None:
        shown = lambda: self.driver.find_element("id", "status").text  # noqa: E731
        self._until(lambda: word in shown(), f"status {word}")


def test_the_demo_tells_the_whole_story_in_a_browser_and_survives_being_killed(demo, browser):
    demo.start()
    page = Reader(browser, demo.url)

    page.be("kenji", "alerts")
    page.sees("Critical · API error rate", "INC-1", "Paged for INC-1: kenji")
    page.be("kenji", "incidents")
    page.sees("P1 INC-1")
    page.be("kenji", "dm")
    page.sees("対応してください", "aya さんを呼び出します")

    page.be("aya", "dm")
    page.never_sees("API error rate")
    page.press("+15 min")
    page.sees("対応してください", "API error rate")

    page.press("Kill the Bot (-9)")
    page.status("dead")
    page.press("Start the Bot")
    page.status("running")

    page.press("対応する")
    page.sees("aya さんが対応中")
    page.be("kenji", "alerts")
    page.sees("Acknowledged by aya")

    demo.kill_the_whole_tree()
    demo.start()
    page.url = demo.url
    page.be("aya", "incidents")
    page.sees("Acknowledged by aya")
    page.status("running")
    page.says("/incident resolve INC-1 a bad deploy")
    page.sees("Resolved by aya", "a bad deploy")
    page.press("Its Recovery")
    page.be("aya", "alerts")
    page.sees("Recovered")

    assert demo.stop() == 0
    assert json.loads((demo.folder / ".demo" / "world.json").read_text())["shift"] == 900.0

    demo.start("--fresh")
    page.url = demo.url
    page.be("kenji", "alerts")
    page.sees("Critical · API error rate")
    page.never_sees("Acknowledged")
    assert demo.stop() == 0

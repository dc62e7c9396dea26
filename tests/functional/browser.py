"""Headless Chromium, and its network requests."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from selenium.common.exceptions import TimeoutException, WebDriverException
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
CHROMEDRIVER = shutil.which("chromedriver")
# Turns off Chromium's own requests to its vendor.
_QUIET = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--no-first-run",
)

_IS_SETTLED = """
const ends = (animation) => Number.isFinite(animation.effect.getComputedTiming().endTime);
return document.querySelector('.stApp').dataset.testScriptState === 'notRunning'
    && !document.querySelector('[data-stale="true"]')
    && !document.getAnimations().some((one) => one.playState === 'running' && ends(one));
"""


class Page:
    """A browser on the chat page. Its methods wait for texts by polling."""

    def __init__(self, driver: Chrome, url: str) -> None:
        self.driver = driver
        self.url = url

    def open(self, query: str = "") -> None:
        self.driver.get(f"{self.url}/{query}")
        self.wait(lambda: self.find("[data-testid=stSidebar]"), "the page")

    def wait(self, condition: Callable[[], object], what: str, *, seconds: float = 120) -> None:
        """Wait for `condition`, even if elements are redrawn meanwhile. Raises TimeoutException."""
        waiting = WebDriverWait(self.driver, seconds, poll_frequency=0.1)
        waiting.until(lambda _: _tolerant(condition), f"not within {seconds} s: {what}")

    def wait_for_text(self, text: str, *, seconds: float = 120) -> None:
        self.wait(lambda: text in self.text(), f"{text!r} on the page", seconds=seconds)

    def text(self) -> str:
        return str(self.driver.execute_script("return document.body.innerText"))

    def find(self, css: str) -> WebElement | None:
        found = self.find_all(css)
        return found[0] if found else None

    def find_all(self, css: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def click(self, css: str) -> None:
        """Click when the element exists and is not being redrawn."""

        def click() -> bool:
            element = self.find(css)
            if element is None or not element.is_enabled():
                return False
            element.click()
            return True

        self.wait(click, f"{css} to click")

    def click_text(self, text: str, css: str = "button") -> None:
        def click() -> bool:
            for element in self.find_all(css):
                if text in element.text:
                    element.click()
                    return True
            return False

        self.wait(click, f"{css} with {text!r}")

    def press(self, css: str, *keys: str) -> None:
        """Type into an element when it exists and is not being redrawn."""

        def press() -> bool:
            element = self.find(css)
            if element is None or not element.is_enabled():
                return False
            element.send_keys(*keys)
            return True

        self.wait(press, f"{css} to type into")

    def upload(self, file: Path | str) -> None:
        def choose() -> bool:
            field = self.find("[data-testid=stFileUploader] input[type=file]")
            if field is None:
                return False
            field.send_keys(str(file))
            return True

        self.wait(choose, "the upload field")

    def ask(self, question: str) -> None:
        def type_() -> bool:
            field = self.find("[data-testid=stChatInputTextArea]")
            if field is None or not field.is_enabled():
                return False
            field.send_keys(question, Keys.ENTER)
            return True

        def is_taken() -> bool:
            field = self.find("[data-testid=stChatInputTextArea]")
            return field is not None and not field.get_attribute("value")

        self.wait(type_, "the question's field")
        try:
            self.wait(is_taken, "the question to leave its field", seconds=10)
        except TimeoutException:
            # The page ignores Enter while it is drawn anew; a person presses it once more.
            self.find_all("[data-testid=stChatInputTextArea]")[0].send_keys(Keys.ENTER)

    def wait_for_end(self) -> None:
        """Wait for the buttons below the only answer. The page is drawn anew before they are there.

        A click until then may be lost.
        """
        self.wait(lambda: self.find("[class*='st-key-copy-']"), "the end of the answer")

    def tab(self, name: str) -> None:
        """Show a tab of the sidebar: Conversations or Documents."""
        self.click_text(name, "[data-testid=stSidebar] [role=tab]")

    def choose(self, menu: str, words: str) -> None:
        """Open the menu `menu` (CSS) and choose the entry with these words."""
        self.click(f"{menu} button")
        self.click_text(words, "[role=menuitem], [role=option], [role=menu] button")

    def messages(self) -> list[str]:
        return [element.text for element in self.find_all("[data-testid=stChatMessage]")]

    def requests(self) -> list[str]:
        """URLs that the browser requested since the last call."""
        events = (json.loads(entry["message"])["message"] for entry in self._performance_log())
        names = {"Network.requestWillBeSent": "request", "Network.webSocketCreated": None}
        urls = []
        for event in events:
            if event["method"] in names:
                inner = names[event["method"]]
                urls.append((event["params"][inner] if inner else event["params"])["url"])
        return urls

    def foreign_requests(self) -> list[str]:
        """The URLs of `requests` that are not on the page's own server."""
        own = urlsplit(self.url).netloc
        return [
            url
            for url in self.requests()
            if urlsplit(url).scheme not in {"data", "blob", "about"} and urlsplit(url).netloc != own
        ]

    def resize(self, width: int, height: int = 900) -> None:
        """Show the page in a window of this many pixels; narrower than Chromium's own may be."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 768}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def prefer(self, scheme: str) -> None:
        """Emulate the system's preference `light`, `dark` or none (""), and wait for the page."""
        features = [{"name": "prefers-color-scheme", "value": scheme}] if scheme else []
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        if scheme:
            self.wait(lambda: self._is_dark() == (scheme == "dark"), f"the {scheme} theme")

    def _is_dark(self) -> bool:
        script = "return getComputedStyle(document.querySelector('.stApp')).backgroundColor"
        colour = str(self.driver.execute_script(script))
        return sum(int(part) for part in re.findall(r"\d+", colour)[:3]) < 3 * 128

    def is_settled(self) -> bool:
        """Whether no script runs and nothing moves but what moves for ever, such as a spinner."""
        return bool(self.driver.execute_script(_IS_SETTLED))

    def describe(self) -> list[tuple[str, str]]:
        """The page's text and log, for the report of a failed test."""
        return [("the page's address", self.driver.current_url), ("the page's text", self.text())]

    def _performance_log(self) -> list[dict[str, str]]:
        return self.driver.get_log("performance")  # type: ignore[no-any-return,no-untyped-call]


@contextmanager
def open_browser(profile: Path, *, width: int = 1280, height: int = 900) -> Iterator[Chrome]:
    """Chromium with a new, empty profile."""
    options = ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in (
        "--headless=new",
        "--no-sandbox",  # root in a container cannot create a user namespace
        "--disable-gpu",
        "--disable-dev-shm-usage",
        f"--user-data-dir={profile}",
        f"--window-size={width},{height}",
        *_QUIET,
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = Chrome(options=options, service=ChromeService(str(CHROMEDRIVER)))
    try:
        yield driver
    finally:
        driver.quit()


def _tolerant(condition: Callable[[], object]) -> object:
    """The condition's value; False while something that it reads does not exist."""
    try:
        return condition()
    except (WebDriverException, LookupError, AttributeError, TypeError):
        return False

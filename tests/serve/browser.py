"""A headless Chromium, driven over the pipe of its DevTools protocol: no package is needed."""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import time

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """One open page, and what it and the network said."""

    def __init__(self, write, read):
        self._write, self._read, self._held = write, read, b""
        self._count, self._session, self.events = 0, None, []
        target = self.do("Target.createTarget", url="about:blank")["targetId"]
        attached = self.do("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.do(f"{domain}.enable")

    def do(self, method, **params):
        """Send a command; gives its result."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            got = self._next(20)
            if got.get("id") == self._count:
                assert "error" not in got, got
                return got["result"]
            self.events.append(got)

    def _next(self, seconds):
        while b"\0" not in self._held:
            assert select.select([self._read], [], [], seconds)[0], "the browser is silent"
            part = os.read(self._read, 1 << 16)
            assert part, "the browser has gone"
            self._held += part
        raw, self._held = self._held.split(b"\0", 1)
        return json.loads(raw)

    def js(self, code):
        """The value of an expression; promises are awaited."""
        how = {"returnByValue": True, "awaitPromise": True, "userGesture": True}
        got = self.do("Runtime.evaluate", expression=code, **how)
        assert "exceptionDetails" not in got, got["exceptionDetails"]
        return got["result"].get("value")

    def until(self, code, seconds=20):
        """Wait until an expression is true; gives its value."""
        end = time.monotonic() + seconds
        while not (value := self.js(code)):
            assert time.monotonic() < end, f"never true: {code}"
            time.sleep(0.03)
        return value

    def open(self, url):
        """Go there and wait until it is loaded."""
        self.do("Page.navigate", url=url)
        self.until(f"location.href.startsWith({url!r}) && document.readyState === 'complete'")

    def press(self, key, code=0, text=""):
        """A key on the keyboard."""
        how = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.do("Input.dispatchKeyEvent", type="keyDown", text=text, **how)
        self.do("Input.dispatchKeyEvent", type="keyUp", **how)

    def size(self, width, height):
        """The window's size in CSS pixels, as of a phone where it is narrow."""
        self.do(
            "Emulation.setDeviceMetricsOverride", width=width, height=height,
            deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip

    def scheme(self, name):
        """Prefer light or dark."""
        features = [{"name": "prefers-color-scheme", "value": name}]
        self.do("Emulation.setEmulatedMedia", features=features)

    def shot(self, path):
        """A picture of what is seen."""
        path.write_bytes(base64.b64decode(self.do("Page.captureScreenshot")["data"]))

    def heard(self, method):
        """Parameters of all events of a kind so far."""
        self.js("1")
        return [event["params"] for event in self.events if event.get("method") == method]


@contextlib.contextmanager
def browsing(profile):
    """A page in a fresh browser with its own profile folder."""
    theirs_in, write = os.pipe()
    read, theirs_out = os.pipe()
    flags = [
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        "--no-first-run", "--disable-extensions", "--disable-background-networking",
        "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank",
    ]  # fmt: skip
    # the browser reads its commands from file 3 and answers on file 4
    shell = f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}'
    process = subprocess.Popen(
        ["bash", "-c", shell, CHROMIUM, *flags], pass_fds=(theirs_in, theirs_out),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        page = Page(write, read)
        yield page
        page._session = None
        page.do("Browser.close")
        process.wait(timeout=20)
    finally:
        process.kill()
        process.wait()
        os.close(write)
        os.close(read)

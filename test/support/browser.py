"""A real headless browser for the tests that open a page, started once and ended for sure."""

from __future__ import annotations

import base64
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

BROWSERS = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable')
FLAGS = ('--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
         '--disable-background-networking', '--disable-component-update', '--disable-sync',
         '--disable-dev-shm-usage', '--window-size=1366,900')


def find(names: tuple[str, ...]) -> str | None:
    return next((path for path in map(shutil.which, names) if path), None)


@contextmanager
def browser() -> Iterator[object]:
    """Yield a driver of the browser; the test is skipped where there is none and CI is not set."""
    binary, driver = find(BROWSERS), find(('chromedriver',))
    if not (binary and driver):
        missing = 'no chromium or chrome' if not binary else 'no chromedriver'
        if 'CI' in os.environ:
            pytest.fail(f'{missing} on the PATH, and CI is set; expected both')
        pytest.skip(f'{missing} on the PATH')
    # Imported here: without it the other tests of a file run all the same.
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability('goog:loggingPrefs', {'browser': 'ALL', 'performance': 'ALL'})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options.add_argument(f'--user-data-dir={profile}')
        found = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
        try:
            yield found
        finally:
            found.quit()


def open_page(driver: object, page: Path) -> None:
    driver.get(page.resolve().as_uri())


def messages(driver: object) -> list[str]:
    """What the page wrote to the console, errors of the content policy among it."""
    return [entry['message'] for entry in driver.get_log('browser')]


def requests(driver: object) -> list[str]:
    """The addresses that the browser asked for since the last call, data in the page left out."""
    events = [json.loads(entry['message'])['message'] for entry in driver.get_log('performance')]
    addresses = [event['params']['request']['url'] for event in events
                 if event['method'] == 'Network.requestWillBeSent']
    return [address for address in addresses if not address.startswith('data:')]


def print_pdf(driver: object) -> bytes:
    answer = driver.execute_cdp_cmd('Page.printToPDF', {'printBackground': True,
                                                        'preferCSSPageSize': True})
    return base64.b64decode(answer['data'])

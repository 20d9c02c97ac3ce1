"""The report in a real browser: opened from disk, offline, on a screen and on a phone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from sartor.data.records import Example, Message
from sartor.evaluation.records import (
    Comparison,
    Criteria,
    Decision,
    Estimate,
    Measured,
    Prediction,
    Report,
    Score,
)
from sartor.models.language_model import Completion
from sartor.studio.page import Counts, ReportPage, render

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium"),
]
NAMES = ("rag+lora", "a-name-without-any-place-to-break-it-" * 8, "<img src=x onerror=alert(1)>")


def report(name: str, right: int) -> Report:
    """Answers 40 examples, the first `right` of them well."""
    examples = [
        Example(
            f"e{n}", (Message("user", f"Question number {n}?"),), ("yes",), tags=(f"tag {n % 2}",)
        )
        for n in range(40)
    ]
    completion = Completion("An answer with <script>alert(1)</script> in it", "stop", 9, 9, 0.3)
    mean = right / 40
    return Report(
        name,
        Measured("rag", "thimble", 0.3, 0.0001 * (right + 1), 0, 60, 2**30),
        tuple(Prediction(one, completion) for one in examples),
        tuple(Score(one.id, "f1", float(n < right)) for n, one in enumerate(examples)),
        {"f1": Estimate(mean, mean - 0.1, mean + 0.1, 40)},
        {tag: {"f1": Estimate(mean, mean - 0.1, mean + 0.1, 20)} for tag in ("tag 0", "tag 1")},
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    comparisons = tuple(
        Comparison(name, NAMES[0], -0.3, -0.4, -0.2, 0.001, "worse", "worse") for name in NAMES[1:]
    )
    decision = Decision(NAMES[0], NAMES[0], "The best.", Criteria("f1", 0.05), 40, 0.1, comparisons)
    reports = tuple(report(name, right) for name, right in zip(NAMES, (34, 20, 10), strict=True))
    page = ReportPage(
        "Shop", "thimble", "2026-11-23", 1, decision, reports, Counts(9, 90, 10, 40), 1
    )
    file: Path = tmp_path_factory.mktemp("report") / "report.html"
    file.write_text(render(page), encoding="utf-8")
    return file.as_uri()


@pytest.fixture
def opened(browser: Browser, address: str) -> Iterator[Page]:
    """The report on a desktop screen; complaints and requests fail the test."""
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 900})
    page, complaints, asked = context.new_page(), list[str](), list[str]()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    yield page
    context.close()
    assert complaints == []
    assert [url for url in asked if not url.startswith("data:,")] == [address]


def shown(page: Page) -> int:
    return page.locator(".case:visible").count()


def test_the_verdict_is_the_first_thing_seen(opened: Page) -> None:
    assert opened.locator("h1").inner_text() == "Ship rag+lora."
    assert opened.locator("h1").bounding_box()["y"] < 400  # type: ignore[index]


def test_examples_are_filtered_by_slice_dispute_mistake_and_word(opened: Page) -> None:
    assert shown(opened) == 25
    opened.get_by_role("button", name="Show all 40").click()
    assert shown(opened) == 40
    opened.get_by_label("winner wrong").check()
    assert shown(opened) == 6
    opened.get_by_label("winner wrong").uncheck()
    opened.get_by_label("candidates disagree").check()
    assert opened.locator("#shown").inner_text() == "24 of 40 fit"
    opened.get_by_role("combobox", name="Slice").select_option(label="tag 1 (20)")
    assert shown(opened) == 12
    opened.get_by_label("Search").fill("NUMBER 33?")
    assert shown(opened) == 1
    opened.get_by_label("Search").fill("nowhere to be found")
    assert opened.get_by_text("No example fits.").is_visible()


def test_a_mistake_links_to_its_example_and_opens_it(opened: Page) -> None:
    opened.get_by_label("Search").fill("nowhere to be found")
    opened.get_by_role("link", name="see all answers").nth(2).click()
    expect(opened.locator("#example-3")).to_have_attribute("open", "")
    expect(opened.locator("#example-3 .answers")).to_be_visible()


def test_names_on_the_plot_stay_inside_and_apart(opened: Page) -> None:
    boxes = [label.bounding_box() for label in opened.locator(".tradeoff.wide .label").all()]
    assert len(boxes) == 3
    for at, one in enumerate(boxes):
        for other in boxes[at + 1 :]:
            assert one is not None
            assert other is not None
            apart = one["x"] + one["width"] <= other["x"] or other["x"] + other["width"] <= one["x"]
            above = (
                one["y"] + one["height"] <= other["y"] or other["y"] + other["height"] <= one["y"]
            )
            assert apart or above


@pytest.mark.parametrize("width", [320, 390, 768])
def test_a_small_screen_never_scrolls_sideways(opened: Page, width: int) -> None:
    opened.set_viewport_size({"width": width, "height": 800})
    opened.get_by_role("button", name="Open all").click()
    opened.evaluate("document.querySelectorAll('details').forEach((each) => each.open = true)")
    assert opened.evaluate("document.documentElement.scrollWidth") == width


def test_it_reads_without_script(browser: Browser, address: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert shown(page) == 40
    assert not page.locator(".filters").is_visible()
    context.close()

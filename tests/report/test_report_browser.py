"""The report in a real browser: it renders, a flag opens the right reasons, hostile text stays text, nothing leaves the page, nobody is
shut out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Visit, barriers
from cli_samples import as_line, reason, signal, transaction, write_log, write_signals
from demo_run import Demo

from dataflows.cli import main
from dataflows.commands.signal_reader import read_signals
from operators.encode import SIGNAL_TOPICS

pytestmark = [pytest.mark.chromium, pytest.mark.xdist_group("chromium")]

Open = Callable[..., Visit]

HOSTILE = (
    "<script>window.harmed = 1</script>",
    '"><img src=x onerror="window.harmed = 1">',
    "</script><script>window.harmed = 1</script>",
    "<!--<script>",
    "javascript:window.harmed=1",
    "'-window.harmed=1-'",
    "<svg onload=window.harmed=1>",
    "{{data}} ${window.harmed = 1} {{constructor.constructor('window.harmed=1')()}}",
    "<iframe src=https://example.com></iframe>",
    '<a href="https://example.com" onmouseover=window.harmed=1>x</a>',
    "&lt;b&gt; \u2028 \u2029 ]]> \\u003cscript\\u003e",
    "\u202egnp.exe",
    "<style>*{display:none}</style>",
    "=HYPERLINK(1)",
)


@pytest.fixture
def visit(browser: Any) -> Iterator[Open]:
    opened: list[Visit] = []

    def open_page(page: Path, **how: Any) -> Visit:
        opened.append(Visit(browser, **how))
        return opened[-1].open(page.as_uri())

    yield open_page
    for each in opened:
        assert each.faults == []
        assert [url for url in each.requests if not url.startswith(("file:", "data:"))] == []
        each.close()


@pytest.fixture(scope="module")
def report(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's page with ids, so that it can be held against the run."""
    page = tmp_path_factory.mktemp("pages") / "report.html"
    assert (
        main(["report", str(demo.run), "--truth", str(demo.truth), "--reveal", "--worst", "8", "--out", str(page)]) == 0
    )
    return page


def opens(run: Path) -> list[Any]:
    return [
        found.signal for topic in SIGNAL_TOPICS for found in read_signals(run, topic) if found.signal.state == "OPEN"
    ]


def show(each: Visit, customer: str, signal_id: str = "") -> None:
    each.page.evaluate(
        "([customer, signal]) => { location.hash = `#customer=${encodeURIComponent(customer)}&signal=${signal}` }",
        [customer, signal_id],
    )
    each.page.wait_for_selector(".timeline canvas")


def test_the_fleet_counts_what_the_run_holds(visit: Open, report: Path, demo: Demo) -> None:
    each = visit(report)
    assert each.page.inner_text("h1") == "All customers"
    figures = dict(
        zip(
            each.page.locator(".figures dt").all_inner_texts(),
            each.page.locator(".figures dd").all_inner_texts(),
            strict=True,
        )
    )
    assert figures["signals opened"] == f"{len(opens(demo.run)):,}"
    assert figures["customers"] == "30"
    for heading in (
        "Signals opened over time",
        "Detectors, the loudest first",
        "Detectors, the slowest first",
        "Against the truth",
    ):
        assert each.page.get_by_role("heading", name=heading, exact=True).is_visible()
    each.keep_screenshot("fleet.png")


def test_a_click_on_a_flag_opens_the_reasons_of_its_signal(visit: Open, report: Path, demo: Demo) -> None:
    each = visit(report)
    told = set(each.page.evaluate("page.stories.map((story) => story.key)"))
    clicked = set()
    for said in [one for one in opens(demo.run) if one.customer_id in told and one.reasons[0].contribution is not None]:
        if said.type in clicked:
            continue
        show(each, said.customer_id)
        each.page.get_by_role("button", name="The whole period").click()
        flag = each.page.locator(f'.flags button[data-key="{said.type} {said.episode}"]')
        if flag.count() == 0:
            continue  # under one flag with others, which a click would open first
        flag.click()
        clicked.add(said.type)
        panel = each.page.locator("aside")
        assert panel.locator("h2").inner_text() == said.type
        rows = panel.locator(".reasons li[data-code]")
        codes = [row.get_attribute("data-code") for row in rows.all()]
        assert codes == ["BASE", *(one.code for one in said.reasons)]
        shown = [float(text) for text in panel.locator(".contribution").all_inner_texts()]
        assert shown == [said.score_base, *(one.contribution for one in said.reasons)]  # exact, to the last digit
        assert "is the same to 1e-9" in panel.inner_text()
        for part in (said.id, said.detector, said.config, *(one.text for one in said.reasons)):
            assert part in panel.inner_text()
        marked = each.page.evaluate("[...shown.timeline.marked].map((i) => shown.story.transactions.id[i])")
        assert marked == list(said.evidence["transaction_ids"])
    assert len(clicked) >= 3
    each.keep_screenshot("customer.png")


def test_what_is_expected_is_drawn_where_a_signal_states_it(visit: Open, tmp_path: Path) -> None:
    days = [
        {"date": f"2025-02-{day:02d}", "p10": f"{-day}.00", "p50": "50.00", "p90": f"{100 + day}.00"}
        for day in range(1, 29)
    ]
    bought = [transaction(1, number, account_id="a-1", balance_after="80.00") for number in range(30)]
    write_log(tmp_path / "in", "in.transactions", [("c-1", as_line(each)) for each in bought])
    due = {"stream": "Rent", "date": "2025-02-05", "amount": "900.00"}
    ahead = signal(
        type="alert.overdraft_ahead",
        event_time="2025-01-15T00:00:00.000000Z",
        details={"account_id": "a-1", "date": "2025-02-20"},
        forecast={"account_id": "a-1", "balance": days},
        counterfactual={"action": "add_money", "amount": "150.00"},
    )
    write_signals(
        tmp_path / "with", ahead, signal(type="alert.bill_due", id="b" * 32, details=due), topic="signals.alert"
    )
    page = tmp_path / "page.html"
    source = ["--events", str(tmp_path / "in"), "--customer", "c-1", "--reveal", "--out", str(page)]
    assert main(["report", str(tmp_path / "with"), *source]) == 0
    each = visit(page)
    assert each.page.evaluate("shown.timeline.fan().points.length") == 28
    assert each.page.evaluate("shown.timeline.size.streams.map(({ stream }) => [stream.name, stream.next[0][1]])") == [
        ["Rent", "900.00"]
    ]
    blue = each.page.evaluate(
        """() => {
            const line = shown.timeline, { balance } = line.size, ratio = devicePixelRatio;
            const x = line.x(Date.parse('2025-02-14')), data = line.canvas.getContext('2d');
            const column = data.getImageData(x * ratio, balance.top * ratio, 1, (balance.bottom - balance.top) * ratio).data;
            return [...column].some((value, i) => i % 4 === 2 && value > column[i - 2] + 20);
        }"""
    )
    assert blue, "the fan is painted in the days ahead"
    each.page.evaluate("(id) => shown.open(id)", "a" * 32)
    assert "add_money" in each.page.locator("aside section[aria-label='What would change it']").inner_text()


def test_a_sum_that_is_wrong_is_called_a_fault(visit: Open, tmp_path: Path) -> None:
    write_signals(tmp_path / "run", signal(score=0.75))
    page = tmp_path / "page.html"
    assert main(["report", str(tmp_path / "run"), "--out", str(page)]) == 0
    each = visit(page)
    each.page.locator("td button").first.click()
    assert "is not the score: a fault" in each.page.locator("aside .sum").inner_text()


def test_hostile_names_and_descriptions_stay_text(visit: Open, tmp_path: Path) -> None:
    records = [
        transaction(1, number, merchant_name=text, description=text, transaction_id=f"{number} {text}"[:128].strip())
        for number, text in enumerate(HOSTILE)
    ]
    write_log(tmp_path / "in", "in.transactions", [("c-1", as_line(each)) for each in records])
    run, page = tmp_path / "run", tmp_path / "page.html"
    assert main(["replay", str(tmp_path / "in"), "--out", str(run)]) == 0
    for number, text in enumerate(HOSTILE):
        evidence = {
            "transaction_ids": [records[number]["transaction_id"]],
            "windows": [{"name": text, "from": text, "to": text}],
        }
        said = signal(
            id=f"{number:032x}", episode=text, severity=text, detector=text, evidence=evidence, inputs={text: text},
            details={"stream": text, text: text, "expected_on": "2025-03-01", "account_id": text}, counterfactual={text: text},
            reasons=[reason(text, 1.5, feature=text, value=text, baseline=text, text=text)],
        )  # fmt: skip
        write_signals(run, said, partition=10 + number)
    assert main(["report", str(run), "--customer", "c-1", "--reveal", "--out", str(page)]) == 0
    each = visit(page)
    each.page.get_by_text("signals as a table").click()
    each.page.get_by_text("transactions as a table").click()
    for text in HOSTILE:
        assert text in each.page.evaluate("document.body.textContent"), text
    for number in range(len(HOSTILE)):
        each.page.evaluate("(id) => shown.open(id)", f"{number:032x}")
        each.page.evaluate("(i) => shown.openTransaction(i)", number)
    each.page.get_by_role("button", name="All customers").click()
    assert each.page.evaluate("window.harmed") is None
    assert each.page.locator("img, iframe, main script, main style, a[href^=http]").count() == 0


def test_no_request_could_leave_the_page(visit: Open, report: Path) -> None:
    each = visit(report)
    refused = each.page.evaluate(
        """async () => {
            const image = new Promise((done) => {
                const it = new Image();
                it.onload = () => done('loaded');
                it.onerror = () => done('refused');
                it.src = 'https://example.com/x.png';
            });
            const fetched = fetch('https://example.com/').then(() => 'fetched', () => 'refused');
            const script = document.createElement('script');
            script.textContent = 'window.harmed = 1';
            document.head.append(script);  // an inline script runs at once, or not at all
            return [await image, await fetched, window.harmed ? 'ran' : 'refused'];
        }"""
    )
    assert refused == ["refused", "refused", "refused"]
    each.faults.clear()  # the browser tells each refusal
    each.requests.clear()


@pytest.mark.parametrize(
    ("width", "scheme", "name"),
    [(1300, "light", "wide"), (1300, "dark", "dark"), (320, "light", "phone")],
)
def test_axe_finds_no_barrier(visit: Open, report: Path, width: int, scheme: str, name: str) -> None:
    each = visit(report, width=width, scheme=scheme, height=844)
    folded = "summary" if name == "wide" else "summary.none"  # the tables are the same everywhere: once is enough
    for summary in each.page.locator(folded).all():
        summary.click()
    assert barriers(each.page) == []
    story = each.page.evaluate("page.stories.toSorted((a, b) => b.signals.length - a.signals.length)[0]")
    show(each, story["key"], story["signals"][0]["id"])
    for summary in each.page.locator(folded).all():
        summary.click()
    assert barriers(each.page) == []
    too_wide = each.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
    assert not too_wide, "the page itself must not scroll sideways"
    each.keep_screenshot(f"{name}.png")


def test_everything_can_be_reached_by_keyboard(visit: Open, report: Path) -> None:
    each = visit(report)
    story = each.page.evaluate("page.stories.toSorted((a, b) => b.signals.length - a.signals.length)[0]")
    show(each, story["key"])
    press, focused = each.page.keyboard.press, "document.activeElement"
    each.page.locator(".timeline").focus()
    whole = each.page.evaluate("shown.timeline.view")
    press("+")
    press("ArrowRight")
    zoomed = each.page.evaluate("shown.timeline.view")
    assert whole[0] < zoomed[0] < zoomed[1] <= whole[1]
    press("0")
    assert each.page.evaluate("shown.timeline.view") == whole
    press("Tab")  # one stop for all flags
    first = each.page.evaluate(f"{focused}.ariaLabel ?? {focused}.getAttribute('aria-label')")
    press("ArrowRight")
    second = each.page.evaluate(f"{focused}.getAttribute('aria-label')")
    assert first != second
    press("Enter")
    assert each.page.locator("aside h2").inner_text() in json.dumps(story["signals"])
    assert each.page.evaluate(f"{focused}.getAttribute('aria-label')") == second  # the reader's place is kept

"""`segone watch` as people run it: a process and a browser. News arrive, hostile text stays text, nothing is written,
strangers stay out."""

from __future__ import annotations

import http.client
import os
import re
import signal as signals
import subprocess
import sys
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from browser import Visit, barriers
from cli_samples import ROOT, as_line, reason, segone, signal, transaction, write_log, write_signals
from demo_run import Demo

from dataflows.cli import main
from dataflows.commands.run_folder import write_run_note

TOKEN = "a token of many characters"
Start = Callable[..., tuple[str, subprocess.Popen[str]]]


@pytest.fixture
def start() -> Iterator[Start]:
    running: list[subprocess.Popen[str]] = []

    def watch(*arguments: str | Path, **environment: str) -> tuple[str, subprocess.Popen[str]]:
        """The address that it prints, and the process."""
        command = [sys.executable, "-m", "dataflows.cli", "watch", *map(str, arguments), "--port", "0"]
        process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        running.append(process)
        assert process.stdout is not None
        found = re.search(r"http://[^/]+", process.stdout.readline())
        assert found is not None, process.communicate(timeout=10)[1]
        return found.group(), process

    yield watch
    for process in running:
        process.kill()
        process.wait()


def ask(
    address: str, path: str, method: str = "GET", body: str | None = None, **headers: str
) -> tuple[int, dict[str, str], str]:
    """Status, headers (lower case) and text."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=30)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    told = {name.lower(): value for name, value in answer.getheaders()}
    text = answer.read().decode() if told.get("content-type") != "text/event-stream; charset=utf-8" else ""
    connection.close()
    return answer.status, told, text


def contents(folder: Path) -> dict[str, str]:
    return {str(path): sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*")) if path.is_file()}


def publish(run: Path, *said: dict[str, Any], partition: int = 90) -> None:
    """Appends and commits, as a worker does."""
    path = run / "signals.anomaly" / f"{partition}.jsonl"
    with path.open("ab") as file:
        file.writelines(as_line(each) + b"\n" for each in said)
    path.with_suffix(".committed").write_text(str(path.stat().st_size))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    records = [transaction(1, number, merchant_name="<b>Shop</b>") for number in range(60)]
    write_log(tmp_path / "in", "in.transactions", [("c-1", as_line(each)) for each in records])
    assert main(["replay", str(tmp_path / "in"), "--out", str(tmp_path / "run")]) == 0
    return tmp_path / "run"


@pytest.mark.chromium
@pytest.mark.xdist_group("chromium")
def test_news_arrive_in_an_open_page_and_their_reasons_can_be_read(start: Start, run: Path, browser: Any) -> None:
    address, _ = start(run)
    before = contents(run)
    each = Visit(browser).open(address)
    text = '<img src=x onerror="window.harmed = 1"><script>window.harmed = 1</script>'
    assert text not in each.page.evaluate("main.textContent")
    said = signal(
        id="f" * 32, reasons=[reason("SPEED_IMPOSSIBLE", 1.5, text=text)], evidence={"transaction_ids": ["t-1-3"]}
    )
    publish(run, said)
    row = each.page.locator("tr", has_text="f" * 32).first
    row.wait_for()  # without a reload
    assert "speed impossible" in row.inner_text(), "a text may hold names: the code stands for it among pseudonyms"
    row.get_by_role("button").click()
    panel = each.page.locator("aside", has_text="SPEED_IMPOSSIBLE".replace("_", " ").lower())
    panel.wait_for()
    assert text in panel.inner_text()
    assert each.page.locator("main img, main script").count() == 0
    assert panel.locator(".contribution").all_inner_texts() == ["-1.5", "+1.5"]
    marked = each.page.evaluate("[...shown.timeline.marked].length")
    assert marked == 1, "the evidence is marked, under its pseudonym"
    publish(run, signal(id="e" * 32, episode="t-9", event_time="2025-01-20T00:00:00.000000Z"))
    each.page.locator(".figures div", has_text="signals").locator("dd", has_text="3").wait_for()
    assert each.page.locator("aside .contribution").all_inner_texts() == ["-1.5", "+1.5"], "what is read stays open"
    assert "c-1" not in re.findall(
        r"[\w-]+", each.page.evaluate("document.documentElement.textContent + JSON.stringify(page)")
    )
    assert barriers(each.page) == []
    each.keep_screenshot("live.png")
    assert each.page.evaluate("window.harmed") is None
    assert {url.split("/")[2] for url in each.requests if url.startswith("http")} == {address.removeprefix("http://")}
    assert each.faults == []
    each.close()
    own = str(run / "signals.anomaly" / "90.")
    assert {name: digest for name, digest in contents(run).items() if not name.startswith(own)} == before, (
        "watch only reads"
    )


def test_answers_are_strict_and_only_our_own_name_is_answered(start: Start, run: Path) -> None:
    address, process = start(run)
    status, headers, text = ask(address, "/")
    assert status == 200
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert "<script>" in text
    for name in ("attacker.example", "attacker~.example", "localhost@attacker.example", "[::1", "localhost/x", ""):
        assert ask(address, "/", Host=name)[0] == 421, name
    assert ask(address, "/news")[1]["content-type"].startswith("text/event-stream")
    assert ask(address, "/story?customer=nobody")[0] == 404
    assert ask(address, "/story?customer=c-1")[0] == 404, "an id is no key where pseudonyms are shown"
    assert ask(address, "/", "POST")[0] == 405
    assert ask(address, "/../../etc/passwd")[0] == 404
    process.send_signal(signals.SIGTERM)
    assert process.wait(timeout=20) == 0


def test_nobody_gets_in_without_the_token(start: Start, run: Path) -> None:
    address, _ = start(run, "--reveal", SEGONE__WATCH__TOKEN=TOKEN)
    assert ask(address, "/")[:1] == (303,)
    for path in ("/news", "/story?customer=c-1"):
        assert ask(address, path)[0] == 401
        assert ask(address, path, Authorization="Bearer wrong")[0] == 401
        assert ask(address, path, Cookie="segone-watch=wrong")[0] == 401
    assert ask(address, "/login")[0] == 200
    status, headers, _ = ask(address, "/login", "POST", "token=wrong")
    assert (status, "set-cookie" in headers) == (403, False)
    status, headers, _ = ask(address, "/login", "POST", f"token={TOKEN.replace(' ', '+')}")
    assert status == 303
    cookie = headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKEN not in cookie
    assert ask(address, "/story?customer=c-1", Cookie=cookie.partition(";")[0])[0] == 200
    assert ask(address, "/story?customer=c-1", Authorization=f"Bearer {TOKEN}")[0] == 200
    assert ask(address, "/", Authorization=f"Bearer {TOKEN}", Host="segone.example")[0] == 200


@pytest.mark.chromium
@pytest.mark.xdist_group("chromium")
def test_a_page_opened_before_the_first_signal_fills_when_it_comes(start: Start, tmp_path: Path, browser: Any) -> None:
    write_run_note(tmp_path, tmp_path / "in")  # all that a worker has written when it begins
    address, _ = start(tmp_path)
    each = Visit(browser).open(address)
    assert "No signals." in each.page.locator("main").inner_text()
    write_signals(tmp_path, signal())
    each.page.locator("tr", has_text="a" * 32).first.wait_for()
    assert each.faults == []
    each.close()


def test_wrong_use_of_watch_is_told_plainly(demo: Demo, tmp_path: Path) -> None:
    for arguments, message in (
        ([str(demo.run), "--host", "0.0.0.0"], "so a token is required"),
        ([], "name RUN, the output folder of a worker"),
        ([str(tmp_path)], "holds none of the output topics"),
        ([str(demo.run), "--host", "203.0.113.1", "--port", "1"], "[watch] 203.0.113.1:1: cannot listen there"),
    ):
        ended = segone("watch", *arguments, SEGONE__WATCH__TOKEN=TOKEN if "203.0.113.1" in arguments else "")
        assert (ended.returncode, message in ended.stderr) == (2, True), ended.stderr

"""The demo shows what it promises."""

import re

import pytest
from system.moat import deepmoat


@pytest.mark.system
def test_the_demo_finds_tells_and_blocks_and_refuses_nobody_honest() -> None:
    done = deepmoat("demo", "--seconds", "34", timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr
    shown = done.stdout
    assert "/sign-in?link=" in shown
    assert re.search(r"honest requests refused: 0 of [\d,]+ \([1-9]\d* streamed chats\)", shown), shown
    flood = re.search(r"flood: ([\d,]+) requests, ([\d,]+) refused", shown)
    guessing = re.search(r"password guessing: ([\d,]+) requests, ([\d,]+) refused", shown)
    assert flood and guessing, shown
    assert int(flood[2].replace(",", "")) > 0 and int(guessing[2].replace(",", "")) > 0
    assert "failed" in shown and "requests in" in shown, "two incidents, in words"

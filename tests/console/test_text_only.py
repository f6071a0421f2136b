"""Nothing in the console turns text into markup, whoever writes the next page."""

import ast
from pathlib import Path

import deepmoat.console

FORBIDDEN = {
    "html": "text becomes markup",
    "markdown": "text becomes markup",
    "restructured_text": "text becomes markup",
    "mermaid": "text becomes markup",
    "code": "it is rendered through markdown",
    "editor": "text becomes markup",
    "add_slot": "a slot is a template: what is pasted into it is code",
    "add_body_html": "text becomes markup",
}
FILES = sorted(Path(deepmoat.console.__file__).parent.rglob("*.py"))


def used(source: str) -> set[str]:
    return {node.attr for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)} & set(
        FORBIDDEN
    )


def test_no_part_of_the_console_renders_markup() -> None:
    assert len(FILES) > 15
    assert {str(file.name): used(file.read_text()) for file in FILES if used(file.read_text())} == {}


def test_the_check_can_fail() -> None:
    assert used("ui.html(record.body)") == {"html"}
    assert used("table.add_slot('body', text)") == {"add_slot"}


def test_head_html_is_a_constant() -> None:
    calls = [
        node
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_head_html"
    ]
    assert len(calls) == 1
    assert isinstance(calls[0].args[0], ast.Name)
    assert calls[0].args[0].id == "_HEAD"

"""What the prose names exists: files behind links, and verbs."""

import re
from pathlib import Path

import pytest

from nanosynth import cli

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(page for folder in ("docs", "examples", "models", "presets") for page in (ROOT / folder).rglob("*.md"))]
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PICTURES = (".jpg", ".png")


def links(page):
    """The relative targets of a page: (as written, file, anchor)."""
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if "://" not in target and not target.startswith("mailto:"):
            name, _, anchor = target.partition("#")
            yield target, (page.parent / name if name else page), anchor


def anchors(page):
    """The anchors that a page's headlines get."""
    headlines = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", headline.lower()).replace(" ", "-") for headline in headlines}


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_link_leads_somewhere(page):
    for target, file, anchor in links(page):
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_every_page_and_every_picture_is_linked():
    linked = {file.resolve() for page in PAGES for _, file, _ in links(page)}
    pages = [*(ROOT / "docs").rglob("*.md"), *(file for file in (ROOT / "docs").rglob("*") if file.suffix in PICTURES)]
    assert len(pages) > 10
    assert [str(page) for page in pages if page.resolve() not in linked] == []


def test_the_read_me_shows_every_verb_and_no_other():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text.partition("| Step | Command |")[2].partition("\n\n")[0]
    shown = set(re.findall(r"`\./nanosynth ([a-z-]+)", table))
    assert shown == set(cli.parser().listed)


PATH = re.compile(r"`((?:[\w.-]+/)*[\w.-]+\.(?:py|toml|md|lock|in))`")


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_files_of_the_project_that_a_page_names_exist(page):
    """Names with a folder of the project in them; others are the user's or stand for any."""
    for name in PATH.findall(page.read_text(encoding="utf-8")):
        top = name.split("/")[0]
        if "/" in name and "NAME" not in name and (ROOT / top).is_dir():
            assert (ROOT / name).exists(), name


SHELL = re.compile(r"(?:^ {4}|^|`|\\\n\s+)\./nanosynth ([^`\n]+(?:\\\n[^`\n]+)*)", re.MULTILINE)


def commands(page):
    """The words of every `./nanosynth …` that a page shows, without comments and brackets; N and X stand for numbers."""
    for shown in SHELL.findall(page.read_text(encoding="utf-8")):
        words = shown.replace("\\\n", " ").split("   ")[0].split(" #")[0]
        yield ["1" if word in ("N", "X") else word for word in re.sub(r"[\[\]…]", "", words).split()]


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_command_line_is_understood(page, capsys):
    for words in commands(page):
        if words[0] == "VERB" or "--help" in words:
            continue
        try:
            cli.parser(words[0]).parse_args(words)
        except SystemExit:
            pytest.fail(f"{' '.join(words)}: {capsys.readouterr().err}")


def test_commands_are_found_in_the_pages():
    found = {page: len(list(commands(page))) for page in PAGES}
    assert found[ROOT / "README.md"] > 10 and sum(found.values()) > 30

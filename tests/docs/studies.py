#!/usr/bin/env python3
"""The pages of docs/kernels quote what their studies print: python3 tests/docs/studies.py [--write] [PAGE ...]

Runs the commands `bash examples/kernel_study/study.sh ...` of each page as they stand there, and looks for each of its ```text
blocks in what they print: a block that begins with "== title ==" is all of that part, another one is some lines of it. --write
brings the former up to date; what the text around them says of their numbers must be read again.
"""

import difflib
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PAGES = ROOT / "docs/kernels"
STUDIES = ROOT / "examples/kernel_study"
COMMAND = re.compile(r"^bash examples/kernel_study/study\.sh\b.*$", re.MULTILINE)
BLOCK = re.compile(r"^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def printed_by(page, text):
    """What the page's commands print; None where one fails."""
    lines = []
    for command in COMMAND.findall(text):
        run = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True)
        if run.returncode != 0:
            print(f"{page.name}: {command} ends with {run.returncode}\n{run.stdout}{run.stderr}")
            return None
        lines += run.stdout.splitlines()
    return lines


def part_of(lines, title):
    """The lines from `title` to the next title, without blank lines at the end."""
    first = lines.index(title)
    after = next((i for i in range(first + 1, len(lines)) if lines[i].startswith("== ")), len(lines))
    while lines[after - 1] == "":
        after -= 1
    return lines[first:after]


def is_within(block, lines):
    return any(lines[i:i + len(block)] == block for i in range(len(lines) - len(block) + 1))


def check(page, write):
    """The number of blocks that are not what is printed."""
    text = page.read_text()
    lines = printed_by(page, text)
    if lines is None:
        return 1
    wrong, count = 0, 0

    def look(match):
        nonlocal wrong, count
        count += 1
        block = match.group(1).splitlines()
        whole = block and block[0].startswith("== ") and block[0] in lines
        if block == part_of(lines, block[0]) if whole else block and is_within(block, lines):
            return match.group(0)
        if not whole:
            print(f"{page.name}: not printed by any of its commands:\n" + "\n".join(block))
        elif write:
            return "```text\n" + "\n".join(part_of(lines, block[0])) + "\n```"
        else:
            print("\n".join(difflib.unified_diff(block, part_of(lines, block[0]), page.name, "printed", lineterm="")))
        wrong += 1
        return match.group(0)

    written = BLOCK.sub(look, text)
    if written != text:
        page.write_text(written)
        print(f"{page.name}: written; read again what it says of its tables")
    if count == 0:
        print(f"{page.name}: quotes nothing")
        wrong += 1
    if wrong:
        print(f"{page.name}: {wrong} of {count} blocks; bring them up to date with python3 tests/docs/studies.py --write")
    else:
        print(f"{page.name}: {count} blocks, as printed")
    return wrong


def main():
    names = [a for a in sys.argv[1:] if a != "--write"]
    studied = {page: page.read_text() for page in sorted(PAGES.glob("*.md")) if COMMAND.search(page.read_text())}
    wrong = sum(check(page, "--write" in sys.argv) for page in ([PAGES / f"{name}.md" for name in names] or studied))
    for study in sorted(STUDIES.glob("*.cpp")):
        if "int main()" in study.read_text() and not any(f"kernel_study/{study.name}\n" in text for text in studied.values()):
            print(f"{study.name}: no page of docs/kernels runs it")
            wrong += 1
    return 1 if wrong else 0


if __name__ == "__main__":
    os.environ.setdefault("CXX", "g++")
    sys.exit(main())

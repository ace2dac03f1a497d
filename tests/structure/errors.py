#!/usr/bin/env python3
"""docs/errors.md lists every message of the library: python3 tests/structure/errors.py [--write]

Reads each CLEARSKY_CHECK and CLEARSKY_FAIL in include/ and cuda/ and compares its text, with placeholders for values, with the
list. --write brings the list up to date and keeps the explanations below its entries (the indented lines).
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs/errors.md"
INTRO_END = "<!-- The list below is written by tests/structure/errors.py; explanations are kept. -->\n"
LAYERS = ["core", "autograd", "cpu", "ops", "nn", "optim", "tdpcr", "metrics", "io", "geo", "data", "train", "simt", "cuda"]

LITERAL = re.compile(r'"((?:[^"\\]|\\.)*)"')


def arguments(text, start):
    """The top-level arguments of the call whose opening parenthesis stands at text[start]."""
    depth, parts, current, i = 0, [], "", start
    while True:
        c = text[i]
        if c in "\"'":
            end = i + 1
            while text[end] != c:
                end += 2 if text[end] == "\\" else 1
            current += text[i:end + 1]
            i = end + 1
            continue
        if c in "([{":
            depth += 1
        elif c in ")]}":
            depth -= 1
        if depth == 0:
            return parts + [current.strip()]
        if c == "," and depth == 1:
            parts.append(current.strip())
            current = ""
        elif not (c == "(" and i == start):
            current += c
        i += 1


def placeholder(expression):
    for wrapper in (r"std::string", r"detail::to_text", r"to_text", r"int64_t", r"double", r"long"):
        expression = re.sub(rf"^{wrapper}\((.*)\)$", r"\1", expression)
    expression = expression.replace("->", ".").replace("()", "").replace("this.", "")
    return "{" + (expression if re.fullmatch(r"[A-Za-z_][\w.]{0,23}", expression) else "...") + "}"


def messages(path):
    """(kind, message) of every check in a header, in their order."""
    text = re.sub(r"//[^\n]*|^\s*#[^\n]*(?:\\\n[^\n]*)*", lambda m: "" if m.group().startswith("//") else "\n",
                  path.read_text(), flags=re.M)
    found = []
    for call in re.finditer(r"\bCLEARSKY_(CHECK|FAIL)\(", text):
        parts = arguments(text, call.end() - 1)
        kind, parts = parts[0], parts[2:] if call.group(1) == "CHECK" else parts[1:]
        message = ""
        for part in parts:
            if LITERAL.sub("", part).strip() == "":
                message += "".join(LITERAL.findall(part))
            else:
                message += placeholder(part)
        message = message.replace('\\"', '"').replace("\\n", " ").replace("\\\\", "\\")
        if (kind, message) not in found:
            found.append((kind, message))
    return found


def wanted():
    page = {}
    for layer in LAYERS:
        folder = ROOT / ("cuda" if layer in ("simt", "cuda") else "include") / "clearsky" / layer
        for path in sorted([*folder.rglob("*.hpp"), *folder.rglob("*.cuh")]):
            if path.name == "error.hpp":
                continue
            entries = [f"- **{kind}** `{message}`" for kind, message in messages(path)]
            if entries:
                page[f"{layer}/{path.relative_to(folder)}"] = entries
    return page


def main():
    page = wanted()
    text = PAGE.read_text() if PAGE.exists() else INTRO_END
    intro, _, rest = text.partition(INTRO_END)
    entries, explanations, last = [], {}, None
    for line in rest.splitlines():
        if line.startswith("- **"):
            last = line
            entries.append(line)
        elif line.startswith("  ") and last:
            explanations.setdefault(last, []).append(line)

    if sys.argv[1:] == ["--write"]:
        out, used = intro + INTRO_END, set()
        for header, lines in page.items():
            out += f"\n## {header}\n\n"
            for line in lines:
                out += line + "\n"
                if line not in used:
                    out += "".join(e + "\n" for e in explanations.get(line, []))
                used.add(line)
        PAGE.write_text(out)
        lost = [e for e in explanations if e not in used]
        for entry in lost:
            print("explanation dropped, its message is gone:", entry)
        entries = [line for lines in page.values() for line in lines]

    expected = [line for lines in page.values() for line in lines]
    missing = [e for e in expected if e not in entries]
    extra = [e for e in entries if e not in expected]
    for e in missing:
        print("not in docs/errors.md:", e)
    for e in extra:
        print("no longer in the library:", e)
    nameless = [e for e in expected if ":" not in e.split("`", 1)[1]]
    for e in nameless:
        print("the message names no operation (operation: what is wrong; what to do):", e)
    print(f"{len(expected)} messages, {len(explanations)} explained")
    if missing or extra:
        print("python3 tests/structure/errors.py --write brings the list up to date")
    return 1 if missing or extra or nameless else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Every public operation has a test: python3 tests/structure/ops_have_rows.py

Reads include/clearsky/ops/*.hpp for the templates outside of namespace detail that return a Tensor (or several), and
wants each to be called in some tests/ops/*_test.cpp, outside of comments and texts; changes in place, whose names end
in an underscore, in some tests/autograd/*_test.cpp. Operators are left out: their names are signs.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent

RETURNS = r"(?:Tensor<[^<>]*>&?|std::vector<Tensor<[^<>]*>>|std::pair<Tensor<[^<>]*>, *Tensor<[^<>]*>>)"
DECLARED = re.compile(rf"template <[^<>{{}};]*>\s*(?:inline\s+)?{RETURNS}\s+(\w+)\s*\(")


def without_comments_and_texts(text):
    """Comments become nothing, texts empty ones."""
    token = r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"'
    return re.sub(token, lambda m: '""' if m.group().startswith('"') else " ", text, flags=re.S)


def without_detail(text):
    """The text without the blocks of namespace detail."""
    while True:
        start = re.search(r"\bnamespace detail\s*\{", text)
        if not start:
            return text
        depth, end = 1, start.end()
        while depth > 0:
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        text = text[: start.start()] + text[end:]


def public_operations(text):
    return {name for name in DECLARED.findall(without_detail(without_comments_and_texts(text))) if name != "operator"}


def called(text):
    # `cast<double>(` counts as a call of cast; a method (`x.sum(`) does not.
    return set(re.findall(r"(?<![.\w>])(\w+)(?:<[\w:, <>]*>)?\s*\(", without_comments_and_texts(text)))


def self_test():
    """The check must see what it is there to see."""
    header = """
namespace clearsky {
namespace detail {
template <class T> Tensor<T> hidden(const Tensor<T>& x) { if (x) { return x; } return {}; }
}  // namespace detail
/// template <class T> Tensor<T> in_a_comment(
template <class T>
Tensor<T> shown(const Tensor<T>& x) { return x; }
template <class T> std::vector<Tensor<T>> several(const Tensor<T>& x);
template <class To, class T>
Tensor<To> converted(const Tensor<T>& x);
template <class T> Tensor<T>& changed_(Tensor<T>& x);
template <class T> Tensor<T> operator+(const Tensor<T>& a, const Tensor<T>& b);
}
"""
    assert public_operations(header) == {"shown", "several", "converted", "changed_"}, public_operations(header)
    test = 'TEST_CASE("shown(") { converted<double>(x); x.several(); detail::f(changed_(x)); }  // shown(x)'
    found = called(test) & public_operations(header)
    assert found == {"converted", "changed_"}, found


def main():
    self_test()
    tested = {"ops": set(), "autograd": set()}
    for folder, names in tested.items():
        for path in sorted((ROOT / "tests" / folder).glob("*_test.cpp")):
            text = path.read_text()
            # One macro writes the rows of the functions of one value: UNARY(name, ...).
            names |= called(text) | set(re.findall(r"^UNARY\(\s*(\w+)", text, flags=re.M))
    count, missing = 0, []
    for path in sorted((ROOT / "include/clearsky/ops").glob("*.hpp")):
        for name in sorted(public_operations(path.read_text())):
            count += 1
            folder = "autograd" if name.endswith("_") else "ops"
            if name not in tested[folder]:
                missing.append(f"{path.name}: {name} is called in no tests/{folder}/*_test.cpp")
    for line in missing:
        print(line)
    print(f"{count} operations, {len(missing)} without a test")
    return 1 if missing or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())

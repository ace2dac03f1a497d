#!/usr/bin/env python3
"""The rules of the include tree, as a test: python3 tests/structure/layers.py [--write]

- A header includes only from its own layer and from those below it; include/ never includes cuda/.
- Only geo needs GDAL, only io needs stb, only io, geo, data and train may need JSON.
- No cycle of includes, and headers that nest at most 11 levels deep.
- The umbrellas include every header of their layers.
  With --write, writes the umbrellas anew.
- No `using namespace` in a header; each header starts with #pragma once.
"""

import pathlib
import re
import sys

# What each layer may include besides itself, as the arrows point (transitively closed below).
BELOW = {
    "core": [],
    "cpu": ["core"],
    "autograd": ["core"],
    "ops": ["cpu", "autograd"],
    "nn": ["ops"],
    "optim": ["nn"],
    "tdpcr": ["nn"],
    "metrics": ["core"],
    "io": ["core"],
    "geo": ["io"],
    "data": ["geo"],
    "train": ["data", "tdpcr", "optim", "metrics"],
    # In cuda/. Nothing in include/ stands above them.
    "simt": ["core"],
    "cuda": ["simt", "optim"],
}
IN_CUDA = {"simt", "cuda"}
# Third-party headers, and the layers that may include them.
THIRD_PARTY = {
    r"(gdal|cpl_|ogr_)": {"geo"},
    r"stb/": {"io"},
    r"nlohmann/": {"io", "geo", "data", "train"},
    r"Eigen/": set(BELOW),
    r"cuda": {"cuda"},
    r"(CLI/|doctest|benchmark)": set(),
}
# Layers that the umbrella of everything includes: those that need no third-party header.
IN_UMBRELLA = ["core", "autograd", "ops", "nn", "optim", "metrics", "tdpcr"]
DEEPEST = 11

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)


def allowed(layer):
    seen, todo = {layer}, [layer]
    while todo:
        for below in BELOW[todo.pop()]:
            if below not in seen:
                seen.add(below)
                todo.append(below)
    return seen


def check(root):
    include = root / "include"
    problems = []
    graph, outside = {}, {}
    paths = [(p, include) for p in (include / "clearsky").rglob("*.hpp")]
    paths += [(p, root / "cuda") for kind in ("*.hpp", "*.cuh") for p in (root / "cuda/clearsky").rglob(kind)]
    for path, folder in sorted(paths):
        name = str(path.relative_to(folder))
        if len(name.split("/")) > 2 and (name.split("/")[1] in IN_CUDA) != (folder != include):
            problems.append(f"{name}: stands in {folder.name}/, the layers {', '.join(sorted(IN_CUDA))} in cuda/")
        text = path.read_text()
        graph[name] = [target for _, target in INCLUDE.findall(text) if target.startswith("clearsky/")]
        outside[name] = [target for _, target in INCLUDE.findall(text) if not target.startswith("clearsky/")]
        if not text.startswith("#pragma once\n"):
            problems.append(f"{name}: does not start with #pragma once")
        if re.search(r"^\s*using namespace", text, re.M):
            problems.append(f"{name}: using namespace in a header")

    for name, targets in graph.items():
        parts = name.split("/")
        for target in targets:
            if target not in graph:
                problems.append(f"{name}: includes {target}, which does not exist")
        if len(parts) < 3:
            continue  # umbrellas may include everything
        layer = parts[1]
        if layer not in BELOW:
            problems.append(f"{name}: {layer} is not a layer; put it into BELOW of tests/structure/layers.py")
            continue
        for target in targets:
            other = target.split("/")
            if len(other) < 3:
                if target != "clearsky/version.hpp":
                    problems.append(f"{name}: includes the umbrella {target}; include what is needed")
            elif other[1] not in allowed(layer):
                problems.append(f"{name}: includes {target}, but {layer} stands below {other[1]}")
        for target in outside[name]:
            for pattern, layers in THIRD_PARTY.items():
                if re.match(pattern, target) and layer not in layers:
                    problems.append(f"{name}: includes <{target}>, which {layer} may not need")

    def find_cycle(name, chain, done):
        if name in chain:
            problems.append("cycle: " + " -> ".join(chain[chain.index(name):] + [name]))
        elif name not in done:
            for target in graph.get(name, []):
                find_cycle(target, chain + [name], done)
            done.add(name)

    def depth(name, seen):
        """As the compiler meets it: a header that was seen before is not opened again."""
        seen.add(name)
        return 1 + max((depth(t, seen) for t in graph[name] if t in graph and t not in seen), default=0)

    done = set()
    for name in graph:
        find_cycle(name, [], done)
    depths = {name: depth(name, set()) for name in graph}
    for name, levels in depths.items():
        if levels > DEEPEST:
            problems.append(f"{name}: includes nest {levels} levels deep, allowed are {DEEPEST}")

    def reached(name):
        seen, todo = set(), [name]
        while todo:
            for target in graph.get(todo.pop(), []):
                if target not in seen:
                    seen.add(target)
                    todo.append(target)
        return seen

    umbrellas = {f"clearsky/{layer}.hpp": [layer] for layer in IN_UMBRELLA}
    umbrellas["clearsky/clearsky.hpp"] = IN_UMBRELLA
    for umbrella, layers in umbrellas.items():
        if umbrella not in graph:
            if any(n.startswith(f"clearsky/{layer}/") for n in graph for layer in layers):
                problems.append(f"{umbrella}: is missing")
            continue
        found = reached(umbrella)
        for name in graph:
            if name.split("/")[1] in layers and name.count("/") == 2 and name not in found:
                problems.append(f"{umbrella}: does not include {name}")
        for name in found:
            for target in outside.get(name, []):
                if any(re.match(p, target) for p in THIRD_PARTY if p != r"Eigen/"):
                    problems.append(f"{umbrella}: brings in <{target}> through {name}")
    return len(graph), max(depths.values()), problems


def write_umbrellas(root):
    folder = root / "include/clearsky"
    for layer in IN_UMBRELLA:
        headers = sorted(p.name for p in (folder / layer).glob("*.hpp"))
        if headers:
            includes = "".join(f'#include "clearsky/{layer}/{name}"\n' for name in headers)
            (folder / f"{layer}.hpp").write_text(
                f"#pragma once\n// All of clearsky/{layer}. Written by tests/structure/layers.py --write.\n\n{includes}")
    includes = "".join(f'#include "clearsky/{layer}.hpp"\n' for layer in IN_UMBRELLA if (folder / f"{layer}.hpp").exists())
    (folder / "clearsky.hpp").write_text(
        "#pragma once\n// Everything that needs the standard library alone: tensors, gradients, operations, networks, optimizers,\n"
        "// metrics and the TDP-CR model. Files (clearsky/io), rasters (clearsky/geo), data sets (clearsky/data) and training\n"
        "// (clearsky/train) are included one by one, since they need other libraries.\n"
        f'// Written by tests/structure/layers.py --write.\n\n{includes}#include "clearsky/version.hpp"\n')


def self_test():
    """The check must see what it is there to see."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        base = pathlib.Path(folder)
        for name, text in {
            "core/up.hpp": '#include "clearsky/ops/a.hpp"\n',
            "ops/a.hpp": '#include "clearsky/ops/b.hpp"\n',
            "ops/b.hpp": '#include "clearsky/ops/a.hpp"\n#include <gdal.h>\n#include "clearsky/cuda/k.cuh"\n',
            "../../cuda/clearsky/cuda/k.cuh": '#include "clearsky/tdpcr/model.hpp"\n',
            "nn/linear.hpp": "",
            "tdpcr/model.hpp": "",
        }.items():
            path = base / "include/clearsky" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("#pragma once\n" + text)
        problems = "\n".join(check(base)[2])
        for wanted in ("ops stands below cuda", "cuda stands below tdpcr", "core stands below ops", "cycle: ",
                       "<gdal.h>, which ops may not need", "clearsky.hpp: is missing"):
            assert wanted in problems, f"the layer test no longer sees: {wanted}\n{problems}"


def main():
    root = pathlib.Path(__file__).resolve().parent.parent.parent
    if sys.argv[1:] == ["--write"]:
        write_umbrellas(root)
    self_test()
    headers, deepest, problems = check(root)
    for problem in problems:
        print(problem)
    if any("umbrella" in p or "does not include" in p or "is missing" in p for p in problems):
        print("python3 tests/structure/layers.py --write writes the umbrellas")
    print(f"{headers} headers, nested at most {deepest} levels deep, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

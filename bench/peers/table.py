#!/usr/bin/env python3
"""Writes the tables and the picture of docs/performance.md from bench/results/peers.json: python3 bench/peers/table.py

--check only says whether the page has what the results say (a test does this). Targets are those the project has set
itself; a row that misses one says so in the table.
"""

import json
import math
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
CURVE = ROOT / "bench/results/real_triplets/curve.json"
RESULTS, PAGE = ROOT / "bench/results/peers.json", ROOT / "docs/performance.md"
PICTURE = ROOT / "docs/images/roofline.svg"


MODELS = ("model", "model_naf", "model_bf16")


def target(row):
    """(least ratio to the fastest peer, least ratio to PyTorch 1.13 or 0, most times the limit or None)"""
    name, kind = row["name"], row["kind"]
    if kind == "model":
        return 3.0, 4.0, None
    if kind == "model_naf":
        return 2.5, 0, None
    limit = 1.5 if name.startswith(("conv", "depthwise")) else 2.0
    if kind == "conv3x3_forward":
        return 1.4, 0, limit
    if kind == "attention" and name.endswith("forward_backward"):
        return 3.0, 0, limit
    return 1.0, 0, limit


def misses(row):
    """The targets that the row's times miss, in words."""
    ratio, old_ratio, limit = target(row)
    out = []
    if row.get("ratio", math.inf) < ratio:
        out.append(f"{ratio:g}x the peer")
    if row.get("ratio_torch_1_13", math.inf) < old_ratio:
        out.append(f"{old_ratio:g}x PyTorch 1.13")
    if limit and row["ours_ms"] > limit * row["limit_ms"]:
        out.append(f"{limit:g}x the limit")
    return out


def verdict(missed):
    return "missed: " + " and ".join(missed) if missed else "reached"


def number(row, key, digits):
    return f"{row[key]:.{digits}f}" if key in row else "-"


def peer_name(row):
    """Which peer was the fastest: its mode where it is PyTorch, its version where it is another."""
    name = row["peer"]
    return "PyTorch " + name.split()[-1] if name.startswith("pytorch") else name


def failures(rows):
    """What a peer could not run, as sentences below a table."""
    said = [f"{r['name']}, {r['threads']} threads: {name}: {why}" for r in rows for name, why in r.get("failed", {}).items()]
    return ["", "Failed: " + "; ".join(said) + "."] if said else []


def operations(data, threads):
    lines = ["| row | ours, ms | fastest peer, ms | which | ratio | ratio to PyTorch 1.13 | limit, ms | ours / limit | target |",
             "|---|--:|--:|---|--:|--:|--:|--:|---|"]
    rows = [r for r in data["rows"] if r["threads"] == threads and r["kind"] not in (*MODELS, "scaling") and "peer" in r]
    for r in rows:
        lines.append(f"| {r['name']} | {r['ours_ms']:.2f} | {r['peer_ms']:.2f} | {peer_name(r)} | {r['ratio']:.2f} | "
                     f"{number(r, 'ratio_torch_1_13', 2)} | {r['limit_ms']:.2f} | {r['ours_ms'] / r['limit_ms']:.2f} | {verdict(misses(r))} |")
    return lines + failures(rows)


def models(data):
    lines = ["| row | threads | ours, ms | PyTorch, ms | its mode | ratio | PyTorch 1.13, ms | ratio | limit, ms | ours / limit | ours, MB | PyTorch, MB | "
             "memory | PyTorch 1.13, MB | target |",
             "|---|--:|--:|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|"]
    rows = [r for r in data["rows"] if r["kind"] in ("model", "model_naf") and "peer" in r]
    for r in rows:
        least = 0.5 if "inference" in r["name"] else 0.4
        missed = misses(r)
        share = r["ours_mb"] / r["peer_mb"] if r.get("peer_mb") else None
        memory = f"{r['ours_mb']:.0f} | {r['peer_mb']:.0f} | {share:.2f}" if share else "- | - | -"
        if share and share > least:
            missed.append(f"{least:g}x the memory")
        lines.append(f"| {r['name']} | {r['threads']} | {r['ours_ms']:.0f} | {r['peer_ms']:.0f} | {peer_name(r).split()[-1]} | {r['ratio']:.2f} | "
                     f"{number(r, 'torch_1_13_ms', 0)} | {number(r, 'ratio_torch_1_13', 2)} | {r['limit_ms']:.0f} | "
                     f"{r['ours_ms'] / r['limit_ms']:.2f} | {memory} | {number(r, 'torch_1_13_mb', 0)} | {verdict(missed)} |")
    return lines + failures(rows)


def bfloat16(data):
    """Beside PyTorch's autocast, and beside our own time in fp32: the row of the same name without _bf16."""
    rows = [r for r in data["rows"] if r["kind"] == "model_bf16"]
    if not rows:
        return ["These results have no such row."]
    fp32 = {(r["name"], r["threads"]): r["ours_ms"] for r in data["rows"]}
    lines = ["| row | threads | ours, ms | PyTorch in bfloat16, ms | ratio | ours in fp32, ms | gain | ours, MB | PyTorch, MB |",
             "|---|--:|--:|--:|--:|--:|--:|--:|--:|"]
    for r in rows:
        full = fp32.get((r["name"].replace("_bf16", ""), r["threads"]))
        lines.append(f"| {r['name']} | {r['threads']} | {r['ours_ms']:.0f} | {number(r, 'peer_ms', 0)} | {number(r, 'ratio', 2)} | "
                     + (f"{full:.0f} | {full / r['ours_ms']:.2f}" if full else "- | -") + f" | {number(r, 'ours_mb', 0)} | {number(r, 'peer_mb', 0)} |")
    return lines + failures(rows)


def threads_gain(data):
    """Two threads against one, measured in turns."""
    lines = ["| row | 1 thread, ms | 2 threads, ms | gain | target 1.8 |", "|---|--:|--:|--:|---|"]
    for r in data.get("thread_gain", []):
        one, two = r["one_thread"]["ms"], r["two_threads"]["ms"]
        digits = 0 if two > 100 else 2
        lines.append(f"| {r['name']} | {one:.{digits}f} | {two:.{digits}f} | {r['gain']:.2f} | {'reached' if r['gain'] >= 1.8 else 'missed'} |")
    return lines


def growth(data):
    lines = ["| work | of | grows with | threads | exponent | points: size, ms or MB | target 1.05 |",
             "|---|---|---|--:|--:|---|---|"]
    for key, fit in data["scaling"].items():
        work, what, threads, unit = key.split(".")
        of = {"ms": "time, ms", "MB": "resident memory, MB"}[unit]
        points = ", ".join(f"{int(x)}: {y:.1f}" for x, y in fit["points"])
        lines.append(f"| {work} | {of} | {what} | {threads.split('_')[1]} | {fit['exponent']:.3f} | {points} | {'reached' if fit['exponent'] <= 1.05 else 'missed'} |")
    return lines


def triplets(curve):
    made_by = curve["made_by"]
    lines = [f"Commit {made_by['commit']}, {made_by['cpu']}, {made_by['compiler']}; {made_by['peer']}, {curve['peer_step_ms']:.0f} ms a step.", "",
             "| models | PSNR of their mean, dB | the last alone, dB | minutes of training | PyTorch's steps alone, minutes |", "|--:|--:|--:|--:|--:|"]
    lines += [f"| {p['models']} | {p['psnr_db']:.2f} | {p['last_model_alone_db']:.2f} | {p['minutes']:.1f} | {p['peer_minutes']:.1f} |" for p in curve["points"]]
    return lines


def profile():
    """Where the time of a training step goes, from profile.json. Rows below half a percent are put together."""
    result = json.loads((ROOT / "bench/results/profile.json").read_text())
    m = result["made_by"]
    lines = [f"Commit {m['commit']}, {m['cpu']}, {m['compiler']}, {m['threads']} threads: {result['work']} of {result['block']} blocks at {result['size']} x "
             f"{result['size']}, batch {result['batch']}, {result['total_ms']:.0f} ms; the median of {len(result['all_ms'])} steps of {result['all_ms'][0]:.0f} to "
             f"{result['all_ms'][-1]:.0f} ms."]
    for kind in ("module", "operation"):
        rows = result[kind + "s"]
        shown = [r for r in rows if r["share"] >= 0.005]
        rest = [r for r in rows if r["share"] < 0.005]
        small = {key: sum(r.get(key, 0) for r in rest) for key in ("forward_ms", "backward_ms", "share", "gflop")}
        lines += ["", f"| {kind} | forward, ms | backward, ms | share | " + ("GFLOP | GFLOP/s |" if kind == "module" else "calls, forward | backward |"),
                  "|---|--:|--:|--:|--:|--:|"]
        for r in shown + [{"name": f"the other {len(rest)}", **small}] * bool(rest):
            ms = r["forward_ms"] + r["backward_ms"]
            if kind == "module":
                more = f"{r['gflop']:.2f} | {r['gflop'] / ms * 1000:.0f}" if r.get("gflop") else "- | -"
            else:
                more = f"{r['calls']} | {r['backward_calls']}" if r.get("calls", 0) + r.get("backward_calls", 0) else "- | -"
            lines.append(f"| {r['name']} | {r['forward_ms']:.1f} | {r['backward_ms']:.1f} | {100 * r['share']:.1f} % | {more} |")
    return lines


def made_by(data):
    m, t = data["made_by"], data["machine"]["threads_2"]
    peers = "; ".join(name + (f" ({about['blas']}, {about['instructions']})" if about else "") for name, about in m.get("peers", {m["peer"]: {}}).items())
    times = sorted(r["measured"] for r in data["rows"] if "measured" in r)
    when = f" Measured from {times[0]} to {times[-1]}." if times else ""
    others = max((r for r in data["rows"] if "others" in r), key=lambda r: r["others"], default=None)
    if others:
        when += f" Other programs had at most {100 * others['others']:.0f} % of the machine ({others['name']}, {others['threads']} threads)."
    return [f"Commit {m['commit']}, {m['cpu']}, {m['compiler']}; peers: {peers}.{when} The machine's limits on two threads, measured: {t['gflops']:.0f} GFLOP/s "
            f"(multiply-adds on registers), copies {t['l2_gb_per_s']:.0f} GB/s in the second-level cache, {t['l3_gb_per_s']:.0f} in the third, "
            f"{t['dram_gb_per_s']:.0f} from memory (read and written bytes)."]


def roofline(data):
    """Intensity against speed, both logarithmic: a point per operation, two threads."""
    machine = data["machine"]["threads_2"]
    width, height, left, bottom = 860, 520, 70, 470
    low_x, high_x, low_y, high_y = -2.5, 9.0, 0.0, 9.0  # powers of two: FLOP per byte, GFLOP/s

    def x(v):
        return left + (math.log2(v) - low_x) / (high_x - low_x) * (width - left - 20)

    def y(v):
        return bottom - (math.log2(v) - low_y) / (high_y - low_y) * (bottom - 20)

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
           f'<rect width="{width}" height="{height}" fill="white"/>']
    for p in range(math.ceil(low_x), math.floor(high_x) + 1):
        out.append(f'<line x1="{x(2**p):.1f}" y1="20" x2="{x(2**p):.1f}" y2="{bottom}" stroke="#eee"/>'
                   f'<text x="{x(2**p):.1f}" y="{bottom + 16}" text-anchor="middle">{2**p:g}</text>')
    for p in range(int(low_y), int(high_y) + 1):
        out.append(f'<line x1="{left}" y1="{y(2**p):.1f}" x2="{width - 20}" y2="{y(2**p):.1f}" stroke="#eee"/>'
                   f'<text x="{left - 6}" y="{y(2**p) + 4:.1f}" text-anchor="end">{2**p}</text>')
    for level, colour in (("l2", "#7a9"), ("l3", "#79b"), ("dram", "#b77")):
        gb = machine[f"{level}_gb_per_s"]
        knee = machine["gflops"] / gb
        start = max(2**low_x, 2**low_y / gb)
        out.append(f'<line x1="{x(start):.1f}" y1="{y(start * gb):.1f}" x2="{x(knee):.1f}" y2="{y(knee * gb):.1f}" stroke="{colour}" stroke-width="2"/>'
                   f'<text x="{x(start) + 4:.1f}" y="{y(start * gb) - 8:.1f}" fill="{colour}">{level.upper()} {gb:.0f} GB/s</text>')
    peak = machine["gflops"]
    out.append(f'<line x1="{x(peak / machine["l2_gb_per_s"]):.1f}" y1="{y(peak):.1f}" x2="{width - 20}" y2="{y(peak):.1f}" stroke="#333" stroke-width="2"/>'
               f'<text x="{width - 24}" y="{y(peak) - 6:.1f}" text-anchor="end">{peak:.0f} GFLOP/s</text>')
    for i, r in enumerate(r for r in data["rows"] if r["threads"] == 2 and r["bytes"] and r["kind"] != "scaling"):
        px, ours = x(r["flop"] / r["bytes"]), y(r["flop"] / r["ours_ms"] / 1e6)
        out.append(f'<circle cx="{px:.1f}" cy="{ours:.1f}" r="4" fill="#c40"><title>{r["name"]}</title></circle>')
        if "peer_ms" in r:
            peer = y(r["flop"] / r["peer_ms"] / 1e6)
            out.append(f'<circle cx="{px:.1f}" cy="{peer:.1f}" r="3" fill="none" stroke="#06c"><title>{r["name"]}, {r["peer"]}</title></circle>')
    out.append(f'<text x="{(left + width) / 2}" y="{height - 10}" text-anchor="middle">FLOP per compulsory byte; filled: clearsky, open: its fastest peer (two threads)</text>'
               f'<text x="16" y="{bottom / 2}" transform="rotate(-90 16 {bottom / 2})" text-anchor="middle">GFLOP/s</text></svg>')
    return "\n".join(out) + "\n"


def main():
    data = json.loads(RESULTS.read_text())
    parts = {"made by": made_by(data), "operations, 2 threads": operations(data, 2), "operations, 1 thread": operations(data, 1),
             "models": models(data), "bf16": bfloat16(data), "threads": threads_gain(data), "growth": growth(data),
             "triplets": triplets(json.loads(CURVE.read_text())),
             "profile": profile()}
    page = PAGE.read_text()
    new = page
    for name, lines in parts.items():
        new, count = re.subn(rf"(<!-- {name} -->\n).*?(<!-- end -->)", lambda m, t="\n".join(lines): m[1] + t + "\n" + m[2], new, flags=re.S)
        if count != 1:
            sys.exit(f"{PAGE.name}: {count} places for '{name}'")
    if "--check" in sys.argv:
        if new != page or PICTURE.read_text() != roofline(data):
            sys.exit("docs/performance.md is not what bench/results/peers.json says: python3 bench/peers/table.py")
        print("docs/performance.md agrees with bench/results/peers.json")
        return
    PAGE.write_text(new)
    PICTURE.write_text(roofline(data))


if __name__ == "__main__":
    main()

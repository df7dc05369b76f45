"""The table and the plot."""

from html import escape

from . import bars


def number(value):
    if isinstance(value, float) and abs(value) < 1000:
        return f"{value:.3g}"
    return f"{value:,.0f}"


def table(results):
    machine = results["machine"]
    lines = [
        f"{machine['processor']}, {machine['cores']} cores, Linux {machine['kernel']}, DPDK {machine['dpdk']}, "
        f"coturn {machine['coturn']}, Turnpike {machine['turnpike']}",
        machine["pinning"],
        "",
        f"| {'bar':32} | {'measured':>12} | {'aim':20} | what |",
        f"| {'-' * 32} | {'-' * 11}: | {'-' * 20} | --- |",
    ]
    for name, bar in bars.ALL.items():
        if name in results["bars"]:
            speed = results["details"][name].get("speed")
            what = f"{bar.what}; {speed}" if speed else bar.what
            lines.append(f"| {name:32} | {number(results['bars'][name]):>12} | {bar.aim:20} | {what} |")
        elif name in results["left_out"]:
            lines.append(f"| {name:32} | {'-':>12} | {bar.aim:20} | left out: {results['left_out'][name]} |")
    return "\n".join(lines)


def plot(results):
    """Packets per second of each pair of programs, medians with quartiles."""
    rows = []
    for name, details in results["details"].items():
        for key, value in details.items():
            if key.endswith("_mpps") and isinstance(value, dict):
                rows.append((f"{name}: {key[:-5]}", value["median"], *value["quartiles"]))
    rows = rows or [("nothing measured", 0, 0, 0)]
    most = max(max(row[1:]) for row in rows) or 1
    left, width, step = 380, 420, 26
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 90}" height="{step * len(rows) + 50}" '
        'font-family="sans-serif" font-size="12">',
        '<text x="10" y="20" font-size="14">Million packets per second, median and quartiles</text>',
    ]
    for i, (label, median, low, high) in enumerate(rows):
        y = 36 + i * step
        colour = "#2a6f97" if label.endswith("turnpike") else "#a9a9a9"
        parts.append(
            f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{escape(label)}</text>'
            f'<rect x="{left}" y="{y + 2}" width="{median / most * width:.1f}" height="16" fill="{colour}"/>'
            f'<line x1="{left + low / most * width:.1f}" x2="{left + high / most * width:.1f}" y1="{y + 10}" '
            f'y2="{y + 10}" stroke="black"/>'
            f'<text x="{left + high / most * width + 6:.1f}" y="{y + 14}">{median:.2f}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])

"""The report as one HTML file: no script, nothing loaded from anywhere."""

from __future__ import annotations

from html import escape

from ferrylm.report.measurement import KernelTotal, MeasuredStep, Measurement
from ferrylm.report.memory_map import memory_map
from ferrylm.report.numbers import duration, rate, size, three_digits
from ferrylm.report.roofline import roofline, step_letter
from ferrylm.report.style import style_sheet
from ferrylm.report.waterfall import layer, strip

_KINDS = {
    "product": "matrix product",
    "head": "output head",
    "attention": "attention, RoPE, append",
    "norm": "norm, quantization",
    "lookup": "row lookup",
    "other": "other",
    "rest": "not in a kernel",
}
# A page from a file may not load or run anything, whatever its texts say.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def report_page(found: Measurement) -> str:
    """Return the page."""
    title = f"{found.model} on {found.device}"
    parts = [_heading(found), _facts(found), *_pictures(found)]
    parts += [_table(index, step, found) for index, step in enumerate(found.steps)]
    parts.append(_method(found))
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{style_sheet()}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _heading(found: Measurement) -> str:
    threads = f", {found.threads} threads" if found.target.startswith("cpu") else ""
    return (
        f"<h1>{escape(found.model)}</h1>\n<p>on {escape(found.device)}{threads}</p>\n"
        f'<p class="faint">{escape(found.target)}, arithmetic {escape(found.arithmetic)}, '
        f"{found.bits_per_weight:.2f} bits per weight, keys and values "
        f"{escape(found.kv_dtype)}; artifact {escape(found.artifact_id[:12])}, "
        f"ferry {escape(found.ferrylm)}, TVM {escape(found.tvm)}, {escape(found.started)}</p>"
    )


def _facts(found: Measurement) -> str:
    facts = []
    for step in found.steps:
        rate_text = f"{three_digits(1e6 * step.tokens / step.step_us)} tok/s"
        launches = len(step.launch_us)
        inside = 100 * min(1.0, step.kernel_us / step.step_us)
        detail = f"{duration(step.step_us)}, {inside:.0f} % in {launches} launches"
        facts.append((step.name, rate_text, detail))
        if step.is_decode and found.bandwidth_gb_s is not None:
            moved = sum(step.kernels[index].bytes_moved for index in step.launch_kernels)
            gb_s = moved / step.step_us / 1e3
            share = f"{100 * gb_s / found.bandwidth_gb_s:.1f} % of the bandwidth"
            detail = f"{three_digits(gb_s)} GB/s, {size(moved)} a step"
            facts.append((f"{step.name}: memory", share, detail))
    boxes = "\n".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd><dd>{escape(detail)}</dd></div>"
        for name, value, detail in facts
    )
    return f'<dl class="facts">{boxes}</dl>'


def _pictures(found: Measurement) -> list[str]:
    parts = ["<h2>Where the time goes</h2>", _legend(found, rest=True)]
    for index, step in enumerate(found.steps):
        letter = step_letter(index)
        parts.append(f"<h3>{letter}: {escape(step.name)}</h3>")
        parts.append(_scroll(strip(step, f"strip{index}")))
        caption, drawing = layer(step, f"layer{index}")
        parts.append(f'<p class="faint">{escape(caption)}:</p>')
        parts.append(_scroll(drawing))
    drawing = roofline(found)
    if drawing:
        shapes = (
            '<li><i class="disc"></i>decode</li><li><i class="diamond"></i>prompt</li>'
            "<li>larger: more of its step's time</li>"
        )
        parts += ["<h2>Roofline</h2>", _legend(found, shapes=shapes), _scroll(drawing)]
    sequences = f"{found.sequences} sequence" + ("s" if found.sequences > 1 else "")
    parts.append(f"<h2>Memory: {sequences} of {found.context_tokens} tokens</h2>")
    parts.append(_scroll(memory_map(found)))
    parts.append("<h2>Kernels</h2>")
    return parts


def _legend(found: Measurement, *, rest: bool = False, shapes: str = "") -> str:
    used = {kernel.kind for step in found.steps for kernel in step.kernels}
    shown = [kind for kind in _KINDS if kind in used or (rest and kind == "rest")]
    items = "".join(f'<li><i class="{kind}"></i>{_KINDS[kind]}</li>' for kind in shown)
    return f'<ul class="legend">{items}{shapes}</ul>'


def _scroll(drawing: str) -> str:
    return f'<div class="scroll">{drawing}</div>'


def _table(index: int, step: MeasuredStep, found: Measurement) -> str:
    head = ("launches", "median", "% of kernels", "bytes", "GB/s", "% of bw", "op/s", "op/byte")
    cells = "".join(f'<th scope="col">{name}</th>' for name in head)
    rows = "\n".join(
        _row(f"{step_letter(index)}{number}", total, step, found)
        for number, total in enumerate(step.totals, 1)
    )
    per_token = three_digits(len(step.launch_us) / step.tokens)
    caption = (
        f"{step_letter(index)}: {step.name}; {len(step.launch_us)} launches, {per_token} per "
        f"token; {duration(step.kernel_us)} in kernels, {duration(step.step_us)} the whole step"
    )
    return (
        f'<div class="scroll"><table><caption>{escape(caption)}</caption>\n'
        f'<thead><tr><th scope="col" class="name">no.</th>'
        f'<th scope="col" class="name">kernel</th>{cells}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody></table></div>"
    )


def _row(number: str, total: KernelTotal, step: MeasuredStep, found: Measurement) -> str:
    kernel, gb_s = total.kernel, found.bandwidth_gb_s
    computes = kernel.operations > 0
    cells = [
        str(total.launches),
        duration(total.median_us),
        f"{100 * total.total_us / max(step.kernel_us, 1e-9):.1f}",
        size(kernel.bytes_moved),
        three_digits(total.gb_s),
        "" if gb_s is None else f"{100 * total.gb_s / gb_s:.1f}",
        f"{rate(total.gop_s)} {kernel.arithmetic}" if computes else "",
        three_digits(total.intensity) if computes else "",
    ]
    row = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    return (
        f'<tr><td class="name">{number}</td><td class="name"><i class="{kernel.kind}"></i>'
        f"<code>{escape(kernel.name)}</code></td>{row}</tr>"
    )


def _method(found: Measurement) -> str:
    gb_s = found.bandwidth_gb_s
    bandwidth = "was not measured" if gb_s is None else f"is {three_digits(gb_s)} GB/s"
    repetitions = max(step.repetitions for step in found.steps)
    return (
        "<h2>How this was measured</h2>\n"
        f"<p>Each launch was timed {repetitions} times{_alone(found)}; "
        "shown are medians. The whole step is timed apart, by the host's clock, as the engine "
        "makes it, so its kernels may overlap there and take less than their sum.</p>\n"
        "<p>Bytes are those that a launch must move at least, from the shapes of its arguments: "
        "of keys and values only the tokens in use. Operations are those of the model, a "
        "multiplication or an addition each.</p>\n"
        f"<p>The bandwidth {bandwidth} ({escape(found.bandwidth_method)}). What caches hold can "
        "be read faster than that. The dashed line is no limit of the device but the fastest "
        "kernel of this page.</p>"
    )


def _alone(found: Measurement) -> str:
    if found.target.startswith("cuda"):
        return ", all launches of a kernel in a row, with weights and pages that no cache holds"
    return " in steps that are made kernel by kernel"

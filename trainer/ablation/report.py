"""Writes an ablation's results as text, Markdown, a PNG and a self-contained page."""

from __future__ import annotations

import base64
import io
import math
import pathlib

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipelines.core import html_page
from trainer.ablation import conclusions
from trainer.ablation.scoring import METRICS
from trainer.ablation.study import Study

BLUE, ORANGE = "#2f6db3", "#d9772b"


def rows(study: Study) -> list[list[str]]:
    """Returns the table: a header, the majority baseline, then one row per variant.

    Scores are given as mean ± standard deviation over the seeds.
    """
    base = study.setting.baseline
    table = [["variant", *METRICS.values(), "seeds"]]
    table.append([f"always answering {study.setting.majority!r}", *(_number(base[m]) for m in METRICS), ""])
    for variant in study.variants:
        cells = [_cell(study.mean(variant.name, m), study.spread(variant.name, m)) for m in METRICS]
        table.append([variant.title, *cells, str(len(study.outcomes[variant.name]))])
    return table


def text(study: Study) -> str:
    """Returns the table and the conclusions for a terminal."""
    table = rows(study)
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]).rstrip()
        for row in table
    ]
    comparisons = study.comparisons
    told = [study.summary, *(f"- {c.sentence()}" for c in comparisons), conclusions.RULE]
    return "\n".join([study.setting.sentence(), "", *lines, "", *told])


def markdown(study: Study) -> str:
    """Returns the table and the conclusions as Markdown."""
    head, *body = ([cell.replace("|", "\\|") for cell in row] for row in rows(study))
    lines = [f"| {' | '.join(row)} |" for row in (head, ["---", *["---:"] * (len(head) - 1)], *body)]
    comparisons = study.comparisons
    told = [study.summary, "", *(f"- {c.sentence()}" for c in comparisons), "", conclusions.RULE]
    return "\n".join([study.setting.sentence(), "", *lines, "", *told, ""])


def page(study: Study) -> str:
    """Renders the table, the figure and the conclusions as one HTML file.

    The page loads nothing from elsewhere.
    """
    environment = html_page.environment(pathlib.Path(__file__).parent)
    head, *body = rows(study)
    comparisons = study.comparisons
    return environment.get_template("page.html.j2").render(
        study=study,
        head=head,
        body=body,
        comparisons=comparisons,
        summary=study.summary,
        rule=conclusions.RULE,
        png=base64.b64encode(png(study)).decode("ascii"),
    )


def png(study: Study) -> bytes:
    """Renders the figure as a PNG. Equal studies give equal bytes."""
    out = io.BytesIO()
    figure(study).savefig(out, format="png", dpi=110, bbox_inches="tight", metadata={"Software": None})
    return out.getvalue()


def figure(study: Study) -> Figure:
    """Draws one panel per score.

    Each seed is a dot, the mean is a bar, and the majority baseline is a line.
    """
    names = [variant.title for variant in study.variants]
    drawn = Figure(figsize=(14, 1.4 + 0.42 * len(names)), layout="constrained")
    for axes, (metric, title) in zip(drawn.subplots(1, len(METRICS), sharey=True), METRICS.items(), strict=True):
        _panel(axes, study, metric)
        axes.set(title=title if metric != "rare_recall" else f"recall of {study.setting.rare!r}", xlim=(-0.03, 1.03))
        axes.set_yticks(range(len(names)), names)
        axes.grid(axis="x", color="#e3e6ea", zorder=0)
        axes.tick_params(length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
    drawn.axes[0].invert_yaxis()
    drawn.legend(*drawn.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return drawn


def _panel(axes: Axes, study: Study, metric: str) -> None:
    scores = [value for v in study.variants for value in study.values(v.name, metric)]
    heights = [y for y, v in enumerate(study.variants) for _ in study.values(v.name, metric)]
    means = [study.mean(v.name, metric) for v in study.variants]
    axes.scatter(scores, heights, color=BLUE, alpha=0.45, s=26, linewidths=0, zorder=3, label="one seed")
    axes.scatter(means, range(len(means)), marker="|", s=260, color=BLUE, linewidths=2.5, zorder=4, label="mean")
    always = f"always answering {study.setting.majority!r}"
    axes.axvline(study.setting.baseline[metric], color=ORANGE, linestyle="--", linewidth=1.2, label=always)


def _cell(mean: float, spread: float) -> str:
    return _number(mean) + ("" if math.isnan(spread) else f" ± {spread:.3f}")


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"

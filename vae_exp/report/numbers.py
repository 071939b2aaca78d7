"""The sections about numbers: the tests, the bounds, the gap and its parts, what trust found."""

from collections.abc import Mapping
from typing import Any

from vae_exp.data.settings import in_words
from vae_exp.files import as_json
from vae_exp.report.commands import Commands
from vae_exp.report.document import Section
from vae_exp.report.estimates import (
    LABELS,
    estimate_table,
    estimates_in,
    images_in,
    is_estimate,
    is_number,
    mean_and_error,
    numeric,
    shown,
)
from vae_exp.report.looks import PastLook, named
from vae_exp.report.markup import Markup, code, folded, joined, listing, paragraph, table, tag
from vae_exp.report.pictures import Pictures
from vae_exp.runs.metrics import scores_of

OF_GAP = {
    "not Gaussian": "what even the best Gaussian q of each image lacks",
    "outside the family": "what even the best q of the family lacks",
    "no covariance": "what a diagonal covariance costs the best q of each image",
    "amortisation": "what the encoder's q lacks to the best q of its family",
}
TOLD_APART = ("estimates", "exact", "gap", "best_q")  # of evaluate, each in a table of its own
FEW = 20  # rows of a table: a longer one is folded


def tiles(metrics: Mapping[str, Any], looks: list[PastLook], commands: Commands) -> Markup:
    """The three numbers that a person asks for first, or the command that finds them."""
    elbo = metrics.get("test", {}).get("elbo")
    exact, gap = _evidence(looks)
    missing = joined(["not computed: ", code(commands.look("evaluate"))])
    told = [
        ("ELBO of the test images", elbo, "not known"),
        ("log p(x) of test images", exact, missing),
        ("log p(x) − ELBO, the gap", gap, missing),
    ]
    return tag("dl", *(_tile(name, found, other) for name, found, other in told), class_="tiles")


def _tile(name: str, found: Any, missing: object) -> Markup:
    if not is_estimate(found):
        return tag("div", tag("dt", name), tag("dd", missing, class_="how"))
    images = images_in(found)
    how = ", ".join(
        filter(
            None,
            [
                f"nats per image, {images} images" if images else "nats",
                str(found.get("estimator", "")),
            ],
        )
    )
    return tag(
        "div",
        tag("dt", name),
        tag("dd", mean_and_error(found), class_="value"),
        tag("dd", how, class_="how"),
    )


def _evidence(looks: list[PastLook]) -> tuple[Any, Any]:
    """log p(x) and what the ELBO lacks to it, of the look that knows both on the most images."""
    best: tuple[Any, Any] = (None, None)
    for look in looks:
        own, lacks = look.numbers.get("log_p_x"), look.numbers.get("gap")  # of task=evidence
        if look.task == "evaluate":
            bounds = _dict(look.numbers.get("estimates"))
            lacks = _dict(bounds.get("ELBO")).get("below_truth")
            truth = "modes" if str(_dict(lacks).get("estimator")).startswith("modes") else "AIS"
            own = look.numbers.get("exact", bounds.get(truth))
        if is_estimate(own) and _rank(own, lacks) > _rank(*best):
            best = own, lacks
    return best


def _rank(own: Any, lacks: Any) -> tuple[bool, int]:
    """A look that knows both numbers goes before one that knows log p(x) alone."""
    return is_estimate(lacks), _count(own or {})


def _count(estimate: Mapping[str, Any]) -> int:
    images = estimate.get("images")
    return int(images) if is_number(images) else 0


def section(metrics: Mapping[str, Any], looks: list[PastLook], commands: Commands) -> Section:
    """Every number of the run with its error: tests first, bounds, all else that looks found."""
    parts: list[Markup | None] = [
        paragraph(
            "All are means over images in nats per image, if nothing else is said, ± the standard "
            "error over images. They are read from ",
            code("metrics.json"),
            ".",
        )
    ]
    for split in ("test", "validation"):
        if metrics.get(split):
            parts.append(_of_split(split, metrics))
    evaluated = named(looks, "evaluate")
    for look in evaluated:
        parts.append(_bounds(look))
    if not evaluated:
        parts.append(commands.missing("evaluate", "The bounds were not held against log p(x) yet."))
    others = [look for look in looks if look.task not in ("evaluate", "trust")]
    rows = [
        (f"{look.title}: {name}" if name else look.title, found)
        for look in others
        for name, found in estimates_in(look.numbers)
    ]
    measured = estimate_table(rows, "number")
    if measured is not None:
        told = "What other analyses measured"
        few = len(rows) <= FEW
        parts += [tag("h3", told), measured] if few else [folded(told, measured)]
    everything = as_json(dict(metrics)).decode()
    parts.append(folded("metrics.json, which holds every number", listing(everything)))
    return Section("numbers", "The numbers", joined(parts))


def _of_split(split: str, metrics: Mapping[str, Any]) -> Markup | None:
    node, data = metrics[split], _dict(metrics.get("data"))
    about = f"{split} images"
    if split == "test" and data:
        about = (
            f"{shown(data['images'])} {data['split']} images of {data['name']} "
            f"({data.get('origin', 'origin not recorded')}), {in_words(data['binarization'])}"
        )
    about += f"; log p(x | z) is the log of a {scores_of(metrics)}"
    best = _dict(node.get("best"))
    if is_number(best.get("value")):
        about += f"; best epoch by {best.get('by')}: {shown(best['value'])}"
    names = [*filter(node.get, LABELS), *(name for name in node if name not in LABELS)]
    rows = [(LABELS.get(name, name), node[name]) for name in names if is_estimate(node[name])]
    return estimate_table(rows, "nats per image", caption=about)


def _bounds(look: PastLook) -> Markup:
    """Every estimate of log p(x) of an evaluation, and what each lacks to the exact value."""
    bounds = _dict(look.numbers.get("estimates"))
    rows = []
    for name, found in bounds.items():
        if is_estimate(found):
            lacks = found.get("below_truth")
            rows.append((name, *_cells(found), mean_and_error(lacks) if is_estimate(lacks) else ""))
    exact = look.numbers.get("exact")
    caption = f"{look.title}: estimates of log p(x)"
    if is_estimate(exact):
        rows.append(("exact log p(x)", *_cells(exact), ""))
        caption += (
            f"; the exact one is right to {exact.get('largest_error', 0):.1g} nats an image "
            f"({exact.get('error_by', 'quadrature')})"
            if is_number(exact.get("largest_error"))
            else ""
        )
    head = ("estimator", "mean ± standard error", "images", "samples", "below log p(x), paired")
    further = {key: node for key, node in look.numbers.items() if key not in TOLD_APART}
    return joined(
        [
            table(head, rows, caption=caption) if rows else None,
            estimate_table(estimates_in(further), "nats per image"),
        ]
    )


def _cells(found: Mapping[str, Any]) -> tuple[Markup, ...]:
    samples = found.get("samples")
    drawn = shown(samples) if is_number(samples) else ""
    return tuple(map(numeric, (mean_and_error(found), images_in(found), drawn)))


def gap(looks: list[PastLook], pictures: Pictures, commands: Commands) -> Section:
    """What lies between log p(x) and the ELBO, in parts."""
    parts: list[Markup | None] = [
        paragraph(
            "log p(x) − ELBO = KL(q(z | x) ‖ p(z | x)): the gap is how far the encoder's q is from "
            "the true posterior, in nats."
        )
    ]
    evaluated = [look for look in named(looks, "evaluate") if look.numbers.get("gap")]
    for look in evaluated:
        if len(evaluated) > 1:
            parts.append(tag("h3", look.heading))
        measured = _dict(look.numbers.get("gap"))
        rows = [
            (name, numeric(mean_and_error(found)), numeric(images_in(found)), OF_GAP.get(name, ""))
            for name, found in measured.items()
            if is_estimate(found)
        ]
        parts.append(table(("part of the gap", "nats per image", "images", "what it is"), rows))
        parts.append(
            estimate_table(
                [(f"best {name} q", found) for name, found in estimates_in(look.numbers["best_q"])]
                if "best_q" in look.numbers
                else [],
                "fitted to each image",
                caption="What the best q of a family lacks to log p(x)",
            )
        )
        parts += [pictures.shown(name) for name in look.figures]
    if not evaluated:
        parts.append(commands.missing("evaluate", "The gap was not measured."))
    atlases = named(looks, "posterior_atlas")
    for look in atlases:
        parts.append(tag("h3", look.heading))
        parts += [pictures.shown(name) for name in look.figures]
    if not atlases:
        parts.append(commands.missing("posterior_atlas", "No posterior was drawn."))
    return Section("gap", "The gap and its parts", joined(parts))


def trust(looks: list[PastLook], pictures: Pictures, commands: Commands) -> Section:
    """The verdict on the encoder's q, and what it rests on."""
    examined = named(looks, "trust")
    parts: list[Markup | None] = []
    for look in examined:
        if len(examined) > 1:
            parts.append(tag("h3", look.heading))
        verdict = _dict(look.numbers.get("verdict"))
        told = [tag("li", tag("strong", word), f": {why}") for word, why in verdict.items()]
        parts.append(tag("ul", *told) if told else None)
        parts += [pictures.shown(name) for name in look.figures]
        parts.append(_quantiles(look))
        parts.append(estimate_table(estimates_in(look.numbers), "number"))
    if not examined:
        parts.append(commands.missing("trust", "Nobody has asked yet if q is to be trusted."))
    return Section("trust", "Can the encoder's q be trusted?", joined(parts))


def _quantiles(look: PastLook) -> Markup | None:
    """Effective samples and Pareto k̂ of q as a proposal: the median and the middle 90 %."""
    proposal = _dict(look.numbers.get("proposal"))
    rows = []
    for key, name in (("effective_samples", "effective samples"), ("pareto_k", "Pareto k̂")):
        found = _dict(proposal.get(key))
        cells = [found.get(which) for which in ("median", "quantile_05", "quantile_95")]
        if found:
            rows.append((name, *(numeric("∞" if v is None else shown(v)) for v in cells)))
    if not rows:
        return None
    images, samples = proposal.get("images"), proposal.get("samples")
    caption = f"q as a proposal: {shown(samples)} samples for each of {shown(images)} images"
    return table(("of an image", "median", "5 %", "95 %"), rows, caption=caption)


def claims(numbers: Mapping[str, Any]) -> Markup | None:
    """The questions that an analysis answers by yes or no, with the evidence."""
    parts: list[Markup] = []
    for node in numbers.values():
        if isinstance(node, dict) and "question" in node:
            answer = "yes" if node.get("answer") else "no"
            parts.append(tag("dt", node["question"]))
            parts.append(tag("dd", tag("strong", answer), f": {node.get('evidence', '')}"))
    return tag("dl", *parts, class_="claims") if parts else None


def _dict(node: Any) -> dict[str, Any]:
    return node if isinstance(node, dict) else {}

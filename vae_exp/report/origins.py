"""The sections about where a run comes from: what was trained on what, its config, its commands."""

import re
from collections.abc import Mapping
from typing import Any

from vae_exp.data.settings import in_words
from vae_exp.errors import UserError
from vae_exp.parts import TARGET
from vae_exp.report.commands import Commands
from vae_exp.report.document import Section
from vae_exp.report.estimates import is_number, shown
from vae_exp.report.looks import PastLook, tasks
from vae_exp.report.markup import Markup, code, folded, joined, listing, paragraph, table, tag
from vae_exp.runs import saving
from vae_exp.runs.loading import Run
from vae_exp.runs.looking import about

PARTS = ("prior", "likelihood", "posterior")
PEOPLE = {"Bernoulli", "Gaussian"}
ENDINGS = re.compile(r"(Likelihood|Family|Prior)$")
CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def sentence(run: Run, metrics: Mapping[str, Any]) -> Markup:
    """What was trained on what, and for how long."""
    told, data = metrics.get("run", {}), metrics.get("data", {})
    model = run.model
    weights = sum(weight.numel() for weight in model.parameters())
    parts = run.config["model"]
    named = [f"{part} {_name(parts[part])}" for part in PARTS if isinstance(parts.get(part), dict)]
    dims = f"{model.latent_dim} latent dimension{'s' if model.latent_dim != 1 else ''}"
    text = f"A variational autoencoder with {dims} and {shown(weights)} parameters"
    text += f" ({', '.join(named)})" if named else ""
    if data:
        on = str(data.get("trained_on", "trained")).removeprefix("trained ")
        text += f" was trained {on} of {_source(run, metrics)}, {in_words(data['binarization'])}"
    stopped = told.get("stopped")
    epochs = stopped["epoch"] if isinstance(stopped, dict) and "epoch" in stopped else None
    if is_number(told.get("epochs")):
        text += f", for {shown(epochs or told['epochs'])} epochs"
    text += f", from seed {told['seed']}" if "seed" in told else ""
    return joined(
        [paragraph(tag("span", f"{text}.", class_="lead")), _provenance(told), _notes(metrics)]
    )


def _source(run: Run, metrics: Mapping[str, Any]) -> str:
    """What the images are called."""
    try:
        known = about(run, metrics)
    except UserError:  # an older run, whose source is no longer known
        known = None
    return metrics["data"]["name"] if known is None else known.source.caption


def _name(node: Mapping[str, Any]) -> str:
    """A part's class in words: DiagonalGaussianFamily is diagonal Gaussian."""
    kind = str(node.get(TARGET, "")).rpartition(".")[2]
    words = CAPITAL.sub(" ", ENDINGS.sub("", kind)).split()
    return " ".join(word if word in PEOPLE else word.lower() for word in words)


def _provenance(told: Mapping[str, Any]) -> Markup | None:
    known = {"Code": told.get("git"), "torch": told.get("torch"), "Python": told.get("python")}
    parts = [f"{name} {value}" for name, value in known.items() if value]
    if is_number(told.get("wall_seconds")):
        parts.append(f"{shown(float(told['wall_seconds']), 0)} s of training")
    return tag("p", f"{', '.join(parts)}.", class_="soft") if parts else None


def _notes(metrics: Mapping[str, Any]) -> Markup:
    """What a reader must know before the numbers: other images, an early end, what was skipped."""
    told = metrics.get("run", {})
    notes = [metrics.get("data", {}).get("notice")]
    stopped, skipped = told.get("stopped"), told.get("skipped")
    if isinstance(stopped, dict):
        epoch, epochs = stopped.get("epoch"), told.get("epochs")
        notes.append(f"Training stopped after epoch {epoch} of {epochs}: {stopped.get('reason')}")
    if told.get("init_from"):
        notes.append(f"It began with the weights of {told['init_from']}.")
    if isinstance(skipped, dict):
        notes += [
            f"{name} is skipped: {reason}" for name, reason in skipped.items() if name != "report"
        ]
    return joined(tag("p", note, class_="note") for note in notes if note)


def config(run: Run) -> Section:
    """The config that the run was made with, which is all that tells it from another."""
    body = [
        paragraph("The run is loaded from these words alone: ", code(".hydra/config.yaml"), "."),
        folded("The config", listing(saving.config_text(run.config))),
    ]
    return Section("config", "The config", joined(body))


def commands(known: Commands, looks: list[PastLook]) -> Section:
    """The commands that make each part of the page again."""
    trained = known.trained()
    rows = [("the run", code(trained))] if trained is not None else []
    rows += [(look.title, code(known.again(look))) for look in looks if look.task in tasks()]
    rows.append(("this page", code(known.look("report"))))
    told = paragraph(
        "From the folder that ", code("outputs"), " lies in; the same words give the same numbers."
    )
    return Section("commands", "The commands", joined([told, table(("part", "command"), rows)]))

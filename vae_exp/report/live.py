"""The section in which the model is alive: what the explorer is given, and what starts it."""

import json

from vae_exp.errors import UserError, first_line
from vae_exp.report import explorer
from vae_exp.report.document import Addition, Section, embedded
from vae_exp.report.markup import joined, paragraph, tag
from vae_exp.runs.loading import Run

ID, ROOT, DATA = "explorer", "explorer-root", "explorer-data"
TITLE = "The model, alive"
START = f"""
const payload = JSON.parse(document.getElementById("{DATA}").textContent);
mountExplorer(document.getElementById("{ROOT}"), payload);
"""


def live(run: Run) -> tuple[Section, Addition]:
    """The explorer's section and what it needs; a sentence that says why if it cannot be shown."""
    try:
        payload = explorer.explorer(run)
        reason = explorer.why_not(run.model)
    except UserError as error:  # the images are not at hand
        payload, reason = None, first_line(error)
    if payload is None:
        return Section(
            ID, TITLE, paragraph(f"The model cannot run in this page: {reason}.")
        ), Addition()
    body = [
        paragraph("The model runs in this page: its numbers are computed here, as you ask."),
        tag("noscript", paragraph("This part needs JavaScript.")),
        tag("div", id=ROOT),
    ]
    data = embedded(DATA, json.dumps(payload, separators=(",", ":"), allow_nan=False))
    scripts = explorer.script(), START
    return Section(ID, TITLE, joined(body)), Addition(explorer.style(), data, scripts)

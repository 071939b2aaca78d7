"""The page of a run: its numbers are those of metrics.json, and nothing in it is taken for HTML."""

import base64
import copy
import hashlib
import io
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import refusal
from kill_and_resume import train
from PIL import Image

from vae_exp import folders
from vae_exp.cli import main as cli
from vae_exp.config import composing
from vae_exp.errors import UserError
from vae_exp.report import (
    captions,
    comparison_page,
    numbers,
    origins,
    run_page,
    sweep_page,
)
from vae_exp.report.commands import Commands
from vae_exp.report.estimates import mean_and_error
from vae_exp.report.looks import looks_of
from vae_exp.report.pictures import Pictures
from vae_exp.runs import loading
from vae_exp.runs.metrics import read_metrics, write_metrics

ATTACK = "<script>attack()</script><img src=x onerror=attack()>\"'--><!--"
ESTIMATE = {"mean": -101.234, "stderr": 0.0567, "images": 321, "estimator": "by hand", "seed": 9}
FIGURES = {
    "samples": ["samples"],
    "evaluate_images7": ["evaluate_images7_gap", "evaluate_images7_worst_amortised"],
    "trust": ["trust"],
    "posterior_atlas": ["posterior_atlas"],
}


class Elements(HTMLParser):
    """The elements of a page with their attributes, and the text of each kind of element."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every element of a kind."""
        return [attributes for name, attributes in self.found if name == tag]

    def text(self, tag: str) -> str:
        """What stands directly in the elements of a kind."""
        return "\n".join(text for name, text in self.texts if name == tag)


def noise(width: int, height: int, seed: int = 0) -> bytes:
    """A PNG picture that no compression makes smaller."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of a finished run, of which analyses have told much since then."""
    return examined(finished_run, tmp_path / "run")


def examined(finished: Path, folder: Path) -> Path:
    """A copy of a finished run with what analyses would have told of it."""
    shutil.copytree(finished, folder)
    (folder / folders.FIGURES).mkdir(exist_ok=True)
    metrics = read_metrics(folder)
    gap = {"not Gaussian": ESTIMATE, "no covariance": ESTIMATE, "amortisation": ESTIMATE}
    below = {**ESTIMATE, "mean": 0.777, "estimator": "exact − ELBO, paired"}
    told: dict[str, dict[str, Any]] = {
        "samples": {},
        "evaluate_images7": {
            "settings": {"images": 7},
            "estimates": {"ELBO": {**ESTIMATE, "below_truth": below}},
            "exact": {**ESTIMATE, "largest_error": 1e-4, "error_by": "halving"},
            "gap": gap,
            "best_q": {"full": ESTIMATE},
        },
        "trust": {
            "verdict": {"overconfident": "q is too narrow"},
            "proposal": {"images": 3, "samples": 5, "pareto_k": {"median": 0.625}},
        },
        "posterior_atlas": {},
        "ceiling-run-1f2e3d4c": {"settings": {"above": "latest", "images": 9}, "test": ESTIMATE},
        "evidence_by_epoch": {"epochs": [{"epoch": 1, "elbo": ESTIMATE}]},
        "questions": {"a": {"question": "Is it so?", "answer": False, "evidence": "it is not"}},
    }
    metrics["analyses"] = {}
    for name, node in told.items():
        files = FIGURES.get(name, [])
        for file in files:
            (folder / folders.FIGURES / f"{file}.png").write_bytes(noise(30, 20))
        node["figures"] = [f"{folders.FIGURES}/{file}.png" for file in files]
        metrics["analyses"][name] = {"seed": 0, "settings": {}, **node}
    write_metrics(folder, metrics)
    return folder


def page_of(folder: Path) -> bytes:
    return run_page.page(loading.load(str(folder)))


def places(node: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in plain containers."""
    for key, below in node.items() if isinstance(node, dict) else enumerate(node):
        yield (*place, key)
        if isinstance(below, dict | list):
            yield from places(below, (*place, key))


def test_the_page_shows_the_numbers_of_metrics_json(run: Path) -> None:
    metrics = read_metrics(run)
    found = Elements(page_of(run))
    shown = found.text("span")
    for name in ("elbo", "kl", "log_likelihood"):
        assert mean_and_error(metrics["test"][name]) in shown
        assert mean_and_error(metrics["validation"][name]) in shown
    metrics["test"]["elbo"] |= {"mean": -1234.5, "stderr": 0.25}
    write_metrics(run, metrics)
    changed = Elements(page_of(run))
    assert "−1,234.50 ± 0.25" in changed.text("span")
    assert "−1,234.50 ± 0.25" in changed.text("dd")


def test_every_kind_of_finding_has_its_place(run: Path) -> None:
    found = Elements(page_of(run))
    assert "overconfident" in found.text("strong")
    assert "what the encoder's q lacks to the best q of its family" in found.text("td")
    assert "Is it so?" in found.text("dt")
    assert "0.62" in found.text("span")
    pictures = found.all("img")
    assert len(pictures) == sum(map(len, FIGURES.values()))
    for picture in pictures:
        assert (picture["src"] or "").startswith("data:image/png;base64,")
        assert picture["alt"]
    read = found.text("figcaption")
    for name in ("samples", "evaluate_gap", "evaluate_worst_amortised", "trust"):
        assert captions.CAPTIONS[name][1] in read


def test_what_was_not_computed_is_said_with_the_command_that_adds_it(finished_run: Path) -> None:
    found = Elements(page_of(finished_run)).text("code")
    for task in ("evaluate", "trust", "posterior_atlas"):
        assert f"python -m vae_exp task={task} run={finished_run}" in found


@pytest.mark.slow
def test_what_cannot_be_computed_is_said_with_the_reason(tmp_path: Path) -> None:
    train(tmp_path, "data.source=digits", "epochs=1", "latent_dim=3", "~task.analyses.samples")
    found = Elements(page_of(tmp_path))
    assert "It cannot be: a posterior over the plane needs latent_dim 2" in found.text("p")
    assert f"python -m vae_exp task=trust run={tmp_path}" in found.text("code")
    assert "task=posterior_atlas" not in found.text("code")


def test_every_command_of_the_page_composes(run: Path) -> None:
    lines = [
        line
        for kind, text in Elements(page_of(run)).texts
        for line in text.splitlines()
        if kind == "code" and line.startswith("python -m vae_exp")
    ]
    assert any("task.images=7" in line for line in lines)
    assert any(line.endswith(f"'runs=[latest,{run}]' task.images=9") for line in lines)
    assert not any("task=evidence" in line for line in lines)
    for line in {*lines}:
        overrides = composing.parse(shlex.split(line)[3:])
        composing.check(composing.composed(overrides), overrides)


def test_no_text_of_a_run_is_taken_for_html(run: Path) -> None:
    plain = Elements(page_of(run))
    metrics = json.loads((run / folders.METRICS).read_text())
    strict = [("data", "name"), ("data", "split"), ("data", "binarization"), ("data", "sha256")]
    for place in list(places(metrics)):
        node = metrics
        for key in place[:-1]:
            node = node[key]
        kept = place[:2] in strict or place[-1] in ("scores", "estimator")
        if isinstance(node[place[-1]], str) and not kept:
            node[place[-1]] = ATTACK
    metrics["analyses"]["trust"]["verdict"] = {ATTACK: ATTACK}
    metrics["analyses"][ATTACK] = {ATTACK: ESTIMATE, "figures": [ATTACK], "settings": {ATTACK: 1}}
    metrics["run"] |= {"name": ATTACK, "skipped": {ATTACK: ATTACK}, "init_from": ATTACK}
    metrics["run"]["stopped"] = {"epoch": ATTACK, "reason": ATTACK}
    metrics["data"]["notice"] = ATTACK
    write_metrics(run, metrics)
    (run / folders.STARTED).write_text(json.dumps([f"name={ATTACK}"]))
    found = Elements(page_of(run))
    assert len(found.all("script")) == len(plain.all("script"))
    assert not any(key.startswith("on") for _, attributes in found.found for key in attributes)
    assert ATTACK in found.text("h1")
    assert found.text("p").count(ATTACK) >= 4
    for picture in found.all("img"):
        assert (picture["src"] or "").startswith("data:image/png;base64,")


@pytest.mark.thinned(5)
@pytest.mark.parametrize("value", [10**400, None, True, "x", 1e308, -1.0, [], [1], {}, {"mean": 1}])
def test_a_value_of_another_kind_breaks_no_page(run: Path, value: Any) -> None:
    metrics = read_metrics(run)
    loaded = loading.load(str(run))
    commands = Commands(run)
    for place in [("run", key) for key in (*metrics["run"], "stopped")] + [
        ("analyses", *rest) for rest in places(metrics["analyses"]) if len(rest) > 1
    ]:
        changed = copy.deepcopy(metrics)
        node = changed
        for key in place[:-1]:
            node = node[key]
        node[place[-1]] = value
        looks = looks_of(changed)
        pictures = Pictures(run, [])
        origins.sentence(loaded, changed)
        origins.commands(commands, looks)
        numbers.tiles(changed, looks, commands)
        numbers.section(changed, looks, commands)
        numbers.gap(looks, pictures, commands)
        assert numbers.trust(looks, pictures, commands).body


def test_the_policy_allows_the_scripts_of_the_page_and_no_other(run: Path) -> None:
    page = page_of(run).decode()
    [policy] = [
        str(meta["content"])
        for meta in Elements(page.encode()).all("meta")
        if meta.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data: blob:"
    scripts = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    assert rules["script-src"].split() == [f"'sha256-{digest}'" for digest in digests]
    elements = Elements(page.encode()).found
    places = [each[key] or "" for _, each in elements for key in ("src", "href") if key in each]
    assert places
    assert all(place.startswith(("#", "data:")) for place in places)


def test_only_pictures_that_lie_in_the_folder_are_shown(run: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(noise(10, 10, 2))
    figures = run / folders.FIGURES
    (figures / "link.png").symlink_to(tmp_path / "secret.png")
    (figures / "text.png").write_bytes(b"no picture")
    metrics = read_metrics(run)
    names = ("link.png", "text.png", "none.png", "../../secret.png", "a.pdf")
    metrics["analyses"]["samples"]["figures"] = [f"{folders.FIGURES}/{name}" for name in names]
    write_metrics(run, metrics)
    found = Elements(page_of(run))
    assert len(found.all("img")) == sum(map(len, FIGURES.values())) - 1
    told = found.text("p")
    assert told.count(" is not shown: ") == len(names)
    assert "leads to" in told
    assert "it is no PNG picture" in told


@pytest.mark.slow
def test_training_ends_with_the_page_and_a_page_that_fails_costs_the_run_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("data.source=digits", "epochs=1", "task.report=true", "~task.analyses.samples")
    train(tmp_path / "good", *words)
    page = tmp_path / "good" / folders.REPORT
    assert capsys.readouterr().out.splitlines()[-1] == str(page)
    elbo = read_metrics(page.parent)["test"]["elbo"]
    assert mean_and_error(elbo) in Elements(page.read_bytes()).text("span")
    (tmp_path / "bad" / folders.REPORT).mkdir(parents=True)
    train(tmp_path / "bad", *words)
    assert folders.is_finished(tmp_path / "bad")
    metrics = read_metrics(tmp_path / "bad")
    assert metrics["test"]["elbo"] == elbo
    assert (
        "report.html is skipped: " + metrics["run"]["skipped"]["report"] in capsys.readouterr().err
    )


def test_a_page_that_cannot_be_written_costs_nothing_else(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / folders.REPORT).mkdir()
    before = (run / folders.METRICS).read_bytes()
    told = run_page.written(run)
    assert isinstance(told, str)
    assert capsys.readouterr().err == f"report.html is skipped: {told}\n"
    assert (run / folders.METRICS).read_bytes() == before


def test_without_the_images_the_page_has_all_but_the_live_model(run: Path) -> None:
    config = (run / folders.CONFIG).read_text()
    (run / folders.CONFIG).write_text(config.replace("source: digits", "source: mnist"))
    found = Elements(page_of(run))
    assert "The model cannot run in this page: " in found.text("p")
    assert not found.all("script")
    assert "The gap and its parts" in found.text("h2")


def test_the_command_makes_the_page_and_a_later_look_makes_it_again(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli._main(["task=samples", f"run={run}"])
    assert not (run / folders.REPORT).exists()
    capsys.readouterr()
    cli._main(["task=report", f"run={run}"])
    assert capsys.readouterr().out.splitlines() == [str(run / folders.REPORT)]
    before = (run / folders.REPORT).read_bytes()
    cli._main(["task=samples", f"run={run}", "task.columns=3"])
    assert "task.columns=3" in Elements((run / folders.REPORT).read_bytes()).text("code")
    assert before != (run / folders.REPORT).read_bytes()


def test_the_command_needs_one_thing_to_tell_of(run: Path) -> None:
    assert "needs a finished run" in refusal("task=report")
    assert "one of run, sweep and runs, got run and runs" in refusal(
        "task=report", f"run={run}", f"runs=[{run},{run}]"
    )
    assert "tells of a run at its end" in refusal(
        "task=report", f"run={run / 'checkpoints' / 'last.ckpt'}"
    )


def test_runs_are_told_of_side_by_side(run: Path, folder: Path) -> None:
    other = folder / "other"
    shutil.copytree(run, other)
    run_page.write(loading.load(str(run)))
    cli._main(["task=report", f"runs=[{run},other]"])
    found = Elements((folder / "comparison.html").read_bytes())
    elbo = read_metrics(run)["test"]["elbo"]
    assert found.text("span").count(mean_and_error(elbo)) == 2
    assert "0.00 ± 0.00" in found.text("span")  # a run and its copy, paired
    [link] = [a for a in found.all("a") if "report.html" in (a["href"] or "")]
    assert (folder / str(link["href"])).resolve() == (run / folders.REPORT).resolve()
    assert "task=report run=other" in found.text("code")


def test_a_sweep_is_told_of_by_its_summary_and_leads_to_its_runs(run: Path, folder: Path) -> None:
    sweep = folder / "sweep"
    (sweep / "0").parent.mkdir()
    shutil.copytree(run, sweep / "0")
    (sweep / folders.SWEEP).write_text("jobs: []")
    assert "task=summarise" in refusal("task=report", "sweep=sweep")
    (sweep / sweep_page.SUMMARY).write_text(
        f"# Sweep of {ATTACK}\n\n1 of 2 jobs finished, all with `a=b`\n\n## Test set\n\n"
        "| lr | ELBO |\n|---|---:|\n| **`0.1`** (best) | −1.00 ± 0.50 |\n\n"
        "![x](sweep.png)\n\n## Not finished\n\n- `1: lr=2` failed\n"
    )
    (sweep / sweep_page.PICTURE).write_bytes(noise(30, 30))
    cli._main(["task=report", "sweep=sweep"])
    found = Elements((sweep / folders.REPORT).read_bytes())
    assert found.text("h1") == f"Sweep of {ATTACK}"
    assert not found.all("script")
    assert found.text("h2").split("\n") == [
        "Test set",
        "Not finished",
        "The picture",
        "The runs",
        "The commands",
    ]
    assert "−1.00 ± 0.50" in found.text("td")
    assert len(found.all("img")) == 1
    assert "task=report run=sweep/0" in found.text("code")
    run_page.write(loading.load(str(sweep / "0")))
    cli._main(["task=report", "sweep=sweep"])
    links = Elements((sweep / folders.REPORT).read_bytes()).all("a")
    assert [a["href"] for a in links if "report" in (a["href"] or "")] == ["0/report.html"]


def test_a_comparison_that_cannot_be_made_is_refused(run: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        comparison_page.write([str(run), "nowhere"], Path("c.html"), 0)

"""What tests share: where they find MNIST, a folder to start from, and how a command is refused."""

import importlib.util
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import browser as browsers
import pytest
import warm

from vae_exp import folders, knobs
from vae_exp.cli import main as cli
from vae_exp.errors import UserError

NEIGHBOUR = Path(__file__).resolve().parents[2] / "shared" / "mnist"


def mnist_folder() -> Path | None:
    """The folder of real MNIST: $VAE_EXP_DATA, else a neighbour, else None."""
    for folder in (os.environ.get("VAE_EXP_DATA"), NEIGHBOUR):
        if folder and any(Path(folder).glob("train-images-idx3-ubyte*")):
            return Path(folder).resolve()
    return None


if (found := mnist_folder()) is not None:  # commands that tests start in other folders find it too
    os.environ["VAE_EXP_DATA"] = str(found)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a test marked sampled(n), each n-th case is quick enough; the others are slow.

    Of one marked thinned(n), each n-th case runs in `make test`; the others are exhaustive.
    """
    cases: Counter[str] = Counter()
    for item in items:
        name = item.nodeid.partition("[")[0]
        for each, others in (("sampled", "slow"), ("thinned", "exhaustive")):
            marked = item.get_closest_marker(each)
            if marked is not None and cases[name] % marked.args[0]:
                item.add_marker(others)
        cases[name] += 1


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Only a test that is marked slow starts processes that train."""
    if item.get_closest_marker("imports_torch") and importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed")
    warm.allowed = item.get_closest_marker("slow") is not None


@pytest.fixture(scope="session")
def mnist() -> Path:
    """Real MNIST; a test that asks for it is skipped if there is none."""
    folder = mnist_folder()
    if folder is None:
        pytest.skip("no MNIST at hand: set VAE_EXP_DATA")
    return folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to start from."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on the bundled digits, with its config; a test changes a copy of it."""
    from kill_and_resume import small_config, train
    from omegaconf import OmegaConf

    run = tmp_path_factory.mktemp("finished")
    train(run, "data.source=digits")
    config = OmegaConf.masked_copy(
        small_config("data.source=digits"), [*knobs.KNOBS, *knobs.GROUPS, "schema"]
    )
    OmegaConf.save(config, run / folders.CONFIG)
    (run / folders.STARTED).write_text("[]\n")
    return run


@pytest.fixture(scope="session")
def chromium() -> Iterator[browsers.Browser]:
    """One browser for all tests of a process; a test asks for `browser`."""
    with browsers.started() as browser:
        yield browser


@pytest.fixture
def browser(chromium: browsers.Browser) -> Iterator[browsers.Browser]:
    """A real browser on an empty page; at the test's end its console must be empty."""
    chromium.dark(False)
    chromium.driver.get("about:blank")
    chromium.console()
    yield chromium
    assert chromium.console() == []


def refusal(*words: str) -> str:
    """The one line with which the command line refuses, in this process."""
    with pytest.raises(UserError) as caught:
        cli._main(list(words))
    line = " ".join(str(caught.value).split())
    assert line
    return line

"""Every example of docs/extending.md, as it stands, from a folder that is not the repository."""

import re
import shlex
from pathlib import Path

import pytest
import warm

PAGE = Path(__file__).resolve().parents[1] / "docs" / "extending.md"
SECTIONS = dict(
    re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE.read_text(encoding="utf-8"), flags=re.M | re.S)
)


def files_of(section: str) -> dict[str, str]:
    """The files that a section shows: path -> contents."""
    return dict(re.findall(r"^```(?:python|yaml) (\S+)\n(.*?)^```", section, flags=re.M | re.S))


def commands_of(section: str) -> list[str]:
    return [
        line
        for block in re.findall(r"^```bash\n(.*?)^```", section, flags=re.M | re.S)
        for line in block.splitlines()
    ]


@pytest.mark.slow
@pytest.mark.parametrize("title", SECTIONS)
def test_an_example_runs_as_it_stands(title: str, tmp_path: Path) -> None:
    for name, contents in files_of(SECTIONS[title]).items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(contents, encoding="utf-8")
    commands = commands_of(SECTIONS[title])
    assert commands
    for command in commands:
        words = shlex.split(command)
        assert words[:3] == ["python", "-m", "vae_exp"]
        process = warm.start(tmp_path, *words[3:])
        _, told = process.communicate()
        assert process.returncode == 0, f"{command}\n{told}"
    [weights] = tmp_path.glob("outputs/*/*/model.safetensors")
    assert weights.stat().st_size > 0


def test_every_kind_of_part_has_an_example() -> None:
    table = re.findall(r"^\| \[(.+?)\]\(#(.+?)\)", PAGE.read_text(encoding="utf-8"), flags=re.M)
    anchors = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in SECTIONS]
    assert [anchor for _, anchor in table] == anchors

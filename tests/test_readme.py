"""README's code runs as it stands, and its commands are those of CI."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_readme_has_code():
    assert blocks("python")
    assert len(blocks("sh")) >= 2


@pytest.mark.parametrize("code", blocks("python"))
def test_python_of_readme_runs(code, tmp_path):
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    assert "nucleus" in result.stdout


def test_console_commands_of_readme_exist():
    for block in blocks("console"):
        for line in block.splitlines():
            name, *options = re.findall(r"(?<=ilastik-lazy )\w+|--\w+", line)
            text = subprocess.run(
                [sys.executable, "-m", "ilastik_lazy.cli", name, "--help"], capture_output=True, text=True, check=True
            ).stdout
            for option in options:
                assert option in text, line


def test_ci_runs_the_test_command_of_readme():
    (command,) = [block for block in blocks("sh") if "pytest" in block]
    in_ci = command.strip().replace("python3 -m venv", '"$PYTHON" -m venv')
    assert in_ci in (ROOT / ".ci" / "run").read_text()

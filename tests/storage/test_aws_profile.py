"""Profiles of ``~/.aws``: which keys, region and endpoint S3 gets, and that no secret is shown."""

from __future__ import annotations

import os

import pytest

from ilastik_lazy.cli import options as cli_options
from ilastik_lazy.errors import ArgumentError
from ilastik_lazy.storage.object_store import ObjectFolder
from ilastik_lazy.storage.object_store.aws_profile import with_profile

CREDENTIALS = """[default]
aws_access_key_id = D
aws_secret_access_key = d%%s
[lab]
aws_access_key_id = L
aws_secret_access_key = l%(x)s
aws_session_token = t
"""
CONFIG = """[default]
region = eu-west-1
[profile lab]
region = eu-north-1
endpoint_url = http://127.0.0.1:9
[profile sso]
sso_session = work
"""
DEFAULT = {"access_key_id": "D", "secret_access_key": "d%%s", "region": "eu-west-1"}
LAB = {
    "access_key_id": "L", "secret_access_key": "l%(x)s", "session_token": "t", "region": "eu-north-1",
    "endpoint": "http://127.0.0.1:9",
}  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A home folder with two profiles, and nothing in the environment."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(CREDENTIALS)
    (tmp_path / ".aws" / "config").write_text(CONFIG)
    return tmp_path


KEYS = {"AWS_ACCESS_KEY_ID": "E", "AWS_SECRET_ACCESS_KEY": "e"}
CASES = {
    "the default profile": ({}, {}, DEFAULT),
    "one that is named": ({"profile": "lab"}, {}, LAB),
    "one of the environment": ({}, {"AWS_PROFILE": "lab"}, LAB),
    "named before keys of the environment": ({"profile": "lab"}, KEYS, LAB),
    "keys of the environment before the default": ({}, KEYS, {"region": "eu-west-1"}),
    "options first": ({"access_key_id": "O", "region": "r"}, {}, {"access_key_id": "O", "region": "r"}),
    "region of the environment": ({}, {"AWS_REGION": "r"}, {key: DEFAULT[key] for key in list(DEFAULT)[:2]}),
    "anonymous": ({"skip_signature": True}, {}, {"skip_signature": True, "region": "eu-west-1"}),
}


@pytest.mark.parametrize("case", CASES)
def test_keys_and_region_come_from_where_amazons_tools_take_them(monkeypatch, case):
    given, environment, expected = CASES[case]
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert with_profile(given) == expected


WRONG = {"nobody": "there is no profile 'nobody'", "sso": r"profile 'sso' holds no keys \(it has sso_session\)"}


@pytest.mark.parametrize("name", WRONG)
def test_a_profile_without_keys_is_an_error_that_states_what_to_do(name):
    with pytest.raises(ArgumentError, match=WRONG[name]):
        with_profile({"profile": name})


def test_a_damaged_file_is_an_error_without_its_secrets(home):
    (home / ".aws" / "credentials").write_text("very-secret")
    with pytest.raises(ArgumentError, match="cannot be read") as caught:
        with_profile({})
    assert "very-secret" not in str(caught.value)


def test_a_bucket_is_reached_with_the_profile_and_no_repr_shows_keys():
    pytest.importorskip("obstore")
    folder = ObjectFolder.parse("s3://bucket/a", {"profile": "lab"})
    store = folder.zarr_store()[0].store
    assert store.config["access_key_id"] == "L"
    assert store.config["region"] == "eu-north-1"
    assert folder.options == (("profile", "lab"),)


def test_the_command_passes_region_profile_and_anon_on(monkeypatch):
    given = {"region": "r", "profile": "lab", "anon": True, "endpoint_url": None}
    monkeypatch.setattr(cli_options, "given", given.get)
    assert cli_options.storage_options() == {"region": "r", "profile": "lab", "anon": True}

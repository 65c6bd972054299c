"""Credentials, region and endpoint of S3 in ``~/.aws``, where the tools of Amazon keep them, by profile.

obstore reads variables of the environment alone.  Only what stands in the files is used; nothing that they name is run.
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping

from ilastik_lazy.errors import ArgumentError

__all__ = ["profile_files", "with_profile"]

_SECRETS = ("access_key_id", "secret_access_key", "session_token")
_INDIRECT = ("role_arn", "sso_session", "sso_start_url", "credential_process", "web_identity_token_file")
_KNOWN = {
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    "endpoint": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
}


def profile_files() -> tuple[str, str]:
    """Return the paths of the file of credentials, and of the one of settings."""
    return (
        os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or os.path.expanduser("~/.aws/credentials"),
        os.environ.get("AWS_CONFIG_FILE") or os.path.expanduser("~/.aws/config"),
    )


def with_profile(options: Mapping[str, str | bool]) -> dict[str, str | bool]:
    """Return options of S3 for obstore with what their ``profile``, ``AWS_PROFILE`` or the default profile adds.

    As in Amazon's own tools, options come first, then a profile that they name, then the environment, then the
    profile of ``AWS_PROFILE`` or the default one; region and endpoint of the environment precede those of any profile.

    Raises
    ------
    ArgumentError
        There is no such profile, or it holds no credentials itself.
    """
    made = dict(options)
    named = made.pop("profile", None)
    wanted = named or os.environ.get("AWS_PROFILE")
    name = str(wanted or "default")
    credentials, settings = profile_files()
    found = _section(settings, "default" if name == "default" else f"profile {name}") | _section(credentials, name)
    if wanted and not found:
        raise ArgumentError(f"there is no profile {name!r} in {credentials} and {settings}: name one of those there")
    for option, variables in _KNOWN.items():
        stored = found.get("endpoint_url" if option == "endpoint" else option)
        if stored and not any(map(os.environ.get, variables)):
            made.setdefault(option, stored)
    has_own = made.get("skip_signature") not in (None, False, "false") or "access_key_id" in made
    if has_own or (not named and os.environ.get("AWS_ACCESS_KEY_ID")):
        return made
    if wanted and not all(f"aws_{key}" in found for key in _SECRETS[:2]):
        how = next((f" (it has {key})" for key in _INDIRECT if key in found), "")
        raise ArgumentError(
            f"profile {name!r} holds no keys{how}: put them into the environment, with "
            f"eval $(aws configure export-credentials --profile {name} --format env)"
        )
    return made | {key: found[f"aws_{key}"] for key in _SECRETS if found.get(f"aws_{key}")}


def _section(path: str, name: str) -> dict[str, str]:
    # Without interpolation: secrets may have a "%".
    parser = configparser.RawConfigParser(strict=False, default_section="")
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError, OSError) as error:
        # The message of the error repeats lines, and with them secrets.
        raise ArgumentError(f"{path} cannot be read as the tools of AWS write it ({type(error).__name__})") from None
    return dict(parser[name]) if parser.has_section(name) else {}

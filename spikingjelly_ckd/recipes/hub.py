"""Files of networks on the Hugging Face hub: ``hf://owner/name``."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from ..errors.arguments import ArgumentNotFoundError, ArgumentValueError
from ..errors.installed import needs_packages

__all__ = ["HUB", "NETWORK_FILE", "REPO", "local_file"]

HUB = "hf://"
"""How an address on the hub begins."""
NETWORK_FILE = "student.safetensors"
"""What an address without a file means."""
REPO = r"[\w.-]+/[\w.-]+"
"""Regular expression of ``owner/name``."""
ADDRESS = re.compile(rf"hf://({REPO})(?:@([\w.-]+))?(?:/([\w./-]+\.safetensors))?")


def local_file(path: str | Path) -> Path:
    """Where a network's file lies on this machine; one on the hub is fetched, with its JSON, from one commit.

    Files go into huggingface_hub's cache, and are not fetched again while they are there; ``HF_ENDPOINT``, ``HF_HOME``,
    ``HF_HUB_OFFLINE`` and a login are its own.

    Args:
        path: of a ``.safetensors`` file; or ``hf://owner/name``, ``hf://owner/name@REVISION`` (a branch, tag or
            commit), and behind either ``/FILE.safetensors``.

    Raises:
        FileNotFoundError: there is no such repository, revision or file, or it is private.
        OSError: the hub cannot be reached.
        ValueError: it begins with ``hf://`` and is no such address.

    Example:
        >>> local_file("net.safetensors")
        PosixPath('net.safetensors')
        >>> local_file("hf://name")
        Traceback (most recent call last):
            ...
        spikingjelly_ckd.errors.arguments.ArgumentValueError: path must be hf://owner/name[@revision][/file.safetensors],
        got hf://name
    """
    if not str(path).startswith(HUB) or isinstance(path, Path):
        return Path(path)
    found = ADDRESS.fullmatch(path)
    if found is None or ".." in PurePosixPath(path).parts:
        raise ArgumentValueError("path", f"must be hf://owner/name[@revision][/file.safetensors], got {path}")
    repo, revision, name = found.groups()
    weights = PurePosixPath(name or NETWORK_FILE)
    with needs_packages("an address that begins with hf://"):
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import (
            EntryNotFoundError,
            LocalEntryNotFoundError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )
    try:
        about = Path(hf_hub_download(repo, str(weights.with_suffix(".json")), revision=revision))
        commit = about.parents[len(weights.parts) - 1].name  # so that both files are of one commit
        return Path(hf_hub_download(repo, str(weights), revision=commit))
    except LocalEntryNotFoundError as error:
        raise OSError(
            f"{path} is not on this machine, and the hub cannot be reached: see to the network, or to HF_HUB_OFFLINE "
            "and HF_ENDPOINT where they are set"
        ) from error
    except (EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise ArgumentNotFoundError(
            "path",
            f"{path} is not to be had ({type(error).__name__}): see to owner, name, revision and file; what is private "
            "needs a login (hf auth login)",
        ) from error

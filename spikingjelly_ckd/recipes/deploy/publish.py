"""A student on the Hugging Face hub, with a model card that its record writes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...errors.arguments import ArgumentNotFoundError, ArgumentValueError
from ...errors.installed import needs_packages
from ..comparison.records import RECORDS, STUDENTS
from ..export import check_pair, file_hash, read_about
from ..hub import HUB, NETWORK_FILE, REPO
from ..names import BUILDERS, package_function
from ..records.schema import Record
from ..untrusted import markdown_cell, shown_text

with needs_packages("spikingjelly_ckd.recipes.deploy.publish"):
    from huggingface_hub import CommitOperationAdd, HfApi, ModelCardData

__all__ = ["model_card", "publish"]

RECORD = "record.json"
TAGS = ("spiking-neural-network", "knowledge-distillation", "spikingjelly")
CARD = """---
{metadata}
---

# {title}

A spiking network that was trained with `spikingjelly-ckd` (method: {method}); it runs on
[SpikingJelly](https://github.com/fangwei123456/spikingjelly).

```python
from spikingjelly_ckd.recipes.deploy.evaluate import evaluate
from spikingjelly_ckd.recipes.export import load_network

network, about = load_network("{address}"{build})
print(evaluate("{address}", "FOLDER_OF_IMAGES"{build}))
```

Nothing in these files is unpickled, and no code of them is run.{note}

## Figures

{figures}

Accuracy is of the test set after the last epoch, energy of one image by counted operations on 45 nm CMOS, without
memory. A single run says nothing about the spread over seeds.

## How it was made

{settings}
"""


def publish(
    folder: str | Path, repo: str, *, private: bool = False, license: str | None = None, with_record: bool = False
) -> str:
    """Put the student of a run on the hub: its two files, and a model card out of the record.

    It can then be read with ``load_network("hf://owner/name")``. A login, ``HF_TOKEN`` and ``HF_ENDPOINT`` are
    huggingface_hub's own. All files go into one commit; the repository is made where there is none.

    Args:
        folder: of a finished run, with ``record.json``, ``student.safetensors`` and ``student.json``.
        repo: ``owner/name``.
        private: whether a repository that is made now is private.
        license: the hub's name of one, such as ``"apache-2.0"``; None says nothing.
        with_record: put ``record.json`` there too. It holds paths and the command line of your machine.

    Returns:
        Address of the commit.

    Raises:
        FileNotFoundError: a file of the run is missing.
        OSError: the hub refuses, or cannot be reached.
        ValueError: ``repo`` is no such name; the run is one of a comparison, a smoke run, unfinished, or its student is
            another file than its record says.

    Example:
        ``publish("runs/ROW/METHOD-seed0", "owner/name")``
    """
    name = repo.removeprefix(HUB)
    if re.fullmatch(REPO, name) is None:
        raise ArgumentValueError("repo", f"must be owner/name, got {repo}")
    folder = Path(folder)
    if (folder / RECORDS).is_dir() or folder.parent.name == STUDENTS:
        raise ArgumentValueError(
            "folder", f"is of a comparison, {folder}; publish a run of a row with the method and values that you choose"
        )
    path = folder / NETWORK_FILE
    for file in (path, path.with_suffix(".json"), folder / RECORD):
        if not file.is_file():
            raise ArgumentNotFoundError("folder", f"must be that of a finished run, and {file} is not there")
    record, about = Record.read(folder / RECORD), read_about(path)
    check_pair(path, about)
    if record.smoke or not record.finished:
        why = "a smoke run, which says nothing" if record.smoke else "unfinished: go on with it, --resume latest"
        raise ArgumentValueError("folder", f"{folder} is of a run that is {why}")
    if record.student is None or record.student.sha256 != file_hash(path):
        raise ArgumentValueError("folder", f"{folder}: {path.name} is not the file that {RECORD} was written for")
    card = model_card(record, about, name, license=license)
    files: dict[str, Any] = {"README.md": card.encode(), path.name: path}
    files[path.with_suffix(".json").name] = path.with_suffix(".json")
    if with_record:
        files[RECORD] = folder / RECORD
    api = HfApi()
    api.create_repo(name, private=private, exist_ok=True)
    commit = api.create_commit(
        name,
        [CommitOperationAdd(path_in_repo=target, path_or_fileobj=source) for target, source in files.items()],
        commit_message=f"Student of {shown_text(record.row, 60)}, seed {record.seed}",
    )
    return str(commit.commit_url)


def model_card(record: Record, about: dict[str, Any], repo: str, *, license: str | None = None) -> str:
    """The card of a student: what it is, how to run it, its figures and how it was made. Markdown with YAML before it.

    Whatever text stands in the record is shown as it is: neither Markdown nor YAML acts on it.

    Args:
        record: of the run.
        about: what ``student.json`` says.
        repo: ``owner/name``.
        license: the hub's name of one; None says nothing.

    Example:
        >>> from spikingjelly_ckd.recipes.records.parts import RecordedData
        >>> data = RecordedData(name="digits", split="40-20-40", split_hash="0" * 64)
        >>> record = Record(row="digits", method="kd", seed=0, data=data, recipe={"lr": 0.1, "epochs": 1})
        >>> record = record.after([{"epoch": 1, "test_acc1": 62.5, "seconds": 1.5}])
        >>> about = {"build": "spikingjelly_ckd.recipes.models:spiking_resnet8", "time_steps": 4}
        >>> card = model_card(record, about, "owner/name", license="apache-2.0").splitlines()
        >>> [line for line in card if line.startswith(("license", "# ", "| test"))]
        ['license: apache-2.0', '# digits: kd', '| test accuracy | 62.50 % |']
    """
    known = package_function(str(about["build"]), BUILDERS) is not None
    metadata = ModelCardData(
        language=None,
        license=license,
        library_name="spikingjelly-ckd",
        pipeline_tag=None if about.get("event") else "image-classification",
        tags=list(TAGS),
    )
    return CARD.format(
        metadata=metadata.to_yaml(),
        title=markdown_cell(f"{record.row}: {record.method}"),
        method=markdown_cell(record.method),
        address=f"{HUB}{repo}",
        build="" if known else ", build=YOUR_FUNCTION",
        note="" if known else f" The network is built by a function of its author's, {markdown_cell(about['build'])}.",
        figures=_table(("figure", "value"), _figures(record, about)),
        settings=_table(("setting", "value", "source"), _settings(record)),
    )


def _figures(record: Record, about: dict[str, Any]) -> Iterable[tuple[object, ...]]:
    data, teacher = record.data, record.teacher
    complete = "" if data.complete else ", incomplete"
    yield "data", f"{data.name}, split {data.split}{complete} ({data.split_hash[:8]})"
    yield "time steps", about.get("time_steps")
    yield "test accuracy", None if record.test_accuracy is None else f"{record.test_accuracy:.2f} %"
    if teacher is not None and teacher.accuracy is not None:
        yield "accuracy of the teacher", f"{teacher.accuracy:.2f} %"
    if record.student is not None:
        yield "parameters", record.student.parameters
        yield "built by", record.student.build
    energy = (record.energy or {}).get("student")
    if energy is not None:
        yield "energy", f"{energy['compute_mj']:.3g} mJ"
        if energy["firing_rate"] is not None:
            yield "firing rate", f"{100 * energy['firing_rate']:.1f} %"


def _settings(record: Record) -> Iterable[tuple[object, ...]]:
    yield "seed", record.seed, ""
    for name, value in record.recipe.items():
        on_disk = isinstance(value, str) and Path(value).is_absolute()  # whose folders are nobody's business
        yield name, Path(value).name if on_disk else value, record.sources.get(name, "")
    for name, value in (record.environment.get("versions") or {}).items():
        yield name, value, "version"


def _table(heads: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    lines = [heads, ("---",) * len(heads), *(row for row in rows if row[1] is not None)]
    return "\n".join(f"| {' | '.join(map(markdown_cell, line))} |" for line in lines)

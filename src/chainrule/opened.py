"""A run folder opened again: its network with the best weights, its schema, its own data, and new data read like it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from chainrule.data.samples import Records
from chainrule.errors import InputError
from chainrule.prepare import Prepared, prepare_again, read_for_scoring
from chainrule.recipe import CUSTOM, load_recipe
from chainrule.recognise import find_kind
from chainrule.session import Session
from chainrule.train.run import Run


class OpenRun:
    """What every verb over a run folder starts from.

    Args:
        model: a person's own module, which a run folder cannot hold.
    """

    def __init__(self, path: str | Path, model: nn.Module | None = None) -> None:
        self.path = Path(path)
        self.folder = Run.open(self.path)
        self.model = model
        self.notes: list[str] = []  # what was noticed in the data read last: columns ignored, words unseen

    @cached_property
    def schema(self) -> Any:
        """What was learned about the data."""
        saved = self.folder.read("schema.json")
        return find_kind(saved["kind"]).load_schema(saved)

    @cached_property
    def session(self) -> Session:
        """The network with its best weights, its schema and its task."""
        kind = find_kind(self.schema.kind)
        recipe = load_recipe(self.folder.read("recipe.json"))
        if recipe.model_name == CUSTOM and self.model is None:
            raise InputError(
                f"{self.path} trains a module of your own; use chainrule.load({str(self.path)!r}, model=...)"
            )
        session = Session(kind, self.schema, recipe, self.model)
        session.load(self.folder.load_best())
        return session

    def prepared(self) -> Prepared:
        """The run's own data, read and divided as it was.

        Raises:
            InputError: it was handed over in memory, or it changed.
        """
        saved = self.folder.read("data.json")
        if saved["source"] is None:
            raise InputError("this run was made from data in memory; hand over a source to evaluate on")
        recipe = self.session.recipe
        prepared = prepare_again(saved, recipe.data, self.session.schema)
        if prepared.fingerprint != saved["fingerprint"] and not recipe.data.accept_data_change:
            raise InputError(f"the data of {self.path} changed since it was trained; hand over a source to evaluate on")
        return prepared

    def labelled(self, source: Any) -> Records:
        """The records of a labelled source.

        Raises:
            InputError: it cannot be read, or has no target.
        """
        session = self.session
        records = read_for_scoring(source, session.recipe.data, session.kind, session.schema.target)
        self.notice(records)
        return records

    def inputs(self, inputs: Any) -> Records:
        """The records of new input, for which no target is needed.

        Raises:
            InputError: it does not fit the schema.
        """
        records = self.session.kind.read_inputs(listed(inputs), self.session.schema)
        self.notice(records)
        return records

    def notice(self, *every: Any) -> None:
        """Keep what a person must hear about these records."""
        kind, schema = self.session.kind, self.session.schema
        self.notes = []
        for records in every:
            noticed = [finding for finding in kind.findings(records) if finding.level != "note"]
            self.notes += [finding.text for finding in (*noticed, *kind.mismatches(records, schema))]


def listed(inputs: Any) -> Sequence[Any]:
    """Several inputs, or one as a list."""
    return inputs if isinstance(inputs, list | tuple) else [inputs]

"""Texts with labels: what is recognised, how each form is read, batches, word dropout, several labels, predictions."""

from __future__ import annotations

import gzip
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from tests.sentences import reviews

from chainrule.data import table, text
from chainrule.data.config import DataConfig
from chainrule.data.samples import Batch
from chainrule.data.schema import ClassTarget, LabelsTarget, NumberTarget
from chainrule.data.sources import open_source
from chainrule.data.text.records import TextRecords
from chainrule.data.tokens import PAD, SPECIALS, UNKNOWN
from chainrule.errors import InputError
from chainrule.prepare import prepare

TEXTS, LABELS = reviews()


def read(source: object, **options: str) -> TextRecords:
    return text.read(open_source(source), DataConfig(**options))["all"]  # type: ignore[arg-type]


def learned(**options: object) -> tuple[TextRecords, text.TextSchema]:
    records = read((TEXTS, LABELS))
    return records, text.learn_schema(records, DataConfig(**options))  # type: ignore[arg-type]


def test_tables_with_words_in_them_stay_tables() -> None:
    passengers = pl.DataFrame(
        {
            "survived": [0, 1] * 20, "class": [1, 2, 3, 1] * 10, "age": list(range(40)), "fare": [7.25] * 40,
            "name": [f"Brown, Mrs. James Joseph number {i}" for i in range(40)], "sex": ["male", "female"] * 20,
            "parents": [0] * 40, "cabin": [f"C{i}" for i in range(40)],
        }
    )  # fmt: skip
    assert text.recognises(open_source(passengers)) is None
    assert table.recognises(open_source(passengers))
    words = pl.DataFrame({"colour": ["dark red", "light blue"] * 20, "label": [0, 1] * 20})
    assert text.recognises(open_source(words)) is None
    two_languages = pl.DataFrame({"en": TEXTS, "de": [f"das ist {t}" for t in TEXTS]})
    assert text.recognises(open_source(two_languages)) is None  # nothing that is a label


def test_the_reason_names_the_column_and_its_words() -> None:
    reason = text.recognises(open_source(pl.DataFrame({"id": range(120), "review": TEXTS, "sentiment": LABELS})))
    assert reason == "column 'review' of 3 holds texts (9 words on average)"


def test_a_short_column_counts_by_its_name() -> None:
    frame = pl.DataFrame({"utterance": [f"light {i} on" for i in range(40)], "intent": ["on", "off"] * 20})
    assert text.recognises(open_source(frame))
    assert text.recognises(open_source(frame.rename({"utterance": "x1"}))) is None


@pytest.mark.parametrize("ending", ["csv", "tsv", "csv.gz", "jsonl", "parquet", "headless.tsv", "txt"])
def test_files_of_every_form_give_the_same_texts(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"t.{ending}"
    frame = pl.DataFrame({"text": TEXTS, "label": LABELS})
    if ending == "csv.gz":
        path.write_bytes(gzip.compress(frame.write_csv().encode()))
    elif ending == "jsonl":
        frame.write_ndjson(path)
    elif ending == "parquet":
        frame.write_parquet(path)
    else:
        separator = "," if ending == "csv" else "\t"
        frame.write_csv(path, separator=separator, include_header=ending in ("csv", "tsv"))
    assert text.recognises(open_source(path))
    records = read(path)
    assert records.texts == TEXTS
    assert records.labels is not None
    assert records.labels.tolist() == LABELS
    assert records.ids[16] == "row 17"


def test_quotes_inside_a_tab_separated_text_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    rows = '"so he said, and left the film\tbad\nit is "new" and good for all\tgood\n'
    path.write_text("text\tlabel\n" + 4 * rows)
    assert read(path).texts[:2] == ['"so he said, and left the film', 'it is "new" and good for all']


def test_class_folders_and_class_files(tmp_path: Path) -> None:
    for name in ("good", "bad"):
        (tmp_path / "folders" / name).mkdir(parents=True)
        (tmp_path / "files").mkdir(exist_ok=True)
        own = [one for one, label in zip(TEXTS, LABELS, strict=True) if label == name]
        (tmp_path / f"files/reviews-{name}.txt").write_text("\n".join(own) + "\n")
        for number, one in enumerate(own):
            (tmp_path / f"folders/{name}/{number:03d}.txt").write_text(one)
    (tmp_path / "folders" / "unsup").mkdir()
    (tmp_path / "folders" / "unsup" / "0.txt").write_text("no one said what this is")
    folders, files = read(tmp_path / "folders"), read(tmp_path / "files")
    assert sorted(folders.texts) == sorted(files.texts) == sorted(TEXTS)
    assert folders.ids[0] == "bad/000.txt"
    assert files.ids[0] == "reviews-bad.txt line 1"
    assert folders.labels is not None
    assert set(folders.labels.tolist()) == {"good", "bad"}
    assert "'unsup' holds texts without a label" in text.findings(folders)[0].text


def test_files_of_two_languages_are_no_classes(tmp_path: Path) -> None:
    for name in ("en", "de"):
        (tmp_path / f"news.{name}").write_text("\n".join(TEXTS))
    assert text.recognises(open_source(tmp_path)) is None


def test_several_columns_of_texts_are_joined_and_others_said() -> None:
    titles = [f"what we thought of the film {i}" for i in range(120)]
    records = read(pl.DataFrame({"title": titles, "body": TEXTS, "stars": ["x"] * 120, "label": LABELS}))
    assert records.texts[3] == f"{titles[3]}\n{TEXTS[3]}"
    said = [finding.text for finding in text.findings(records)]
    assert "the texts of columns 'title', 'body' are joined" in said
    assert "columns that are no texts are not used: 'stars'" in said


def test_the_label_is_found_or_named() -> None:
    frame = pl.DataFrame({"body": TEXTS, "topic": ["x", "y", "z"] * 40, "tone": LABELS})
    assert read(frame, target="tone").store.label_name == "tone"
    assert read(frame, target="-1").store.label_name == "tone"
    with pytest.raises(InputError, match=r"which column .* is the label\? .*topic, tone"):
        read(frame)
    with pytest.raises(InputError, match=r"no column 'tune'.*'tone'"):
        read(frame, target="tune")


def test_numbers_are_learned_as_numbers() -> None:
    stars = [float(i % 7) + 0.5 for i in range(120)]
    records = read(pl.DataFrame({"text": TEXTS, "stars": stars}))
    target = text.learn_schema(records, DataConfig()).target
    assert isinstance(target, NumberTarget)
    assert text.encode(records, text.learn_schema(records, DataConfig())).targets.tolist() == stars  # type: ignore[union-attr]


def test_the_schema_is_learned_from_train_and_survives_json() -> None:
    records, schema = learned()
    assert isinstance(schema.target, ClassTarget)
    assert schema.target.classes == ("bad", "good")
    assert text.load_schema(json.loads(json.dumps(asdict(schema)))) == schema
    assert "small letters" in schema.notes[1]
    fewer = text.learn_schema(records.select(np.arange(10)), DataConfig())
    assert len(fewer.tokenizer) < len(schema.tokenizer)


def test_texts_are_cut_and_that_is_said() -> None:
    texts = [*TEXTS[:118], "word " * 500, "word " * 400]
    records = read((texts, LABELS))
    schema = text.learn_schema(records, DataConfig())
    assert 10 < schema.max_tokens < 500
    assert "2 of 120 texts to learn from are longer, up to 500" in schema.notes[-1]
    assert text.encode(records, schema).lengths.max() == schema.max_tokens
    (cut,) = text.mismatches(records, schema)
    assert cut.text == f"2 texts are cut after {schema.max_tokens} tokens; the longest has 500"
    assert text.learn_schema(records, DataConfig(max_tokens=7)).max_tokens == 7


def test_a_script_without_spaces_is_read_in_pieces() -> None:
    texts = ["这部电影真的非常好看我很喜欢这个故事的结局" + str(i) for i in range(40)]
    schema = text.learn_schema(read((texts, ["a b", "c"] * 20), kind="text"), DataConfig(vocab_size=300))
    assert schema.tokenizer.scheme == "bpe"
    assert "hardly any spaces" in schema.notes[1]


@pytest.mark.parametrize("scheme", ["words", "bpe", "characters"])
def test_batches_are_padded_to_their_longest_text(scheme: str) -> None:
    records, schema = learned(tokenizer=scheme, vocab_size=300 if scheme == "bpe" else 0)
    samples = text.encode(records, schema)
    assert samples.arrangement == "by_length"
    rows = torch.tensor([5, 0, 17])
    batch = samples.batch(rows)
    ids, lengths = batch.inputs
    assert ids.dtype == lengths.dtype == torch.int64
    assert ids.shape == (3, int(lengths.max()))
    for row, one, length in zip(rows.tolist(), ids, lengths.tolist(), strict=True):
        assert one[:length].tolist() == schema.tokenizer.encode(TEXTS[row])[: schema.max_tokens]
        assert (one[length:] == PAD).all()
    assert batch.targets is not None
    assert batch.targets.tolist() == [0, 1, 0]


def test_word_dropout_hides_a_share_and_no_padding() -> None:
    ids = torch.randint(4, 50, (200, 60))
    ids[:, 40:] = PAD
    batch = Batch((ids, torch.full((200,), 40)), None, torch.arange(200))
    hidden = text.augment(batch, torch.Generator().manual_seed(3), text.TextAugmentConfig(word_dropout=0.25))
    assert (hidden.inputs[0][:, 40:] == PAD).all()
    gone = hidden.inputs[0][:, :40] != ids[:, :40]
    assert (hidden.inputs[0][:, :40][gone] == UNKNOWN).all()
    assert gone.float().mean() == pytest.approx(0.25, abs=0.02)  # 8,000 draws: standard deviation 0.005
    again = text.augment(batch, torch.Generator().manual_seed(3), text.TextAugmentConfig(word_dropout=0.25))
    assert torch.equal(again.inputs[0], hidden.inputs[0])
    assert text.augment(batch, torch.Generator(), text.TextAugmentConfig(word_dropout=0.0)) is batch
    with pytest.raises(InputError, match=r"word_dropout is a share from 0 to below 1, got 1\.0"):
        text.TextAugmentConfig(word_dropout=1.0)


def test_several_labels_in_a_cell() -> None:
    cells = [("funny; sad", "funny", "", "long;funny")[i % 4] for i in range(120)]
    frame = pl.DataFrame({"text": TEXTS, "labels": cells})
    records = read(frame, labels=";")
    schema = text.learn_schema(records, DataConfig(labels=";"))
    assert isinstance(schema.target, LabelsTarget)
    assert schema.target.classes == ("funny", "long", "sad")
    assert schema.target.counts == (90, 30, 30)
    targets = text.encode(records, schema).targets
    assert targets is not None
    assert targets[:4].tolist() == [[1, 0, 1], [1, 0, 0], [0, 0, 0], [1, 1, 0]]
    unknown = read(pl.DataFrame({"text": TEXTS, "labels": ["new;sad"] * 120}), labels=";")
    with pytest.raises(InputError, match="unknown label 'new' in row 1; known labels: 'funny', 'long', 'sad'"):
        text.encode(unknown, schema)
    with pytest.raises(InputError, match="no cell of 'label' holds several labels"):
        text.learn_schema(read(pl.DataFrame({"text": TEXTS, "label": LABELS}), labels=";"), DataConfig(labels=";"))
    with pytest.raises(InputError, match=r"say what stands between the labels .* data\.labels"):
        text.learn_schema(read(pl.DataFrame({"text": TEXTS, "label": LABELS})), DataConfig(task="multilabel"))


def test_copies_are_found_by_their_words() -> None:
    spelt = [TEXTS[0].upper().replace(" ", "  "), *TEXTS[1:]]
    assert np.array_equal(read((TEXTS, LABELS)).hashes(), read((spelt, LABELS)).hashes())
    assert read((TEXTS, LABELS)).fingerprint() != read((spelt, LABELS)).fingerprint()
    found = prepare({"train": (TEXTS, LABELS), "test": (spelt[:40], LABELS[:40])}, DataConfig())
    assert any("also stand in train" in finding.text for finding in found.findings)


def test_new_texts_are_read_by_the_schema(tmp_path: Path) -> None:
    _, schema = learned()
    given = text.read_inputs(["a lovely film", "dull"], schema)
    assert given.ids == ["text 1", "text 2"]
    path = tmp_path / "new.txt"
    path.write_text("a lovely film\n\nthe plot is dull\n")
    assert text.read_inputs([str(path)], schema).ids == ["new.txt line 1", "new.txt line 3"]
    frame = pl.DataFrame({"said": TEXTS[:4], "when": [1, 2, 3, 4]})
    assert text.read_inputs([frame], schema).texts == TEXTS[:4]
    assert text.read_inputs([TEXTS[:3]], schema).texts == TEXTS[:3]
    assert text.read_inputs([(TEXTS[:3], LABELS[:3])], schema).texts == TEXTS[:3]
    with pytest.raises(InputError, match=r"no file 'nothing\.csv'"):
        text.read_inputs(["nothing.csv"], schema)
    with pytest.raises(InputError, match="empty text"):
        text.read_inputs([" "], schema)


def test_tables_are_predicted_by_name_and_by_place(tmp_path: Path) -> None:
    named = text.learn_schema(read(pl.DataFrame({"review": TEXTS, "label": LABELS})), DataConfig())
    frame = pl.DataFrame({"label": LABELS[:3], "note": TEXTS[3:6], "review": TEXTS[:3]})
    records = text.read_inputs([frame], named)
    assert records.texts == TEXTS[:3]
    assert records.labels is not None
    assert records.labels.tolist() == LABELS[:3]
    with pytest.raises(InputError, match="no column 'review'; there are: 'a', 'b'"):
        text.read_inputs([pl.DataFrame({"a": TEXTS[:3], "b": TEXTS[3:6]})], named)
    for columns in (("text", "label"), ("text",)):
        path = tmp_path / f"{len(columns)}.tsv"
        pl.DataFrame({"text": TEXTS, "label": LABELS}).write_csv(path, separator="\t", include_header=False)
        headless = text.learn_schema(read(path), DataConfig())
        pl.DataFrame({"text": TEXTS, "label": LABELS})[list(columns)].write_csv(
            path, separator="\t", include_header=False
        )
        assert text.read_inputs([path], headless).texts == TEXTS


def test_a_text_without_known_words_is_one_unknown_token() -> None:
    _, schema = learned()
    samples = text.encode(text.read_inputs([["xyzzy plugh", "\u200d"]], schema), schema)
    assert samples.batch(torch.tensor([0, 1])).inputs[0][:, 0].tolist() == [UNKNOWN, UNKNOWN]
    assert samples.lengths.tolist() == [2, 1]


def test_what_the_network_is_given() -> None:
    records, schema = learned()
    assert text.sizes(schema, "tokens") == {"vocab_size": len(schema.tokenizer)}
    assert len(schema.tokenizer) > len(SPECIALS)
    inputs = text.encode(records, schema).batch(torch.tensor([0, 1])).inputs
    assert all(x is y for x, y in zip(text.front(schema, "tokens")(*inputs), inputs, strict=True))
    assert text.show(records, 2).values == {"text": TEXTS[2], "label": LABELS[2]}
    with pytest.raises(InputError, match="takes 'image' cannot be given texts"):
        text.front(schema, "image")

"""The report and its charts: whole, empty, with hostile words; what is said of baselines; thresholds, calibration."""

from __future__ import annotations

import base64
import io
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from chainrule.data.kind import Finding, Shown
from chainrule.errors import InputError
from chainrule.evaluate import charts
from chainrule.evaluate.calibration import OBJECTIVES, best_temperature, calibration, choose_threshold
from chainrule.evaluate.charts import Bar, Series
from chainrule.evaluate.report import (
    MOST_BARS,
    Mistake,
    Picture,
    ReportData,
    Section,
    imbalance_words,
    render_report,
    verdict,
    worst_rows,
)
from chainrule.functional.metrics import class_counts, classification_scores, macro_f1, ranking, reliability_bins

HOSTILE = "<script>alert(1)</script>\"'&{{ 7*7 }}"


def classified(N: int = 90, K: int = 3) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    targets = generator.integers(0, K, N)
    shown = np.where(generator.random(N) < 0.2, generator.integers(0, K, N), targets)
    return {"probabilities": np.eye(K)[shown] * 0.7 + 0.3 / K, "targets": targets}


def whole_report(word: str = "plain", K: int = 3) -> ReportData:
    """A report with every section; ``word`` stands wherever data may put its own words."""
    image = np.random.default_rng(0).integers(0, 256, (28, 20, 3), dtype=np.uint8)
    steps = np.arange(1000)
    return ReportData(
        name=word, task="classify", model="mlp", parameters=12_345, source=word, recognised=(f"A CSV: {word}",),
        target=word, split_rows={"train": 420, "valid": 90, "test": 90}, split_reason=f"By {word}.",
        headline="accuracy", scores={"valid": {"accuracy": 0.9, "nats": 0.3}, "test": {"accuracy": 0.85, "nats": 0.41}},
        interval={"accuracy": (0.78, 0.92)},
        baselines=({"name": "majority class", "accuracy": 0.4, "rows": 420, "seconds": 0.001, "note": word},
                   {"name": "gradient boosting", "accuracy": 0.9, "rows": 420, "seconds": 0.2, "note": ""}),
        findings=(Finding("warning", f"Column {word} is constant", (word,)), Finding("note", "3 cells are missing")),
        loss=(Series(name="train", x=steps, y=np.exp(-steps / 100)), Series(name=word, x=[0, 999], y=[1.0, 0.1])),
        monitored=(Series(name="valid", x=[0, 500, 999], y=[0.4, 0.8, 0.9]),), monitor="accuracy",
        rows=classified(K=K), classes=tuple(f"{word} {k}" for k in range(K)),
        mistakes=(Mistake(id=word, truth=word, answer=word, detail=word, shown=Shown(values={word: word})),
                  Mistake(id="b", truth="1", answer="2", shown=Shown(image=image))),
        class_rows={"train": [300 - 5 * k for k in range(K)], "test": [60 - k for k in range(K)]},
        augmented=((Picture(image=image, caption=word), Picture(image=image[:, ::-1], caption=f"70% {word}")),),
        step_seconds={word: 0.001, "backward": 0.003}, speed_note=f"The loader waits for {word}.",
        recipe={"data.source": word, "train.epochs": 10}, commands={f"Predict {word}": f"chainrule predict {word}"},
        environment={"torch": word}, sections=(Section(title=word, svg="<svg></svg>", text=word),), limits=(word,),
    )  # fmt: skip


class Tags(HTMLParser):
    """Collects tags and attributes, and checks that what opens closes."""

    VOID = ("meta", "img")

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag


def tags_of(page: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser.seen


def test_a_whole_report_has_every_section() -> None:
    page = render_report(whole_report())
    for words in ("Scores and baselines", "What this score does not show", "What the audit found", "Learning",
                  "Rows of each class in train", "Augmented samples",
                  "Confusion matrix", "precision", "believed", "Worst mistakes", "limits the speed",
                  "What to do with it", "Recipe and environment", "12,345", "0.78 to 0.92"):  # fmt: skip
        assert words in page, words
    assert page.count('class="chart"') == 6
    assert "misleads" not in page


@pytest.mark.parametrize("K", [2, 3])
def test_hostile_words_stay_words(K: int) -> None:
    page = render_report(whole_report(HOSTILE, K))
    tags = tags_of(page)
    names = {name for name, _ in tags}
    assert "script" not in names
    assert "{{ 7*7 }}" in page  # as it was, not evaluated
    assert not [key for _, attributes in tags for key in attributes if key.startswith("on")]


def test_the_page_asks_for_nothing() -> None:
    tags = tags_of(render_report(whole_report()))
    links = [value or "" for _, attributes in tags for key, value in attributes.items() if key in ("src", "href")]
    assert links
    assert all(link.startswith("data:image/png;base64,") for link in links)
    policy = next(a["content"] for _, a in tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_an_empty_report_leaves_sections_out() -> None:
    page = render_report(ReportData(name="x", task="classify", model="mlp", parameters=1, source="x"))
    tags_of(page)
    assert "<h2>" not in page
    assert "svg" not in page.split("<body>")[1]


@pytest.mark.parametrize(
    "changes",
    [
        {"baselines": ()}, {"interval": {}}, {"rows": {}}, {"scores": {}}, {"classes": ()}, {"loss": ()},
        {"monitored": ()}, {"headline": ""}, {"mistakes": ()}, {"recipe": {}, "environment": {}},
        {"scores": {"valid": {"nats": float("nan")}}}, {"split_rows": {}}, {"step_seconds": {"forward": 0.0}},
        {"loss": (Series(name="train", x=[1], y=[float("nan")]),)}, {"class_rows": {}}, {"augmented": ()},
        {"baselines": ({"name": "gradient boosting", "rows": 3, "seconds": 0.1, "note": "could not be fitted"},)},
    ],
)  # fmt: skip
def test_any_part_may_be_missing(changes: dict) -> None:
    tags_of(render_report(replace(whole_report(), **changes)))


def test_regression_report() -> None:
    generator = np.random.default_rng(0)
    targets = generator.normal(size=200)
    rows = {"predictions": targets + 0.1 * generator.normal(size=200), "targets": targets}
    report = replace(whole_report(), task="regress", rows=rows, classes=(), class_rows={}, target="price in $")
    page = render_report(report)
    tags_of(page)
    assert "Predicted and true" in page
    assert "predicted price in $" in page
    assert "Confusion" not in page


def test_the_verdict_says_who_wins() -> None:
    report = whole_report()
    behind = verdict(report)
    assert behind[0] == "accuracy 0.85 on the test split of 90 rows, 95% interval 0.78 to 0.92."
    assert "gradient boosting with 0.9: better than the network by 0.05" in behind[1]
    assert "do not tell the two apart" in behind[2]
    ahead = verdict(replace(report, scores={"test": {"accuracy": 0.97}}, interval={"accuracy": (0.95, 0.99)}))
    assert "the network is better by 0.07" in ahead[1]
    assert len(ahead) == 2
    errors = replace(report, headline="rmse", better="min", scores={"test": {"rmse": 2.0}}, interval={},
                     baselines=({"name": "ridge regression", "rmse": 1.5}, {"name": "mean", "rmse": 3.0}))  # fmt: skip
    assert "ridge regression with 1.5: better than the network by 0.5" in verdict(errors)[1]


def test_rare_classes_are_named_among_the_limits() -> None:
    rows = classified(400)
    rows["targets"][:] = np.arange(400) % 2
    rows["targets"][:5] = 2
    page = render_report(replace(whole_report(), rows=rows, classes=("a", "b", "rare")))
    assert "fewer than 30 rows here: rare (5)." in page


def test_unequal_classes_are_said_with_what_helps() -> None:
    report = replace(whole_report(), class_rows={"train": [120, 60, 20], "test": [1, 1, 1]})
    words = imbalance_words(report)
    assert "6 times the rows of the smallest" in words
    assert "--set task.class_weight=balanced" in words
    assert words in render_report(report)
    weighed = imbalance_words(replace(report, recipe={"task.class_weight": "balanced"}))
    assert "Rare classes weighed" in weighed
    assert "--set" not in weighed
    assert imbalance_words(replace(report, class_rows={"train": [100, 60, 20]})) == ""
    assert imbalance_words(replace(report, class_rows={})) == ""


def test_of_many_classes_the_rarest_are_shown() -> None:
    report = whole_report(K=MOST_BARS + 5)
    page = render_report(report)
    assert f"Rows of each class in train, the {MOST_BARS} rarest" in page
    assert '<td>plain 34</td><td class="n">130</td>' in page
    assert '<td>plain 4</td><td class="n">280</td>' not in page


def test_worst_rows_come_worst_first() -> None:
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.7, 0.3]])
    rows = {"probabilities": probabilities, "targets": np.array([1, 0, 1, 1])}
    assert worst_rows(rows) == [0, 3, 1]
    assert worst_rows(rows, count=1) == [0]
    assert worst_rows(rows, positive=1, threshold=0.25) == [0, 1]
    assert worst_rows({"predictions": np.array([1.0, 5.0, 2.0]), "targets": np.zeros(3)}, count=2) == [1, 2]


def points_of(svg: str) -> list[tuple[float, float]]:
    words = re.search(r'stroke-width="2" points="([^"]*)"', svg)
    assert words is not None
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in words[1].split())]


def test_charts_are_well_formed_and_named() -> None:
    rows = classified(K=2)
    points = ranking(rows["probabilities"][:, 1], rows["targets"] == 1).curve()
    drawn = [
        charts.line_chart(HOSTILE, [Series(name=HOSTILE, x=[0, 1], y=[1, 2])], HOSTILE, HOSTILE),
        charts.line_chart("one point", [Series(name="a", x=[3], y=[1e-9])], "x", "y", log_y=True),
        charts.line_chart("nothing", [], "x", "y"),
        charts.bar_chart(HOSTILE, [Bar(name=HOSTILE, value=-1.0, low=-2, high=0.5), Bar(name="b", value=0.0)], "r2"),
        charts.confusion_chart(HOSTILE, np.eye(3, dtype=int), [HOSTILE] * 3),
        charts.confusion_chart("many", np.ones((80, 80), int), [str(k) for k in range(80)]),
        charts.reliability_chart("r", reliability_bins(rows["probabilities"][:, 1], rows["targets"] == 1)),
        charts.roc_chart("roc", points, HOSTILE),
        charts.scatter_chart("s", np.array([1.0, np.nan, 2]), np.array([1.0, 1, 5]), HOSTILE),
        charts.scatter_chart("equal", np.ones(3), np.ones(3), "y"),
        charts.histogram("h", np.array([1.0, 1.0, np.inf]), HOSTILE),
    ]
    for svg in drawn:
        root = ElementTree.fromstring(svg)
        assert root.get("role") == "img"
        assert root[0].tag.endswith("title")
        assert "nan" not in svg
        assert "NaN" not in svg


def test_a_line_is_drawn_where_its_values_are() -> None:
    svg = charts.line_chart("t", [Series(name="a", x=[0, 5, 10], y=[0, np.inf, 1])], "x", "y")
    (x0, y0), (x1, y1) = points_of(svg)
    assert x0 == charts.LEFT
    assert x1 == charts.WIDTH - charts.RIGHT
    assert y0 > y1  # larger values stand higher


def test_long_lines_are_averaged_not_cut() -> None:
    svg = charts.line_chart("t", [Series(name="a", x=np.arange(8_000), y=np.arange(8_000) % 2)], "x", "y")
    points = points_of(svg)
    assert len(points) == charts.MOST_POINTS
    assert len({y for _, y in points}) == 1


@pytest.mark.parametrize(
    ("low", "high", "log", "ticks"),
    [
        (0, 1, False, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (-3, 7, False, [-2, 0, 2, 4, 6]),
        (0.01, 10, True, [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10]),
        (1e-6, 1, True, [1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 1]),
    ],
)
def test_ticks_are_round(low: float, high: float, log: bool, ticks: list[float]) -> None:
    assert charts.Axis("x", low, high, log).ticks() == pytest.approx(ticks)


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.95312, "0.9531"), (12_400, "12,400"), (12_400.7, "12,401"), (3.14e-5, "3.14e-05"), (3.0, "3"), (0, "0"),
     (1e20, "1e+20"), (float("nan"), "not a number"), (float("inf"), "infinite")],
)  # fmt: skip
def test_numbers_are_short(value: float, words: str) -> None:
    assert charts.number(value) == words


def test_long_names_stay_apart() -> None:
    names = [f"a long name of class number {k}" for k in range(12)]
    words = re.findall(r"<text[^>]*>([^<]*)</text>", charts.confusion_chart("c", np.eye(12, dtype=int), names))
    assert len({word for word in words if word.startswith("a long")}) >= 12


def test_pictures_keep_their_pixels_and_shape() -> None:
    image = np.random.default_rng(0).integers(0, 256, (12, 9, 3), dtype=np.uint8)
    data = base64.b64decode(charts.png(image).removeprefix("data:image/png;base64,"))
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), image)
    large = base64.b64decode(charts.png(np.zeros((1000, 500, 3), np.uint8)).removeprefix("data:image/png;base64,"))
    assert Image.open(io.BytesIO(large)).size == (96, 192)
    assert charts.image_grid([image], [HOSTILE]).count("<") == 7


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_chosen_threshold_is_the_best_one(objective: str, dtype: type) -> None:
    generator = np.random.default_rng(1)
    for N in (8, 60, 300):
        targets = np.append([0, 1], generator.random(N) < 0.2).astype(int)
        share = 1 / (1 + np.exp(-2 * targets - generator.normal(size=len(targets)) + 2))
        share = np.round(share, 1 if N == 60 else 6)
        probabilities = np.stack((1 - share, share), 1).astype(dtype)

        def value(threshold: float, p: np.ndarray = probabilities, y: np.ndarray = targets) -> float:
            answered = (p[:, 1] >= threshold).astype(int)
            counts = class_counts(y, answered, 2)
            if objective == "accuracy":
                return float((answered == y).mean())
            if objective == "balanced_accuracy":
                return float(counts.recall.mean())
            if objective == "macro_f1":
                return float(macro_f1(counts))
            return float(counts.recall[1]) if counts.recall[0] >= 0.95 - 1e-9 else -1.0

        best = max(value(threshold) for threshold in np.append(np.unique(probabilities[:, 1]), 0.999999))
        threshold = choose_threshold(probabilities, targets, 1, objective)
        assert 0 <= threshold <= 1
        assert value(threshold) == pytest.approx(best)
        other_way = choose_threshold(probabilities[:, ::-1], 1 - targets, 0, objective)
        assert other_way == threshold


def test_a_threshold_helps_a_rare_class_and_is_left_alone_otherwise() -> None:
    generator = np.random.default_rng(0)
    targets = (generator.random(4000) < 0.05).astype(int)
    share = 1 / (1 + np.exp(4 - 2 * targets - generator.normal(size=4000)))
    probabilities = np.stack((1 - share, share), 1)
    threshold = choose_threshold(probabilities, targets, 1)
    plain = classification_scores(probabilities, targets, 1)["balanced_accuracy"]
    assert classification_scores(probabilities, targets, 1, threshold)["balanced_accuracy"] > plain + 0.2
    assert choose_threshold(np.eye(2)[targets] * 0.8 + 0.1, targets, 1) == 0.5
    assert choose_threshold(probabilities, np.zeros(4000, int), 1) == 0.5
    apart = np.array([[0.4, 0.6], [0.1, 0.9]])
    assert choose_threshold(apart, np.array([0, 1]), 1) == pytest.approx(0.75)  # midway


def test_a_threshold_of_what_cannot_have_one_is_refused() -> None:
    with pytest.raises(InputError, match="did you mean 'macro_f1'"):
        choose_threshold(np.ones((2, 2)), np.array([0, 1]), 1, "macrof1")
    with pytest.raises(InputError, match="two classes"):
        choose_threshold(np.ones((2, 3)), np.array([0, 1]), 1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_what_was_done(temperature: float) -> None:
    generator = np.random.default_rng(0)
    logits = 2 * generator.normal(size=(20_000, 3))
    true = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    targets = (true.cumsum(1) > generator.random((20_000, 1))).argmax(1)
    stated = np.exp(logits * temperature)
    stated /= stated.sum(1, keepdims=True)
    assert best_temperature(stated, targets) == pytest.approx(temperature, rel=0.05)  # 20,000 draws
    found = calibration(stated, targets)
    assert (found.error < 0.02) == (temperature == 1.0)
    assert found.bins.count.sum() == 20_000

from __future__ import annotations

import json
import re
import runpy
from html.parser import HTMLParser
from pathlib import Path

import pytest

from vae_likelihoods.files import sha256

REPOSITORY = Path(__file__).parents[2]
FILES = ("summary.csv", "table.md", "metrics.json", "plots/bits_per_dim.csv", "plots/stability.csv",
         "index.html", "figures/grey.svg", "figures/grey-dark.svg")  # fmt: skip


@pytest.fixture
def report(root, monkeypatch):
    """Run pipelines/report.py in `root` with the given arguments; return its exit code."""
    monkeypatch.chdir(root)
    main = runpy.run_path(str(REPOSITORY / "pipelines/report.py"))["main"]
    return lambda *arguments: main([*map(str, arguments)])


class Page(HTMLParser):
    """What a browser sees: elements with their attributes, and the text outside of scripts and styles."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.scripts: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in ("script", "style"):
            self.open.remove(tag)

    def handle_data(self, data):
        (self.scripts if self.open else self.text).append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def test_the_report_is_complete_and_the_same_bytes_twice(report, root):
    assert report() == 0
    first = {name: (root / "reports" / name).read_bytes() for name in FILES}
    written = {
        p.relative_to(root / "reports").as_posix() for p in (root / "reports").rglob("*") if p.is_file()
    }
    assert written == set(FILES)
    assert report("--reports", "again") == 0
    assert {name: (root / "again" / name).read_bytes() for name in FILES} == first
    assert not [name for name, content in first.items() if str(root).encode() in content]


def test_the_report_says_where_its_cells_were_computed(report, root):
    for path in (root / "evaluations" / "grey").iterdir():
        record = root / "logs" / "environments" / "evaluate" / "grey" / f"{path.name}.json"
        record.parent.mkdir(parents=True, exist_ok=True)
        hashed = sha256(path / "metrics.json")
        record.write_text(json.dumps({"environments": [{"threads": 1}], "files": {"metrics.json": hashed}}))
    assert report() == 0
    assert json.loads((root / "reports/environment.json").read_text()) == [
        {"trained": 24, "evaluated": 0, "environment": None},
        {"trained": 0, "evaluated": 24, "environment": {"threads": 1}},
    ]


def test_the_page_loads_nothing(report, root):
    assert report() == 0
    page = Page(root / "reports/index.html")
    links = [
        a[key] for _, a in page.elements for key in ("src", "href", "srcset", "data", "action") if key in a
    ]
    assert links
    assert all(link.startswith(("data:", "#")) for link in links)
    style = " ".join(text for text in page.scripts if ":root" in text)
    assert "url(" not in style
    assert "@import" not in style
    policy = next(meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_the_page_shows_every_cell_picture_and_chart(report, root):
    assert report() == 0
    page = Page(root / "reports/index.html")
    cells = {path.parent.name for path in (root / "evaluations").glob("*/*/metrics.json")}
    assert cells <= {text.strip() for text in page.text}
    pictures = page.all("img")
    assert len(pictures) == 2 * 12  # samples and reconstructions, first seed of 12 settings
    assert all(picture["alt"] and picture["alt"].endswith("-0") for picture in pictures)
    specs = [json.loads(text) for text in page.scripts if text.startswith('{"config"')]
    assert len(specs) == len(page.all("figure")) == 4
    assert all(header.get("scope") in ("col", "row") for header in page.all("th"))
    text = " ".join("".join(page.text).split())
    assert re.search(r"beta_binomial with 32 latents is best: 1\.261 ± 0\.01\d bits/dim over 2 seeds\.", text)
    assert "Not known: what other seeds give (each setting has 2);" in text
    assert re.search(r"gaussian_learned 32 1\.843 ± 0\.01\d \+0\.582 \[0\.\d+, 0\.\d+\]", text)
    assert "Does the ranking hold?" in text


def test_names_cannot_break_out_of_the_page(report, root, study):
    study.save(root, study.record("grey", "</script><b>x", 2, 0, 2.0, cell="odd"))
    assert report() == 0
    page = Page(root / "reports/index.html")
    assert not page.all("b")
    assert sum(tag == "script" for tag, _ in page.elements) == 4 + 2


def test_missing_pictures_are_said_and_not_fatal(report, root):
    (root / "evaluations/grey/binomial-2-0/samples.png").unlink()
    assert report() == 0
    page = Page(root / "reports/index.html")
    assert len(page.all("img")) == 23
    assert "no picture" in page.text


def test_another_study_and_the_readme(report, root, study):
    study.save(root, study.record("scratch", "binomial", 4, 0, 3.0))
    (root / "README.md").write_text("<!-- results --><!-- /results -->", encoding="utf-8")
    assert report("--study", "scratch", "--readme", "README.md") == 0
    readme = (root / "README.md").read_text(encoding="utf-8")
    folder = root / "reports" / "scratch"
    assert (folder / "table.md").read_text(encoding="utf-8").strip() in readme
    assert list(json.loads((folder / "metrics.json").read_text(encoding="utf-8"))) == ["scratch"]
    assert (folder / "index.html").exists()


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
def test_a_link_into_the_cache_of_dvc_is_replaced_and_what_it_points_to_stays(report, root, link):
    assert report() == 0
    cache = root / "cache"
    cache.mkdir()
    for name in FILES:
        (root / "reports" / name).rename(cache / name.replace("/", "-"))
        (cache / name.replace("/", "-")).write_text("cached")
        link(root / "reports" / name, cache / name.replace("/", "-"))
    assert report() == 0
    assert {path.read_text() for path in cache.iterdir()} == {"cached"}
    assert "cached" not in {(root / "reports" / name).read_text() for name in FILES}


def test_a_report_of_a_study_in_no_params_yaml_stays_out_of_git(report, root, study):
    study.save(root, study.record("mine", "binomial", 4, 0, 3.0))
    assert report("--study", "mine") == 0
    assert (root / "reports" / "mine" / ".gitignore").read_text() == "*\n"
    assert report("--study", "grey") == 0
    assert not (root / "reports" / "grey" / ".gitignore").exists()
    (root / "params.yaml").write_text("optional: {mine: {likelihood: binomial}}")
    assert report("--study", "mine") == 0
    assert not (root / "reports" / "mine" / ".gitignore").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--study", "none"], "study=none: no evaluated cell in evaluations/none"),
        (["--params", "no.yaml"], "params=no.yaml"),
        (["--readme", "no.md"], "readme=no.md"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(report, root, capsys, arguments, message):
    assert report(*arguments) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (root / "reports").exists()


def test_unlike_units_are_one_line_and_leave_the_last_report(report, root, study, unlike, capsys):
    assert report() == 0
    before = {p: p.read_bytes() for p in (root / "reports").rglob("*") if p.is_file()}
    study.save(root, study.record("grey", "zeta", 2, 0, 1.0, **unlike))
    capsys.readouterr()
    assert report() == 1
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert printed.err.startswith("report: study=grey: unlike units")
    assert all(f"{field}: " in printed.err for field in unlike)
    assert {p: p.read_bytes() for p in (root / "reports").rglob("*") if p.is_file()} == before


def table_of_cells(root: Path) -> str:
    html = (root / "reports" / "index.html").read_text(encoding="utf-8")
    return html.partition('<table class="cells">')[2].partition("</table>")[0]


def test_the_table_of_cells_has_a_column_for_each_header_and_every_declaration_is_explained(report, root):
    assert report() == 0
    headers = re.findall(r"<button type=\"button\">(.*?)</button>", table_of_cells(root))
    assert headers == [
        "cell", "latents", "seed", "bits/dim", "± images", "NLL", "ELBO", "rate", "distortion", "k", "ESS",
        "active", "squared error", "trained on", "score", "parameters", "multiply-adds",
        "multiply-adds to draw", "epochs",
    ]  # fmt: skip
    html = (root / "reports" / "index.html").read_text(encoding="utf-8")
    metrics = json.loads((root / "evaluations/grey/gaussian-2-0/metrics.json").read_text())
    explained = set(re.findall(r"<dt><code>(.*?)</code></dt>", html))
    assert explained == metrics["declarations"].keys() - {"kl_per_latent_nats"} | {"scale", "split"}
    assert "<dd>the score in nats; nats per image; lower is better.</dd>" in html


def test_a_number_of_any_metric_is_in_the_table_of_cells_with_its_direction(report, root, study):
    paths = list((root / "evaluations" / "grey").glob("*/metrics.json"))
    for path in paths:
        metrics = json.loads(path.read_text())
        path.write_text(json.dumps(study.add(metrics, "frechet_distance", 12.34567, better="lower")))
    assert report() == 0
    html = (root / "reports" / "index.html").read_text()
    assert "this is frechet_distance; share of images; lower is better" in html
    assert table_of_cells(root).count(">12.35</td>") == len(paths)
    assert "<dt><code>frechet_distance</code></dt>" in html


def test_a_number_that_some_cells_lack_is_a_dash_and_one_line_says_in_how_many(report, root, study, capsys):
    paths = sorted((root / "evaluations" / "grey").glob("*/metrics.json"))
    for path in paths[3:]:
        metrics = json.loads(path.read_text())
        path.write_text(json.dumps(study.add(metrics, "mig", 0.25)))
    assert report() == 0
    printed, *_ = capsys.readouterr().out.splitlines()
    assert printed == "grey: mig is missing in 3 of 24 cells"
    html = (root / "reports" / "index.html").read_text(encoding="utf-8")
    assert "mig is missing in 3 of 24 cells." in html
    assert table_of_cells(root).count(">–</td>") == 3
    assert table_of_cells(root).count(">0.25</td>") == 21


def test_no_line_on_missing_numbers_where_none_is_missing(report, root, capsys):
    assert report() == 0
    (printed,) = capsys.readouterr().out.splitlines()
    assert printed == "24 cells of 1 study: reports/index.html"
    assert "missing" not in " ".join(Page(root / "reports/index.html").text)

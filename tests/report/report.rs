//! `waata report`: what it says of a folder, what it makes of odd and broken ones, and how a browser shows it.

mod browser;
mod fixture;
mod xml;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use fixture::{ALL, Fixture};
use serde_json::Value;

struct Made {
    folder: tempfile::TempDir,
    html: String,
    markdown: String,
    figures: Vec<PathBuf>,
    summary: Vec<String>,
}

fn made(folder: tempfile::TempDir) -> Made {
    let out = folder.path().join("report");
    let written = waata_report::write(folder.path(), &out).unwrap();
    let html = fs::read_to_string(written.html).unwrap();
    let markdown = fs::read_to_string(written.markdown).unwrap();
    Made { folder, html, markdown, figures: written.figures, summary: written.summary }
}

fn make(fixture: &Fixture) -> Made {
    let folder = tempfile::tempdir().unwrap();
    fixture.write(folder.path());
    made(folder)
}

impl Made {
    fn names(&self) -> BTreeSet<String> {
        self.figures.iter().map(|f| f.file_stem().unwrap().to_string_lossy().into_owned()).collect()
    }

    /// Everything that holds for any report: well-formed page and figures, names that are there once, links that lead
    /// somewhere, nothing to load, no number that is none.
    fn check(&self) -> Vec<xml::Element> {
        let page = xml::parse(&self.html).unwrap();
        let ids: Vec<&String> = page.iter().filter_map(|e| e.attributes.get("id")).collect();
        assert_eq!(ids.len(), ids.iter().collect::<BTreeSet<_>>().len(), "an id is there twice: {ids:?}");
        for element in &page {
            assert!(!["script", "img", "iframe", "object"].contains(&element.name.as_str()), "{element:?}");
            assert!(!element.attributes.contains_key("src"));
            if let Some(target) = element.attributes.get("href") {
                let inside = target.strip_prefix('#').is_some_and(|id| ids.iter().any(|known| *known == id));
                assert!(inside || target == "data:,", "{target}");
            }
            for key in element.attributes.get("aria-labelledby").iter().flat_map(|keys| keys.split(' ')) {
                assert!(ids.iter().any(|id| *id == key), "{key}");
            }
        }
        assert!(!self.html.contains("http://") && !self.html.contains("https://") && !self.html.contains("url("));
        for figure in &self.figures {
            let text = fs::read_to_string(figure).unwrap();
            let image = xml::parse(&text).unwrap_or_else(|e| panic!("{}: {e}", figure.display()));
            assert_eq!(image[0].name, "svg");
            assert_eq!(image[0].attributes["xmlns"], "http://www.w3.org/2000/svg");
            assert_eq!([&image[1].name, &image[2].name], ["title", "desc"]);
            assert!(!image[1].text.is_empty() && !image[2].text.is_empty());
            let name = figure.file_name().unwrap().to_string_lossy();
            assert!(self.markdown.contains(&format!("]({name})")), "{name} is not in report.md");
            for element in &image {
                for (key, value) in &element.attributes {
                    let number = ["x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "width", "height", "d"];
                    assert!(!number.contains(&key.as_str()) || !value.contains('N'), "{name}: {key}={value}");
                }
            }
        }
        let inline = page.iter().filter(|e| e.name == "svg").count();
        assert_eq!(inline, self.figures.len(), "each figure is in the page and beside it");
        for text in [&self.html, &self.markdown] {
            assert!(!text.contains("NaN") && !text.contains("inf "), "a number that is none");
        }
        page
    }

    /// Cells of a table of the page, by its id.
    fn table(&self, id: &str) -> Vec<Vec<String>> {
        let start = self.html.find(&format!("<table id=\"{id}\"")).unwrap_or_else(|| panic!("no table {id}"));
        let text = &self.html[start..];
        let elements = xml::parse(&text[..text.find("</table>").unwrap() + "</table>".len()]).unwrap();
        let mut rows: Vec<Vec<String>> = vec![];
        for element in elements {
            match element.name.as_str() {
                "tr" => rows.push(vec![]),
                "th" | "td" => rows.last_mut().unwrap().push(element.text.trim().to_string()),
                _ => {}
            }
        }
        rows
    }
}

#[test]
fn a_whole_comparison() {
    let made = make(&Fixture::default());
    let page = made.check();
    let table = made.table("main");
    assert_eq!(table[0], ["Model", "Recall@10", "Recall@20", "Recall@50", "NDCG@10", "NDCG@20", "NDCG@50"]);
    // EASE is built to be best and WAA-TA second, but for NDCG@50.
    let models: Vec<&str> = table[1..].iter().map(|row| row[0].as_str()).collect();
    assert_eq!((models.len(), &models[..2]), (17, &["EASE", "WAA-TA"][..]));
    let value = |row: &Vec<String>| row[5].split(' ').next().unwrap().parse::<f64>().unwrap();
    assert!(table[1..].windows(2).all(|rows| value(&rows[0]) >= value(&rows[1])), "best first by NDCG@20");
    let marked = |name: &str| page.iter().filter(|e| e.name == name).count();
    assert!(marked("strong") > 6 && marked("u") > 6);
    let baselines = made.table("baselines-table");
    let rows: Vec<&str> = baselines[1..].iter().map(|row| row[0].as_str()).collect();
    assert_eq!(rows, ["Recall@10", "Recall@20", "Recall@50", "NDCG@10", "NDCG@20", "NDCG@50"]);
    assert!(baselines[1][2].ends_with("EASE") && baselines[1][5..7] == ["0.0002", "0.0032"], "{baselines:?}");
    assert!(baselines[1][3].starts_with('−') && baselines[1][3].ends_with("% **"), "{baselines:?}");
    assert!(baselines[6][3].starts_with('+') && baselines[1].len() == 9, "{baselines:?}");
    assert_eq!(made.summary[0], "WAA-TA loses to the best baseline on 5 of 6 main metrics and beats it on 1.");
    assert!(made.summary[1].starts_with("Behind: Recall@10 −") && made.summary[1].contains("EASE, p = 0.0032"));
    assert!(made.html.find(&made.summary[0]).unwrap() < made.html.find("<h2").unwrap(), "bad news comes first");
    assert!(made.markdown.starts_with("# Comparison of 17 models on invented\n\n> **WAA-TA loses"));
    assert!(made.summary.iter().any(|line| line.contains("ranks 2 of 17 models")), "{:?}", made.summary);
    let expected = [
        "figure-3-recall",
        "figure-3-ndcg",
        "figure-4-recall",
        "figure-4-ndcg",
        "figure-5",
        "losses-waa-ta",
        "gates-waa-ta",
        "weights-waa-ta",
        "cosines-waa-ta",
        "convergence-models",
        "figure-5-loss-enrolled",
    ];
    for name in expected {
        assert!(made.names().contains(name), "{name} is not among {:?}", made.names());
    }
    let optimizers = made.table("optimizers-waa-ta");
    let names = |table: &[Vec<String>]| table[1..].iter().map(|row| row[0].clone()).collect::<Vec<_>>();
    assert_eq!(names(&optimizers), ["adam", "sgd", "adagrad", "rmsprop", "adamw"]);
    assert_eq!(names(&made.table("weightings-waa-ta")), ["metabalance", "pcgrad"]);
    let slices = made.table("slices-activity-ndcg-20");
    assert_eq!(slices[0], ["Model", "1 (40)", "2-4 (300)", "5-9 (120)", "10-19 (90)"]);
    assert!(!made.html.contains("What is missing"), "no empty section");
    for said in [
        "d1d1",
        "5b5b",
        "0.1.0",
        "Log-loss completed",
        "Coverage@10",
        "compare.toml",
        "ARP@50",
        "Command: waata compare --data invented --models all",
        "Started: 2026-01-31T23:59:59Z",
    ] {
        assert!(made.html.contains(said), "{said}");
    }
    // Values are on the bars; of 17 curves two stand out.
    let figure = |name: &str| fs::read_to_string(made.folder.path().join(format!("report/{name}.svg"))).unwrap();
    assert_eq!(figure("figure-3-ndcg").matches("class=\"value\"").count(), 17 * 3);
    let curves = figure("convergence-models");
    assert_eq!((curves.matches("curve own").count(), curves.matches("curve best").count()), (2, 2));
}

#[test]
fn a_single_run() {
    let folder = tempfile::tempdir().unwrap();
    Fixture { models: &["waa-ta"], optimizers: &["adam"], seeds: 1, ..Default::default() }.write(folder.path());
    let run = folder.path().join("runs/waa-ta-adam-metabalance-1");
    let bare = run.join("bare");
    waata_report::write(&run, &bare).unwrap();
    let text = fs::read_to_string(bare.join("report.md")).unwrap();
    assert!(text.contains("metrics.json: the run has no test result") && text.contains("12 epochs trained"), "{text}");
    let metrics = r#"{"schema_version": 1, "split": "test", "learners": 9, "metrics": {"ndcg@20": 0.25, "recall@20": 0.5,
        "auc/completed": 0.75}, "slices": [{"kind": "activity", "slice": "1", "learners": 4, "metrics": {"ndcg@20": 0.125}}]}"#;
    fs::write(run.join("metrics.json"), metrics).unwrap();
    let out = run.join("report");
    let written = waata_report::write(&run, &out).unwrap();
    let (html, markdown) = [written.html, written.markdown].map(|path| fs::read_to_string(path).unwrap()).into();
    let made = Made { folder, html, markdown, figures: written.figures, summary: written.summary };
    made.check();
    assert_eq!(made.summary, ["WAA-TA adam metabalance, seed 1: NDCG@20 0.2500 on the test split, 12 epochs trained."]);
    assert_eq!(made.table("main")[1], ["WAA-TA", "0.5000", "0.2500"]);
    assert_eq!(made.table("slices-activity-ndcg-20"), [["Model", "1 (4)"], ["WAA-TA", "0.1250"]]);
    assert_eq!(
        Vec::from_iter(made.names()),
        ["convergence-models", "cosines-waa-ta", "gates-waa-ta", "losses-waa-ta", "weights-waa-ta"]
    );
    assert!(!made.html.contains("baseline"), "nothing was compared");
    fs::write(run.join("metrics.json"), metrics.replacen(':', ";", 1)).unwrap();
    refused(&run, 3, &["metrics.json:1", "JSON", "waata eval"]);
}

#[test]
fn numbers_are_those_of_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let text = "run,data,model,optimizer,weighting,seed,recall@10\n\
                a-1,x,waa-ta,adam,sum,1,0.25\na-2,x,waa-ta,adam,sum,2,0.35\nb-1,x,ease,none,none,1,0.2\n";
    fs::write(folder.path().join("results.csv"), text).unwrap();
    let made = made(folder);
    made.check();
    assert_eq!(made.table("main"), [["Model", "Recall@10"], ["WAA-TA", "0.3000 ±0.0707"], ["EASE", "0.2000"]]);
    let row = ["Recall@10", "0.3000", "0.2000 EASE", "+50.00\u{a0}%", "–", "–", "–"];
    assert_eq!(made.table("baselines-table")[1], row);
    assert_eq!(made.summary[0], "WAA-TA beats the best baseline on all 1 main metric.");
    assert!(made.summary.iter().any(|line| line.contains("None of these leads was tested")));
    // What is not there is said.
    for said in [
        "compare.toml: what was requested",
        "summary.csv: no difference",
        "slices.csv: there are no",
        "runs/: there are no logs",
    ] {
        assert!(made.html.contains(said), "{said}");
    }
}

#[test]
fn the_same_folder_gives_the_same_bytes() {
    let made = make(&Fixture::default());
    let again = made.folder.path().join("again");
    waata_report::write(made.folder.path(), &again).unwrap();
    let files = |dir: &Path| {
        let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(dir)
            .unwrap()
            .map(|e| e.unwrap().path())
            .map(|p| (p.file_name().unwrap().to_string_lossy().into_owned(), fs::read(p).unwrap()))
            .collect();
        files.sort();
        files
    };
    let (first, second) = (files(&made.folder.path().join("report")), files(&again));
    assert!(first.len() > 12 && first == second);
}

#[test]
fn odd_comparisons() {
    let one = make(&Fixture { models: &["waa-ta"], optimizers: &["adam"], seeds: 1, ..Default::default() });
    one.check();
    assert!(one.summary[0].contains("no baseline"), "{:?}", one.summary);
    let equal = make(&Fixture { constant: Some(0.25), ..Default::default() });
    equal.check();
    assert!(equal.summary[0].contains("ties with the best baseline on all 6 main metrics."), "{:?}", equal.summary);
    let zero = make(&Fixture { constant: Some(0.0), ..Default::default() });
    zero.check();
    let silent = make(&Fixture { epochs: 0, ..Default::default() });
    silent.check();
    assert!(silent.html.contains("there are no training curves") && !silent.html.contains("Convergence"));
    let short = make(&Fixture { epochs: 1, ..Default::default() });
    short.check();
    let without = make(&Fixture { models: &["ease", "mmoe"], ..Default::default() });
    without.check();
    assert!(without.summary[0].contains("not part of this comparison"));
    let neural = make(&Fixture { models: &["waa-ta", "mmoe", "esmm"], ..Default::default() });
    neural.check();
    assert!(neural.html.contains("no simple ranker"));
    assert_eq!(neural.summary[0], "WAA-TA beats the best baseline on all 6 main metrics.");
}

#[test]
fn names_that_would_break_a_page() {
    let data = "<script>alert(1)</script> & \"quotes\" | `x` https";
    let made = make(&Fixture { data, models: &["waa-ta", "ease", "mmoe"], ..Default::default() });
    made.check();
    assert!(made.html.contains("&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;quotes&quot;"));
    assert!(made.markdown.contains("\\<script\\>alert(1)\\</script\\>"));
    // Models that are the same to a file system that knows letters and digits only.
    let folder = tempfile::tempdir().unwrap();
    let mut text = String::from("run,model,optimizer,weighting,seed,ndcg@5\n");
    for (i, model) in ["x y", "x|y", "x<y"].iter().enumerate() {
        text += &format!("r{i},{model},adam,sum,1,0.{i}\n");
        let run = folder.path().join(format!("runs/r{i}"));
        fs::create_dir_all(&run).unwrap();
        fs::write(run.join("log.jsonl"), "{\"epoch\":1,\"values\":{\"gate/a&b\":0.5,\"gate/c\":null}}\n").unwrap();
    }
    fs::write(folder.path().join("results.csv"), text).unwrap();
    let made = self::made(folder);
    made.check();
    assert!(made.names().contains("gates-x-y-2") && made.names().contains("gates-x-y-3"), "{:?}", made.names());
    assert!(made.html.contains("values that are not finite"));
}

#[test]
fn what_is_missing_is_said() {
    let folder = tempfile::tempdir().unwrap();
    Fixture::default().write(folder.path());
    let results = folder.path().join("results.csv");
    let text = fs::read_to_string(&results).unwrap();
    let kept: Vec<&str> =
        text.lines().filter(|l| !l.starts_with("ple-") && !l.starts_with("mmoe-adam-metabalance-2")).collect();
    fs::write(&results, kept.join("\n")).unwrap();
    let failed = folder.path().join("runs/ple-adam-metabalance-1/failed.json");
    fs::write(failed, "{\"reason\": \"training diverged: loss kg is not finite at step 3\"}").unwrap();
    let made = made(folder);
    made.check();
    for said in [
        "PLE: requested, but it has no finished run",
        "MMoE adam metabalance: 2 seeds of 3",
        "runs/ple-adam-metabalance-1 has started and has no result: training diverged",
        "runs/mmoe-adam-metabalance-2 has started and has no result",
    ] {
        assert!(made.html.contains(said), "{said}");
    }
}

/// A report of the folder is refused with this code and these words, and leaves nothing.
fn refused(folder: &Path, code: u8, words: &[&str]) {
    let out = folder.join("refused");
    let Err(error) = waata_report::write(folder, &out) else { panic!("{words:?}: nothing was refused") };
    assert_eq!(error.exit_code(), code, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "`{word}` is not in: {error}");
    }
    assert!(!out.exists());
}

#[test]
fn broken_folders() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    refused(&dir.join("nowhere"), 3, &["nowhere", "results.csv", "waata compare"]);
    refused(dir, 3, &["no results.csv", "waata compare"]);
    let results = dir.join("results.csv");
    fs::write(&results, "").unwrap();
    refused(dir, 3, &["results.csv", "is empty"]);
    fs::write(&results, "run,model,optimizer,weighting,seed,ndcg@10\n").unwrap();
    refused(dir, 3, &["results.csv", "no finished run", "waata compare"]);
    fs::write(&results, "run,model,seed\na,b\n").unwrap();
    refused(dir, 3, &["results.csv:2", "2 fields", "3"]);
    fs::write(&results, b"run,model,seed\na,\xff,1\n").unwrap();
    refused(dir, 3, &["results.csv", "UTF-8"]);

    let small = Fixture { models: &["waa-ta", "ease"], optimizers: &["adam"], seeds: 2, ..Default::default() };
    let change = |file: &str, from: &str, to: &str, words: &[&str]| {
        small.write(dir);
        let path = dir.join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} has no {from}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        refused(dir, 3, words);
    };
    for value in ["NaN", "inf", "many"] {
        let old = fs::read_to_string(&results).ok().filter(|t| t.lines().count() > 2);
        let old = old.unwrap_or_else(|| {
            small.write(dir);
            fs::read_to_string(&results).unwrap()
        });
        let field = old.lines().nth(2).unwrap().rsplit(',').next().unwrap().to_string();
        change("results.csv", &field, value, &["results.csv:3", "recall@50", value, "not a finite number", "delete"]);
        small.write(dir);
    }
    change("results.csv", ",1,0123", ",one,0123", &["results.csv:2", "seed"]);
    change("results.csv", "waa-ta-adam-metabalance-2", "../x", &["results.csv:4", "not the name of a run"]);
    change("results.csv", "waa-ta-adam-metabalance-2", "waa-ta-adam-metabalance-1", &["results.csv:4", "twice"]);
    change(
        "results.csv",
        "\nwaa-ta-adam-metabalance-1,invented",
        "\nwaa-ta-adam-metabalance-1,other",
        &["results.csv:3", "not comparable"],
    );
    change("results.csv", "model", "modle", &["results.csv:1", "no column `model`"]);
    let log = "runs/waa-ta-adam-metabalance-1/log.jsonl";
    change(log, "{\"epoch\":3,", "{\"epoch\":3;", &["log.jsonl:3", "delete"]);
    change(log, "\"epoch\":3", "\"epoch\":1", &["log.jsonl:3", "follows"]);
    change("runs/waa-ta-adam-metabalance-1/run.toml", "[train]", "[train", &["run.toml:6", "TOML"]);
    change("runs/waa-ta-adam-metabalance-1/run.json", "}", "", &["run.json:1", "JSON"]);
    change("compare.toml", "models =", "models", &["compare.toml:3", "TOML"]);
    change("slices.csv", ",40,", ",some,", &["slices.csv:2", "learners"]);
    change("summary.csv", "metric", "metrics", &["summary.csv:1", "no column `metric`"]);
}

/// Messages of the console, failures and violations of the page's policy.
fn complaints(events: &[Value]) -> Vec<&Value> {
    let bad = |e: &&Value| {
        let method = e["method"].as_str().unwrap_or("");
        ["Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Network.loadingFailed"]
            .contains(&method)
    };
    events.iter().filter(bad).collect()
}

#[test]
fn in_a_browser() {
    let Some(program) = browser::find() else {
        assert!(
            std::env::var_os("WAATA_REQUIRE_BROWSER").is_none(),
            "found no Chromium: scripts/install-browser.sh installs it, WAATA_BROWSER names one"
        );
        println!("skipped: found no Chromium; scripts/install-browser.sh installs it");
        return;
    };
    let data = "<img src=x onerror=alert(1)>";
    let made = make(&Fixture { data, ..Default::default() });
    let folder = made.folder.path().canonicalize().unwrap().join("report");
    let shots = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report");
    fs::create_dir_all(&shots).unwrap();
    let mut browser = browser::Browser::start(&program);

    browser.look(1280, 900, false);
    let mut events = browser.open(&folder.join("report.html"));
    assert_eq!(browser.eval("document.querySelectorAll('#main tbody tr').length"), ALL.len());
    assert_eq!(browser.eval("document.querySelectorAll('#main thead th').length"), 1 + 6);
    assert_eq!(browser.eval("document.querySelectorAll('figure svg').length"), made.figures.len());
    assert_eq!(browser.eval("document.querySelector('h1').textContent"), format!("Comparison of 17 models on {data}"));
    // Every figure has size, and its bars and curves have colours of their own.
    let shown = "[...document.querySelectorAll('main>.figures svg')].every(s => s.getBoundingClientRect().width > 300 && \
                 s.getBoundingClientRect().height > 100)";
    assert_eq!(browser.eval(shown), true);
    let colours = "new Set([...document.querySelectorAll('#figure-5 path.curve')].map(p => getComputedStyle(p).stroke + \
                   getComputedStyle(p).strokeDasharray)).size";
    assert_eq!(browser.eval(colours), 5);
    let bars = "new Set([...document.querySelectorAll('#figure-3-recall .fill')].map(p => getComputedStyle(p).fill + \
                p.getAttribute('fill-opacity'))).size";
    assert_eq!(browser.eval(bars), 3 * 3, "three cut-offs of WAA-TA, of the best other and of the rest");
    // No text of a figure leaves it.
    let outside = "[...document.querySelectorAll('main>.figures svg')].flatMap(s => [...s.querySelectorAll('text')]\
                   .filter(t => { const a = t.getBoundingClientRect(), b = s.getBoundingClientRect(); return a.left < \
                   b.left - 1 || a.right > b.right + 1 || a.bottom > b.bottom + 1 || a.top < b.top - 1 })\
                   .map(t => t.textContent))";
    assert_eq!(browser.eval(outside), serde_json::json!([]));
    assert!(browser.screenshot(&shots.join("light.png")) > 10_000);
    // Nothing scrolls sideways, with all folds open.
    browser.eval("document.querySelectorAll('details').forEach(d => d.open = true)");
    let wide = "[...document.querySelectorAll('*')].filter(e => e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0 && \
                !e.closest('svg')).map(e => e.tagName + (e.querySelector('table') ?? e).id)";
    assert_eq!(browser.eval(wide), serde_json::json!([]));

    let paper = "getComputedStyle(document.body).backgroundColor";
    let light = browser.eval(paper);
    browser.look(1280, 900, true);
    assert_ne!(browser.eval(paper), light, "a dark page is dark");
    browser.screenshot(&shots.join("dark.png"));
    // A phone: the rows of tables are cards.
    browser.look(390, 844, false);
    assert_eq!(browser.eval("document.scrollingElement.scrollWidth"), 390);
    assert_eq!(browser.eval(wide), serde_json::json!([]));
    assert_eq!(browser.eval(outside), serde_json::json!([]));
    browser.eval("document.querySelectorAll('details').forEach(d => d.open = false)");
    browser.screenshot(&shots.join("phone.png"));

    events.extend(browser.events());
    assert_eq!(complaints(&events), Vec::<&Value>::new());
    let asked: Vec<&str> = events
        .iter()
        .filter(|e| e["method"] == "Network.requestWillBeSent")
        .map(|e| e["params"]["request"]["url"].as_str().unwrap())
        .filter(|url| !url.starts_with("data:"))
        .collect();
    assert_eq!(asked, [format!("file://{}", folder.join("report.html").display())], "nothing else is loaded");

    // The figures as files of their own.
    for figure in &made.figures {
        let events = browser.open(&folder.join(figure.file_name().unwrap()));
        assert_eq!(complaints(&events), Vec::<&Value>::new(), "{}", figure.display());
        assert_eq!(browser.eval("document.documentElement.tagName"), "svg");
        assert_eq!(browser.eval("document.querySelector('parsererror') === null"), true);
    }
}

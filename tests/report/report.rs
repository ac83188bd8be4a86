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
    verdict: Vec<String>,
}

fn made(folder: tempfile::TempDir) -> Made {
    let out = folder.path().join("report");
    let written = waata_report::write(folder.path(), &out).unwrap();
    let html = fs::read_to_string(written.html).unwrap();
    let markdown = fs::read_to_string(written.markdown).unwrap();
    Made { folder, html, markdown, figures: written.figures, verdict: written.verdict }
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
        assert!(
            !self.html.contains("http://") && !self.html.contains("https://") && !self.html.contains("url(")
        );
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
    let head = table[0].join(" ");
    assert_eq!(
        head,
        "Metric MMoE PLE FDN ESMM ESM2 CTCVR Single-task Shared-bottom Popularity ItemKNN EASE BPR-MF LightGCN WAA-TA \
         TA1 TA2 TA3 Gain over best baseline Gain over best neural"
    );
    let rows: Vec<&str> = table[1..].iter().map(|row| row[0].as_str()).collect();
    assert_eq!(rows, ["Recall@10", "Recall@20", "Recall@50", "NDCG@10", "NDCG@20", "NDCG@50"]);
    // EASE is built to be best and WAA-TA second, but for NDCG@50.
    let marked = |name: &str| page.iter().filter(|e| e.name == name).count();
    assert!(marked("strong") > 6 && marked("u") > 6);
    let gain = |row: usize| table[row][18].clone();
    assert!(gain(1).starts_with('−') && gain(1).contains("** EASE, p 0.0032"), "{}", gain(1));
    assert!(gain(6).starts_with('+'), "{}", gain(6));
    assert_eq!(made.verdict[0], "WAA-TA loses to the best baseline in 5 of 6 main metrics.");
    assert!(
        made.verdict[1].starts_with("Behind: Recall@10 −") && made.verdict[1].contains("EASE, p = 0.0032")
    );
    assert!(
        made.html.find(&made.verdict[0]).unwrap() < made.html.find("<h2").unwrap(),
        "bad news comes first"
    );
    assert!(made.markdown.starts_with("# Comparison of 17 models on invented\n\n> **WAA-TA loses"));
    assert!(made.verdict.iter().any(|line| line.contains("number 2 of 17 models")), "{:?}", made.verdict);
    let expected = [
        "figure-3-recall",
        "figure-3-ndcg",
        "figure-4-recall",
        "figure-4-ndcg",
        "figure-5",
        "gates-waa-ta",
        "weights-waa-ta",
        "cosines-waa-ta",
        "convergence-models",
        "figure-5-loss-enrolled",
    ];
    for name in expected {
        assert!(made.names().contains(name), "{name} is not among {:?}", made.names());
    }
    assert_eq!(made.table("tests-own").len(), 1 + 6, "one test a metric, of the variant in Table 3");
    let optimizers = made.table("optimizers-waa-ta");
    assert_eq!(optimizers[0], ["Metric", "adam", "sgd", "adagrad", "rmsprop", "adamw"]);
    assert_eq!(made.table("weightings-waa-ta")[0], ["Metric", "metabalance", "pcgrad"]);
    let slices = made.table("slices-activity-ndcg-20");
    let order: Vec<&str> = slices[1..].iter().map(|row| row[0].as_str()).collect();
    assert_eq!(order, ["1", "2-4", "5-9", "10-19"]);
    assert!(made.html.contains("Nothing: every run that was asked for has finished."));
    for said in [
        "d1d1",
        "5b5b",
        "0.1.0",
        "Log-loss completed",
        "Coverage@10",
        "compare.toml",
        "Average popularity@50",
    ] {
        assert!(made.html.contains(said), "{said}");
    }
}

#[test]
fn numbers_are_those_of_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let text = "run,data,model,optimizer,weighting,seed,recall@10\n\
                a-1,x,waa-ta,adam,sum,1,0.25\na-2,x,waa-ta,adam,sum,2,0.35\nb-1,x,ease,none,none,1,0.2\n";
    fs::write(folder.path().join("results.csv"), text).unwrap();
    let made = made(folder);
    made.check();
    let table = made.table("main");
    assert_eq!(table[0], ["Metric", "EASE", "WAA-TA", "Gain over best baseline"]);
    assert_eq!(table[1], ["Recall@10", "0.2000", "0.3000 ±0.0707", "+50.00\u{a0}% EASE"]);
    assert_eq!(made.verdict[0], "WAA-TA is ahead of the best baseline in all 1 main metric.");
    assert!(made.verdict.iter().any(|line| line.contains("None of these leads was tested")));
    // What is not there is said.
    for said in [
        "compare.toml: what was asked",
        "summary.csv: no difference",
        "slices.csv: there are no",
        "runs/: logs",
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
    assert!(one.verdict[0].contains("No baseline took part"), "{:?}", one.verdict);
    let equal = make(&Fixture { constant: Some(0.25), ..Default::default() });
    equal.check();
    assert!(equal.verdict[0].contains("in 0 of 6 main metrics, and equal in 6"), "{:?}", equal.verdict);
    let zero = make(&Fixture { constant: Some(0.0), ..Default::default() });
    zero.check();
    let silent = make(&Fixture { epochs: 0, ..Default::default() });
    silent.check();
    assert!(
        silent.html.contains("no log has a validation")
            && silent.html.contains("nothing is known of training")
    );
    let short = make(&Fixture { epochs: 1, ..Default::default() });
    short.check();
    let without = make(&Fixture { models: &["ease", "mmoe"], ..Default::default() });
    without.check();
    assert!(without.verdict[0].contains("took no part"));
    let neural = make(&Fixture { models: &["waa-ta", "mmoe", "esmm"], ..Default::default() });
    neural.check();
    assert!(neural.html.contains("no simple ranker"));
    assert_eq!(neural.verdict[0], "WAA-TA is ahead of the best baseline in all 6 main metrics.");
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
        fs::write(run.join("log.jsonl"), "{\"epoch\":1,\"values\":{\"gate/a&b\":0.5,\"gate/c\":null}}\n")
            .unwrap();
    }
    fs::write(folder.path().join("results.csv"), text).unwrap();
    let made = self::made(folder);
    made.check();
    assert!(
        made.names().contains("gates-x-y-2") && made.names().contains("gates-x-y-3"),
        "{:?}",
        made.names()
    );
    assert!(made.html.contains("values that are not finite"));
}

#[test]
fn what_is_missing_is_said() {
    let folder = tempfile::tempdir().unwrap();
    Fixture::default().write(folder.path());
    let results = folder.path().join("results.csv");
    let text = fs::read_to_string(&results).unwrap();
    let kept: Vec<&str> = text
        .lines()
        .filter(|l| !l.starts_with("ple-") && !l.starts_with("mmoe-adam-metabalance-2"))
        .collect();
    fs::write(&results, kept.join("\n")).unwrap();
    let failed = folder.path().join("runs/ple-adam-metabalance-1/failed.json");
    fs::write(failed, "{\"reason\": \"training diverged: loss kg is not finite at step 3\"}").unwrap();
    let made = made(folder);
    made.check();
    for said in [
        "PLE: asked for, but it has no finished run",
        "MMoE (adam metabalance): 2 seeds of 3",
        "runs/ple-adam-metabalance-1 was begun and has no result: training diverged",
        "runs/mmoe-adam-metabalance-2 was begun and has no result",
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

    let small =
        Fixture { models: &["waa-ta", "ease"], optimizers: &["adam"], seeds: 2, ..Default::default() };
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
        change(
            "results.csv",
            &field,
            value,
            &["results.csv:3", "recall@50", value, "not a finite number", "delete"],
        );
        small.write(dir);
    }
    change("results.csv", ",1,0123", ",one,0123", &["results.csv:2", "seed"]);
    change("results.csv", "waa-ta-adam-metabalance-2", "../x", &["results.csv:4", "no name of a folder"]);
    change(
        "results.csv",
        "waa-ta-adam-metabalance-2",
        "waa-ta-adam-metabalance-1",
        &["results.csv:4", "twice"],
    );
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
    assert_eq!(browser.eval("document.querySelectorAll('#main tbody tr').length"), 6);
    assert_eq!(browser.eval("document.querySelectorAll('#main thead th').length"), 1 + ALL.len() as u64 + 2);
    assert_eq!(browser.eval("document.querySelectorAll('figure svg').length"), made.figures.len());
    assert_eq!(
        browser.eval("document.querySelector('h1').textContent"),
        format!("Comparison of 17 models on {data}")
    );
    // Every figure has size, and its bars and curves have colours of their own.
    let shown = "[...document.querySelectorAll('main>.figures svg')].every(s => s.getBoundingClientRect().width > 300 && \
                 s.getBoundingClientRect().height > 100)";
    assert_eq!(browser.eval(shown), true);
    let colours = "new Set([...document.querySelectorAll('#figure-5 path.curve')].map(p => getComputedStyle(p).stroke + \
                   getComputedStyle(p).strokeDasharray)).size";
    assert_eq!(browser.eval(colours), 5);
    let bars = "new Set([...document.querySelectorAll('#figure-3-recall .fill')].map(p => getComputedStyle(p).fill)).size";
    assert_eq!(browser.eval(bars), 3);
    // No text of a figure leaves it.
    let outside = "[...document.querySelectorAll('main>.figures svg')].flatMap(s => [...s.querySelectorAll('text')]\
                   .filter(t => { const a = t.getBoundingClientRect(), b = s.getBoundingClientRect(); return a.left < \
                   b.left - 1 || a.right > b.right + 1 || a.bottom > b.bottom + 1 || a.top < b.top - 1 })\
                   .map(t => t.textContent))";
    assert_eq!(browser.eval(outside), serde_json::json!([]));
    assert!(browser.screenshot(&shots.join("light.png")) > 10_000);

    let paper = "getComputedStyle(document.body).backgroundColor";
    let light = browser.eval(paper);
    browser.look(1280, 900, true);
    assert_ne!(browser.eval(paper), light, "a dark page is dark");
    browser.screenshot(&shots.join("dark.png"));
    // A phone: wide tables scroll in their frames, the page does not.
    browser.look(360, 740, false);
    assert_eq!(browser.eval("document.scrollingElement.scrollWidth"), 360);
    assert_eq!(browser.eval("document.querySelector('#main').getBoundingClientRect().width > 360"), true);
    browser.eval("document.querySelectorAll('details').forEach(d => d.open = true)");
    assert_eq!(browser.eval("document.scrollingElement.scrollWidth"), 360);
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

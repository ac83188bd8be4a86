//! Settings: what is accepted, what is refused and with which remedy, and what presets and names of models imply.

mod common;

use waata::Error;
use waata::config::{AttentionMode, Base, Config, EncoderKind, Propagation, nearest, preset, presets, settings};
use waata::engine::gradient_weighting::Combine;
use waata::layers::recency_bucket;
use waata::models::models;

use common::tiny::config as resolve;

fn on_preset(preset: &str, settings: &[&str]) -> Config {
    let settings: Vec<String> = settings.iter().map(|s| s.to_string()).collect();
    Config::resolve(Base::Preset(preset.into()), &settings).unwrap()
}

#[test]
fn set_takes_numbers_lists_and_words() {
    let c = resolve(&["train.lr=0.01", "model.layers=[8, 8]", "attention.mode=differentiated"]).unwrap();
    assert_eq!((c.train.lr, c.model.layers), (0.01, vec![8, 8]));
    assert_eq!(c.attention.mode, AttentionMode::Differentiated);
    // Whole numbers do where floats are wanted.
    assert_eq!(resolve(&["train.lr=1"]).unwrap().train.lr, 1.0);
}

#[test]
fn unknown_and_impossible_settings_are_refused_with_a_remedy() {
    for (setting, part) in [
        ("train.epoch=3", "did you mean `train.epochs`"),
        ("lr=3", "did you mean `train.lr`"),
        ("trian.lr=3", "did you mean `train.lr`"),
        ("nothing.like.it=3", "docs/settings.md"),
        ("attention.mode=fast", "expected one of"),
        ("head.activation=identity", "expected `relu` or `elu`"),
        ("model.storage=f64", "expected one of `f32`, `bf16`, `f16`"),
        ("train.epochs=-1", "train.epochs"),
        ("train=3", "is a section"),
        ("train.lr", "has no `=`"),
        ("attention.edge_bias=recency", "attention.mode=differentiated"),
        ("eval.metric=ndcg@7", "eval.metric"),
        ("weighting.combine=best", "expected one of"),
        ("model.name=mmeo", "did you mean `mmoe`"),
        ("head.widths=[]", "head.widths: must not be empty"),
        ("eval.k=[10, 129]", "eval.k: must be 1 to 128, and is 129"),
        ("loss.task_weights=[1, -1]", "loss.task_weights: must be at least 0, and is -1"),
        ("weighting.cagrad_c=1", "weighting.cagrad_c: must be 0 to below 1, and is 1"),
    ] {
        let error = resolve(&[setting]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(part), "{setting}: {error}");
    }
    assert_eq!(nearest("histroy", presets().iter().map(|p| p.name)), Some("history"));
    assert_eq!(nearest("histroy", ["paper", "tasks"]), None);
}

/// No number of any setting may be NaN or infinite, nor lie outside of what its range says.
#[test]
fn numbers_outside_their_range_are_refused() {
    let mut numbers = 0;
    for setting in settings() {
        let kind = setting.value_type();
        let bad: &[&str] = match kind {
            "number" | "list of numbers" => &["nan", "inf", "-inf", "1e400"],
            "integer" | "list of integers" => &["-1", "1.5"],
            _ => continue,
        };
        let mut bad = bad.to_vec();
        let range = setting.range();
        for (words, value) in
            [("at least 0", "-0.001"), ("at least 1", "0"), ("above 0", "0"), ("0 to 1", "1.001"), ("below 1", "1")]
        {
            // An integer of at least 0 is that by its type.
            if range.contains(words) && !(value == "-0.001" && kind.contains("integer")) {
                bad.push(value);
            }
        }
        numbers += 1;
        for value in bad {
            let text = if kind.starts_with("list") { format!("[{value}]") } else { value.to_string() };
            let given = format!("{}={text}", setting.key);
            match resolve(&[&given]) {
                // At least 1 where something else asks for it.
                Ok(_) => assert_eq!(given, "attention.recency_buckets=0"),
                Err(Error::Config { key, .. }) => assert_eq!(key, setting.key, "{given}"),
                Err(error) => panic!("{given}: {error}"),
            }
        }
    }
    assert!(numbers > 50, "{numbers}");
}

#[test]
fn settings_say_what_they_are() {
    let find = |key: &str| settings().find(|s| s.key == key).unwrap();
    let orth = find("loss.orth");
    assert_eq!(orth.choices(), ["a", "a0", "b", "c", "d", "fdn_code"]);
    assert_eq!((orth.value_type(), orth.default().as_str()), ("string", "\"a\""));
    let dropout = find("model.message_dropout");
    assert_eq!((dropout.default().as_str(), dropout.range().as_str()), ("0.1", "0 to below 1"));
    assert_eq!(find("model.layers").range(), "each at least 1");
    assert_eq!(find("eval.k").range(), "not empty; each 1 to 128");
    for setting in settings() {
        assert!(setting.meaning().len() > 5 && !setting.default().is_empty(), "{}", setting.key);
        assert!(resolve(&[&format!("{}={}", setting.key, setting.default())]).is_ok(), "{}", setting.key);
    }
}

#[test]
fn every_model_resolves_on_every_preset() {
    for model in models() {
        for preset in presets() {
            let c = on_preset(preset.name, &[&format!("model.name={}", model.name)]);
            assert_eq!(c.model.name, model.name);
        }
    }
    assert_eq!(on_preset("paper", &[]), Config::default());
    let sample = include_str!("../data/sample/run.toml");
    assert_eq!(sample, preset("tasks").unwrap(), "data/README.md says that the sample has this preset");
    let error = preset("papers").unwrap_err().to_string();
    assert!(error.contains("did you mean `paper`?") && error.contains("presets: paper"), "{error}");
}

/// Table 2: learning rate, batch, epochs, optimizer, width of an expert, tasks.
#[test]
fn presets_of_the_paper() {
    for (preset, second, k) in
        [("paper-mooccubex", "completed", &[10, 20, 50][..]), ("paper-edx", "certified", &[1, 3, 5, 10, 20, 50])]
    {
        let c = on_preset(preset, &[]);
        assert_eq!((c.train.lr, c.train.batch_size, c.train.epochs), (2e-4, 1024, 20));
        assert!(c.to_toml().contains("optimizer = \"adam\"\n"));
        assert_eq!(c.head.widths.last(), Some(&32));
        assert_eq!((&c.loss.tasks[..], &c.eval.k[..]), (&["enrolled", second].map(String::from)[..], k));
        assert_eq!(c.train.max_steps, 0);
    }
}

#[test]
fn names_imply_settings_that_set_changes() {
    let c = on_preset("history", &["model.name=mmoe"]);
    assert_eq!((c.model.encoder, c.model.layers.len()), (EncoderKind::Table, 0));
    assert_eq!((c.weighting.combine, c.model.init_std), (Combine::Sum, 0.0001));
    let c = on_preset("history", &["model.name=mmoe", "model.encoder=graph", "weighting.combine=cosine"]);
    assert_eq!((c.model.encoder, c.model.propagation), (EncoderKind::Graph, Propagation::History));
    assert_eq!((c.weighting.combine, c.model.init_std), (Combine::Cosine, 0.0));
    let c = on_preset("paper", &["model.encoder=table"]);
    assert_eq!((c.model.name.as_str(), c.model.layers.len()), ("waa-ta", 0));
    // Both readings of the first ablation.
    assert_eq!(on_preset("tasks", &["model.name=waa-ta1"]).weighting.combine, Combine::Sum);
    let c = on_preset("tasks", &["model.name=waa-ta1", "loss.tasks=[\"enrolled\"]"]);
    assert_eq!(c.loss.tasks, ["enrolled"]);
}

#[test]
fn what_is_saved_is_what_was_set() {
    let c = resolve(&["train.lr=0.003", "head.pairs=2", "seed=7", "model.storage=bf16"]).unwrap();
    assert_eq!(Config::parse(&c.to_toml(), "saved").unwrap(), c);
    assert_eq!(c.with(&["eval.k=[20]".into()]).unwrap().head.pairs, 2);
    assert!(c.with(&["eval.k=[]".into()]).is_err());
}

#[test]
fn recency_buckets_grow_with_age_and_end() {
    let bucket = |back| recency_bucket(back, 6);
    // Four single places, then four in one, then the rest.
    assert_eq!((0..9).map(bucket).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 5, 5, 5, 6]);
    assert_eq!(bucket(100_000), 6);
    assert_eq!(recency_bucket(5, 1), 1);
    assert!((0..1000).map(|b| recency_bucket(b, 24)).is_sorted());
}

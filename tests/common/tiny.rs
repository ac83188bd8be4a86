//! Data sets small enough for a test, and what a model is asked on them.

use waata::Result;
use waata::config::Config;
use waata::data::split::{self, SplitPolicy};
use waata::data::{Dataset, Interactions, Split, synth};
use waata::engine::{Tape, Tensor};
use waata::models::{Batch, Losses, Model};
use waata::train::{Sampler, TripleSampler};

/// 5 learners, one of them without enrolments in train; 6 courses, one of them in no triple; 4 attributes; parallel
/// edges; all rows in time order.
pub fn dataset() -> Dataset {
    let rows: [&[(u32, u8)]; 5] = [
        &[(0, 1), (3, 0), (1, 1), (4, 1)],
        &[(2, 0), (1, 1), (5, 1)],
        &[(4, 1), (0, 0)],
        &[],
        &[(1, 1), (2, 1), (0, 0), (3, 1), (5, 0)],
    ];
    let ends = rows.iter().scan(0, |end, row| {
        *end += row.len() as u64;
        Some(*end)
    });
    let mut split = vec![Split::Train; 14];
    split[3] = Split::Test;
    split[6] = Split::Valid;
    split[13] = Split::Test;
    let i = Interactions {
        offsets: std::iter::once(0).chain(ends).collect(),
        course: rows.concat().iter().map(|row| row.0).collect(),
        label_values: vec![rows.concat().iter().map(|row| row.1).collect()],
        split: split.into(),
        has_time: true,
    };
    let data = Dataset {
        name: "tiny".into(),
        learner_names: (0..5).map(|u| format!("learner {u}")).collect(),
        entity_names: (0..10).map(|e| format!("entity {e}")).collect(),
        courses: 6,
        relation_names: vec!["teacher", "requires"].into(),
        triples: vec![
            [0, 0, 6],
            [1, 0, 6],
            [2, 0, 7],
            [3, 0, 8],
            [4, 0, 9],
            [0, 1, 1],
            [0, 0, 1],
            [2, 1, 3],
            [4, 1, 0],
        ]
        .into(),
        labels: vec!["completed".into()],
        interactions: i,
    };
    data.validate().unwrap();
    data
}

/// The same with an act between enrolment and completion, as every model can be trained on: nobody completes without it,
/// which ESMM cannot express.
pub fn funnel() -> Dataset {
    let mut data = dataset();
    data.labels.insert(0, "acted".into());
    data.interactions.label_values.insert(0, vec![1, 1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1, 1, 0].into());
    data.validate().unwrap();
    data
}

/// Some dozens of learners and courses with planted preferences, split at random.
pub fn synthetic() -> Dataset {
    let mut data = synth::generate(40, 24, 320, 5).unwrap();
    split::assign(&mut data, SplitPolicy::Random { ratios: Default::default(), per_learner: false }, false, 1).unwrap();
    data
}

/// The defaults, changed as by `--set`.
pub fn config(settings: &[&str]) -> Result<Config> {
    Config::resolve(waata::config::Base::Defaults, &settings.iter().map(|s| s.to_string()).collect::<Vec<_>>())
}

/// One batch of all training enrolments, with triples.
pub fn batch(data: &Dataset, config: &Config, model: &dyn Model, triples: Option<&TripleSampler>) -> Batch {
    let sampler = Sampler::new(data, config, &[Split::Train], model.tasks()).unwrap();
    let mut batch = sampler.batch(0, &sampler.epoch(0));
    batch.triples = triples.map(|t| t.batch(0, &t.epoch(0), 0, t.len()).unwrap());
    batch
}

/// The weighted sum of the losses, and its gradient for each parameter.
pub fn weighted(tape: &Tape, losses: &Losses, vars: &[waata::engine::Var]) -> (f64, Vec<Option<Tensor>>) {
    let (mut total, mut seeds) = (0.0, vec![]);
    for loss in &losses.losses {
        let value = tape.value(loss.var);
        total += loss.weight * value.to_f64().unwrap()[loss.column];
        let mut seed = vec![0.0; value.len()];
        seed[loss.column] = loss.weight;
        let (rows, cols) = value.shape();
        seeds.push((loss.var, Tensor::from_f64(&value.device(), value.dtype(), rows, cols, &seed).unwrap()));
    }
    let mut grads = tape.backward(&seeds).unwrap();
    (total, vars.iter().map(|v| grads.take(*v)).collect())
}

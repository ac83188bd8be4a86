//! A run on a miniature of its data set, with an account of every piece of memory: the same code with the same settings,
//! so that no formula has to follow what models and operations do.

use super::miniature;
use super::sizes::{Counts, Hop, Sizes, Work, sizes};
use crate::Result;
use crate::config::{Config, KgPhase};
use crate::data::{Dataset, Split};
use crate::engine::memory::{self, Allocation, Event, Part};
use crate::engine::{DType, Device, Philox, Tensor};
use crate::graph::IdSets;
use crate::models::{self, Batch, Model, TrainGraph};
use crate::train::TrainStep;
use crate::train::step::step_random;

/// What happened between two marks, and the sizes that it happened with.
pub(super) struct Stage {
    pub events: Vec<Event>,
    pub sizes: Sizes,
}

/// Whether triples are learned in the steps on enrolments.
pub(super) fn joint(config: &Config, tasks: usize) -> bool {
    match config.kg.phase {
        KgPhase::Joint => true,
        KgPhase::Auto => tasks == 1,
        KgPhase::Separate | KgPhase::Off => false,
    }
}

/// Phases of a run, each with a constant share of lists beside what the rehearsal accounts for.
pub(super) const PHASES: [&str; 7] = ["build", "epoch", "steps", "triples", "validation", "restore", "test"];

/// Steps of the first epoch: the first makes the optimizers' states, the others take turns with its blocks.
const STEPS: usize = 3;
/// Edges that a node is given in a sampled step on a miniature: some have more, some fewer.
const FAN_OUT: usize = 2;

/// Rehearses a run of `config` on miniature `i` of `data`.
pub(super) fn rehearse(
    i: usize,
    config: &Config,
    data: &Dataset,
    full: &Counts,
    device: &Device,
) -> Result<Vec<Stage>> {
    let mut config = config.clone();
    config.model.fan_out.iter_mut().for_each(|k| *k = FAN_OUT);
    let small = miniature::dataset(i, data, full);
    let splits = &[Split::Train];
    let counts = Counts::new(&config, &small, splits);
    let mut stages = vec![];
    let (done, events) = memory::traced(|| play(i, &config, &small, &counts, device, &mut stages));
    done?;
    // Events up to a stage's mark belong to the stage before it.
    let mut parts = vec![];
    let mut rest = events.into_iter().peekable();
    for work in stages {
        let mut own = vec![];
        if let Some(mark) = rest.next() {
            own.push(mark);
        }
        while let Some(event) = rest.next_if(|e| !matches!(e, Event::Mark(_))) {
            own.push(event);
        }
        parts.push(Stage { events: own, sizes: sizes(&counts, &work) });
    }
    Ok(parts)
}

/// What the account says from here on belongs to a phase, with this work.
fn begin(stages: &mut Vec<Work>, name: &'static str, work: &Work) {
    memory::mark(name);
    stages.push(work.clone());
}

fn play(
    i: usize,
    config: &Config,
    data: &Dataset,
    counts: &Counts,
    device: &Device,
    stages: &mut Vec<Work>,
) -> Result<()> {
    let mut work = miniature::work(i, config, counts);
    begin(stages, PHASES[0], &work);
    let mut model = {
        let _scope = memory::scope(Part::Graph, "graph");
        let graph = TrainGraph::new(config, data, &[Split::Train]);
        let _held = Allocation::lists(size_of_val(&graph.edges[..]));
        models::build(config, data, &graph, device, DType::F32)?
    };
    let joint = joint(config, model.tasks().len()) && work.triples > 0;
    let batch = miniature::batch(config, counts, &work, model.tasks().len(), joint);
    let triples = miniature::triples(counts, &work);
    let histories = &batch.learners.histories;
    let full_rows = (0..work.rows).filter(|&r| !histories.row(r).is_empty()).count();
    work.history = [histories.course.len(), full_rows];
    work.asked = count(&batch.pair_course);
    work.triple_nodes = count(&triples.nodes());
    let ranked = miniature::learners(work.ranked, counts);
    let with = (0..work.ranked).filter(|&r| !ranked.histories.row(r).is_empty()).count();
    work.ranked_history = [ranked.histories.course.len(), with];
    let mut stepper = TrainStep::new(config)?;
    stepper.total_steps = 1;
    // In a second epoch the optimizer's states of the triples are there from its first step on.
    let epochs = config.train.epochs.clamp(1, 2);
    for epoch in 1..=epochs {
        begin(stages, PHASES[1], &work);
        model.begin_epoch()?;
        stepper.begin_epoch();
        for _ in 0..STEPS {
            let of_step = Work { hops: hops(config, &*model, &batch, &stepper)?, ..work.clone() };
            begin(stages, PHASES[2], &of_step);
            let _scope = memory::scope(Part::Batch, "batch");
            stepper.enrolments(&mut *model, &batch)?;
        }
        if !joint && work.triples > 0 && config.kg.phase != KgPhase::Off {
            for _ in 0..STEPS {
                begin(stages, PHASES[3], &work);
                let _scope = memory::scope(Part::Batch, "batch of triples");
                stepper.triples(&mut *model, &triples)?;
            }
        }
        rank(config, &*model, counts, &work, stages, PHASES[4])?;
        if epoch == epochs {
            begin(stages, PHASES[5], &work);
            drop(stepper);
            restored(&mut *model)?;
            return rank(config, &*model, counts, &work, stages, PHASES[6]);
        }
    }
    Ok(())
}

fn count(ids: &[u32]) -> usize {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    ids.len()
}

/// What the step to come draws. The account is not told: the step draws again.
fn hops(config: &Config, model: &dyn Model, batch: &Batch, stepper: &TrainStep) -> Result<Vec<Hop>> {
    if config.model.fan_out.is_empty() {
        return Ok(vec![]);
    }
    memory::untraced(|| {
        let random: Philox = step_random(config, stepper.step);
        let Some(blocks) = model.plan(batch, Some(random))?.blocks else { return Ok(vec![]) };
        let graph = |h: usize| blocks.blocks.get(h).map(|b| b.graph.clone());
        let hop = |(h, level): (usize, &crate::graph::Level)| Hop {
            nodes: level.len(),
            edges: graph(h).map_or(0, |g| g.edges()),
            groups: graph(h).map_or(0, |g| g.groups.count),
            pieces: graph(h).map_or(0, |g| g.dst_splits.count()),
        };
        Ok(blocks.levels.iter().enumerate().map(hop).collect())
    })
}

/// Two blocks of the ranking, and of the pairs that are judged: each second one stands for the last of a run.
fn rank(
    config: &Config,
    model: &dyn Model,
    counts: &Counts,
    work: &Work,
    stages: &mut Vec<Work>,
    phase: &'static str,
) -> Result<()> {
    let _scope = memory::scope(Part::Ranking, "ranking");
    begin(stages, phase, work);
    let encoded = model.encode()?;
    let scorer = model.scorer(&encoded)?;
    let k = config.eval.k.iter().copied().max().unwrap_or(1).min(counts.courses);
    for block in 0..2 {
        if block > 0 {
            begin(stages, phase, work);
        }
        let learners = miniature::learners(work.ranked, counts);
        let z = model.represent_learners(&encoded, &learners)?;
        let none = IdSets::none(&z.device(), work.ranked, counts.courses)?;
        scorer.rank(&z, &none, k)?;
    }
    for _ in 0..2 {
        begin(stages, phase, work);
        let learners = miniature::learners(work.ranked, counts);
        let pair = |i: usize| ((i % work.ranked) as u32, (i % counts.courses) as u32);
        let pairs: Vec<(u32, u32)> = (0..work.judged).map(pair).collect();
        model.logits(&encoded, &learners, &pairs)?;
    }
    Ok(())
}

/// As a checkpoint is read: all tensors beside those that they replace.
fn restored(model: &mut dyn Model) -> Result<()> {
    let _scope = memory::scope(Part::Parameters, "read from the checkpoint");
    let mut loaded = vec![];
    for param in model.params().iter() {
        let values = param.value.to_vec()?;
        let _held = Allocation::lists(size_of_val(&values[..]));
        let (rows, cols) = param.value.shape();
        loaded.push(Tensor::new(&param.value.device(), rows, cols, &values)?);
    }
    let mut state = model.state();
    for (_, value) in &mut state {
        *value = Tensor::new(&value.device(), value.rows(), value.cols(), &value.to_vec()?)?;
    }
    model.params_mut().iter_mut().zip(&loaded).for_each(|(param, value)| param.value = value.clone());
    state.into_iter().try_for_each(|(name, value)| model.set_state(&name, value))
}

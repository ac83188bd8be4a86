//! A model that is trained by gradients: an encoder that gives learners and courses vectors, a head that judges pairs of
//! them, and the losses. Formulas (1) to (16); docs/model.md has them with their sources. WAA-TA and its baselines differ
//! in the head, and by their definitions in the settings.

mod represent;

use super::head::{Head, HeadCtx, HeadOutput};
use super::{
    Batch, DeviceBatch, Encoded, Learners, Loss, Losses, Model, Recommender, Role, StepInputs, TrainGraph, TripleBatch,
    pair_head, task_names,
};
use crate::config::{Config, EntityNorm, HeadConfig, KgLoss, Propagation, RankBy, Ranking};
use crate::data::Dataset;
use crate::engine::{DType, Device, Op, Owner, ParamId, Params, Philox, StepRandom, Tape, Tensor, Var};
use crate::layers::{Encoder, ForwardCtx, ParamBuilder};
use crate::ops::{
    self, BceLoss, Bpr, Combine, Dot, Gather, L1, L2, L2Normalize, Orthogonality, RowDot, Rows, Scorer, TransD,
    TransDOptions,
};
use crate::{Error, Result};
use represent::Represented;

pub struct Neural {
    name: &'static str,
    config: Config,
    tasks: Vec<String>,
    params: Params,
    encoder: Encoder,
    head: Box<dyn Head>,
    /// The head's logits that have a loss: their places and their tasks.
    learned: Vec<(usize, usize)>,
    /// Places of the head's parameters.
    head_params: std::ops::Range<usize>,
    /// Bias of each course in the match score; trained by the softmax objective alone.
    course_bias: Option<ParamId>,
    courses: usize,
    device: Device,
    dtype: DType,
}

/// Makes a head with its parameters: settings, D (the width of Z) and the number of tasks.
pub type MakeHead = fn(&mut ParamBuilder, &HeadConfig, usize, usize) -> Result<Box<dyn Head>>;

impl Neural {
    /// `head` makes the model's own part.
    pub fn new(
        (name, head): (&'static str, MakeHead),
        config: &Config,
        data: &Dataset,
        graph: &TrainGraph,
        mut b: ParamBuilder,
    ) -> Result<Neural> {
        let tasks = task_names(config, data)?;
        let counts = (data.learners(), data.courses, data.entities());
        let encoder = Encoder::new(&mut b, config, graph.relations, counts, &graph.edges, data.labels.len())?;
        let first = b.params.len();
        let head = head(&mut b, &config.head, encoder.width(), tasks.len())?;
        if config.head.score_residual && !head.first_logit_is_learned() {
            return Err(Error::config(
                "head.score_residual",
                format!("the first logit of {name} is not there to be added to"),
                "set head.score_residual = false",
            ));
        }
        let weight = |task: usize| config.loss.task_weights.get(task).copied().unwrap_or(1.0);
        let learned = head.learns(tasks.len()).into_iter().enumerate();
        let learned = learned.filter(|&(_, task)| weight(task) != 0.0).collect();
        let head_params = first..b.params.len();
        let course_bias = match config.loss.ranking {
            Ranking::Softmax => Some(b.zeros("course_bias", Owner::Shared, 1, data.courses)?),
            _ => None,
        };
        let ParamBuilder { params, device, dtype, .. } = b;
        let config = config.clone();
        Ok(Neural {
            name,
            config,
            tasks,
            params,
            encoder,
            head,
            learned,
            head_params,
            course_bias,
            courses: data.courses,
            device: device.clone(),
            dtype,
        })
    }

    /// As `represent`, from what `encode` computed, for learners alone.
    fn learners_from(&self, pass: &mut ForwardCtx, encoded: &Encoded, learners: &Learners) -> Result<Var> {
        let nodes: Vec<Var> = encoded.nodes.iter().map(|t| pass.tape.constant(t.clone())).collect();
        if self.config.model.propagation == Propagation::Full {
            let rows = Rows::new(&self.device, learners.id.clone(), self.encoder.graph().num_dst)?;
            return self.encoder.rows(pass, &nodes, &rows);
        }
        let states = self.encoder.encode_history(pass, &nodes, &learners.id, &learners.histories)?;
        self.encoder.stack(pass, &states)
    }

    fn gather(&self, pass: &mut ForwardCtx, table: Var, ids: &[u32]) -> Result<Var> {
        let rows = Rows::new(&self.device, ids.to_vec(), pass.rows(table))?;
        pass.tape.apply(Gather::new(rows), &[table])
    }

    /// Logits (B, K) of the head on rows of Z; the match score joins the first where asked for.
    fn judge(&self, pass: &mut ForwardCtx, z_u: Var, z_i: Var) -> Result<HeadOutput> {
        let mut out = self.head.forward(&mut HeadCtx::new(pass, &self.config.head, [z_u, z_i]))?;
        if self.config.head.score_residual {
            let score = pass.tape.apply(RowDot, &[z_u, z_i])?;
            out.logits[0] = pass.tape.apply(Combine::sum(2), &[out.logits[0], score])?;
        }
        Ok(out)
    }

    fn ranking_loss(
        &self,
        pass: &mut ForwardCtx,
        batch: &DeviceBatch,
        z: &Represented,
    ) -> Result<Option<(String, Var)>> {
        let (z_u, z_courses) = (z.z_u, z.z_courses);
        if let Some((positive, negative)) = &batch.triplets {
            let i = pass.tape.apply(Gather::new(positive.clone()), &[z_courses])?;
            let j = pass.tape.apply(Gather::new(negative.clone()), &[z_courses])?;
            let op = Bpr::new(self.config.loss.l2 as f32);
            return Ok(Some(("bpr".into(), pass.tape.apply(op, &[z_u, i, j])?)));
        }
        let Some(op) = &batch.softmax else { return Ok(None) };
        let bias = match self.course_bias {
            Some(id) => pass.param(id),
            None => pass.zeros(1, self.courses)?,
        };
        Ok(Some(("softmax".into(), pass.tape.apply(op.clone(), &[z_u, z_courses, bias])?)))
    }

    /// Cross-entropies (1, 1) of logits (pairs, 1) with their labels.
    fn cross_entropy(
        pass: &mut ForwardCtx,
        logits: &[Var],
        (labels, mask): &(Tensor, Option<Tensor>),
    ) -> Result<Vec<Var>> {
        let mut inputs = logits.to_vec();
        inputs.extend(std::iter::once(labels).chain(mask).map(|t| pass.tape.constant(t.clone())));
        pass.tape.apply_all(BceLoss::of_parts(logits.len()), &inputs)
    }

    fn transd(&self, pass: &mut ForwardCtx, triples: ops::Triples) -> Result<Var> {
        let kg = &self.config.kg;
        let options = TransDOptions {
            loss: match kg.loss {
                KgLoss::Bpr => ops::TransDLoss::Bpr,
                KgLoss::Margin => ops::TransDLoss::Margin { gamma: kg.gamma as f32 },
            },
            distance: kg.distance,
            proj_norm: kg.proj_norm,
            l2: kg.l2 as f32,
        };
        let inputs = self.encoder.transd()?.map(|id| pass.param(id));
        pass.tape.apply(TransD::new(options, triples), &inputs)
    }

    fn pass<'a>(&'a self, tape: &'a mut Tape, vars: &'a [Var], dropout: Option<StepRandom>) -> ForwardCtx<'a> {
        ForwardCtx { tape, vars, device: &self.device, dtype: self.dtype, dropout }
    }

    fn inference<R>(&self, run: impl FnOnce(&mut ForwardCtx) -> Result<R>) -> Result<R> {
        let mut tape = Tape::inference();
        let vars = self.params.on_tape(&mut tape);
        run(&mut self.pass(&mut tape, &vars, None))
    }

    fn pair_logits(
        &self,
        pass: &mut ForwardCtx,
        encoded: &Encoded,
        z_u: Var,
        rows: Vec<u32>,
        courses: Vec<u32>,
    ) -> Result<Tensor> {
        let z_courses = pass.tape.constant(encoded.z_courses.clone());
        let u = self.gather(pass, z_u, &rows)?;
        let i = self.gather(pass, z_courses, &courses)?;
        let out = self.judge(pass, u, i)?;
        let answers = out.answers.unwrap_or(out.logits);
        let logits = pass.tape.apply(ops::Concat, &answers)?;
        Ok(pass.tape.value(logits).clone())
    }
}

impl Recommender for Neural {
    fn name(&self) -> &str {
        self.name
    }

    fn tasks(&self) -> &[String] {
        &self.tasks
    }

    fn params(&self) -> &Params {
        &self.params
    }

    fn params_mut(&mut self) -> &mut Params {
        &mut self.params
    }

    fn encode(&self) -> Result<Encoded> {
        self.inference(|pass| {
            let nodes = self.encoder.nodes(pass)?;
            let z_courses = self.encoder.course_targets(pass, &nodes)?;
            let value = |v: Var| pass.tape.value(v).clone();
            Ok(Encoded { nodes: nodes.iter().map(|&v| value(v)).collect(), z_courses: value(z_courses) })
        })
    }

    fn scorer(&self, encoded: &Encoded) -> Result<Scorer> {
        let loss = &self.config.loss;
        let courses = encoded.z_courses.clone();
        let bias = self.course_bias.map(|id| self.params.get(id).value.clone());
        let scale = if loss.ranking == Ranking::Softmax { loss.softmax_scale as f32 } else { 1.0 };
        let head = match self.config.eval.rank_by {
            RankBy::Inner => None,
            _ => pair_head(&*self.head, &self.config.head, &self.params, courses.cols())?,
        };
        // A head that has no layers is the match score.
        let by_match = self.config.eval.rank_by != RankBy::Head || head.is_none();
        let mut dot = by_match.then_some(Dot { scale, bias });
        if head.is_some() && self.config.head.score_residual {
            dot.get_or_insert(Dot { scale: 0.0, bias: None }).scale += 1.0;
        }
        Scorer::new(courses, dot, head)
    }

    fn represent_learners(&self, encoded: &Encoded, learners: &Learners) -> Result<Tensor> {
        self.inference(|pass| {
            let z_u = self.learners_from(pass, encoded, learners)?;
            Ok(pass.tape.value(z_u).clone())
        })
    }

    fn logits(&self, encoded: &Encoded, learners: &Learners, pairs: &[(u32, u32)]) -> Result<Tensor> {
        self.inference(|pass| {
            let z_u = self.learners_from(pass, encoded, learners)?;
            let (rows, courses) = pairs.iter().copied().unzip();
            self.pair_logits(pass, encoded, z_u, rows, courses)
        })
    }
}

impl Model for Neural {
    fn head_params(&self) -> std::ops::Range<usize> {
        self.head_params.clone()
    }

    fn graph_blocker(&self) -> Option<&'static str> {
        let config = &self.config;
        if self.encoder.samples() {
            return Some("neighbourhoods are sampled in each step (model.fan_out)");
        }
        if config.model.propagation == Propagation::History {
            return Some("a batch's histories are a graph of its own (model.propagation)");
        }
        if config.loss.ranking == Ranking::Softmax && config.loss.softmax_mask_seen {
            return Some("the softmax leaves out each learner's own courses (loss.softmax_mask_seen)");
        }
        let joint = config.kg.is_joint(self.tasks.len());
        joint.then_some("triples are learned in the same steps (kg.phase)")
    }

    fn upload(&self, batch: &Batch, random: Option<Philox>) -> Result<StepInputs> {
        let mut inputs = match self.encoder.samples() {
            true => self.sample(batch, random)?,
            false => StepInputs::default(),
        };
        inputs.dropout = random.map(|random| StepRandom::new(&self.device, random)).transpose()?;
        inputs.batch = Some(self.device_batch(batch, &inputs)?);
        inputs.triples = batch.triples.as_ref().map(|t| self.device_triples(t, &inputs)).transpose()?;
        Ok(inputs)
    }

    fn losses(&self, tape: &mut Tape, vars: &[Var], inputs: &StepInputs) -> Result<Losses> {
        let Some(batch) = &inputs.batch else {
            return Err(Error::shape("losses", "the inputs of a batch", "those of triples alone"));
        };
        let pass = &mut self.pass(tape, vars, inputs.dropout.clone());
        let config = &self.config.loss;
        let z = self.represent(pass, inputs, batch)?;
        let mut losses = vec![];
        let mut add = |name: String, role, var, column, weight| {
            if weight != 0.0 {
                losses.push(Loss { name, role, var, column, weight });
            }
        };
        let ranking = self.ranking_loss(pass, batch, &z)?;
        let ranked = ranking.is_some();
        if let Some((name, var)) = ranking {
            add(name, Role::Target, var, 0, config.ranking_weight);
        }
        let z_u = pass.tape.apply(Gather::new(batch.pair_row.clone()), &[z.z_u])?;
        let z_i = pass.tape.apply(Gather::new(batch.pair_course.clone()), &[z.z_courses])?;
        let out = self.judge(pass, z_u, z_i)?;
        if !self.learned.is_empty() {
            let logits: Vec<Var> = self.learned.iter().map(|&(place, _)| out.logits[place]).collect();
            let bce = Self::cross_entropy(pass, &logits, &batch.labels)?;
            for (i, &(_, task)) in self.learned.iter().enumerate() {
                let role = if i == 0 && !ranked { Role::Target } else { Role::Auxiliary };
                let weight = config.task_weights.get(task).copied().unwrap_or(1.0);
                add(format!("bce/{}", self.tasks[task]), role, bce[i], 0, weight);
            }
        }
        if let Some(labels) = &batch.auxiliary {
            let each = Self::cross_entropy(pass, &out.auxiliary, labels)?;
            let sum = pass.tape.apply(Combine::sum(each.len()), &each)?;
            add("auxiliary".into(), Role::Auxiliary, sum, 0, config.aux_weight);
        }
        if config.orth_weight != 0.0 && !out.pairs.is_empty() {
            let mut parts = vec![];
            for (s, t) in &out.pairs {
                parts.push(pass.tape.apply(Orthogonality::new(config.orth), &[*s, *t])?);
            }
            let sum = pass.tape.apply(Combine::sum(parts.len()), &parts)?;
            add("orthogonality".into(), Role::Constraint, sum, 0, config.orth_weight);
        }
        if config.l2 != 0.0 && config.ranking != Ranking::Bpr {
            let u = pass.tape.apply(L2 { lambda: config.l2 }, &[z_u])?;
            let i = pass.tape.apply(L2 { lambda: config.l2 }, &[z_i])?;
            let sum = pass.tape.apply(Combine::sum(2), &[u, i])?;
            add("l2".into(), Role::Constraint, sum, 0, 1.0);
        }
        let specific = self.head.specific_weights();
        if config.l1_specific != 0.0 && !specific.is_empty() {
            let mut parts = vec![];
            for id in specific {
                let w = pass.param(id);
                parts.push(pass.tape.apply(L1 { lambda: config.l1_specific }, &[w])?);
            }
            let sum = pass.tape.apply(Combine::sum(parts.len()), &parts)?;
            add("l1".into(), Role::Constraint, sum, 0, 1.0);
        }
        if let Some(triples) = &inputs.triples {
            let kg = self.transd(pass, triples.clone())?;
            add("kg".into(), Role::Auxiliary, kg, 0, config.kg_weight);
        }
        if losses.first().is_none_or(|l| l.role != Role::Target) {
            return Err(Error::config(
                "loss",
                "the target's weight is 0",
                "give the first task or the ranking a weight",
            ));
        }
        Ok(Losses { losses, gates: out.gates })
    }

    fn upload_triples(&self, batch: &TripleBatch) -> Result<StepInputs> {
        let mut inputs = match self.encoder.samples() {
            true => self.inputs_of(self.encoder.rows_of(&self.device, &batch.nodes())?, true)?,
            false => StepInputs::default(),
        };
        inputs.triples = Some(self.device_triples(batch, &inputs)?);
        Ok(inputs)
    }

    fn triple_loss(&self, tape: &mut Tape, vars: &[Var], inputs: &StepInputs) -> Result<Var> {
        let Some(triples) = &inputs.triples else {
            return Err(Error::shape("triple loss", "the inputs of triples", "those of a batch"));
        };
        self.transd(&mut self.pass(tape, vars, None), triples.clone())
    }

    fn begin_epoch(&mut self) -> Result<()> {
        self.encoder.refresh(&self.params, &self.device, self.dtype)
    }

    fn state(&self) -> Vec<(String, Tensor)> {
        self.encoder.fixed_attention().map(|alpha| ("attention".to_string(), alpha.clone())).into_iter().collect()
    }

    fn set_state(&mut self, name: &str, value: Tensor) -> Result<()> {
        match name {
            "attention" if value.len() == self.encoder.graph().edges() => self.encoder.set_fixed_attention(value),
            _ => Err(Error::shape(self.name, "a state of its own", format!("{name} of {:?}", value.shape()))),
        }
    }

    fn after_step(&mut self) -> Result<()> {
        if self.config.kg.entity_norm == EntityNorm::Clamp1 {
            let [entity, _, relation, _] = self.encoder.transd()?;
            for id in [entity, relation] {
                // x / max(|x|, 1): a vector inside the unit ball stays as it is.
                let value = &mut self.params.get_mut(id).value;
                let clamped = L2Normalize::new(1.0).forward(&[&*value])?.remove(0);
                value.assign(&clamped)?;
            }
        }
        Ok(())
    }
}

//! The settings of the weighting as the engine takes them.

use crate::Result;
use crate::config::{self, Config};
use crate::engine::gradient_weighting::{Combine, CosineKind, Granularity, Options, Strategy};
use crate::engine::optim;

pub(super) fn options(config: &Config) -> Result<Options> {
    let w = &config.weighting;
    let granularity = |g: config::Granularity| match g {
        config::Granularity::Tensor => Granularity::Tensor,
        config::Granularity::Global => Granularity::Global,
    };
    Ok(Options {
        combine: match w.combine {
            config::Combine::Sum => Combine::Sum,
            config::Combine::Metabalance => Combine::MetaBalance,
            config::Combine::Cosine => Combine::Cosine,
            config::Combine::MetabalanceXCosine => Combine::MetaBalanceCosine,
            config::Combine::Uncertainty => Combine::Uncertainty,
            config::Combine::Dwa => Combine::DynamicAverage,
            config::Combine::Gradnorm => Combine::GradNorm,
            config::Combine::Pcgrad => Combine::PcGrad,
            config::Combine::Cagrad => Combine::CaGrad,
        },
        strategy: match w.strategy {
            config::Strategy::A => Strategy::A,
            config::Strategy::B => Strategy::B,
            config::Strategy::C => Strategy::C,
        },
        relax: w.relax,
        beta: w.beta,
        granularity: granularity(w.granularity),
        cosine_granularity: granularity(w.cosine_granularity),
        cosine: match w.cosine {
            config::CosineKind::Weighted => CosineKind::Weighted,
            config::CosineKind::Unweighted => CosineKind::Unweighted,
        },
        learner: optim::named(&config.train.optimizer)?,
        temperature: w.dwa_temperature,
        alpha: w.gradnorm_alpha,
        c: w.cagrad_c,
        seed: config.seed,
        ..Options::default()
    })
}

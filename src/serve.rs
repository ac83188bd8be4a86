//! A trained run as a program uses it: load the folder, ask for courses.

use std::cell::OnceCell;
use std::fs;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::data::split::{self, Ratios, SplitPolicy};
use crate::data::{Dataset, formats, store};
use crate::engine::Device;
use crate::eval::{Catalogue, Ranker};
use crate::models::{self, TrainGraph};
use crate::train::{Meta, RunFiles, checkpoint, train_splits, use_math_mode};
use crate::{Error, Result};

/// A trained model with its data set. Holds parameters, no optimizer states.
///
/// ```no_run
/// let model = waata::Recommender::load("runs/first")?;
/// for course in model.recommend("4711", 10)? {
///     println!("{} {:.3}", course.name, course.score);
/// }
/// # Ok::<(), waata::Error>(())
/// ```
pub struct Recommender {
    data: Dataset,
    config: Config,
    device: Device,
    model: Box<dyn models::Recommender>,
    catalogue: OnceCell<Catalogue>,
}

/// A recommended course.
#[derive(Clone, Debug, PartialEq)]
pub struct Recommendation {
    /// Its number in the data set.
    pub course: u32,
    pub name: String,
    /// Higher is better. Comparable between courses of one learner only.
    pub score: f32,
}

/// How a run is opened. The default takes everything from the run's folder, and a GPU where there is one.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// The data set, where it is no longer where the run was trained.
    pub data: Option<PathBuf>,
    /// Settings to change, as after `--set`; those of `[eval]` alone do not belong to the trained model.
    pub settings: Vec<String>,
    /// `auto`, `cpu`, `cuda` or `cuda:N`; `auto` where absent.
    pub device: Option<String>,
}

impl Recommender {
    /// Opens the folder of a run: its best checkpoint, else its last.
    ///
    /// Errors: `Error::Data` where `dir` is not a run, `Error::Corrupt` where a file is damaged, `Error::Config` where the
    /// data set is not the one that the run was trained on.
    pub fn load(dir: impl AsRef<Path>) -> Result<Recommender> {
        Recommender::load_with(dir, &LoadOptions::default())
    }

    pub fn load_with(dir: impl AsRef<Path>, options: &LoadOptions) -> Result<Recommender> {
        let dir = dir.as_ref();
        let device = Device::parse(options.device.as_deref().unwrap_or("auto"))?;
        let meta = Meta::read(dir)?;
        let config = read_config(dir)?.with(&options.settings)?;
        use_math_mode(&config, &device);
        let data = open_data(options.data.as_ref().unwrap_or(&meta.data))?;
        let files = RunFiles { dir: dir.into() };
        let (folder, name) = (files.checkpoints(), files.best_or_last());
        let saved = checkpoint::load_parameters(&folder, name, &device)?;
        saved.belongs_to(&data.fingerprint())?;
        let file = folder.join(name);
        let model: Box<dyn models::Recommender> = match models::closed_form(&config, &data, &device)? {
            Some(mut model) => {
                saved.restore_closed_form(&mut model, &file)?;
                Box::new(model)
            }
            None => {
                let graph = TrainGraph::new(&config, &data, train_splits(&config));
                let mut model = models::build_blank(&config, &data, &graph, &device)?;
                saved.restore(&mut *model, &file)?;
                model
            }
        };
        Ok(Recommender { data, config, device, model, catalogue: OnceCell::new() })
    }

    pub fn data(&self) -> &Dataset {
        &self.data
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The model with what it is measured on.
    pub fn ranker(&self) -> Ranker<'_> {
        Ranker { model: &*self.model, data: &self.data, config: &self.config, device: &self.device }
    }

    /// What the model propagates on: the enrolments that it was trained on, and the knowledge graph.
    pub fn graph(&self) -> TrainGraph {
        TrainGraph::new(&self.config, &self.data, train_splits(&self.config))
    }

    /// The `k` best courses (1 to 128) that the learner has not taken, best first. `learner` is the id in the source of
    /// the data set. The first call encodes all courses, which later ones use again.
    pub fn recommend(&self, learner: &str, k: usize) -> Result<Vec<Recommendation>> {
        let ranker = self.ranker();
        let learner = find_learner(&self.data, learner)?;
        let catalogue = match self.catalogue.get() {
            Some(catalogue) => catalogue,
            None => {
                let made = Catalogue::new(&ranker)?;
                self.catalogue.get_or_init(|| made)
            }
        };
        let name = |course: u32| self.data.entity_names[course as usize].to_string();
        let top = catalogue.top(&ranker, learner, k)?;
        Ok(top.into_iter().map(|(course, score)| Recommendation { course, name: name(course), score }).collect())
    }
}

/// The number of a learner by the id in the source. `Error::Config` with ids that there are.
pub fn find_learner(data: &Dataset, name: &str) -> Result<u32> {
    data.learner_names.find(name).ok_or_else(|| {
        let some: Vec<&str> = data.learner_names.iter().take(3).collect();
        let why = format!("`{name}` is not in the data set");
        Error::config("--learner", why, format!("ids look like {}", some.join(", ")))
    })
}

/// A prepared data set, or a folder of source files that is split as its source says, else 60/20/20 at random.
pub fn open_data(path: &Path) -> Result<Dataset> {
    if path.join(store::MANIFEST).is_file() {
        return Dataset::open(path);
    }
    let loaded = formats::read(path, None, None, &Default::default())?;
    let mut data = loaded.dataset;
    let policy = match loaded.report.has_split {
        true => SplitPolicy::Given,
        false => SplitPolicy::Random { ratios: Ratios::default(), per_learner: false },
    };
    split::assign(&mut data, policy, loaded.report.has_split, 1)?;
    Ok(data)
}

/// The settings that a run was trained with.
pub fn read_config(dir: &Path) -> Result<Config> {
    let path = RunFiles { dir: dir.into() }.config();
    let text = fs::read_to_string(&path).map_err(Error::io(&path, "reading"))?;
    Config::parse(&text, &path.display().to_string())
}

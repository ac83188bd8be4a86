//! `waata export`

use std::path::PathBuf;

use base::files;
use clap::ValueEnum;

use super::eval::{self, is_run};
use super::show::{self, Meter};
use super::{open_data, print_json};
use waata::data::export::{self, Folder, Format, LIST, List, Part};
use waata::eval::{Ranker, export as of_run};
use waata::{Error, Result};

#[derive(clap::Args)]
pub struct Args {
    /// A prepared data set, a folder of source files, or a run
    dir: PathBuf,
    /// Folder to write, a new one
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// Format of the tables
    #[arg(long, value_enum, default_value = "npy")]
    format: FormatName,
    /// Tables, separated by commas; by default interactions, graph and names of a data set, vectors and names of a run
    #[arg(long, value_name = "TABLES", value_enum, value_delimiter = ',')]
    what: Vec<Table>,
    /// The run's data set, if it has moved since the run was trained
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Device of a run's model: auto, cpu, cuda or cuda:N; auto by default
    #[arg(long)]
    device: Option<String>,
    /// Replace an existing export
    #[arg(long)]
    force: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum FormatName {
    /// numpy's, which every build writes
    Npy,
    /// Apache Parquet, in programs built with --features parquet
    Parquet,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Table {
    /// Learner, course, split and labels of every enrolment
    Interactions,
    /// Triples of the knowledge graph
    Graph,
    /// Names of learners, entities (courses first) and relations, by id
    Names,
    /// Of a run: vectors of learners and courses, and of entities where all have one
    Vectors,
    /// Of a run: every edge that the model propagates on
    Edges,
}

pub fn run(args: Args) -> Result<()> {
    let format = match args.format {
        FormatName::Npy => Format::Npy,
        FormatName::Parquet => Format::Parquet,
    };
    // Before a large data set is opened or a model is run.
    format.check()?;
    files::check_output(&args.out, args.force, LIST)?;
    let list = match is_run(&args.dir) {
        true => run_tables(&args, format)?,
        false => of_data(&args, format)?,
    };
    if args.json {
        return print_json(&list);
    }
    say(&list)
}

impl Table {
    /// The part of a data set that it is; none for what only a run has.
    fn part(self) -> Option<Part> {
        match self {
            Table::Interactions => Some(Part::Interactions),
            Table::Graph => Some(Part::Graph),
            Table::Names => Some(Part::Names),
            Table::Vectors | Table::Edges => None,
        }
    }
}

/// The tables that were asked for, each once, or those of `default`.
fn chosen(what: &[Table], default: &[Table]) -> Vec<Table> {
    let asked = if what.is_empty() { default } else { what };
    Table::value_variants().iter().copied().filter(|table| asked.contains(table)).collect()
}

fn of_data(args: &Args, format: Format) -> Result<List> {
    let what = chosen(&args.what, &[Table::Interactions, Table::Graph, Table::Names]);
    let of_a_run = [
        ("--data", args.data.is_some()),
        ("--device", args.device.is_some()),
        ("--what vectors", what.contains(&Table::Vectors)),
        ("--what edges", what.contains(&Table::Edges)),
    ];
    if let Some((key, _)) = of_a_run.iter().find(|(_, given)| *given) {
        let why = format!("is for a run, which {} is not", args.dir.display());
        return Err(Error::config(*key, why, "name the folder of a run: waata train makes one"));
    }
    let data = open_data(&args.dir)?;
    export::folder(&data, format, &args.out, args.force, |folder| {
        what.iter().filter_map(|table| table.part()).try_for_each(|part| folder.part(&data, part))
    })
}

fn run_tables(args: &Args, format: Format) -> Result<List> {
    let what = chosen(&args.what, &[Table::Names, Table::Vectors]);
    let device = args.device.as_deref().unwrap_or("auto");
    let run = eval::open(&args.dir, &args.data, &[], device)?;
    export::folder(run.data(), format, &args.out, args.force, |folder| {
        what.iter().try_for_each(|table| match (table.part(), table) {
            (Some(part), _) => folder.part(run.data(), part),
            (None, Table::Edges) => of_run::edges(&run.graph(), folder),
            (None, _) => vectors(&run.ranker(), folder),
        })
    })
}

fn vectors(ranker: &Ranker, folder: &mut Folder) -> Result<()> {
    let mut meter = Meter::new("learners", ranker.data.learners() as u64);
    let mut at = |done: usize, of: usize| meter.at(done as u64, of as u64, String::new);
    let written = of_run::vectors(ranker, folder, &mut at);
    meter.end();
    written
}

fn say(list: &List) -> Result<()> {
    show::line(&format!("{}, fingerprint {}", list.data, &list.fingerprint[..16]))?;
    for file in &list.files {
        show::line(&format!("{:>12} rows of {} in {}", file.rows, file.columns.join(", "), file.file))?;
    }
    let Some(scoring) = &list.scoring else { return Ok(()) };
    let mut terms = vec![];
    terms.extend(scoring.scale.map(|scale| format!("{scale} <learner, course>")));
    terms.extend(scoring.bias.then(|| "course bias".to_string()));
    terms.extend(scoring.head.then(|| "logit of the head".to_string()));
    show::line(&format!("score of {}: {}", scoring.model, terms.join(" + ")))
}

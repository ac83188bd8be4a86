//! `waata settings`

use super::show;
use waata::config::{Setting, nearest, settings};
use waata::{Error, Result};

#[derive(clap::Args)]
pub struct Args {
    /// Keys or sections, such as train.lr or kg; every key by default
    #[arg(value_name = "KEY")]
    keys: Vec<String>,
}

/// Whether `asked` is this key or a section that it is in.
fn is(setting: &Setting, asked: &str) -> bool {
    setting.key == asked || setting.key.strip_prefix(asked).is_some_and(|rest| rest.starts_with('.'))
}

fn explained(setting: &Setting) -> String {
    let default = setting.default();
    let [range, meaning] = [setting.range(), setting.meaning().to_string()].map(|text| text.replace('`', ""));
    let lines = [("type", setting.value_type()), ("default", &*default), ("range", &*range), ("meaning", &*meaning)];
    let lines = lines.iter().filter(|(_, text)| !text.is_empty());
    let lines = lines.map(|(name, text)| format!("\n{}", show::entry(&format!("  {name}"), 11, text)));
    setting.key.to_string() + &lines.collect::<String>()
}

pub fn run(args: Args) -> Result<()> {
    let all: Vec<&Setting> = settings().collect();
    if args.keys.is_empty() {
        for setting in &all {
            show::line(&format!("{:<32}{}", setting.key, setting.default()))?;
        }
        return show::line("\nwaata settings KEY explains one; change it with --set KEY=VALUE");
    }
    for (i, asked) in args.keys.iter().enumerate() {
        let found: Vec<&Setting> = all.iter().copied().filter(|setting| is(setting, asked)).collect();
        if found.is_empty() {
            return Err(unknown(asked, &all));
        }
        let texts: Vec<String> = found.iter().map(|setting| explained(setting)).collect();
        show::line(&format!("{}{}", if i > 0 { "\n" } else { "" }, texts.join("\n\n")))?;
    }
    Ok(())
}

fn unknown(asked: &str, all: &[&Setting]) -> Error {
    // A key by its last word alone, else what is written alike.
    let mut like: Vec<&str> = all.iter().map(|s| s.key).filter(|k| k.rsplit('.').next() == Some(asked)).collect();
    like.extend(nearest(asked, all.iter().map(|s| s.key)).filter(|key| !like.contains(key)));
    let remedy = match like.is_empty() {
        true => "waata settings lists all keys".to_string(),
        false => format!("did you mean {}?", like.join(" or ")),
    };
    Error::config("KEY", format!("there is no setting `{asked}`"), remedy)
}

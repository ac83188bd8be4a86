//! `waata report` as a command: exit codes, messages and what it leaves.

#[path = "report/fixture.rs"]
#[allow(dead_code)]
mod fixture;

use std::process::Command;

use fixture::Fixture;

#[test]
fn the_command() {
    let folder = tempfile::tempdir().unwrap();
    Fixture { models: &["waa-ta", "ease"], ..Default::default() }.write(folder.path());
    let waata = |arguments: &[&str]| {
        let program = env!("CARGO_BIN_EXE_waata");
        let output = Command::new(program).arg("report").args(arguments).current_dir(folder.path()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    };
    let (code, stdout, stderr) = waata(&["."]);
    assert!(code == 0 && stderr.is_empty(), "{stderr}");
    assert!(stdout.starts_with("WAA-TA loses") && stdout.contains("report/report.html"), "{stdout}");
    let (code, stdout, stderr) = waata(&["."]);
    assert!(code == 3 && stdout.is_empty() && stderr.contains("--force"), "{stderr}");
    assert_eq!(waata(&[".", "--force"]).0, 0);
    assert_eq!(waata(&[".", "--out", "deep/other"]).0, 0);
    assert!(folder.path().join("deep/other/figure-3-ndcg.svg").is_file());
    let (code, stdout, stderr) = waata(&["nowhere"]);
    assert!(
        code == 3 && stdout.is_empty() && stderr.contains("nowhere") && stderr.contains("waata compare"),
        "{stderr}"
    );
    assert!(!folder.path().join("nowhere").exists());
}

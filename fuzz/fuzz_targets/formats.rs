//! Every reader of a source: files that it is refused with a reason, or a data set that is sound and that the store keeps.

#![no_main]

use libfuzzer_sys::fuzz_target;
use waata::data::formats::{ReadOptions, read};
use waata::data::store::{self, Provenance};
use waata_fuzz::{folder, unpack, walk};

fuzz_target!(|input: &[u8]| {
    let folder = folder();
    let source = folder.join("source");
    unpack(input, &source);
    let map = source.join("map.toml");
    let options = ReadOptions { malformed_share: 1.0, ..Default::default() };
    let map = map.is_file().then_some(map.as_path());
    let Ok(read) = read(&source, None, map, &options) else { return };
    read.dataset.validate().expect("what a reader returns is sound");
    let out = folder.join("store");
    let provenance = Provenance {
        format: read.report.format,
        split: "given".into(),
        seed: 1,
        duplicates_merged: read.report.duplicates,
    };
    store::write(&read.dataset, &out, provenance, false).expect("what is sound can be stored");
    let (opened, _) = store::verify(&out).expect("what was stored can be opened");
    assert_eq!(opened.fingerprint(), read.dataset.fingerprint());
    walk(&opened);
});

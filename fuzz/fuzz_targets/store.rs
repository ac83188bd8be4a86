//! The prepared data set: a manifest and a file of arrays that belong together by their checksums, whatever stands in them.

#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use sha2::{Digest, Sha256};
use twox_hash::XxHash3_64;
use waata::data::store;
use waata_fuzz::{folder, walk};

/// Bytes of an array that have a checksum of their own.
const PIECE: usize = 196_608;

/// The checksum of an array, as the manifest has it.
fn sum_of(bytes: &[u8]) -> String {
    let pieces = bytes.chunks(PIECE).flat_map(|piece| XxHash3_64::oneshot(piece).to_le_bytes());
    format!("{:016x}", XxHash3_64::oneshot(&pieces.collect::<Vec<u8>>()))
}

/// The manifest with the checksums that the arrays have, or as it stands where the two say too little.
fn sealed(manifest: &[u8], arrays: &[u8]) -> Vec<u8> {
    let forge = || -> Option<Vec<u8>> {
        let mut manifest: Value = serde_json::from_slice(manifest).ok()?;
        let start = 8usize.checked_add(u64::from_le_bytes(arrays.get(..8)?.try_into().ok()?).try_into().ok()?)?;
        let header: Value = serde_json::from_slice(arrays.get(8..start)?).ok()?;
        for (name, array) in manifest.get_mut("data")?.get_mut("arrays")?.as_object_mut()? {
            let at =
                |i: usize| start.checked_add(header.get(name)?.get("data_offsets")?.get(i)?.as_u64()?.try_into().ok()?);
            *array.get_mut("xxh3")? = sum_of(arrays.get(at(0)?..at(1)?)?).into();
        }
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let data = manifest.get_mut("data")?;
        *data.get_mut("sha256")? = hex(&Sha256::digest(arrays)).into();
        *data.get_mut("header")? = sum_of(arrays.get(..start)?).into();
        *data.get_mut("bytes")? = arrays.len().into();
        serde_json::to_vec(&manifest).ok()
    };
    forge().unwrap_or_else(|| manifest.to_vec())
}

// The length of the manifest (4 bytes), the manifest, the file of arrays.
fuzz_target!(|input: &[u8]| {
    let Some((length, rest)) = input.split_first_chunk::<4>() else { return };
    let length = (u32::from_le_bytes(*length) as usize).min(rest.len());
    let (manifest, arrays) = rest.split_at(length);
    let folder = folder();
    let manifest = sealed(manifest, arrays);
    let sum: String = Sha256::digest(&manifest).iter().map(|b| format!("{b:02x}")).collect();
    let write = |file: &str, bytes: &[u8]| fs::write(folder.join(file), bytes).expect("writing to the folder");
    write(store::ARRAYS, arrays);
    write(store::MANIFEST, &manifest);
    write(store::MANIFEST_SUM, format!("{sum}  {}\n", store::MANIFEST).as_bytes());
    if let Ok((data, _)) = store::open(folder) {
        walk(&data);
        let _ = store::verify(folder);
    }
});

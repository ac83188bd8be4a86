//! What the build scripts take for a kernel.

use std::fs;
use std::path::PathBuf;

#[path = "../kernels/scan.rs"]
mod scan;

fn scan_texts(texts: &[&str]) -> Result<Vec<scan::Kernel>, String> {
    let folder = tempfile::tempdir().unwrap();
    for (index, text) in texts.iter().enumerate() {
        fs::write(folder.path().join(format!("file{index}.cu")), text).unwrap();
    }
    let sources: Vec<PathBuf> = scan::files(folder.path(), "cu").unwrap();
    assert_eq!(sources.len(), texts.len());
    scan::kernels(&sources)
}

#[test]
fn signatures_in_all_their_forms() {
    let text = r#"
        // extern "C" __global__ void commented(int a)
        extern "C" __global__ void plain(float* x, const unsigned n) {}
        extern "C" __global__ __launch_bounds__(256, 2) void before(float* x /* , not a parameter */) {}
        extern "C" __global__ void __launch_bounds__(8 * max(4, 2))
            after(Pair<int, float> p,   // two, one of them in brackets
                  const float* __restrict__ x,
                  unsigned long long n)
        {}
        extern "C" __global__ void none() {}
        /* extern "C"
           __global__ void in_a_block(int a) */
        extern "C" __global__ void nothing(void);
    "#;
    let found = scan_texts(&[text]).unwrap();
    let found: Vec<_> =
        found.iter().map(|k| (k.name.as_str(), k.parameters.len(), k.max_threads.as_deref())).collect();
    assert_eq!(
        found,
        [
            ("after", 3, Some("8 * max(4, 2)")),
            ("before", 1, Some("256")),
            ("none", 0, None),
            ("nothing", 0, None),
            ("plain", 2, None),
        ]
    );
}

#[test]
fn a_kernel_for_each_type_of_storage() {
    let text = r#"
        // STORAGE_VARIANTS(commented, (64), (int a), body(a);)
        STORAGE_VARIANTS(copy, (128, sizeof(S) == 2 ? 4 : 0),
                         (float* __restrict__ out, const S* __restrict__ x, Pair<int, float> p), copy<S>(out, x, p);)
        HALF_VARIANTS(cast_to, (256), (S* out), cast(out, 1);)
    "#;
    let found = scan_texts(&[text]).unwrap();
    let found: Vec<_> = (found.iter())
        .map(|k| (k.name.as_str(), k.parameters.len(), k.max_threads.as_deref(), k.family.as_deref()))
        .collect();
    assert_eq!(
        found,
        [
            ("cast_to_bf16", 1, Some("256"), None),
            ("cast_to_f16", 1, Some("256"), None),
            ("copy", 3, Some("128"), Some("copy")),
            ("copy_bf16", 3, Some("128"), Some("copy")),
            ("copy_f16", 3, Some("128"), Some("copy")),
        ]
    );
    let text = "\n\nROW_VARIANTS(wide, (32), (const S* x), body(x);)";
    let families: Vec<_> = scan_texts(&[text]).unwrap().into_iter().map(|k| (k.name, k.family)).collect();
    assert_eq!(families.len(), 6);
    assert!(families.contains(&("wide_any_f16".into(), Some("wide_any".into()))), "{families:?}");
    let message = scan_texts(&["\n\nSTORAGE_VARIANTS(half, (32), body(x);)"]).err().unwrap();
    assert!(message.contains("file0.cu:3: a kernel is written out as `STORAGE_VARIANTS(NAME"), "{message}");
}

#[test]
fn a_name_in_two_files_is_an_error_that_names_both() {
    let text = "extern \"C\" __global__ void same(int a) {}";
    let message = scan_texts(&[text, text]).err().unwrap();
    assert!(message.contains("`same` is defined twice"), "{message}");
    assert!(message.contains("file0.cu") && message.contains("file1.cu"), "{message}");
}

#[test]
fn what_cannot_be_launched_by_name_is_an_error_with_its_line() {
    for text in [
        "\n\ntemplate <int N> __global__ void f(int a) {}",
        "\n\n__global__ void f(int a) {}",
        "\n\n#define K(n) extern \"C\" __global__ void f_##n(int a)",
        "\n\nextern \"C\" __global__ int f(int a) {}",
    ] {
        let message = scan_texts(&[text]).err().unwrap_or_else(|| panic!("taken for a kernel: {text}"));
        assert!(message.contains("file0.cu:3: a kernel is written out as"), "{message}");
    }
}

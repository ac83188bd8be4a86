//! Compiles kernels/*.cu with nvcc, one fatbin per file, and writes $OUT_DIR/kernels.rs: a constant per kernel
//! (a misspelt kernel is a compile error) and the fatbins. Without nvcc the constants stay and the fatbins are
//! missing; the program then runs on the CPU and `waata doctor` says why.

use std::collections::BTreeSet;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicUsize, Ordering};

#[path = "kernels/scan.rs"]
mod scan;

/// Machine code for these, and PTX of the lowest: the driver compiles that for every card without machine code
/// of its own, so for 11.0, which lies between, as well as for what comes after 12.x.
const ARCHITECTURES: [u32; 6] = [80, 86, 89, 90, 100, 120];
const PTX: u32 = 80;

/// `WAATA_NVCC=off` builds without kernels even where nvcc is installed.
const VARIABLES: [&str; 4] = ["WAATA_NVCC", "NVCC", "CUDA_HOME", "CUDA_PATH"];

struct Compiler {
    path: PathBuf,
    /// The line of `nvcc --version` that names the release.
    version: String,
}

fn main() -> ExitCode {
    for variable in VARIABLES {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let variable = |name| env::var_os(name).map(PathBuf::from).ok_or(format!("cargo did not set {name}"));
    // The package is src/engine.
    let (package, out) = (variable("CARGO_MANIFEST_DIR")?, variable("OUT_DIR")?);
    let root = package.ancestors().nth(2).ok_or("the package is not in src/ of the project")?;
    let folder = root.join("kernels");
    println!("cargo::rerun-if-changed={}", root.join("build.rs").display());
    println!("cargo::rerun-if-changed={}", folder.display());
    let sources = scan::files(&folder, "cu")?;
    let kernels = scan::kernels(&sources)?;
    let compiler = find_compiler(root)?;
    if compiler.is_none() {
        // PATH differs between terminals and editors: a build that has its compiler does not depend on it.
        println!("cargo::rerun-if-env-changed=PATH");
    }
    let images = match &compiler {
        Some(compiler) => compile_all(compiler, &folder, &sources, &out)?,
        None => Vec::new(),
    };
    let text = generate(&kernels, &sources, &images, compiler.as_ref());
    fs::write(out.join("kernels.rs"), text).map_err(|e| format!("{}/kernels.rs: {e}", out.display()))
}

/// An explicit NVCC must work; of the other places, the first that has one that runs is taken.
fn find_compiler(root: &Path) -> Result<Option<Compiler>, String> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty());
    if set("WAATA_NVCC").is_some_and(|value| value == "off") {
        return Ok(None);
    }
    if let Some(path) = set("NVCC").map(PathBuf::from) {
        let version = version(&path).ok_or(format!("NVCC={}: this does not run as nvcc", path.display()))?;
        return Ok(Some(Compiler { path, version }));
    }
    let mut folders: Vec<PathBuf> =
        ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(set).map(|v| Path::new(&v).join("bin")).collect();
    folders.extend(env::split_paths(&set("PATH").unwrap_or_default()));
    folders.extend(system_toolkits());
    folders.push("/opt/cuda/bin".into());
    folders.push(root.join(".cuda/nvidia/cu13/bin"));
    Ok(folders.into_iter().map(|folder| folder.join("nvcc")).find_map(|path| {
        let version = version(&path)?;
        Some(Compiler { path, version })
    }))
}

/// `/usr/local/cuda`, then `/usr/local/cuda-*` from the newest.
fn system_toolkits() -> Vec<PathBuf> {
    let mut versioned: Vec<(Vec<u32>, PathBuf)> = Vec::new();
    for entry in fs::read_dir("/usr/local").into_iter().flatten().flatten() {
        let name = entry.file_name();
        if let Some(release) = name.to_str().and_then(|name| name.strip_prefix("cuda-")) {
            let numbers = release.split('.').map(|part| part.parse().unwrap_or(0)).collect();
            versioned.push((numbers, entry.path().join("bin")));
        }
    }
    versioned.sort();
    let newest_first = versioned.into_iter().rev().map(|(_, path)| path);
    std::iter::once(PathBuf::from("/usr/local/cuda/bin")).chain(newest_first).collect()
}

fn version(nvcc: &Path) -> Option<String> {
    if !nvcc.is_file() {
        return None;
    }
    let output = Command::new(nvcc).arg("--version").output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().find(|line| line.contains("release")).map(|line| line.trim().to_string())
}

/// One fatbin per source, in the order of `sources`, as many at a time as cargo allows.
fn compile_all(compiler: &Compiler, folder: &Path, sources: &[PathBuf], out: &Path) -> Result<Vec<PathBuf>, String> {
    // A changed header recompiles every file; a changed file recompiles itself.
    let mut shared = DefaultHasher::new();
    (&compiler.version, arguments(folder)).hash(&mut shared);
    for header in scan::files(folder, "cuh")? {
        fs::read(&header).map_err(|e| format!("{}: {e}", header.display()))?.hash(&mut shared);
    }
    let jobs = env::var("NUM_JOBS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(source) = sources.get(index) else { return done };
            done.push((index, compile(compiler, folder, source, out, shared.clone())));
        }
    };
    let mut results = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..sources.len().min(jobs)).map(|_| scope.spawn(worker)).collect();
        let join = |worker: std::thread::ScopedJoinHandle<'_, _>| worker.join().unwrap_or_else(|p| resume_unwind(p));
        workers.into_iter().flat_map(join).collect::<Vec<_>>()
    });
    results.sort_by_key(|(index, _)| *index);
    let mut images = Vec::new();
    let mut errors = String::new();
    for (_, result) in results {
        match result {
            Ok(image) => images.push(image),
            Err(error) => errors.push_str(&error),
        }
    }
    if errors.is_empty() { Ok(images) } else { Err(errors) }
}

fn arguments(folder: &Path) -> Vec<String> {
    let mut list: Vec<String> = ["-fatbin", "-O3", "-std=c++17", "-lineinfo", "-I"].map(String::from).into();
    list.push(folder.display().to_string());
    for number in ARCHITECTURES {
        list.extend(["-gencode".into(), format!("arch=compute_{number},code=sm_{number}")]);
    }
    list.extend(["-gencode".into(), format!("arch=compute_{PTX},code=compute_{PTX}")]);
    list
}

/// The error is nvcc's own text.
fn compile(
    compiler: &Compiler,
    folder: &Path,
    source: &Path,
    out: &Path,
    mut key: DefaultHasher,
) -> Result<PathBuf, String> {
    let stem = source.file_stem().unwrap_or_default().to_string_lossy();
    fs::read(source).map_err(|e| format!("{}: {e}\n", source.display()))?.hash(&mut key);
    let image = out.join(format!("{stem}-{:016x}.fatbin", key.finish()));
    if image.is_file() {
        return Ok(image);
    }
    let unfinished = image.with_extension("part");
    let output = Command::new(&compiler.path)
        .args(arguments(folder))
        .arg("-o")
        .args([&unfinished, source])
        .output()
        .map_err(|e| format!("{}: {e}\n", compiler.path.display()))?;
    if !output.status.success() {
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        return Err(format!("{stdout}{stderr}nvcc failed for {}: {}\n", source.display(), output.status));
    }
    remove_stale(out, &stem);
    fs::rename(&unfinished, &image).map_err(|e| format!("{}: {e}\n", image.display()))?;
    Ok(image)
}

/// Removes the fatbins of earlier versions of this source.
fn remove_stale(out: &Path, stem: &str) {
    for entry in fs::read_dir(out).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let hash = name.strip_prefix(stem).and_then(|n| n.strip_prefix('-')?.strip_suffix(".fatbin"));
        if hash.is_some_and(|hash| hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit())) {
            // One that cannot be removed costs disk space and nothing else.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// A parameter of a kernel as a `Parameter` of src/engine/device/driver.rs.
fn parameter(text: &str) -> String {
    let kind = match text {
        _ if text.contains('*') && text.starts_with("const ") => "Input",
        _ if text.contains('*') => "Output",
        _ if text.starts_with("int ") => "I32",
        _ if text.starts_with("unsigned long long ") => "U64",
        _ if text.starts_with("unsigned ") => "U32",
        _ if text.starts_with("float ") => "F32",
        _ => "Struct",
    };
    let name = text.rsplit(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or_default();
    format!("Parameter {{ name: {name:?}, kind: Kind::{kind} }}")
}

fn generate(kernels: &[scan::Kernel], sources: &[PathBuf], images: &[PathBuf], compiler: Option<&Compiler>) -> String {
    let mut text = String::from("// Written by build.rs from kernels/*.cu.\n\n");
    let line = |text: &mut String, content: String| {
        text.push_str(&content);
        text.push('\n');
    };
    for (index, kernel) in kernels.iter().enumerate() {
        let name = &kernel.name;
        let parameters: Vec<String> = kernel.parameters.iter().map(|p| parameter(p)).collect();
        let parameters = parameters.join(", ");
        let module = sources.iter().position(|source| *source == kernel.file).unwrap_or_default();
        let upper = name.to_ascii_uppercase();
        line(
            &mut text,
            format!(
                "pub const {upper}: Kernel = Kernel {{ name: {name:?}, parameters: &[{parameters}], index: {index}, \
                 module: {module} }};"
            ),
        );
    }
    for family in kernels.iter().filter_map(|kernel| kernel.family.as_ref()).collect::<BTreeSet<_>>() {
        let upper = family.to_ascii_uppercase();
        line(
            &mut text,
            format!(
                "/// For rows of f32, bf16 and f16.\npub const {upper}_STORED: [Kernel; 3] = [{upper}, {upper}_BF16, {upper}_F16];"
            ),
        );
    }
    let names: Vec<String> = kernels.iter().map(|kernel| kernel.name.to_ascii_uppercase()).collect();
    let _ = write!(
        text,
        "
/// Every kernel; `ALL[k.index]` is `k`.
pub const ALL: &[Kernel] = &[{}];

/// Names of the .cu files; `Kernel::module` is a position in this list and in `FATBINS`.
pub const MODULES: &[&str] = &{:?};

/// The compiled .cu files, or none where there was no nvcc.
pub static FATBINS: Option<&[&[u8]]> = ",
        names.join(", "),
        sources.iter().filter_map(|source| source.file_name()?.to_str()).collect::<Vec<_>>(),
    );
    if compiler.is_some() {
        text.push_str("Some(&[\n");
        for image in images {
            line(&mut text, format!("    &Aligned(*include_bytes!({:?})).0,", image.display().to_string()));
        }
        text.push_str("]);\n\n/// The driver reads a fatbin by words.\n#[repr(C, align(16))]\nstruct Aligned<const N: usize>([u8; N]);\n");
    } else {
        text.push_str("None;\n");
    }
    let architectures: Vec<String> = ARCHITECTURES.iter().map(|number| format!("sm_{number}")).collect();
    let _ = write!(
        text,
        "
/// What the fatbins hold machine code for; PTX of compute_{PTX} serves all other cards.
pub const ARCHITECTURES: &[&str] = &{:?};

/// The compiler of the fatbins.
pub const NVCC: Option<&str> = {:?};
",
        if compiler.is_some() { architectures } else { Vec::new() },
        compiler.map(|compiler| compiler.version.as_str()),
    );
    text
}

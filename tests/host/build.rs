//! Compiles kernels/*.cu and the planted faults with g++, and the executor that runs them.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicUsize, Ordering};

mod mutants;
#[path = "../../kernels/scan.rs"]
mod scan;

use mutants::Mutants;

/// What a kernel file is compiled with, so that faults end a launch with a message: undefined behaviour
/// (cpp/checks.cpp), and a call before each access to memory (cpp/memory.cpp).
const CHECKS: [&str; 3] = [
    "-fsanitize=alignment,null,bounds,integer-divide-by-zero,shift-exponent,signed-integer-overflow",
    "-fsanitize=thread",
    "-fno-tree-vectorize",
];

/// `address` or `thread`: kernels run under g++'s own sanitizers instead, which end the program. The test programs
/// then start with the sanitizer's library preloaded: scripts/check-sanitizers.sh.
const SANITIZER: &str = "WAATA_HOST_SANITIZER";

/// The file's static variables are its shared memory: a section of their own gives their bounds. An attribute
/// would not do: g++ ignores it within templates.
const SECTION: &str = "waata_shared_";

const MISSING: &str = "
waata-host compiles the CUDA kernels with g++ so that the tests can run them without a GPU, and found no
working C++ compiler. Install one (Debian, Ubuntu: apt install g++; Fedora: dnf install gcc-c++), or set CXX.
Building waata itself (cargo build) needs none.
";

struct Sanitizer {
    define: &'static str,
    flags: &'static [&'static str],
    libraries: &'static [&'static str],
}

const ADDRESS: Sanitizer = Sanitizer {
    define: "WAATA_SANITIZER_ADDRESS",
    flags: &["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"],
    libraries: &["asan", "ubsan"],
};

const THREAD: Sanitizer =
    Sanitizer { define: "WAATA_SANITIZER_THREAD", flags: &["-fsanitize=thread"], libraries: &["tsan"] };

fn sanitizer() -> Result<Option<Sanitizer>, String> {
    match env::var(SANITIZER).as_deref() {
        Err(_) | Ok("") => Ok(None),
        Ok("address") => Ok(Some(ADDRESS)),
        Ok("thread") => Ok(Some(THREAD)),
        Ok(other) => Err(format!("{SANITIZER}={other}: use address or thread")),
    }
}

fn main() -> ExitCode {
    println!("cargo::rerun-if-env-changed={SANITIZER}");
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
    let (root, out) = (variable("CARGO_MANIFEST_DIR")?, variable("OUT_DIR")?);
    let kernel_folder = root.join("../../kernels");
    let kernel_folder = kernel_folder.canonicalize().map_err(|e| format!("{}: {e}", kernel_folder.display()))?;
    for path in [&kernel_folder, &root.join("faults"), &root.join("cpp"), &root.join("build.rs")] {
        println!("cargo::rerun-if-changed={}", path.display());
    }

    let sanitizer = sanitizer()?;
    let compiler = compiler(&root, &kernel_folder, sanitizer.as_ref())?;
    let flags = sanitizer.as_ref().map_or(&CHECKS[..], |sanitizer| sanitizer.flags);
    let internal = scan::files(&root.join("faults"), "cu")?;
    let mut sources = scan::files(&kernel_folder, "cu")?;
    let mutant_list = root.join("faults/mutants.txt");
    let mutant_list = fs::read_to_string(&mutant_list).map_err(|e| format!("{}: {e}", mutant_list.display()))?;
    let mutants = Mutants::parse(&mutant_list)?;
    let mutant_folder = out.join("mutants");
    mutants.write(&[&sources[..], &scan::files(&kernel_folder, "cuh")?].concat(), &mutant_folder)?;
    sources.extend(internal.iter().cloned());
    let kernels = scan::kernels(&sources)?;

    // One wrapper per kernel file, and one file that calls their registrations.
    let mut jobs: Vec<(PathBuf, Option<String>)> =
        ["executor", "fiber", "memory", "checks"].map(|name| (root.join(format!("cpp/{name}.cpp")), None)).into();
    let (mut declarations, mut calls) = (String::new(), String::new());
    for source in &sources {
        let stem =
            source.file_stem().unwrap_or_default().to_string_lossy().replace(|c: char| !c.is_alphanumeric(), "_");
        let stem = if internal.contains(source) { format!("internal_{stem}") } else { stem };
        let own: Vec<_> = kernels.iter().filter(|kernel| kernel.file == *source).collect();
        let path = out.join(format!("{stem}.cpp"));
        write(&path, &wrapper(source, &stem, &own, internal.contains(source), ""))?;
        jobs.push((path, Some(format!("{SECTION}{stem}"))));
        let _ = writeln!(declarations, "extern \"C\" void waata_host_register_{stem}();");
        let _ = writeln!(calls, "    waata_host_register_{stem}();");
        // The tests that need mutants are not run under a sanitizer.
        let own: Vec<_> = own.into_iter().filter(|k| mutants.kernels.contains(&k.name[..])).collect();
        if own.is_empty() || sanitizer.is_some() {
            continue;
        }
        let changed = mutant_folder.join(source.file_name().unwrap_or_default());
        let stem = format!("{}{stem}", mutants::PREFIX);
        let path = out.join(format!("{stem}.cpp"));
        write(&path, &wrapper(&changed, &stem, &own, true, mutants::PREFIX))?;
        jobs.push((path, Some(format!("{SECTION}{stem}"))));
        let _ = writeln!(declarations, "extern \"C\" void waata_host_register_{stem}();");
        let _ = writeln!(calls, "    waata_host_register_{stem}();");
    }
    let registry = out.join("registry.cpp");
    write(&registry, &format!("{declarations}\nextern \"C\" void waata_host_register_all() {{\n{calls}}}\n"))?;
    jobs.push((registry, None));

    let objects = compile_all(&compiler, &jobs, flags, &out)?;
    let mut library = cc::Build::new();
    library.cpp(true).cargo_warnings(false).objects(objects);
    library.try_compile("waata_host_kernels").map_err(|e| e.to_string())?;
    for name in sanitizer.iter().flat_map(|sanitizer| sanitizer.libraries) {
        println!("cargo::rustc-link-lib=dylib={name}");
    }
    Ok(())
}

fn compiler(root: &Path, kernel_folder: &Path, sanitizer: Option<&Sanitizer>) -> Result<cc::Tool, String> {
    let mut build = cc::Build::new();
    build.cpp(true).std("gnu++17").opt_level(2).debug(false).warnings(true).cargo_warnings(false);
    build.include(root.join("cpp")).include(kernel_folder);
    // One .bss per file, which `compile` renames; cc asks for one section per variable.
    build.flag("-fno-data-sections");
    // A fused multiply-add only where the source says fmaf: results do not depend on the machine.
    build
        .flag("-g1")
        .flag("-gdwarf-4")
        .flag("-ffp-contract=off")
        .flag("-fno-strict-aliasing")
        .flag("-Wno-unknown-pragmas");
    build.flag("-Wno-unused-function").flag("-Wno-unused-variable").flag("-Wno-unused-const-variable");
    if env::var_os("CARGO_FEATURE_UCONTEXT").is_some() {
        build.define("WAATA_HOST_UCONTEXT", None);
    }
    if let Some(sanitizer) = sanitizer {
        build.define("WAATA_SANITIZER", None).define(sanitizer.define, None);
    }
    let tool = build.try_get_compiler().map_err(|e| format!("{MISSING}\n{e}"))?;
    let runs = tool.to_command().arg("--version").output().is_ok_and(|output| output.status.success());
    if runs { Ok(tool) } else { Err(format!("{MISSING}\n{} does not run", tool.path().display())) }
}

/// A kernel file is included in an unnamed namespace: as with nvcc, its device functions are its own. Its kernels are
/// known by their names behind `prefix`.
fn wrapper(source: &Path, stem: &str, kernels: &[&scan::Kernel], internal: bool, prefix: &str) -> String {
    let mut text = format!(
        "#include \"shim.h\"\n\nnamespace {{\n#include \"{}\"\n}}\n\n\
         // Weak: a file without shared memory has no such section.\n\
         extern \"C\" __attribute__((weak)) unsigned char __start_{SECTION}{stem}[], __stop_{SECTION}{stem}[];\n\n\
         extern \"C\" WAATA_UNCHECKED void waata_host_register_{stem}() {{\n",
        source.display()
    );
    for scan::Kernel { name, parameters, max_threads, .. } in kernels {
        let bound = max_threads.as_deref().unwrap_or("0");
        let caller = format!("waata_host::Caller<&{name}>");
        let _ = writeln!(
            text,
            "    static_assert({caller}::parameters == {}, \"kernels/scan.rs counts otherwise\");\n    \
             waata_host::add({{\"{prefix}{name}\", {caller}::call, {caller}::sizes, {caller}::parameters, {bound}, {internal},\n        \
             __start_{SECTION}{stem}, __stop_{SECTION}{stem}}});",
            parameters.len()
        );
    }
    text + "}\n"
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))
}

fn compile_all(
    compiler: &cc::Tool,
    jobs: &[(PathBuf, Option<String>)],
    flags: &[&str],
    out: &Path,
) -> Result<Vec<PathBuf>, String> {
    let threads = env::var("NUM_JOBS").ok().and_then(|n| n.parse().ok()).unwrap_or(1).min(jobs.len());
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some((source, section)) = jobs.get(index) else { return done };
            done.push(compile(compiler, source, section.as_deref().map(|section| (section, flags)), out));
        }
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|w| w.join().unwrap_or_else(|p| std::panic::resume_unwind(p))).collect()
    });
    results.into_iter().collect()
}

/// Of a kernel file: the section that takes its static variables, and the flags that make its faults show.
fn compile(
    compiler: &cc::Tool,
    source: &Path,
    kernels: Option<(&str, &[&str])>,
    out: &Path,
) -> Result<PathBuf, String> {
    let object = out.join(source.file_name().unwrap_or_default()).with_extension("o");
    let mut command = compiler.to_command();
    command.arg("-c").arg(source).arg("-o").arg(&object);
    if let Some((_, flags)) = kernels {
        command.args(flags);
    }
    run(&mut command)?;
    if let Some((section, _)) = kernels {
        let rename = format!(".bss={section},alloc,load,contents,data");
        run(Command::new("objcopy").arg("--rename-section").arg(rename).arg(&object))?;
    }
    Ok(object)
}

/// The error is the tool's own text.
fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|e| format!("{program}: {e} (g++ and binutils are needed)"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        eprint!("{stderr}");
        return Ok(());
    }
    Err(format!("{stderr}{program} failed: {}", output.status))
}

//! Every loader on mutants of small files: read, or refused in one line; no panic, abort or hang, and no memory beyond a limit.
//!
//! Each format runs in a process of its own, whose address space `ulimit -v` bounds at 2 GB, libtorch included. Mutants are
//! seeded: mutant `k` of a format is always the same. These variables are read:
//!
//! | variable | meaning |
//! | --- | --- |
//! | `SMALTI_FUZZ_MUTANTS` | mutants of each format (300 where it is not set, some seconds altogether) |
//! | `SMALTI_FUZZ_SEED` | seed of the mutations (1) |
//! | `SMALTI_FUZZ_KEEP` | folder for the mutants that fail |
//!
//! `SMALTI_FUZZ_MUTANTS=10000 cargo test --release -p smalti-testkit --test fuzz` takes minutes; a name after `--` runs one format.
#![allow(clippy::unwrap_used, clippy::expect_used)] // in helpers, too

use smalti_base::checkpoint::Checkpoint;
use smalti_base::seed::Stream;
use smalti_base::{Seed, ValueRange, hdf5_file, image_file, lodopab, matlab_file, npz_file, pytorch_file};
use smalti_flows::{ClampForm, PatchNr, PatchNrShape, SoftClamp, WppFlow, WppFlowShape};
use smalti_priors::{DnCnn, DruNet, FfdNet, GaussianMixture};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};
use tch::{Kind, Tensor};

/// Bytes of address space, in the unit of `ulimit -v`.
const LIMIT_KIB: u64 = 2_000_000;
/// What a file of some kilobytes may take.
const SLOW: Duration = Duration::from_secs(5);

/// A kind of files: their names, and how they are loaded.
struct Format {
    name: &'static str,
    corpus: fn() -> Vec<Vec<u8>>,
    /// Loads a file; `Err` is one line.
    load: fn(&Path) -> Result<(), String>,
    /// Makes checksums fit again that would hide everything else.
    mend: fn(&mut Vec<u8>),
}

const FORMATS: [Format; 9] = [
    Format {
        name: "png",
        corpus: || golden(&["images", "other_images"], "png"),
        load: image,
        mend: |bytes| mend_png(bytes),
    },
    Format { name: "tiff", corpus: || golden(&["images", "other_images"], "tif"), load: image, mend: |_| () },
    Format {
        name: "tiff_stack",
        corpus: || golden(&["images", "other_images"], "tif"),
        load: stack,
        mend: |_| (),
    },
    Format { name: "hdf5", corpus: || golden(&["hdf5", "other_hdf5"], "h5"), load: crops, mend: |_| () },
    Format { name: "lodopab", corpus: || golden(&["lodopab"], "hdf5"), load: slices, mend: |_| () },
    Format { name: "npz", corpus: || golden(&["other_arrays"], "npz"), load: arrays, mend: |_| () },
    Format { name: "pth", corpus: || golden(&["other_arrays"], "pth"), load: state_dict, mend: |_| () },
    Format { name: "matconvnet", corpus: || golden(&["matlab"], "mat"), load: network, mend: |_| () },
    Format { name: "safetensors", corpus: checkpoints, load: checkpoint, mend: |_| () },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [child, name, folder] = &arguments[..]
        && child == "child"
    {
        let format = FORMATS.iter().find(|format| format.name == name).unwrap();
        return run(format, Path::new(folder));
    }
    // As test programs read them: names contain one of the words, and none of those after `--skip`.
    let (mut asked, mut skipped) = (Vec::new(), Vec::new());
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--skip" => skipped.extend(words.next()),
            option if option.starts_with('-') => {}
            _ => asked.push(word),
        }
    }
    let wanted = |format: &&Format| {
        let name = format!("fuzz::{}", format.name);
        let contains = |word: &&String| name.contains(word.as_str());
        (asked.is_empty() || asked.iter().any(contains)) && !skipped.iter().any(contains)
    };
    let mut failed = false;
    for format in FORMATS.iter().filter(wanted) {
        failed |= !in_a_process(format);
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Runs a format in a process with little memory; what it was at when it ended is said.
fn in_a_process(format: &Format) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let limited = format!("ulimit -v {LIMIT_KIB}; exec \"$0\" \"$@\"");
    let mut child = Command::new("sh")
        .args(["-c", &limited])
        .arg(std::env::current_exe().unwrap())
        .args(["child", format.name])
        .arg(folder.path())
        // Arenas of threads are address space, too.
        .env("MALLOC_ARENA_MAX", "2")
        .spawn()
        .unwrap();
    let end = Instant::now() + Duration::from_secs(60 + number("SMALTI_FUZZ_MUTANTS", 300) / 10);
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status.to_string();
        }
        if Instant::now() > end {
            let _ = child.kill();
            let _ = child.wait();
            break "hangs".into();
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    if status == "exit status: 0" {
        return true;
    }
    println!("{}: {status}", format.name);
    let mutant = folder.path().join("mutant");
    keep(format, "last", &std::fs::read(mutant).unwrap_or_default());
    false
}

fn keep(format: &Format, name: &str, bytes: &[u8]) {
    if let Some(folder) = std::env::var_os("SMALTI_FUZZ_KEEP").map(PathBuf::from) {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{}-{name}", format.name)), bytes).unwrap();
    }
}

/// Loads all mutants.
fn run(format: &Format, folder: &Path) -> ExitCode {
    let corpus = (format.corpus)();
    assert!(!corpus.is_empty(), "{}: no files to begin with", format.name);
    // The loader of LoDoPaB finds its file by its name.
    let path = folder.join("mutant");
    let link = folder.join("ground_truth_test_000.hdf5");
    std::fs::write(&path, []).unwrap();
    std::fs::hard_link(&path, &link).unwrap();
    let path = if format.name == "lodopab" { link } else { path };
    std::panic::set_hook(Box::new(|_| ()));
    let (begin, mutants, seed) =
        (Instant::now(), number("SMALTI_FUZZ_MUTANTS", 300), number("SMALTI_FUZZ_SEED", 1));
    let (mut read, mut failures, mut slowest) = (0, 0, Duration::ZERO);
    for k in 0..mutants {
        let mut random = Seed::new(seed).at(format.name, k);
        let mut bytes = mutant(&corpus, &mut random);
        if random.index(2) == 0 {
            (format.mend)(&mut bytes);
        }
        std::fs::write(&path, &bytes).unwrap();
        let start = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| (format.load)(&path)));
        let seconds = start.elapsed();
        slowest = slowest.max(seconds);
        let problem = match outcome {
            Ok(Ok(())) => {
                read += 1;
                None
            }
            Ok(Err(line)) => (line.lines().count() != 1).then(|| format!("not one line: {line}")),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                Some(format!("panic: {}", text.unwrap_or_default()))
            }
        };
        if let Some(problem) = problem.or_else(|| (seconds > SLOW).then(|| format!("takes {seconds:?}"))) {
            failures += 1;
            println!("{}, mutant {k}: {problem}", format.name);
            keep(format, &k.to_string(), &bytes);
        }
    }
    println!(
        "{}: {mutants} mutants of {} files in {:.1} s: {read} read, {} refused, {failures} failures; at most {slowest:.1?} and {} MB",
        format.name,
        corpus.len(),
        begin.elapsed().as_secs_f64(),
        mutants - read,
        peak_kib() / 1024
    );
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The largest resident memory so far.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok()).unwrap_or(0)
}

/// A file of the corpus with some changes, most of them near its beginning, where heads are.
fn mutant(corpus: &[Vec<u8>], random: &mut Stream) -> Vec<u8> {
    let pick = |random: &mut Stream| corpus[random.index(corpus.len() as i64) as usize].clone();
    let mut bytes = pick(random);
    for _ in 0..=random.index(6) {
        if bytes.is_empty() {
            break;
        }
        let n = if random.index(3) == 0 { bytes.len() } else { bytes.len().min(600) };
        let at = random.index(n as i64) as usize;
        let rest = bytes.len() - at;
        match random.index(12) {
            0 | 1 => bytes[at] ^= 1 << random.index(8),
            2 => bytes[at] = random.index(256) as u8,
            3..=6 => {
                let size = [1, 2, 4, 8][random.index(4) as usize].min(rest);
                let number = extreme(random);
                let number = if random.index(3) == 0 { number.to_be_bytes() } else { number.to_le_bytes() };
                let from = if number[0] == 0 && number[7] != 0 { 8 - size } else { 0 };
                bytes[at..at + size].copy_from_slice(&number[from..from + size]);
            }
            // Digits of text.
            7 => {
                if let Some(digit) = bytes[at..].iter_mut().take(200).find(|byte| byte.is_ascii_digit()) {
                    *digit = b"0123456789-.e(["[random.index(15) as usize];
                }
            }
            8 => drop(bytes.drain(at..at + (random.index(40) as usize).min(rest))),
            9 => {
                let again = bytes[at..at + (random.index(40) as usize).min(rest)].to_vec();
                bytes.splice(at..at, again);
            }
            10 => {
                let other = pick(random);
                let from = random.index(other.len() as i64) as usize;
                let length = (random.index(200) as usize).min(other.len() - from);
                let end = (at + length).min(bytes.len());
                bytes.splice(at..end, other[from..from + length].iter().copied());
            }
            _ if random.index(4) == 0 => bytes.truncate(at),
            _ => bytes[at] = [0, 255][random.index(2) as usize],
        }
    }
    bytes
}

/// Numbers that sizes go wrong with.
fn extreme(random: &mut Stream) -> u64 {
    let power = 1_u64 << random.index(64);
    match random.index(4) {
        0 => power,
        1 => power - 1,
        2 => power.wrapping_neg(),
        _ => random.index(300) as u64,
    }
}

fn golden(folders: &[&str], ending: &str) -> Vec<Vec<u8>> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../base/tests/golden");
    let mut paths: Vec<PathBuf> = folders
        .iter()
        .flat_map(|folder| std::fs::read_dir(golden.join(folder)).unwrap())
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == ending))
        .collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Small flows and mixtures.
fn checkpoints() -> Vec<Vec<u8>> {
    let clamp = SoftClamp::new(ClampForm::AlphaAtan, 1.6).unwrap();
    let shape = PatchNrShape::default().with_patch_size(2).with_blocks(2).with_hidden(3).with_clamp(clamp);
    let patchnr = PatchNr::new(shape, Seed::new(1)).unwrap().to_checkpoint();
    let shape = WppFlowShape::altekrueger_2023_x4().with_factor(2).with_blocks(1).with_hidden(2);
    let wppflow = WppFlow::new(shape, Seed::new(1)).unwrap().to_checkpoint();
    let [weights, means] = [&[0.4, 0.6][..], &[0.0, 1.0, 2.0, 3.0]].map(Tensor::from_slice);
    let covariances = Tensor::eye(2, (Kind::Double, tch::Device::Cpu)).repeat([2, 1, 1]);
    let mixture = GaussianMixture::new(&weights, &means.view([2, 2]), &covariances).unwrap().to_checkpoint();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.safetensors");
    let bytes = |file: &Checkpoint| {
        file.save(&path).unwrap();
        std::fs::read(&path).unwrap()
    };
    let mut all: Vec<Vec<u8>> = [patchnr, wppflow, mixture].iter().map(bytes).collect();
    // The same without the hash of the data, which finds every change of them.
    for k in 0..all.len() {
        let mut bytes = all[k].clone();
        if let Some(at) = bytes.windows(6).position(|name| name == b"sha256") {
            bytes[at] = b'x';
            all.push(bytes);
        }
    }
    all
}

fn line<T>(result: smalti_base::Result<T>) -> Result<T, String> {
    result.map_err(|e| e.to_string())
}

fn check(values: &Tensor) {
    assert!(values.numel() > 0 && values.isfinite().all().int64_value(&[]) == 1, "values that are none");
}

fn image(path: &Path) -> Result<(), String> {
    line(image_file::load_gray(path)).map(|image| {
        assert!(matches!(image.size()[..], [1, 1, _, _]));
        check(&image);
    })
}

fn stack(path: &Path) -> Result<(), String> {
    line(image_file::load_stack(path, ValueRange::ByData)).map(|image| {
        assert!(matches!(image.size()[..], [1, 1, _, _, _]));
        check(&image);
    })
}

fn crops(path: &Path) -> Result<(), String> {
    let mut read = Err("nothing".to_owned());
    for name in [
        None,
        Some("gt"),
        Some("gzip"),
        Some("u2"),
        Some("shuffle"),
        Some("lz4"),
        Some("scaleoffset"),
        Some("szip"),
    ] {
        let one = line(hdf5_file::load_crops(path, name)).map(|images| check(&images));
        read = read.or(one);
    }
    read
}

fn slices(path: &Path) -> Result<(), String> {
    let folder = path.parent().unwrap();
    let open = lodopab::Slices::open(folder, lodopab::Content::GroundTruth, lodopab::Part::Test, [16, 16]);
    let mut slices = line(open)?;
    for k in 0..slices.len().min(3) {
        check(&line(slices.read(k))?);
    }
    Ok(())
}

fn arrays(path: &Path) -> Result<(), String> {
    let _ = GaussianMixture::import_scikit_learn(path);
    line(npz_file::load(path)).map(drop)
}

fn state_dict(path: &Path) -> Result<(), String> {
    let clamp = SoftClamp::new(ClampForm::AlphaAtan, 1.6).unwrap();
    let _ = PatchNr::import_freia(path, clamp);
    let _ = (DnCnn::load(path), DruNet::load(path));
    line(pytorch_file::load_state_dict(path)).map(drop)
}

fn network(path: &Path) -> Result<(), String> {
    let layers = line(matlab_file::load_network(path))?;
    line(FfdNet::from_layers(&layers, path)).map(drop)
}

fn checkpoint(path: &Path) -> Result<(), String> {
    let patchnr = line(PatchNr::load(path)).map(drop);
    let wppflow = line(WppFlow::load(path)).map(drop);
    let mixture = line(GaussianMixture::load(path)).map(drop);
    line(Checkpoint::load(path))?;
    patchnr.or(wppflow).or(mixture)
}

/// Right lengths and checksums of the chunks of a PNG, as far as they can be followed.
fn mend_png(bytes: &mut [u8]) {
    let mut at = 8;
    while let Some(head) = bytes.get(at..at + 8) {
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let end = at.saturating_add(8).saturating_add(length);
        let Some(content) = bytes.get(at + 4..end) else { return };
        let crc = crc32(content);
        let Some(place) = bytes.get_mut(end..end + 4) else { return };
        place.copy_from_slice(&crc.to_be_bytes());
        at = end + 4;
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |c: u32| if c & 1 == 1 { 0xedb8_8320 ^ (c >> 1) } else { c >> 1 };
    !bytes.iter().fold(!0_u32, |crc, &b| (0..8).fold(crc ^ u32::from(b), |c, _| step(c)))
}

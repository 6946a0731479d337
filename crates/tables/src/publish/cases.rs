//! Processes that are killed while they publish: readers see one whole result, and the next run leaves nothing hidden.
#![allow(clippy::unwrap_used)] // in helpers, too

use super::*;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

/// What the killed process is told: folder, round, point, and how names are exchanged.
const TOLD: [&str; 4] = ["SMALTI_CASE_FOLDER", "SMALTI_CASE_ROUND", "SMALTI_CASE_POINT", "SMALTI_CASE_HOW"];

fn listing(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn collect(results: &Results, round: &str) {
    results.add("table.csv", round.as_bytes()).unwrap();
    results.add("report.html", round.as_bytes()).unwrap();
    results.add(&format!("images/{round}/truth.png"), b"png").unwrap();
}

/// The round of the results that readers of `folder` see, which must be of one round.
fn seen(folder: &Path) -> String {
    let round = fs::read_to_string(folder.join("table.csv")).unwrap();
    assert_eq!(fs::read_to_string(folder.join("report.html")).unwrap(), round);
    assert_eq!(listing(&folder.join("images")), [round.as_str()]);
    assert_eq!(fs::read_to_string(folder.join("notes.txt")).unwrap(), "notes");
    assert_eq!(fs::read_to_string(folder.join("state/deep/kept")).unwrap(), "state");
    round
}

/// The process that publishes and, at the point that it is told, kills itself.
#[test]
fn the_process() {
    let Some(folder) = std::env::var_os(TOLD[0]) else { return };
    let told = |name| std::env::var(name).unwrap();
    let (round, point, how) = (told(TOLD[1]), told(TOLD[2]).parse::<u32>().unwrap(), told(TOLD[3]));
    let results = Results::claim(Path::new(&folder)).unwrap();
    collect(&results, &round);
    let mut passed = 0;
    let reached = |_: &str| {
        if passed == point {
            let _ = Command::new("kill").args(["-9", &std::process::id().to_string()]).status();
            std::thread::sleep(std::time::Duration::from_secs(60));
        }
        passed += 1;
    };
    match how.as_str() {
        "exchange" => results.publish_by(exchange, reached).unwrap(),
        _ => results.publish_by(|_, _| Err(std::io::ErrorKind::Unsupported.into()), reached).unwrap(),
    }
}

fn process(folder: &Path, round: &str, point: u32, how: &str) -> ExitStatus {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "publish::cases::the_process"]);
    let told = [folder.to_str().unwrap().to_owned(), round.to_owned(), point.to_string(), how.to_owned()];
    command.envs(TOLD.iter().zip(told));
    command.output().unwrap().status
}

#[test]
fn a_process_that_is_killed_while_it_publishes_leaves_one_whole_result() {
    for how in ["exchange", "renames"] {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("smoke");
        let results = Results::claim(&folder).unwrap();
        collect(&results, "first");
        results.publish().unwrap();
        drop(results);
        fs::write(folder.join("notes.txt"), "notes").unwrap();
        fs::create_dir_all(folder.join("state/deep")).unwrap();
        fs::write(folder.join("state/deep/kept"), "state").unwrap();
        let (mut before, mut kills, mut away) = ("first".to_owned(), 0, 0);
        loop {
            let round = format!("round-{kills}");
            let status = process(&folder, &round, kills, how);
            // Between two renames there is nothing to see, where the file system knows no exchange; never a part.
            if how == "renames" && !folder.exists() {
                away += 1;
            } else {
                let now = seen(&folder);
                assert!(now == before || now == round, "{now} after {before}, killed at {kills} of {round}");
            }
            if status.success() {
                assert_eq!(seen(&folder), round);
                break;
            }
            assert_eq!(status.signal(), Some(9), "{status:?}");
            assert!(listing(root.path()).iter().any(|name| name.starts_with(".smoke.part-")));
            // The next run cleans up, and gives up nothing.
            drop(Results::claim(&folder).unwrap());
            before = seen(&folder);
            assert_eq!(listing(root.path()), ["smoke"]);
            kills += 1;
        }
        assert_eq!((kills, away), if how == "exchange" { (6, 0) } else { (7, 1) }, "{how}");
        assert_eq!(listing(root.path()), ["smoke"]);
    }
}

#[test]
fn a_reader_never_sees_a_part() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("smoke");
    let results = Results::claim(&folder).unwrap();
    let publish = |round: &str| {
        collect(&results, round);
        results.publish().unwrap();
    };
    publish("0");
    fs::write(folder.join("notes.txt"), "notes").unwrap();
    fs::create_dir_all(folder.join("state/deep")).unwrap();
    fs::write(folder.join("state/deep/kept"), "state").unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    let read = || fs::read_to_string(folder.join("table.csv"));
    std::thread::scope(|threads| {
        let reader = threads.spawn(|| {
            let mut rounds = std::collections::BTreeSet::new();
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                // What a path leads to may change between two calls; what is the same before and after was there all the time.
                let before = read().expect("there is a table at any time");
                let images = fs::read_dir(folder.join("images")).map(|images| images.count());
                let picture = folder.join("images").join(&before).join("truth.png").exists();
                if read().expect("there is a table at any time") == before {
                    assert!(picture && images.is_ok_and(|n| n == 1), "{before}");
                    rounds.insert(before);
                }
            }
            rounds.len()
        });
        (1..200).for_each(|round| publish(&round.to_string()));
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(reader.join().unwrap() > 10, "the reader has seen several rounds");
    });
    assert_eq!(seen(&folder), "199");
}

#[test]
fn results_replace_those_before_and_leave_what_is_of_others() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("deep/results");
    let results = Results::claim(&folder).unwrap();
    assert!(!folder.exists(), "nothing is visible before the end");
    collect(&results, "first");
    results.add("distances.csv", b"old").unwrap();
    results.publish().unwrap();
    fs::write(folder.join("notes.txt"), "notes").unwrap();
    fs::create_dir_all(folder.join("state/deep")).unwrap();
    fs::write(folder.join("state/deep/kept"), "state").unwrap();
    // What an earlier version has left behind.
    fs::create_dir_all(folder.join(".part-abc/new")).unwrap();
    fs::write(folder.join("state/.part-xyz"), "half").unwrap();
    fs::write(folder.join("state/deep/.part-xyz"), "half").unwrap();
    drop(results);
    let results = Results::claim(&folder).unwrap();
    assert!(!folder.join(".part-abc").exists() && !folder.join("state/.part-xyz").exists());
    assert_eq!(listing(&folder.join("state/deep")), ["kept"]);
    for round in ["second", "third"] {
        collect(&results, round);
        results.publish().unwrap();
        assert_eq!(seen(&folder), round);
        assert_eq!(listing(&folder), ["images", "notes.txt", "report.html", "state", "table.csv"]);
    }
    collect(&results, "dropped");
    drop(results);
    assert_eq!(seen(&folder), "third");
    assert_eq!(listing(&root.path().join("deep")), ["results"]);
}

#[test]
fn a_folder_is_claimed_once_and_a_link_to_it_stays() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("results");
    let first = Results::claim(&folder).unwrap();
    let line = Results::claim(&folder).unwrap_err().to_string();
    assert!(
        line.starts_with(&format!("{}: is in use by process {}", folder.display(), std::process::id())),
        "{line}"
    );
    collect(&first, "first");
    first.publish().unwrap();
    drop(first);
    let link = root.path().join("link");
    std::os::unix::fs::symlink(&folder, &link).unwrap();
    let second = Results::claim(&link).unwrap();
    collect(&second, "second");
    second.publish().unwrap();
    assert!(link.is_symlink());
    assert_eq!(fs::read_to_string(folder.join("table.csv")).unwrap(), "second");
}

#[test]
fn a_folder_that_cannot_be_made_is_one_line() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    fs::write(&file, b"").unwrap();
    let error = Results::claim(&file.join("results")).unwrap_err().to_string();
    assert!(error.contains("results") && !error.contains('\n'), "{error}");
    assert!(Results::claim(Path::new("..")).is_err());
    // Said before the work, since at its end no folder could take this name.
    #[cfg(target_os = "linux")]
    assert!(
        Results::claim(Path::new("/proc")).unwrap_err().to_string().contains("another file system begins")
    );
}

//! Files are whole or not there.

use smalti_base::files::{link_tree, read, write_atomically};
use std::fs;

#[test]
fn a_file_is_written_replaced_and_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b/table.csv");
    write_atomically(&path, b"one").unwrap();
    write_atomically(&path, b"two").unwrap();
    assert_eq!(read(&path).unwrap(), b"two");
    assert_eq!(fs::read_dir(folder.path().join("a/b")).unwrap().count(), 1, "no temporary file stays");
}

#[test]
fn a_failed_write_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    fs::create_dir(&target).unwrap();
    let line = write_atomically(&target, b"x").unwrap_err().to_string();
    assert!(line.contains("writing failed: ") && line.ends_with("; give a file, not a folder"), "{line}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "the temporary file must be gone");
    let file = folder.path().join("file");
    write_atomically(&file, b"x").unwrap();
    let line = write_atomically(&file.join("below"), b"x").unwrap_err().to_string();
    assert_eq!(line.lines().count(), 1);
    assert!(line.contains("is a file, not a folder") || line.contains("check the path"), "{line}");
}

#[cfg(unix)]
#[test]
fn permissions_are_those_of_any_new_file_and_stay_on_replacement() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777;
    fs::write(folder.path().join("plain"), b"x").unwrap();
    write_atomically(&folder.path().join("ours"), b"x").unwrap();
    assert_eq!(mode("ours"), mode("plain"));
    fs::set_permissions(folder.path().join("ours"), fs::Permissions::from_mode(0o640)).unwrap();
    write_atomically(&folder.path().join("ours"), b"y").unwrap();
    assert_eq!(mode("ours"), 0o640);
}

#[test]
fn a_tree_is_linked_and_leaves_what_is_there() {
    let root = tempfile::tempdir().unwrap();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    write_atomically(&from.join("a/b/file"), b"new").unwrap();
    write_atomically(&from.join("a/known"), b"new").unwrap();
    write_atomically(&to.join("a/known"), b"old").unwrap();
    link_tree(&from, &to).unwrap();
    assert_eq!(read(&to.join("a/b/file")).unwrap(), b"new");
    assert_eq!(read(&to.join("a/known")).unwrap(), b"old");
    // What is written to one name afterwards does not change the other.
    write_atomically(&from.join("a/b/file"), b"newer").unwrap();
    assert_eq!(read(&to.join("a/b/file")).unwrap(), b"new");
    assert!(link_tree(&root.path().join("nowhere"), &to).unwrap_err().to_string().contains("nowhere"));
}

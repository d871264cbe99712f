use super::*;

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<String> = entries
        .map(|entry| name(entry).into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_file_is_replaced_and_nothing_else_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    write_atomically(&path, b"old").unwrap();
    write_atomically(&path, b"new").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(names(folder.path()), ["file"]);
    // A folder in the way: an error, and no temporary file stays.
    assert!(write_atomically(folder.path().join("none/file"), b"x").is_err());
    fs::create_dir(folder.path().join("folder")).unwrap();
    assert!(write_atomically(folder.path().join("folder"), b"x").is_err());
    assert_eq!(names(folder.path()), ["file", "folder"]);
}

#[test]
fn a_failed_folder_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    let twice: [(&str, &[u8]); 2] = [("a", b"1"), ("a", b"2")];
    assert!(write_folder_atomically(&target, &twice).is_err());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    write_folder_atomically(&target, &twice[..1]).unwrap();
    assert_eq!(fs::read(target.join("a")).unwrap(), b"1");
    let again = write_folder_atomically(&target, &twice[..1]).unwrap_err();
    assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
}

#[test]
fn the_previous_file_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let [path, previous] = ["now", "before"].map(|name| folder.path().join(name));
    for text in ["1", "2", "3"] {
        write_keeping_previous(&path, &previous, text.as_bytes()).unwrap();
    }
    assert_eq!(fs::read(&path).unwrap(), b"3");
    assert_eq!(fs::read(&previous).unwrap(), b"2");
    assert_eq!(names(folder.path()), ["before", "now"]);
}

#[test]
fn what_the_dead_left_is_removed_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    let working = PartialFolder::new(&target).unwrap();
    let dead = [".partial-ggpo-aB3xYz", ".partial-ggpo-000000"];
    fs::write(folder.path().join(dead[0]), b"half").unwrap();
    fs::create_dir(folder.path().join(dead[1])).unwrap();
    fs::write(folder.path().join(dead[1]).join("inner"), b"half").unwrap();
    let others = [".partial-download", ".partial-ggpo-notes.txt"];
    for name in others {
        fs::write(folder.path().join(name), b"of somebody").unwrap();
    }
    write_atomically(folder.path().join("file"), b"x").unwrap();
    working.finish().unwrap();
    assert_eq!(
        names(folder.path()),
        [others[0], others[1], "file", "target"]
    );
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_devices_stay() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("inner")).unwrap();
    fs::write(at("inner/file"), b"old").unwrap();
    symlink("inner/file", at("link")).unwrap();
    write_atomically(at("link"), b"new").unwrap();
    assert!(at("link").is_symlink());
    assert_eq!(fs::read(at("inner/file")).unwrap(), b"new");
    symlink("nowhere", at("dangling")).unwrap();
    symlink("/dev/null", at("device")).unwrap();
    for other in ["dangling", "device", "inner"] {
        for written in [check_target(at(other)), write_atomically(at(other), b"x")] {
            let error = written.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{other}");
        }
    }
    assert!(!at("nowhere").exists());
    assert!(write_atomically("/dev/null", b"x").is_err());
    assert!(check_target(at("none/file")).is_err());
    check_target(at("inner/file")).unwrap();
}

#[test]
fn folders_are_made_with_those_above() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("a/b/c");
    create_folder(&deep).unwrap();
    create_folder(&deep).unwrap();
    assert!(deep.is_dir());
    fs::write(deep.join("file"), b"").unwrap();
    assert!(create_folder(deep.join("file")).is_err());
    assert!(create_folder(deep.join("file/x")).is_err());
}

/// Others may read what is written, as far as the user's mask lets them.
#[cfg(unix)]
#[test]
fn files_have_the_ordinary_mode() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (plain, ours) = (folder.path().join("plain"), folder.path().join("ours"));
    fs::write(&plain, b"").unwrap();
    write_atomically(&ours, b"").unwrap();
    let mode = |path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&plain), mode(&ours));
}

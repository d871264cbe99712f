//! Files that are there whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Writes a file under a temporary name in the same folder and renames it, so
/// that a reader, or a crash, meets the old contents or the new, never a part.
///
/// # Errors
/// What the system reports; the old contents are then untouched.
pub fn write_atomically(path: impl AsRef<Path>, bytes: &[u8]) -> io::Result<()> {
    let path = path.as_ref();
    let folder = parent(path);
    let mut builder = tempfile::Builder::new();
    builder.prefix(".partial-");
    with_mode(&mut builder, 0o666);
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    sync_folder(folder)
}

/// Writes a folder with the given files (name, contents) under a temporary name
/// beside it and renames it.
///
/// # Errors
/// `AlreadyExists` if there is something under that name, and what the system
/// reports; nothing is then left behind.
pub fn write_folder_atomically(path: impl AsRef<Path>, files: &[(&str, &[u8])]) -> io::Result<()> {
    let folder = PartialFolder::new(path)?;
    for (name, bytes) in files {
        let mut file = File::create_new(folder.path().join(name))?;
        file.write_all(bytes)?;
        file.sync_all()?;
    }
    folder.finish()
}

/// A folder under a temporary name, for files too large to be held in memory:
/// it gets its name when it is finished, and is removed if it never is.
#[derive(Debug)]
pub struct PartialFolder {
    folder: tempfile::TempDir,
    target: PathBuf,
}

impl PartialFolder {
    /// An empty folder beside `target`, whose name it will get.
    ///
    /// # Errors
    /// `AlreadyExists` if there is something under that name, and what the
    /// system reports.
    pub fn new(target: impl AsRef<Path>) -> io::Result<Self> {
        let target = target.as_ref().to_path_buf();
        if fs::symlink_metadata(&target).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let mut builder = tempfile::Builder::new();
        builder.prefix(".partial-");
        with_mode(&mut builder, 0o777);
        let folder = builder.tempdir_in(parent(&target))?;
        Ok(PartialFolder { folder, target })
    }

    /// Where the folder is until it is finished.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Gives the folder its name. Its files are to be synchronised before.
    ///
    /// # Errors
    /// What the system reports; nothing is then left behind.
    pub fn finish(self) -> io::Result<()> {
        sync_folder(self.folder.path())?;
        fs::rename(self.folder.path(), &self.target)?;
        // Renamed: there is nothing left for the guard to remove.
        let _ = self.folder.keep();
        sync_folder(parent(&self.target))
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Temporary files are private; these become ordinary ones, so they get the
/// ordinary mode, less the user's mask.
#[cfg(unix)]
fn with_mode(builder: &mut tempfile::Builder<'_, '_>, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    builder.permissions(fs::Permissions::from_mode(mode));
}

#[cfg(not(unix))]
fn with_mode(_builder: &mut tempfile::Builder<'_, '_>, _mode: u32) {}

/// Makes a rename in the folder durable.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// A folder cannot be opened as a file here.
#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write_atomically(&path, b"old").unwrap();
        write_atomically(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        // A folder in the way: an error, and no temporary file stays.
        assert!(write_atomically(folder.path().join("none/file"), b"x").is_err());
        fs::create_dir(folder.path().join("folder")).unwrap();
        assert!(write_atomically(folder.path().join("folder"), b"x").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
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
}

//! Files that are there whole or not at all.
//!
//! What is being written has a temporary name and is locked. When the process ends the
//! lock is gone, and whoever writes to the same folder next removes what was left.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::read::not_a_file;

/// What temporary names begin with; random letters follow.
pub const PREFIX: &str = ".partial-ggpo-";

/// Writes a file under a temporary name in the same folder and renames it, so
/// that a reader, or a crash, meets the old contents or the new, never a part.
/// A link is followed.
///
/// # Errors
/// As [`check_target`], and what the system reports; the old contents are then
/// untouched.
pub fn write_atomically(path: impl AsRef<Path>, bytes: &[u8]) -> io::Result<()> {
    write_atomically_with(path, |file| file.write_all(bytes))
}

/// As [`write_atomically`], with the bytes that `write` writes, for a file too large to
/// be held in memory.
///
/// # Errors
/// As [`write_atomically`], and those of `write`.
pub fn write_atomically_with<E: From<io::Error>>(
    path: impl AsRef<Path>,
    write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<(), E> {
    let path = target(path.as_ref())?;
    let folder = parent(&path);
    let mut file = begun(folder)?;
    write(&mut file)?;
    file.as_file().sync_all()?;
    file.persist(&path).map_err(|error| error.error)?;
    Ok(sync_folder(folder)?)
}

/// As [`write_atomically`], but what was at `path` stays there under the name
/// `previous`. Whenever the process ends, one of the two is whole.
///
/// # Errors
/// As [`write_atomically`].
pub fn write_keeping_previous(path: &Path, previous: &Path, bytes: &[u8]) -> io::Result<()> {
    let path = target(path)?;
    let folder = parent(&path);
    let file = written(folder, bytes)?;
    match fs::rename(&path, previous) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    file.persist(&path).map_err(|error| error.error)?;
    sync_folder(folder)
}

/// A temporary file with these bytes, on the disk.
fn written(folder: &Path, bytes: &[u8]) -> io::Result<tempfile::NamedTempFile> {
    let mut file = begun(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// An empty temporary file.
fn begun(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    remove_left_over(folder);
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX);
    with_mode(&mut builder, 0o666);
    loop {
        let file = builder.tempfile_in(folder)?;
        if hold(file.as_file(), file.path()) {
            return Ok(file);
        }
    }
}

/// Locks what is being written. False if somebody took it for left over meanwhile.
fn hold(file: &File, path: &Path) -> bool {
    // Without locks nothing is ever taken for left over.
    let _ = file.try_lock();
    path.exists()
}

/// Checks that [`write_atomically`] can write to `path`, by writing a file beside it.
///
/// # Errors
/// `InvalidInput` if there is something else than a plain file under that name, and
/// what the system reports.
pub fn check_target(path: impl AsRef<Path>) -> io::Result<()> {
    let path = target(path.as_ref())?;
    written(parent(&path), b"").map(drop)
}

/// Checks that a new folder can be made at `path`, by making one beside it.
///
/// # Errors
/// `AlreadyExists` if there is something under that name, and what the system reports.
pub fn check_new_folder(path: impl AsRef<Path>) -> io::Result<()> {
    PartialFolder::new(path).map(drop)
}

/// Where the bytes for `path` go: links are followed.
fn target(path: &Path) -> io::Result<PathBuf> {
    match fs::metadata(path) {
        Ok(found) if found.is_file() => fs::canonicalize(path),
        Ok(found) => Err(not_a_file(
            found.file_type(),
            "a plain file to replace, or a new name",
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::symlink_metadata(path) {
            Ok(link) => Err(not_a_file(
                link.file_type(),
                "a plain file to replace, or a new name",
            )),
            Err(_) => Ok(path.to_owned()),
        },
        Err(error) => Err(error),
    }
}

/// Makes a folder with the folders that it is in, all of them durable.
///
/// # Errors
/// What the system reports.
pub fn create_folder(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    create_folder(parent(path))?;
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_folder(parent(path)),
    }
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
    /// Holds the lock.
    _held: Option<File>,
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
        remove_left_over(parent(&target));
        let mut builder = tempfile::Builder::new();
        builder.prefix(PREFIX);
        with_mode(&mut builder, 0o777);
        loop {
            let folder = builder.tempdir_in(parent(&target))?;
            let held = File::open(folder.path()).ok();
            if held.as_ref().is_none_or(|held| hold(held, folder.path())) {
                return Ok(PartialFolder {
                    folder,
                    target,
                    _held: held,
                });
            }
        }
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

/// Removes what processes that ended before their time left in a folder: all with a
/// temporary name that nobody holds. What cannot be removed stays.
pub fn remove_left_over(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let is_ours = |name: &str| {
            let letters = name.strip_prefix(PREFIX);
            letters.is_some_and(|rest| {
                rest.len() == 6 && rest.bytes().all(|b| b.is_ascii_alphanumeric())
            })
        };
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if !entry.file_name().to_str().is_some_and(is_ours) || !(kind.is_file() || kind.is_dir()) {
            continue;
        }
        let path = entry.path();
        let Ok(file) = File::open(&path) else {
            continue;
        };
        if file.try_lock().is_ok() {
            let _ = match kind.is_dir() {
                true => fs::remove_dir_all(&path),
                false => fs::remove_file(&path),
            };
        }
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
mod tests;

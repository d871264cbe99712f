//! The folder of downloads, in the layout that other programs share.
//!
//! ```text
//! models--owner--name/blobs/CHECKSUM            contents
//! models--owner--name/blobs/CHECKSUM.part       contents, as far as they have come
//! models--owner--name/snapshots/COMMIT/NAME     link to the contents
//! ```
//!
//! Every name is made here, of what was checked: the repository's name, the commit,
//! and hexadecimal checksums.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use ggpo_files::create_folder;
use indicatif::ProgressBar;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use ureq::http::StatusCode;

use super::client::{Client, encoded};
use super::repository::{Checksum, ListedFile};
use super::{Error, Result};

/// Further tries after a connection is lost; a download continues where it was.
const RETRIES: usize = 3;
/// Most bytes of a file, whatever the hub says of its size.
const LARGEST: u64 = 1 << 40;
/// Most bytes of a file whose size the hub does not say.
const UNSAID: u64 = 1 << 30;

/// Downloads of a repository at one commit.
pub(super) struct Downloads<'a> {
    client: &'a Client,
    repo: &'a str,
    commit: &'a str,
    folder: PathBuf,
    progress: bool,
}

impl<'a> Downloads<'a> {
    /// `repo` and `commit` must have been checked.
    pub(super) fn new(
        client: &'a Client,
        repo: &'a str,
        commit: &'a str,
        cache: &Path,
        progress: bool,
    ) -> Self {
        Downloads {
            client,
            repo,
            commit,
            folder: cache.join(format!("models--{}", repo.replace('/', "--"))),
            progress,
        }
    }

    /// Brings a file, unless it is there already; returns where it is.
    pub(super) fn bring(&self, file: &ListedFile) -> Result<PathBuf> {
        let blobs = self.folder.join("blobs");
        create_folder(&blobs).map_err(|cause| Error::io(&blobs, cause))?;
        let name = self.blob_name(file);
        let path = blobs.join(&name);
        // Somebody's link could lead anywhere.
        let is_plain = fs::symlink_metadata(&path).is_ok_and(|found| found.is_file());
        if !is_plain || check_contents(file, &path).is_err() {
            let part = blobs.join(format!("{name}.part"));
            self.download(file, &part)?;
            fs::rename(&part, &path).map_err(|cause| Error::io(&path, cause))?;
        }
        self.link(file, &name);
        Ok(path)
    }

    fn blob_name(&self, file: &ListedFile) -> String {
        match file.checksum() {
            Some(Checksum::Sha256(digits) | Checksum::Git(digits)) => digits,
            None => {
                let place = format!("{}/{}", self.commit, file.rfilename);
                hexadecimal(&Sha256::digest(place))
            }
        }
    }

    /// For other programs; nothing here needs it.
    fn link(&self, file: &ListedFile, name: &str) {
        let link = self
            .folder
            .join("snapshots")
            .join(self.commit)
            .join(&file.rfilename);
        let made = link.parent().map(create_folder);
        #[cfg(unix)]
        if made.is_some_and(|made| made.is_ok()) && link.symlink_metadata().is_err() {
            let up = "../".repeat(2 + file.rfilename.matches('/').count());
            let _ = std::os::unix::fs::symlink(format!("{up}blobs/{name}"), link);
        }
        #[cfg(not(unix))]
        let _ = (made, name);
    }

    /// Downloads a file to `part`, which may hold its beginning, and checks it.
    fn download(&self, file: &ListedFile, part: &Path) -> Result<()> {
        let problem = |cause| Error::io(part, cause);
        if fs::symlink_metadata(part).is_ok_and(|found| !found.is_file()) {
            return Err(Error::file(
                part,
                "expected a plain file, found something else",
            ));
        }
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true);
        let mut to = options.open(part).map_err(problem)?;
        if let Err(fs::TryLockError::WouldBlock) = to.try_lock() {
            let text = "expected nobody else at work on this download, found another process";
            return Err(Error::file(part, text));
        }
        let bar = match (self.progress, file.size) {
            (true, Some(size)) => ggpo_lab::progress::bar(size, file.name(), "bytes"),
            _ => ProgressBar::hidden(),
        };
        let mut tries = 0;
        while let Err(error) = self.fill(file, &mut to, &bar) {
            tries += 1;
            if tries > RETRIES || !matches!(error, Lost::Connection(_)) {
                bar.finish_and_clear();
                return Err(error.into());
            }
        }
        bar.finish_and_clear();
        to.sync_all().map_err(problem)?;
        check_contents(file, part).inspect_err(|_| {
            // So that another try fetches it anew.
            let _ = fs::remove_file(part);
        })
    }

    /// Appends what is missing.
    fn fill(
        &self,
        file: &ListedFile,
        to: &mut File,
        bar: &ProgressBar,
    ) -> std::result::Result<(), Lost> {
        let what = format!("{}/{}", self.repo, file.rfilename);
        let here = |cause: std::io::Error| Lost::Here(Error::io(&what, cause));
        let most = file.size.unwrap_or(UNSAID).min(LARGEST);
        let mut have = to.seek(SeekFrom::End(0)).map_err(here)?;
        if have > most || (have == most && file.size.is_none()) {
            to.set_len(0).map_err(here)?;
            have = 0;
        }
        if have == most && file.size.is_some() {
            return Ok(());
        }
        let path = format!(
            "/{}/resolve/{}/{}",
            self.repo,
            self.commit,
            encoded(&file.rfilename, true)
        );
        let answer = self
            .client
            .get(&what, &path, Some(have))
            .map_err(Lost::Here)?;
        let range = answer.headers().get("content-range");
        let range = range.and_then(|range| range.to_str().ok()).unwrap_or("");
        let goes_on = answer.status() == StatusCode::PARTIAL_CONTENT
            && range.starts_with(&format!("bytes {have}-"));
        if !goes_on {
            to.set_len(0).map_err(here)?;
            have = 0;
        }
        to.seek(SeekFrom::Start(have)).map_err(here)?;
        let mut reader = self.client.paced(answer, None).take(most - have + 1);
        let mut buffer = vec![0; 1 << 16];
        loop {
            bar.set_position(have);
            let bytes = match reader.read(&mut buffer) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    let error = self.client.unreachable(&what, &error.into());
                    return Err(Lost::Connection(error));
                }
            };
            have += bytes as u64;
            if have > most {
                let _ = to.set_len(0);
                let problem = format!("expected at most {most} bytes, found more");
                return Err(Lost::Here(Error::fetch(what, problem)));
            }
            if bytes == 0 {
                return Ok(());
            }
            to.write_all(&buffer[..bytes]).map_err(here)?;
        }
    }
}

/// Why a download ended.
enum Lost {
    /// The connection did, which may be tried again.
    Connection(Error),
    /// Anything else.
    Here(Error),
}

impl From<Lost> for Error {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Connection(error) | Lost::Here(error) => error,
        }
    }
}

/// Size and checksum must be those the hub told, as far as it tells them.
fn check_contents(file: &ListedFile, path: &Path) -> Result<()> {
    let name = &file.rfilename;
    let found = fs::metadata(path)
        .map_err(|cause| Error::io(path, cause))?
        .len();
    if let Some(size) = file.size.filter(|size| *size != found) {
        let problem = format!("{name}: expected {size} bytes, found {found}");
        return Err(Error::file(path, problem));
    }
    let (kind, expected, found) = match file.checksum() {
        None => return Ok(()),
        Some(Checksum::Sha256(expected)) => ("sha256", expected, super::sha256_of_file(path)?),
        Some(Checksum::Git(expected)) => {
            let bytes = ggpo_files::read(path, UNSAID).map_err(|cause| Error::io(path, cause))?;
            ("git checksum", expected, git_checksum(&bytes))
        }
    };
    if found == expected {
        return Ok(());
    }
    let problem = format!("{name}: expected {kind} {expected}, found {found}");
    Err(Error::file(path, problem))
}

/// What git knows a file's contents by.
fn git_checksum(bytes: &[u8]) -> String {
    let mut hasher = Sha1::new();
    hasher.update(format!("blob {}\0", bytes.len()));
    hasher.update(bytes);
    hexadecimal(&hasher.finalize())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_are_known_as_git_knows_them() {
        // `git hash-object` of an empty file, and of the six bytes "hello\n".
        let empty = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391";
        assert_eq!(git_checksum(b""), empty);
        let hello = "ce013625030ba8dba906f756967f9e9ca394464a";
        assert_eq!(git_checksum(b"hello\n"), hello);
    }
}

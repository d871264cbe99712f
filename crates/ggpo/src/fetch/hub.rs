//! Models from a hub in the form of Hugging Face's.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::Agent;
use ureq::config::Config;

use super::client::{Client, encoded};
use super::downloads::Downloads;
use super::fill_folder;
use super::repository::{INDEX, ListedFile, Listing};
use super::{Error, Result};

/// The hub of Hugging Face.
const ENDPOINT: &str = "https://huggingface.co";
/// Most bytes of what a hub says of a repository.
const LISTING: u64 = 32 << 20;

/// How long a hub is waited for, unless something else is said.
const PATIENCE: Duration = Duration::from_secs(60);
/// Most bytes of the file with a saved token.
const TOKEN: u64 = 1 << 16;

/// A hub, and what is needed to use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hub {
    /// Where it is, for example `https://huggingface.co`.
    pub endpoint: String,
    /// What it knows the user by, for private and gated repositories.
    pub token: Option<String>,
    /// Folder of downloads, in the layout that other programs share.
    pub cache: PathBuf,
    /// Show a bar per file where the error output is a terminal.
    pub progress: bool,
    /// How long a connection, the head of an answer, or its next bytes may take.
    pub patience: Duration,
}

/// What was fetched from a hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedRepository {
    /// The commit that all files are of.
    pub commit: String,
    /// Names of the files in the folder.
    pub files: Vec<String>,
    /// Bytes of all files together.
    pub bytes: u64,
}

/// Fetches a repository of the hub that the environment names; see
/// [`Hub::from_environment`] and [`Hub::fetch`].
///
/// # Errors
/// As these.
pub fn fetch_repository(
    repo: &str,
    revision: Option<&str>,
    gguf: Option<&str>,
    to: &Path,
) -> Result<FetchedRepository> {
    Hub::from_environment()?.fetch(repo, revision, gguf, to)
}

impl Hub {
    /// The hub that the environment names, in the variables that other programs
    /// heed too: `HF_ENDPOINT`, `HF_TOKEN` (or the token that was saved at a
    /// login), and `HF_HUB_CACHE` or `HF_HOME` for the folder of downloads.
    ///
    /// # Errors
    /// If no folder for downloads can be found.
    pub fn from_environment() -> Result<Self> {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let path = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let home = || Some(std::env::home_dir()?.join(".cache/huggingface"));
        let home = path("HF_HOME").map(PathBuf::from).or_else(home);
        let cache = path("HF_HUB_CACHE").map(PathBuf::from);
        let cache = cache.or_else(|| Some(home?.join("hub")));
        let expected = "a folder for downloads";
        let cache = cache.ok_or_else(|| Error::config("HF_HOME", expected, "nothing"))?;
        let saved = || {
            let path = cache.parent()?.join("token");
            let text = ggpo_files::read_text(path, TOKEN).ok()?;
            Some(text.trim().to_owned()).filter(|token| !token.is_empty())
        };
        Ok(Hub {
            endpoint: set("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned()),
            token: set("HF_TOKEN").or_else(saved),
            cache,
            progress: true,
            patience: PATIENCE,
        })
    }

    /// Brings the model of a repository (`owner/name`) at a revision (a branch,
    /// tag or commit; `main` if not given) to the new folder `to`.
    ///
    /// With `gguf`, that one file; without, `config.json`, the weights in one or
    /// several safetensors files, and what belongs to the tokeniser. Sizes and
    /// checksums are held against what the hub says of them. Large files are hard
    /// links to the folder of downloads where that is possible, so they are stored
    /// once. Nothing is written but in these two folders, whatever a server answers.
    ///
    /// # Errors
    /// If the hub cannot be reached or refuses, the repository holds no such
    /// model, a file is damaged, or `to` exists.
    pub fn fetch(
        &self,
        repo: &str,
        revision: Option<&str>,
        gguf: Option<&str>,
        to: &Path,
    ) -> Result<FetchedRepository> {
        self.fetch_with(Agent::new_with_config, repo, revision, gguf, to)
    }

    /// [`fetch`](Self::fetch) through connections of the caller's own: `agent` makes the
    /// client of a configuration, which it must keep.
    ///
    /// # Errors
    /// As [`fetch`](Self::fetch).
    pub fn fetch_with(
        &self,
        agent: impl FnOnce(Config) -> Agent,
        repo: &str,
        revision: Option<&str>,
        gguf: Option<&str>,
        to: &Path,
    ) -> Result<FetchedRepository> {
        check_name(repo)?;
        let client = Client::new(self, agent)?;
        let listing = self.list(&client, repo, revision.unwrap_or("main"))?;
        let at = Downloads::new(&client, repo, &listing.sha, &self.cache, self.progress);
        let mut wanted = match gguf {
            Some(name) => vec![listing.gguf(repo, name)?],
            None => listing.model_files(repo)?,
        };
        fill_folder(to, |folder| {
            if let Some(index) = wanted.iter().find(|file| file.rfilename == INDEX) {
                let path = at.bring(index)?;
                let index = ggpo_files::read(&path, ggpo_files::read::DESCRIPTION);
                let index = index.map_err(|source| Error::io(&path, source))?;
                wanted.extend(listing.parts(repo, &index)?);
            }
            for file in &wanted {
                place(
                    &at.bring(file)?,
                    &folder.join(file.name()),
                    file.lfs.is_some(),
                )?;
            }
            Ok(())
        })?;
        let size = |file: &ListedFile| fs::metadata(to.join(file.name())).map_or(0, |m| m.len());
        Ok(FetchedRepository {
            bytes: wanted.iter().map(size).sum(),
            files: wanted.iter().map(|file| file.name().to_owned()).collect(),
            commit: listing.sha,
        })
    }

    fn list(&self, client: &Client, repo: &str, revision: &str) -> Result<Listing> {
        let what = format!("{repo} at {revision}");
        let revision = encoded(revision, false);
        let path = format!("/api/models/{repo}/revision/{revision}?blobs=true");
        let bytes = client.get_all(&what, &path, LISTING)?;
        let listing: Listing = ggpo_files::json::from_slice(&bytes).map_err(|error| {
            let endpoint = client.endpoint();
            let problem = format!("{endpoint} gives an unexpected answer: {error}");
            Error::fetch(&what, problem)
        })?;
        listing.check(repo)?;
        Ok(listing)
    }
}

/// A large file becomes a hard link where possible, a small one a copy that may
/// be edited.
fn place(from: &Path, to: &Path, large: bool) -> Result<()> {
    if large && fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    fs::copy(from, to)
        .and_then(|_| File::open(to)?.sync_all())
        .map_err(|source| Error::io(to, source))
}

/// A repository is `name` or `owner/name`.
fn check_name(repo: &str) -> Result<()> {
    let plain = |part: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        part.starts_with(|c: char| c.is_ascii_alphanumeric()) && part.chars().all(allowed)
    };
    let parts: Vec<&str> = repo.split('/').collect();
    if parts.len() <= 2 && parts.into_iter().all(plain) {
        return Ok(());
    }
    Err(Error::config("repository", "a name like owner/model", repo))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_names() {
        for repo in ["gpt2", "a/b", "HuggingFaceTB/SmolLM2-135M", "t5_x/v1.1"] {
            assert!(check_name(repo).is_ok(), "{repo}");
        }
        for repo in ["", "/", "a/", "a/b/c", "../a", "a/..", "a b", "https://x/y"] {
            assert!(check_name(repo).is_err(), "{repo}");
        }
    }
}

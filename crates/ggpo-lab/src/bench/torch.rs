//! The other side: PyTorch, with the allocator that serves it best.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Job;
use super::contender::MethodName;
use super::level::is_held_back;

/// Where Linux distributions keep tcmalloc.
pub const TCMALLOC: [&str; 6] = [
    "/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4",
    "/usr/lib/x86_64-linux-gnu/libtcmalloc.so.4",
    "/usr/lib/aarch64-linux-gnu/libtcmalloc_minimal.so.4",
    "/usr/lib/aarch64-linux-gnu/libtcmalloc.so.4",
    "/usr/lib64/libtcmalloc_minimal.so.4",
    "/usr/lib64/libtcmalloc.so.4",
];

/// What holds PyTorch and the libraries in it to AVX2, on a processor that has more.
const AVX2_ONLY: [(&str, &str); 3] = [
    ("ATEN_CPU_CAPABILITY", "avx2"),
    ("ONEDNN_MAX_CPU_ISA", "AVX2"),
    ("MKL_ENABLE_INSTRUCTIONS", "AVX2"),
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
    /// allocator of glibc is. At AVX2 it is held to that where the processor has
    /// more; at any other level it detects the processor by itself.
    pub fn command(&self, method: MethodName, job: &Job) -> Command {
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
        if is_held_back(job.simd) {
            command.envs(AVX2_ONLY);
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ggpo_tensor::simd::Level;

    use super::*;
    use crate::bench::Shape;
    use crate::bench::contender::Contender;

    fn environment(torch: &Torch, level: Level) -> BTreeMap<String, String> {
        let contender = Contender::lora(Shape::Tiny, [16, 64]).ggpo().torch();
        let job = contender.job(level, None, 5, false);
        let command = torch.command(
            MethodName::try_from("ggpo".to_owned()).expect("a method"),
            &job,
        );
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

    fn with_libraries(libraries: &[&Path]) -> Torch {
        let (python, script) = (Path::new("python3"), Path::new("bench_torch.py"));
        Torch::new(python, script, libraries)
    }

    #[test]
    fn tcmalloc_is_taken_where_it_is() {
        let library = tempfile::NamedTempFile::new().unwrap();
        let libraries = [Path::new("/nowhere.so"), library.path()];
        let set = environment(&with_libraries(&libraries), Level::best());
        assert_eq!(set["LD_PRELOAD"], library.path().to_str().unwrap());
        assert_eq!(set["THP_MEM_ALLOC_ENABLE"], "1");
        assert_eq!(set.len(), 2);

        let set = environment(&with_libraries(&libraries[..1]), Level::best());
        assert_eq!(set["GLIBC_TUNABLES"], "glibc.malloc.hugetlb=1");
        assert_eq!(set.len(), 1);
    }

    #[test]
    fn it_is_held_to_avx2_where_the_processor_has_more() {
        let set = environment(&with_libraries(&[]), Level::Avx2);
        let held = AVX2_ONLY
            .iter()
            .all(|(name, value)| set.get(*name).is_some_and(|set| set == value));
        assert_eq!(held, Level::best() == Level::Avx512);
    }
}

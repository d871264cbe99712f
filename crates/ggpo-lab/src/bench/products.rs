//! The products of matrices, measured by `cargo bench`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ggpo_tensor::simd::{self, Level};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::level::is_held_back;
use super::pool;
use super::rounds::Probe;
use ggpo_train::{Error, Result};

/// What holds `matrixmultiply` to AVX2: a setting of its tests, read when it is
/// compiled.
const AVX2_ONLY: (&str, &str) = ("MMTEST_FEATURE", "avx2,fma");
/// Seconds that criterion gives to every product, before and while it measures.
const CRITERION: [&str; 4] = ["--warm-up-time", "0.5", "--measurement-time", "1"];
/// The group of the products that one thread calculates.
const SERIAL: &str = "serial";
/// The product of a layer among them.
const LAYER: &str = "layer";

/// Products at one level.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Products {
    /// The speed of one thread before and after the products.
    pub one_thread: [Probe; 2],
    /// The same of the threads that the layers run on.
    pub all_threads: [Probe; 2],
    /// What held `matrixmultiply` back, where something did.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub held_by: Option<String>,
    /// The products, by name.
    pub products: Vec<Product>,
}

/// One product of matrices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Product {
    /// Its name in `cargo bench`.
    pub name: String,
    /// Whether one thread calculates it.
    pub serial: bool,
    /// Our rate in GFLOP/s.
    pub ours: f64,
    /// That of `matrixmultiply`, where it was measured.
    pub matrixmultiply: Option<f64>,
}

impl Product {
    /// Our rate over that of `matrixmultiply`.
    pub fn ratio(&self) -> Option<f64> {
        Some(self.ours / self.matrixmultiply?)
    }
}

impl Products {
    /// Our rate of a product as a share of the higher of the two peaks.
    pub fn rate_of_peak(&self, product: &Product) -> f64 {
        let probes = match product.serial {
            true => &self.one_thread,
            false => &self.all_threads,
        };
        product.ours / fastest(probes)
    }

    /// Whether the machine was not quiet before or after.
    pub fn is_busy(&self) -> bool {
        let busy = |probes: &[Probe; 2]| {
            let fastest = fastest(probes);
            probes.iter().any(|probe| !probe.is_quiet(fastest))
        };
        busy(&self.one_thread) || busy(&self.all_threads)
    }

    /// The product of a layer on one thread.
    pub fn layer(&self) -> Option<&Product> {
        let mut products = self.products.iter();
        products.find(|product| product.serial && product.name == LAYER)
    }

    /// The lowest ratio to `matrixmultiply`, and whose it is.
    pub fn lowest_ratio(&self) -> Option<(f64, &Product)> {
        let products = self.products.iter();
        let ratios = products.filter_map(|product| Some((product.ratio()?, product)));
        ratios.min_by(|a, b| a.0.total_cmp(&b.0))
    }

    /// Measures them at a level, on `threads` threads, with the command that runs
    /// `cargo bench` of them. `separate` is where cargo builds what is to be held
    /// back to a level.
    ///
    /// # Errors
    /// If cargo or the benchmark fails, or leaves something unexpected.
    pub fn measure(
        mut command: Command,
        level: Level,
        threads: usize,
        separate: &Path,
    ) -> Result<Self> {
        let home = tempfile::tempdir().map_err(|error| Error::io("a temporary folder", error))?;
        command.args(CRITERION);
        command.env(simd::VARIABLE, level.name());
        command.env("CRITERION_HOME", home.path());
        command.env("RAYON_NUM_THREADS", threads.to_string());
        if is_held_back(level) {
            command.env(AVX2_ONLY.0, AVX2_ONLY.1);
            command.env("CARGO_TARGET_DIR", separate);
        }
        let pools = [pool(1)?, pool(threads)?];
        let probe = || pools.each_ref().map(|pool| Probe::take(pool, level));
        let before = probe();
        run(command)?;
        let after = probe();
        let [one_thread, all_threads] = [0, 1].map(|place| [before[place], after[place]]);
        let (name, value) = AVX2_ONLY;
        Ok(Products {
            one_thread,
            all_threads,
            held_by: is_held_back(level).then(|| format!("{name}={value}")),
            products: read(home.path())?,
        })
    }
}

/// The fastest of two probes, in GFLOP/s.
fn fastest([before, after]: &[Probe; 2]) -> f64 {
    before.fastest.max(after.fastest)
}

/// Runs the benchmark, which says on the error output how far it is.
fn run(mut command: Command) -> Result<()> {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null());
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Error::config("cargo bench", "success", status)),
        Err(error) => Err(Error::io(command.get_program(), error)),
    }
}

/// The products of which criterion left results in a folder.
fn read(home: &Path) -> Result<Vec<Product>> {
    let mut results = Vec::new();
    find_results(home, &mut results)?;
    results.sort();
    let mut products: Vec<Product> = Vec::new();
    for folder in results {
        let (group, function, rate) = read_result(&folder)?;
        let serial = group == SERIAL;
        let (name, by) = match function.rsplit_once('/') {
            Some((name, by)) if serial => (name.to_owned(), by),
            _ => (function, "ggpo"),
        };
        let known = products
            .iter_mut()
            .find(|product| product.serial == serial && product.name == name);
        match (known, by) {
            (Some(product), "matrixmultiply") => product.matrixmultiply = Some(rate),
            (None, "ggpo") => products.push(Product {
                name,
                serial,
                ours: rate,
                matrixmultiply: None,
            }),
            (_, by) => return Err(Error::config("cargo bench", "ggpo or matrixmultiply", by)),
        }
    }
    Ok(products)
}

/// The folders named `new`, which hold the newest result of a benchmark.
fn find_results(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).map_err(|error| Error::io(folder, error))?;
    for entry in entries {
        let path = entry.map_err(|error| Error::io(folder, error))?.path();
        if path.join("benchmark.json").is_file() && path.ends_with("new") {
            found.push(path);
        } else if path.is_dir() {
            find_results(&path, found)?;
        }
    }
    Ok(())
}

/// Group, function and rate in GFLOP/s of one benchmark.
fn read_result(folder: &Path) -> Result<(String, String, f64)> {
    let json = |name: &str| -> Result<(PathBuf, Value)> {
        let path = folder.join(name);
        let text = fs::read(&path).map_err(|error| Error::io(&path, error))?;
        let value = serde_json::from_slice(&text);
        let value = value.map_err(|error| Error::file(&path, error.to_string()))?;
        Ok((path, value))
    };
    let (path, benchmark) = json("benchmark.json")?;
    let text = |field: &str| {
        let value = benchmark[field].as_str().map(str::to_owned);
        value.ok_or_else(|| Error::file(&path, format!("expected a text {field}")))
    };
    let operations = benchmark["throughput"]["Elements"].as_f64();
    let operations = operations
        .ok_or_else(|| Error::file(&path, "expected a throughput in elements".to_owned()))?;
    let (path, estimates) = json("estimates.json")?;
    let nanoseconds = estimates["median"]["point_estimate"].as_f64();
    let nanoseconds = nanoseconds
        .ok_or_else(|| Error::file(&path, "expected the estimate of a median".to_owned()))?;
    Ok((
        text("group_id")?,
        text("function_id")?,
        operations / nanoseconds,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What criterion leaves of a benchmark of 1000 operations.
    fn leave(home: &Path, group: &str, function: &str, nanoseconds: f64) {
        let folder = home.join(group).join(function.replace('/', "_"));
        for kind in ["new", "base"] {
            let folder = folder.join(kind);
            fs::create_dir_all(&folder).unwrap();
            let benchmark = serde_json::json!({
                "group_id": group, "function_id": function, "value_str": null,
                "throughput": {"Elements": 1000}, "title": "any",
            });
            fs::write(folder.join("benchmark.json"), benchmark.to_string()).unwrap();
            let estimates = serde_json::json!({"median": {"point_estimate": nanoseconds}});
            fs::write(folder.join("estimates.json"), estimates.to_string()).unwrap();
        }
    }

    #[test]
    fn what_criterion_leaves_is_read_and_compared() {
        let home = tempfile::tempdir().unwrap();
        leave(home.path(), "serial", "layer/ggpo", 10.0);
        leave(home.path(), "serial", "layer/matrixmultiply", 12.5);
        leave(home.path(), "serial", "p_v/ggpo", 20.0);
        leave(home.path(), "serial", "p_v/matrixmultiply", 10.0);
        leave(home.path(), "layer", "4x3x2/forward", 5.0);
        let probe = |fastest, usual| Probe { fastest, usual };
        let mut products = Products {
            one_thread: [probe(125.0, 124.0), probe(120.0, 119.0)],
            all_threads: [probe(240.0, 230.0), probe(250.0, 249.0)],
            held_by: None,
            products: read(home.path()).unwrap(),
        };
        assert_eq!(products.products.len(), 3);
        let layer = products.layer().unwrap();
        assert_eq!((layer.ours, layer.matrixmultiply), (100.0, Some(80.0)));
        assert_eq!(products.rate_of_peak(layer), 0.8);
        let (ratio, lowest) = products.lowest_ratio().unwrap();
        assert_eq!((ratio, lowest.name.as_str()), (0.5, "p_v"));
        let parallel = &products.products[0];
        assert_eq!(parallel.name, "4x3x2/forward");
        assert_eq!(
            (parallel.ratio(), products.rate_of_peak(parallel)),
            (None, 0.8)
        );
        assert!(!products.is_busy());
        products.all_threads[0].usual = 220.0;
        assert!(products.is_busy());
    }

    #[test]
    fn a_result_that_is_no_rate_is_refused() {
        let home = tempfile::tempdir().unwrap();
        leave(home.path(), "serial", "layer/ggpo", 10.0);
        let path = home.path().join("serial/layer_ggpo/new/estimates.json");
        fs::write(&path, "{}").unwrap();
        let error = read(home.path()).unwrap_err().to_string();
        assert!(
            error.contains("estimates.json") && error.contains("median"),
            "{error}"
        );
    }

    #[test]
    fn a_benchmark_that_cannot_be_run_is_named() {
        let error = run(Command::new("/nowhere/cargo")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/cargo"), "{error}");
    }
}

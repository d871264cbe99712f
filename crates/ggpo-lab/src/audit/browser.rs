//! A browser without a window, for tests and pictures of the page.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The browser that there is: what `GGPO_CHROMIUM` names, or the first of its usual names
/// on the path.
pub fn find() -> Option<PathBuf> {
    let named = std::env::var_os("GGPO_CHROMIUM").filter(|named| !named.is_empty());
    if let Some(named) = named {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    std::env::split_paths(&path)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|program| program.is_file())
}

/// The browser on a page, in a window of this width and height; its own files go to
/// `profile`. It waits for the scripts of the page.
pub fn command(
    browser: &Path,
    page: &Path,
    profile: &Path,
    (width, height): (u32, u32),
) -> Command {
    let mut command = Command::new(browser);
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu"])
        .args(["--disable-dev-shm-usage", "--virtual-time-budget=100000"])
        .arg(format!("--window-size={width},{height}"))
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("file://{}", page.display()));
    command
}

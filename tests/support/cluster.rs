//! A stand-in for a cluster's API server (`fake_kube_api.py`), asked by the real kubectl.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::skip;

/// The API server; ends when dropped.
pub struct FakeCluster {
    child: Child,
    directory: tempfile::TempDir,
}

impl FakeCluster {
    /// Starts one, bent by these arguments (`--scenario`, `--deny`, `--fail`); `None` where it cannot be, which was said
    /// aloud.
    pub fn start(arguments: &[&str]) -> Option<Self> {
        kubectl()?;
        let python = skip::program(
            "kubectl against a stand-in for a cluster",
            &["/usr/bin/python3", "/usr/local/bin/python3"],
        )?;
        let directory = tempfile::tempdir().expect("a directory");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/fake_kube_api.py");
        let mut child = Command::new(python)
            .arg(script)
            .arg("--kubeconfig")
            .arg(directory.path().join("config"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the API server starts");
        // It prints its address once it listens.
        let stdout = child.stdout.take().expect("stdout");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("a line of the API server");
        assert!(line.starts_with("http://127.0.0.1:"), "{line:?}");
        Some(Self { child, directory })
    }

    /// Returns the file that leads kubectl here.
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("config")
    }

    /// Ends the server; the file stays.
    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for FakeCluster {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Returns kubectl, or says that the test is skipped.
pub fn kubectl() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join("kubectl"))
        .find(|path| path.is_file());
    if found.is_none() {
        skip::skip("what kubectl answers", "kubectl is not installed");
    }
    found
}

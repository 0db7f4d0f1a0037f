//! A cluster whose pods come and go while it is asked: the files behind `fake_kube_api.py --world`.

use std::io::Write as _;
use std::path::PathBuf;

use serde_json::{Value, json};

/// The world of one test.
pub struct World {
    directory: tempfile::TempDir,
    pods: Vec<(String, u64, u64)>,
    number: u64,
    /// What is refused: `*` for everything.
    refused: &'static str,
}

impl World {
    /// Makes a world with one pod.
    pub fn new(pod: &str) -> Self {
        let mut world = Self {
            directory: tempfile::tempdir().expect("a directory"),
            pods: Vec::new(),
            number: 0,
            refused: "",
        };
        world.replace(pod);
        world
    }

    /// Returns the folder that `--world` wants.
    pub fn path(&self) -> String {
        self.directory.path().display().to_string()
    }

    /// Returns the file of a container's output in its present life.
    fn output(&self) -> PathBuf {
        let (pod, restarts, _) = self.pods.last().expect("a pod");
        let name = format!("slack-notifier.{restarts}.log");
        self.directory.path().join(pod).join(name)
    }

    /// Prints an activation from a client of its own and returns its number.
    pub fn activate(&mut self) -> u64 {
        self.number += 1;
        let event = json!({
            "event": "activation", "address": "203.0.113.9", "port": 50001, "source": "external", "product": "P",
            "workstation": format!("PC-{}", self.number), "status": "Licensed", "decision": "post",
            "at": jiff::Timestamp::now().to_string(),
        });
        self.print(&event.to_string());
        self.number
    }

    /// Prints a line as the kubelet keeps it: one write, stamped.
    pub fn print(&self, line: &str) {
        let now = jiff::Timestamp::now();
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.output())
            .expect("the output");
        let line = format!("{now:.9} stdout F {line}\n");
        file.write_all(line.as_bytes()).expect("a line");
    }

    /// Breaks every stream off.
    pub fn cut(&mut self) {
        self.pods.last_mut().expect("a pod").2 += 1;
        self.save();
    }

    /// Refuses everything (`*`) or one resource, as an API server that has just started, or nothing any more.
    pub fn refuse(&mut self, refused: &'static str) {
        self.refused = refused;
        self.save();
    }

    /// Starts the container again.
    pub fn restart(&mut self) {
        self.pods.last_mut().expect("a pod").1 += 1;
        self.save();
    }

    /// Puts another pod in the place of the present one.
    pub fn replace(&mut self, pod: &str) {
        std::fs::create_dir(self.directory.path().join(pod)).expect("a folder");
        self.pods = vec![(pod.to_owned(), 0, 0)];
        self.save();
    }

    fn save(&self) {
        let pod = |(name, restarts, cut): &(String, u64, u64)| json!({"name": name, "restarts": restarts, "cut": cut, "refused": self.refused});
        let pods: Vec<Value> = self.pods.iter().map(pod).collect();
        let place = self.directory.path().join("pods.json");
        let fresh = place.with_extension("new");
        std::fs::write(&fresh, Value::from(pods).to_string()).expect("a file");
        std::fs::rename(fresh, place).expect("a file");
    }
}

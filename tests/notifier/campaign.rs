//! The campaign: another process writes a log at full speed and rotates it in every way, while the notifier is killed
//! with SIGKILL again and again. Not one event may be lost, and no kill may repeat more than one message.
//!
//! Small and seeded by default; `KMSCTL_TESTS_CAMPAIGN=1000 KMSCTL_TESTS_SEED=1 cargo test --release --test notifier
//! campaign -- --nocapture` runs a thousand rotations and a thousand kills, and prints the counts.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::pods::{
    FakeSlack, Pod, Random, Running, activation, append, client, is_presence, within,
};

/// Most activations the writer is ahead of Slack, so that the outbox (1,000) never has to drop one.
const MOST_AHEAD: u32 = 600;

fn number_of(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Counts of one kind of rotation each.
#[derive(Default, Debug)]
struct Rotations {
    renamed: u32,
    copied: u32,
    deleted: u32,
}

/// The writing side; a process of its own.
struct Writer {
    folder: PathBuf,
    random: Random,
    activations: u32,
    probes: u32,
    rotations: Rotations,
}

impl Writer {
    fn log(&self) -> PathBuf {
        self.folder.join("log/vlmcsd.log")
    }

    fn run(&mut self, rotations: u32) {
        for number in 0..rotations {
            // A rotation may come in the middle of a connection, or of a request.
            let mut cut = usize::try_from(self.random.below(24)).expect("small");
            for _ in 0..2 + self.random.below(4) {
                let lines = activation(self.activations);
                append(&self.log(), &lines[..cut]);
                if cut > 0 && self.random.below(2) == 0 {
                    self.probe();
                }
                append(&self.log(), &lines[cut..]);
                self.activations += 1;
                cut = 1;
            }
            let lines = activation(self.activations);
            let middle = usize::try_from(self.random.below(24)).expect("small");
            append(&self.log(), &lines[..middle]);
            self.rotate(number);
            append(&self.log(), &lines[middle..]);
            self.activations += 1;
            self.report();
        }
    }

    fn probe(&mut self) {
        self.probes += 1;
        let peer = format!("10.10.107.224:{}", 30_000 + self.probes % 30_000);
        append(
            &self.log(),
            &[
                format!("IPv4 connection accepted: {peer}."),
                format!("IPv4 connection closed: {peer}."),
            ],
        );
    }

    fn rotate(&mut self, number: u32) {
        let log = self.log();
        let aside = log.with_file_name(format!("vlmcsd.log.{number}"));
        match self.random.below(20) {
            0..=10 => {
                std::fs::rename(&log, aside).expect("a rename");
                self.rotations.renamed += 1;
            }
            11..=16 => {
                std::fs::copy(&log, aside).expect("a copy");
                std::fs::File::options().write(true).truncate(true).open(&log).expect("a cut");
                self.rotations.copied += 1;
            }
            // What is deleted unread is lost with any reader: only what a checkpoint holds is deleted.
            _ if within(Duration::from_secs(60), &mut || self.is_read()) => {
                std::fs::remove_file(&log).expect("a removal");
                self.rotations.deleted += 1;
            }
            _ => panic!("no notifier reads the log"),
        }
        // Generations follow each other no faster than the clock of a file system ticks.
        std::thread::sleep(Duration::from_millis(5));
    }

    /// Tells whether the newest checkpoint holds the whole log.
    fn is_read(&self) -> bool {
        let Ok(text) = std::fs::read_to_string(self.folder.join("state/checkpoint")) else {
            return false;
        };
        let body = text.split_once('\n').map_or("", |(_, body)| body);
        let Ok(checkpoint) = serde_json::from_str::<serde_json::Value>(body) else {
            return false;
        };
        let Ok(metadata) = std::fs::metadata(self.log()) else {
            return false;
        };
        let position = &checkpoint["position"];
        position["inode"] == metadata.ino() && position["offset"] == metadata.len()
    }

    /// Writes down how far it is, and waits if Slack is too far behind.
    fn report(&self) {
        let counts = format!(
            "{} {} {} {} {}",
            self.activations,
            self.probes,
            self.rotations.renamed,
            self.rotations.copied,
            self.rotations.deleted
        );
        let aside = self.folder.join("written.new");
        std::fs::write(&aside, counts).expect("a report");
        std::fs::rename(&aside, self.folder.join("written")).expect("a report");
        let posted = || -> u32 {
            let text = std::fs::read_to_string(self.folder.join("posted")).unwrap_or_default();
            text.trim().parse().unwrap_or_default()
        };
        let near =
            within(Duration::from_secs(120), &mut || self.activations < posted() + MOST_AHEAD);
        assert!(near, "Slack stands still at {}", posted());
    }
}

/// No test by itself: the writing process of the others.
#[test]
fn writer_process() {
    let Ok(folder) = std::env::var("KMSCTL_TESTS_WRITER") else {
        return;
    };
    let seed = number_of("KMSCTL_TESTS_SEED", 1);
    let rotations = u32::try_from(number_of("KMSCTL_TESTS_CAMPAIGN", 0)).expect("small");
    let mut writer = Writer {
        folder: folder.into(),
        random: Random(seed),
        activations: 0,
        probes: 0,
        rotations: Rotations::default(),
    };
    writer.run(rotations);
}

/// The writing process; killed when dropped.
struct Writing(Child);

impl Drop for Writing {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_writer(folder: &Path, seed: u64, rotations: u64) -> Writing {
    let child = Command::new(std::env::current_exe().expect("this program"))
        .args(["campaign::writer_process", "--exact", "--nocapture", "--test-threads=1"])
        .env("KMSCTL_TESTS_WRITER", folder)
        .env("KMSCTL_TESTS_SEED", seed.to_string())
        .env("KMSCTL_TESTS_CAMPAIGN", rotations.to_string())
        .stdout(Stdio::null())
        .spawn()
        .expect("a writer");
    Writing(child)
}

/// Returns when the newest checkpoint was written.
fn checkpoint_time(home: &Path) -> Option<std::time::SystemTime> {
    let metadata = std::fs::metadata(home.join("state/checkpoint")).ok()?;
    metadata.modified().ok()
}

/// Keeps what is needed to find out why something is missing.
fn keep(home: &Path, running: &Running) {
    eprintln!("{}", running.get("/metrics").unwrap_or_default());
    let kept = std::env::temp_dir().join(format!("kmsctl-campaign-{}", std::process::id()));
    let copied = Command::new("cp").arg("-a").arg(home).arg(&kept).status();
    eprintln!("the place is kept in {} ({copied:?})", kept.display());
}

#[test]
fn no_rotation_and_no_kill_loses_an_event() {
    if std::env::var_os("KMSCTL_TESTS_WRITER").is_some() {
        return;
    }
    let rounds = number_of("KMSCTL_TESTS_CAMPAIGN", 36);
    let seed = number_of("KMSCTL_TESTS_SEED", 20_261_122);
    let slack = FakeSlack::start(&[]);
    let mut pod = Pod::new(&slack);
    pod.set("KMSCTL_NOTIFIER_DIGEST_FROM", "1000");
    let home = pod.environment.home().to_owned();
    let began = Instant::now();
    let mut writer = start_writer(&home, seed, rounds);
    let mut random = Random(seed ^ 0xfeed);
    let mut kills = 0;
    let mut complaints: BTreeMap<String, usize> = BTreeMap::new();
    let mut note = |err: &str| {
        let strange = |line: &&str| !line.trim().is_empty() && !is_presence(line);
        for line in err.lines().filter(strange) {
            *complaints.entry(line.to_owned()).or_default() += 1;
        }
    };
    let publish = || {
        let posted = slack.clients();
        std::fs::write(home.join("posted"), posted.len().to_string()).expect("a report");
        posted
    };
    while kills < rounds {
        let before = checkpoint_time(&home);
        let running = pod.start_quickly(pod.command(&[]));
        std::thread::sleep(Duration::from_millis(10 + random.below(400)));
        // On a busy machine a life this short ends before the first line is read, and the writer would wait in vain.
        if kills % 8 == 7 {
            within(Duration::from_secs(3), &mut || checkpoint_time(&home) != before);
        }
        let (_, err) = running.kill();
        note(&err);
        kills += 1;
        publish();
    }
    let mut running = pod.start_quickly(pod.command(&[]));
    let mut written = None;
    while written.is_none() {
        publish();
        assert!(!running.has_ended(), "the notifier ended by itself");
        if let Some(status) = writer.0.try_wait().expect("a writer") {
            assert!(status.success(), "the writer failed");
            written = std::fs::read_to_string(home.join("written")).ok();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let counts: Vec<usize> = written
        .iter()
        .flat_map(|text| text.split(' '))
        .map(|word| word.parse().expect("a count"))
        .collect();
    // As long as more comes, it is slow and not stuck.
    let mut most = 0;
    while publish().len() > most && most < counts[0] {
        most = publish().len();
        within(Duration::from_secs(20), &mut || publish().len() > most);
    }
    let all = publish().len() >= counts[0];
    if !all {
        keep(&home, &running);
    }
    // What is posted twice would be posted by now.
    std::thread::sleep(Duration::from_millis(1_500));
    let (code, _, err) = running.stop();
    note(&err);
    let posted = publish();
    let lost: Vec<u32> = (0..u32::try_from(counts[0]).expect("small"))
        .filter(|number| !posted.contains_key(&client(*number)))
        .collect();
    let twice: usize = posted.values().map(|count| count - 1).sum();
    eprintln!(
        "campaign, seed {seed}: {} activations and {} probes written; {} rotations ({} renamed, {} copied and cut, {} deleted); {kills} kills; {} lost, {twice} posted twice; {:.0} s",
        counts[0],
        counts[1],
        counts[2] + counts[3] + counts[4],
        counts[2],
        counts[3],
        counts[4],
        lost.len(),
        began.elapsed().as_secs_f64()
    );
    eprintln!("said: {complaints:?}");
    assert_eq!(code, Some(0));
    assert_eq!((lost, posted.len()), (vec![], counts[0]), "no client is lost, none is invented");
    assert!(twice <= usize::try_from(kills).expect("small"), "{twice} posted twice");
    assert!(complaints.is_empty(), "{complaints:?}");
}

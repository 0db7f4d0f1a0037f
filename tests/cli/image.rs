//! The image of `deploy/Containerfile`: its last stage, built by buildah without a pull, and run on a generated log.
//!
//! `KMSCTL_TESTS_STATIC_BINARY` names the binary of a musl target that tests/run builds where that target is installed.
//! Otherwise the tests' own binary goes in, with the loader and libraries that it wants.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::kms_log::{Profile, What};
use crate::support::pods::slack_with_private_certificate;
use crate::support::redis::make_certificates;
use crate::support::side_car::{SideCar, free_port};
use crate::support::skip;

const AUTHORITIES: &str = "etc/ssl/certs/ca-certificates.crt";

fn run(command: &mut Command) -> String {
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Makes a folder that the image's account may look into.
fn open_folder(parent: &Path, name: &str, mode: u32) -> PathBuf {
    let folder = parent.join(name);
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(mode)).expect("a mode");
    folder
}

/// Copies a file to its place below a folder.
fn copy_below(root: &Path, from: &Path, place: &str) {
    let to = root.join(place.trim_start_matches('/'));
    std::fs::create_dir_all(to.parent().expect("a parent")).expect("folders");
    std::fs::copy(from, to).expect("a copy");
}

/// Lays out what the build's stage holds; returns further lines of the Containerfile.
fn lay_out_stage(stage: &Path) -> String {
    copy_below(stage, &Path::new("/").join(AUTHORITIES), AUTHORITIES);
    let place = "/src/target/release/kmsctl";
    if let Some(built) = std::env::var_os("KMSCTL_TESTS_STATIC_BINARY") {
        let program = std::fs::read(&built).expect("the static binary");
        assert!(!program.windows(14).any(|bytes| bytes == b"/lib/ld-musl-x"), "it wants a loader");
        copy_below(stage, Path::new(&built), place);
        return String::new();
    }
    eprintln!(
        "NOT TESTED: that the image's binary is static, and its size: no musl target is installed, so the glibc binary goes in"
    );
    let program = Path::new(env!("CARGO_BIN_EXE_kmsctl"));
    copy_below(stage, program, place);
    let stripped = stage.join(&place[1..]);
    let _ = Command::new("objcopy").arg("--strip-debug").arg(stripped).status();
    let libraries = run(Command::new("ldd").arg(program));
    let mut lines = String::new();
    for library in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
        copy_below(stage, Path::new(library), library);
        lines.push_str(&format!("COPY {} {library}\n", &library[1..]));
    }
    lines
}

#[test]
fn the_image_reads_a_log_and_answers() {
    let Some(buildah) = skip::program("the image", &["/usr/bin/buildah"]) else {
        return;
    };
    let Some(openssl) = skip::program("the image", &["/usr/bin/openssl"]) else {
        return;
    };
    let place = tempfile::tempdir().expect("a folder");
    let root = open_folder(place.path(), ".", 0o755);
    let buildah = || {
        let mut command = Command::new(&buildah);
        command
            .env("HOME", &root)
            .args(["--storage-driver", "vfs", "--root"])
            .arg(root.join("storage"))
            .arg("--runroot")
            .arg(root.join("run"));
        command
    };
    let stage = open_folder(&root, "stage", 0o755);
    let more = lay_out_stage(&stage);
    let text = include_str!("../../deploy/Containerfile");
    let (_, last) = text.split_once("\nFROM scratch\n").expect("a last stage");
    let last = format!("FROM scratch\n{}\n{more}", last.replace("--from=build /", ""));
    std::fs::write(root.join("Containerfile"), last).expect("a file");
    let build = ["bud", "--isolation", "chroot", "--pull-never", "--quiet", "-t", "kmsctl"];
    run(buildah().args(build).arg("-f").arg(root.join("Containerfile")).arg(&stage));
    let image = run(buildah().args(["inspect", "--type", "image", "kmsctl"]));
    let image: Value = serde_json::from_str(&image).expect("JSON");
    let config = &image["OCIv1"]["config"];
    assert_eq!(config["User"], "65532:65532");
    assert_eq!(config["Entrypoint"], json!(["/kmsctl"]));
    assert_eq!(config["Cmd"], json!(["notifier", "run", "--echo"]));
    assert_eq!(config["ExposedPorts"], json!({"9101/tcp": {}}));
    for (label, value) in [
        ("title", env!("CARGO_PKG_NAME")),
        ("version", env!("CARGO_PKG_VERSION")),
        ("licenses", env!("CARGO_PKG_LICENSE")),
        ("source", env!("CARGO_PKG_REPOSITORY")),
    ] {
        let label = format!("org.opencontainers.image.{label}");
        assert_eq!(config["Labels"][&label], value, "{label}");
    }

    // As the kubelet runs it: what the image says, on the pod's volumes, with a private authority of Slack's.
    let (log, state) = (open_folder(&root, "log", 0o755), open_folder(&root, "state", 0o777));
    let authority = open_folder(&root, "authority", 0o755);
    make_certificates(&openssl, &authority);
    let webhook = slack_with_private_certificate(&authority);
    let container = run(buildah().args(["from", "--pull-never", "kmsctl"]));
    let files = run(buildah().args([
        "run",
        "--isolation",
        "chroot",
        container.trim(),
        "--",
        "/kmsctl",
        "--version",
    ]));
    assert!(files.contains(env!("CARGO_PKG_VERSION")), "{files}");
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let inner = buildah();
    // buildah's own child outlives it where it is killed; a PID namespace does not.
    let mut command = Command::new("unshare");
    command
        .args(["--pid", "--fork", "--kill-child", "--"])
        .arg(inner.get_program())
        .args(inner.get_args())
        .env("HOME", &root)
        .args(["run", "--isolation", "chroot"]);
    for (folder, inside) in [
        (&log, "/var/log/vlmcsd:ro"),
        (&state, "/var/lib/kmsctl-notifier"),
        (&authority, "/authority:ro"),
    ] {
        command.arg("-v").arg(format!("{}:{inside}", folder.display()));
    }
    for (name, value) in [
        ("KMSCTL_NOTIFIER_LOG", "/var/log/vlmcsd/vlmcsd.log"),
        ("KMSCTL_NOTIFIER_STATE", "/var/lib/kmsctl-notifier"),
        ("KMSCTL_NOTIFIER_LISTEN", &address.to_string()),
        ("SLACK_WEBHOOK_URL", &webhook),
        ("SSL_CERT_FILE", "/authority/authority.pem"),
    ] {
        command.args(["-e", &format!("{name}={value}")]);
    }
    command.args([container.trim(), "--"]);
    for part in ["Entrypoint", "Cmd"] {
        let words = config[part].as_array().expect("words").iter();
        command.args(words.filter_map(Value::as_str));
    }
    let log = log.join("vlmcsd.log");
    std::fs::write(&log, "").expect("a log");
    let side_car = SideCar::spawn(command, address, &log);
    assert_eq!(side_car.status("/healthz"), Some(200));
    let written = Profile { seconds: 6 * 3_600, ..Profile::quiet() }.simulate(7);
    std::fs::write(&log, written.bytes()).expect("the log");
    let requests = written.events.iter();
    let requests = requests.filter(|event| matches!(event.what, What::Request { .. })).count();
    assert!(requests > 10, "{requests}");
    side_car.wait_for("every request is counted", |side_car| {
        let page = side_car.get("/metrics", "").1;
        let counts = page.lines().filter(|line| line.starts_with("kms_requests_total{"));
        let counts = counts.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok());
        counts.sum::<usize>() == requests
    });
    side_car.activation("198.51.100.7", "Windows 10 Professional", "PC");
    side_car.wait_for("Slack takes a message", |side_car| {
        let page = side_car.get("/metrics", "").1;
        let taken = page
            .lines()
            .find_map(|line| line.strip_prefix("kms_slack_posts_total{result=\"ok\"} "));
        taken.is_some_and(|count| count != "0")
    });
}

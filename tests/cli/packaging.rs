//! What a release is made from: the lists of files in Cargo.toml, the unit, the formula and the version that a build names.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::environment::TestEnvironment;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn metadata() -> toml::Table {
    let manifest: toml::Table = read("Cargo.toml").parse().expect("a manifest");
    manifest["package"]["metadata"].as_table().expect("metadata").clone()
}

/// Files that a pattern with at most one star, in its last part, stands for.
fn matching(pattern: &str) -> Vec<PathBuf> {
    let path = root().join(pattern);
    let last = path.file_name().expect("a name").to_str().expect("a name");
    let Some((before, after)) = last.split_once('*') else {
        return path.is_file().then_some(path).into_iter().collect();
    };
    std::fs::read_dir(path.parent().expect("a folder"))
        .expect(pattern)
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            let name = path.file_name().expect("a name").to_string_lossy();
            path.is_file() && name.starts_with(before) && name.ends_with(after)
        })
        .collect()
}

/// (source, place) of a package's files, places without the leading slash.
fn packaged(kind: &str) -> Vec<(String, String)> {
    let metadata = metadata();
    let assets = metadata[kind]["assets"].as_array().expect("assets");
    let text = |value: &toml::Value| value.as_str().expect("a text").to_owned();
    assets
        .iter()
        .map(|asset| match asset {
            toml::Value::Array(words) => (text(&words[0]), text(&words[1])),
            table => (text(&table["source"]), text(&table["dest"])),
        })
        .map(|(source, place)| (source, place.trim_start_matches('/').to_owned()))
        .collect()
}

/// Cargo takes `strip` from the entry of the package where there is one, and there it cannot be inherited.
#[test]
fn the_release_is_stripped() {
    let manifest: toml::Table = read("Cargo.toml").parse().expect("a manifest");
    let release = &manifest["profile"]["release"];
    let own = release["package"].get("kmsctl").unwrap_or(release);
    assert_eq!(own.get("strip"), Some(&toml::Value::Boolean(true)));
}

#[test]
fn packages_name_files_that_exist() {
    for kind in ["deb", "generate-rpm"] {
        let files = packaged(kind);
        for (source, _) in &files {
            let built = source == "target/release/kmsctl";
            assert!(built || !matching(source).is_empty(), "{kind}: {source}");
        }
        for place in [
            "usr/bin/",
            "usr/share/man/man1/",
            "usr/share/bash-completion/completions/kmsctl",
            "usr/share/fish/vendor_completions.d/kmsctl.fish",
            "usr/share/doc/kmsctl/runbooks/",
            "usr/share/doc/kmsctl/examples/",
            "usr/lib/systemd/system/kmsctl-exporter.service",
        ] {
            assert!(
                files.iter().any(|(_, to)| to.starts_with(place)),
                "{kind} puts nothing into {place}"
            );
        }
    }
}

/// The unit is there for those who want it: without scripts of its own a package enables and starts nothing.
#[test]
fn no_package_starts_the_exporter() {
    let metadata = metadata();
    for scripts in ["maintainer-scripts", "systemd-units"] {
        assert!(metadata["deb"].get(scripts).is_none(), "{scripts}");
    }
    let rpm = metadata["generate-rpm"].as_table().expect("a table");
    assert!(!rpm.keys().any(|key| key.contains("script")), "{rpm:?}");
    let unit = read("deploy/exporter.service");
    assert!(unit.contains("ExecStart=/usr/bin/kmsctl "), "{unit}");
    assert!(unit.contains("systemctl enable --now kmsctl-exporter\n"), "{unit}");
}

/// Homebrew refuses a formula that lies in no tap.
#[test]
fn the_formula_is_installed_from_a_tap() {
    for file in ["README.md", "packaging/kmsctl.rb"] {
        let text = read(file);
        assert!(!text.contains("brew install ./"), "{file}");
        for step in
            ["brew tap-new --no-git local/kmsctl", "/Formula/", "brew install local/kmsctl/kmsctl"]
        {
            assert!(text.contains(step), "{file}: {step}");
        }
    }
}

#[test]
fn the_formula_knows_the_archives_that_are_built() {
    let formula = read("packaging/kmsctl.rb");
    let release = read("tests/release");
    for target in ["x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl"] {
        assert!(release.contains(target), "{target}");
        assert!(
            formula.contains(&format!("@SHA256 kmsctl-@VERSION@-{target}.tar.gz@")),
            "{target}"
        );
    }
    let pattern = metadata()["binstall"]["pkg-url"].clone();
    assert!(
        pattern.as_str().is_some_and(|url| url.ends_with("kmsctl-{ version }-{ target }.tar.gz")),
        "{pattern}"
    );
}

#[test]
fn the_published_crate_has_what_it_needs() {
    let output = Command::new(env!("CARGO"))
        .args(["package", "--list", "--allow-dirty", "--offline", "--locked"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let listed = String::from_utf8(output.stdout).expect("paths");
    for wanted in [
        "build.rs",
        "src/main.rs",
        "runbooks/status.md",
        "LICENSE-MIT",
        "LICENSE-APACHE",
        "README.md",
        "completions/_kmsctl",
    ] {
        assert!(listed.lines().any(|line| line == wanted), "{wanted}");
    }
    for path in listed.lines() {
        assert!(!path.starts_with("tests/") && !path.starts_with("benches/"), "{path}");
        let size = root().join(path).metadata().map_or(0, |metadata| metadata.len());
        assert!(size <= 1_000_000, "{path} has {size} bytes");
    }
}

#[test]
fn version_names_the_build() {
    let printed = TestEnvironment::new().run(&["--version"]).success();
    let version = env!("CARGO_PKG_VERSION");
    if cfg!(debug_assertions) {
        assert_eq!(printed, format!("kmsctl {version} (development build)\n"));
    } else {
        assert!(printed.starts_with(&format!("kmsctl {version}")), "{printed}");
    }
}

/// The build script as a program of its own, run in a folder that plays the package.
struct BuildScript {
    folder: tempfile::TempDir,
}

impl BuildScript {
    fn compile() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let output = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
            .args(["--edition", "2024", "-o"])
            .arg(folder.path().join("build-script"))
            .arg(root().join("build.rs"))
            .env("CARGO_PKG_VERSION", "1.2.3")
            .output()
            .expect("rustc runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self { folder }
    }

    fn package(&self, path: &str) -> PathBuf {
        let package = self.folder.path().join(path);
        std::fs::create_dir_all(package.join("src")).expect("a folder");
        std::fs::write(package.join("src/main.rs"), "fn main() {}\n").expect("a file");
        package
    }

    /// What it hands to the compiler as the version.
    fn version(&self, package: &Path, variables: &[(&str, &str)]) -> String {
        let output = Command::new(self.folder.path().join("build-script"))
            .current_dir(package)
            .env_remove("KMSCTL_BUILD_COMMIT")
            .env("PROFILE", "release")
            .envs(variables.iter().copied())
            .output()
            .expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let printed = String::from_utf8(output.stdout).expect("text");
        // `cargo run` hands these on to kmsctl, which would warn of names of its own that mean nothing.
        assert!(!printed.contains("rustc-env=KMSCTL_"), "{printed}");
        let version =
            printed.lines().find_map(|line| line.strip_prefix("cargo:rustc-env=BUILD_VERSION="));
        version.expect("a version").to_owned()
    }
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=tester", "-c", "user.email=tester@localhost"])
        .args(arguments)
        .current_dir(folder)
        .env("GIT_COMMITTER_DATE", "2026-03-01T23:30:00-05:00")
        .output()
        .expect("git runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

#[test]
fn a_release_names_its_own_commit_only() {
    let script = BuildScript::compile();
    let package = script.package("kmsctl");
    assert_eq!(script.version(&package, &[]), "1.2.3", "no repository");

    let above = script.folder.path();
    git(above, &["init", "--quiet"]);
    git(above, &["add", "."]);
    git(above, &["commit", "--quiet", "--message", "another project"]);
    assert_eq!(script.version(&package, &[]), "1.2.3", "the repository of a folder above");

    git(&package, &["init", "--quiet"]);
    git(&package, &["add", "."]);
    git(&package, &["commit", "--quiet", "--message", "kmsctl"]);
    let commit = git(&package, &["rev-parse", "HEAD"])[..10].to_owned();
    // The date is that of the committer, in UTC wherever it is built.
    assert_eq!(script.version(&package, &[]), format!("1.2.3 ({commit} 2026-03-02)"));
    std::fs::write(package.join("src/main.rs"), "fn main() { }\n").expect("an edit");
    assert_eq!(script.version(&package, &[]), format!("1.2.3 ({commit}+edited 2026-03-02)"));
    assert_eq!(script.version(&package, &[("PROFILE", "debug")]), "1.2.3 (development build)");

    let given = [("KMSCTL_BUILD_COMMIT", "0123456789 2026-04-05")];
    assert_eq!(script.version(&package, &given), "1.2.3 (0123456789 2026-04-05)");
}

#[test]
fn a_published_crate_names_its_commit() {
    let script = BuildScript::compile();
    let package = script.package("kmsctl-1.2.3");
    let note = "{\n  \"git\": {\n    \"sha1\": \"fedcba98765432100123456789abcdef01234567\"\n  },\n  \"path_in_vcs\": \"\"\n}";
    std::fs::write(package.join(".cargo_vcs_info.json"), note).expect("a note");
    assert_eq!(script.version(&package, &[]), "1.2.3 (fedcba9876)");
}

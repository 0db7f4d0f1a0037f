# Formula for Homebrew. `tests/release` fills in the version and the sums, and leaves out the archives that it did not build.
# Homebrew installs from taps only, not from a file: put it into the folder Formula of one.
#   brew tap-new --no-git local/kmsctl
#   cp kmsctl.rb "$(brew --repository local/kmsctl)/Formula/"
#   brew install local/kmsctl/kmsctl
class Kmsctl < Formula
  desc "Manage the public exposure of a KMS service behind pfSense"
  homepage "https://github.com/viktorbarzin/kmsctl"
  license any_of: ["MIT", "Apache-2.0"]

  # Elsewhere it is built from the source.
  url "https://github.com/viktorbarzin/kmsctl/releases/download/v@VERSION@/kmsctl-@VERSION@-source.tar.gz"
  sha256 "@SHA256 kmsctl-@VERSION@-source.tar.gz@"

  on_linux do
    on_intel do
      url "https://github.com/viktorbarzin/kmsctl/releases/download/v@VERSION@/kmsctl-@VERSION@-x86_64-unknown-linux-musl.tar.gz"
      sha256 "@SHA256 kmsctl-@VERSION@-x86_64-unknown-linux-musl.tar.gz@"
    end
    on_arm do
      url "https://github.com/viktorbarzin/kmsctl/releases/download/v@VERSION@/kmsctl-@VERSION@-aarch64-unknown-linux-musl.tar.gz"
      sha256 "@SHA256 kmsctl-@VERSION@-aarch64-unknown-linux-musl.tar.gz@"
    end
  end

  depends_on "rust" => :build

  def install
    if File.exist?("Cargo.toml")
      system "cargo", "install", *std_cargo_args
    else
      bin.install "kmsctl"
    end
    man1.install Dir["completions/man/*.1"]
    bash_completion.install "completions/kmsctl.bash" => "kmsctl"
    fish_completion.install "completions/kmsctl.fish"
    zsh_completion.install "completions/_kmsctl"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/kmsctl --version")
    system bin/"kmsctl", "--demo", "status"
  end
end

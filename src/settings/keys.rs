//! The table of configuration keys: path, kind, built-in default, meaning. `config.example.toml` is this
//! table printed ([`example_configuration`]); a test holds the file to it.

use std::fmt::Write as _;

use crate::text::nearest_word;

/// What a key's text must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    Text,
    Word(&'static [&'static str]),
    /// A whole number from the first to the second, both included.
    Number(u64, u64),
    /// A duration such as `90s`, `15m`, `2h`, `1d`, `1h30m`.
    Duration,
    /// A duration of at least a second.
    Deadline,
    /// An address, a host name or a Host of ssh_config.
    Host,
    /// The same, or nothing.
    OptionalHost,
    /// An account name; may be empty.
    Account,
    /// A name that pfSense gives to aliases: letters, digits and `_`.
    Name,
    Address,
    /// A literal IP address, or nothing.
    OptionalAddress,
    /// A list of name servers, each `ADDRESS` or `ADDRESS:PORT`; in the environment, separated by commas.
    Resolvers,
    /// A list of pfSense's interface names; in the environment, separated by commas.
    Names,
    /// A list of networks in CIDR notation; in the environment, separated by commas.
    Networks,
    /// A file path; `~/` is the home directory.
    Path,
    /// An absolute path on the firewall, made of letters, digits and `/._-+`.
    RemotePath,
    /// `N/SECONDS`.
    Rate,
    Table,
    /// An `SHA256:…` fingerprint.
    Fingerprint,
    /// `HOST:PORT`, or nothing.
    Endpoint,
    /// `http://…` or `https://…`.
    Url,
    /// `file`, `memory` or `redis://…` or `rediss://…`, which may hold a password: it is shown without.
    Window,
}

#[derive(Clone, Copy, Debug)]
pub struct SettingKey {
    /// Dotted path in the file, such as `firewall.host`.
    pub path: &'static str,
    pub kind: KeyKind,
    /// The built-in default as a TOML literal.
    pub default: &'static str,
    /// What it means, for `config.example.toml`; sentences.
    pub meaning: &'static str,
}

impl SettingKey {
    /// Returns the environment name: `KMSCTL_` and the path in capitals.
    pub fn environment_name(&self) -> String {
        format!("KMSCTL_{}", self.path.replace('.', "_").to_uppercase())
    }

    /// Splits the path into its table (empty for the top) and its last word.
    pub fn split_path(&self) -> (&'static str, &'static str) {
        self.path.rsplit_once('.').unwrap_or(("", self.path))
    }
}

/// Writes a table of keys: the path, its kind, the built-in default as a TOML literal, and the meaning.
macro_rules! setting_keys {
    ($($path:literal $kind:ident $(($($of:expr),+))? = $default:expr => $meaning:literal;)*) => {
        &[$(SettingKey {
            path: $path,
            kind: KeyKind::$kind $(($($of),+))?,
            default: $default,
            meaning: $meaning,
        }),*]
    };
}

/// Words of `output`.
pub const OUTPUTS: &[&str] = &["table", "json", "ndjson", "csv"];
/// Words of `color`.
pub const COLORS: &[&str] = &["auto", "always", "never"];

/// Every key, in the order of the example file.
pub const KEYS: &[SettingKey] = setting_keys! {
    "output" Word(OUTPUTS) = r#""table""# => "How data is printed. Flag: --output.";
    "color" Word(COLORS) = r#""auto""# => "Colour on a terminal. NO_COLOR counts as never. Flag: --color.";
    "timeout" Deadline = r#""30s""# => "Deadline of one read or change, connecting included. Flag: --timeout.";
    "context" Text = r#""""# =>
        "The context to use where none is named: one of [contexts.NAME] below. Flag: --context.";
    "firewall.host" Host = r#""10.0.20.1""# =>
        "Address or name of the pfSense box, or a Host of your ssh_config.";
    "firewall.user" Account = r#""admin""# =>
        "Account to log in as. admin and root can do everything; others need sudo.\nEmpty leaves it to ssh_config.";
    "firewall.port" Number(1, 65_535) = "22" => "Port of its SSH server.";
    "firewall.transport" Word(&["auto", "openssh", "russh"]) = r#""auto""# =>
        "openssh runs the system's ssh and honours its configuration, agent and jump hosts;\nrussh is built in; auto takes openssh where an ssh program is installed.";
    "firewall.identity" Path = r#""""# =>
        "Private key file. Empty leaves it to ssh_config, the agent and the usual names.";
    "firewall.ssh_config" Path = r#""""# =>
        "Configuration file for ssh. Empty is ~/.ssh/config. Not read by russh.";
    "firewall.known_hosts" Path = r#""""# =>
        "File of known host keys. Empty is ~/.ssh/known_hosts. Keys are always checked.";
    "firewall.fingerprint" Fingerprint = r#""""# =>
        "Fingerprint of the host key (SHA256:…), checked in addition to known_hosts.";
    "firewall.connect_timeout" Deadline = r#""10s""# => "Deadline of connecting and logging in.";
    "firewall.control_persist" Duration = r#""10m""# =>
        "How long an OpenSSH connection stays up for the next command. 0s closes it at once.";
    "firewall.become" Word(&["", "sudo", "sudo-pfctl"]) = r#""""# =>
        "sudo runs everything on the firewall through `sudo -n`; needs pfSense's sudo package.\nsudo-pfctl runs pfctl's lists alone through it: enough for looks and the exporter; changes are refused.";
    "firewall.peer" Text = r#""""# =>
        "The context of the other node of a CARP pair: looks show both, virusprot changes the table of both, and rules are\nchanged on the primary and proven on both. Empty where this firewall is alone.";
    "firewall.outside" Names = "[]" =>
        "pfSense's names of VPN interfaces that lead outside as well, such as [\"opt3\"]. Interfaces with a gateway\nare outside anyway: what leads from one of them to the service is a path.";
    "firewall.paths.crontab" RemotePath = r#""/etc/crontab""# =>
        "Path of the system's crontab on the firewall: it says when entries of the table expire.";
    "firewall.paths.pfctl" RemotePath = r#""/sbin/pfctl""# => "Path of pfctl on the firewall.";
    "firewall.paths.php" RemotePath = r#""/usr/local/bin/php""# => "Path of PHP on the firewall.";
    "firewall.paths.sudo" RemotePath = r#""/usr/local/bin/sudo""# => "Path of sudo on the firewall.";
    "service.alias" Name = r#""k8s_kms_lb""# =>
        "pfSense alias that the port forward and the filter rule point to.";
    "service.address" Address = r#""10.0.20.202""# => "Address the alias should hold.";
    "service.port" Number(1, 65_535) = "1688" => "TCP port, outside and inside.";
    "service.interface" Name = r#""wan""# => "pfSense's name of the outside interface.";
    "service.description" Text = r#""KMS public — kms.viktorbarzin.me""# =>
        "Description of the rules, for people. Rules are never matched by it.";
    "service.host" OptionalHost = r#""kms.viktorbarzin.me""# => "Public name of the service. Empty looks at no name.";
    "service.public_address" OptionalAddress = r#""""# =>
        "Address the public name should have. Empty takes the firewall's own, where that is a public one.";
    "service.protocol" Word(&["kms", "tcp"]) = r#""kms""# =>
        "What its server speaks. tcp is any other service: verify proves the connection and asks nothing of the\nserver, and the notifier's side is left out.";
    "service.table" Table = r#""virusprot""# => "pf's overload table. pfSense knows only virusprot.";
    "presets.default.max_src_conn" Number(1, 4_294_967_295) = "50" =>
        "Connections that one source may hold at a time.";
    "presets.default.rate" Rate = r#""10/60""# => "New connections of one source within seconds.";
    "presets.tighten.max_src_conn" Number(1, 4_294_967_295) = "10" => "The same, for suspected abuse.";
    "presets.tighten.rate" Rate = r#""3/60""# => "The same, for suspected abuse.";
    "presets.loosen.max_src_conn" Number(1, 4_294_967_295) = "50" =>
        "The same, when legitimate users are blocked.";
    "presets.loosen.rate" Rate = r#""30/60""# => "The same, when legitimate users are blocked.";
    "networks.pods" Networks = r#"["10.10.0.0/16"]"# => "Networks of the cluster's pods.";
    "networks.nodes" Networks = r#"["10.0.20.0/24"]"# => "Networks of the cluster's nodes.";
    "networks.protected" Networks = "[]" => "Networks that must never be blocked: you are warned when one is.";
    "cluster.kubectl" Text = r#""kubectl""# => "The kubectl program.";
    "cluster.context" Text = r#""""# => "kubectl context. Empty is the current one.";
    "cluster.namespace" Text = r#""kms""# => "Namespace of the service.";
    "cluster.enabled" Word(&["auto", "yes", "no"]) = r#""auto""# =>
        "Whether there is a cluster to ask. auto: where cluster.context or cluster.kubeconfig is set.";
    "cluster.kubeconfig" Path = r#""""# =>
        "kubectl's configuration file. Empty leaves it to KUBECONFIG and ~/.kube/config.";
    "cluster.timeout" Duration = r#""8s""# => "Deadline of one question to the cluster; timeout, where that is less.";
    "cluster.service" Text = r#""windows-kms""# => "Name of the Service that is exposed.";
    "cluster.deployment" Text = r#""kms""# => "Name of the Deployment behind it.";
    "cluster.selector" Text = r#""app=kms-service""# => "Label selector of its pods.";
    "cluster.server_container" Text = r#""windows-kms""# => "Container of the KMS server in those pods.";
    "cluster.notifier_container" Text = r#""slack-notifier""# => "Container of the notifier in those pods.";
    "cluster.metallb_namespace" Text = r#""metallb-system""# =>
        "Namespace where MetalLB says which node announces an address.";
    "verify.resolvers" Resolvers = "[]" =>
        "Name servers to ask for service.host beside the system's resolver, such as [\"9.9.9.9\"]:\nthey give the answer that clients outside get. They learn that you asked.";
    "notifier.log" Path = r#""/var/log/vlmcsd/vlmcsd.log""# =>
        "The KMS server's log, read by `notifier run`. Also: VLMCSD_LOG.";
    "notifier.state" Path = r#""/var/lib/kmsctl-notifier""# =>
        "Directory of the notifier's checkpoint and outbox: a small volume of its own.";
    "notifier.webhook_file" Path = r#""""# =>
        "File that holds the URL of Slack's webhook; read again when it changes. Empty takes\nSLACK_WEBHOOK_URL from the environment. Without either nothing is posted.";
    "notifier.channel" Text = r#""""# =>
        "Slack channel, for legacy webhooks; others ignore it. Also: SLACK_CHANNEL.";
    "notifier.listen" Text = r#""[::]:9101""# =>
        "Address and port of /metrics, /healthz and /readyz. Also, the port alone: METRICS_PORT.";
    "notifier.dedup_window" Duration = r#""1h""# =>
        "Each client and product is posted once within this time. Also: DEDUP_WINDOW_SECONDS.";
    "notifier.dedup_store" Window = r#""file""# =>
        "Where that is remembered: file (with the checkpoint, so that it survives a restart), memory, or\nredis://[USER[:PASSWORD]@]HOST[:PORT][/DATABASE], which several notifiers share; of a Sentinel\nredis-sentinel://[USER[:PASSWORD]@]HOST[:PORT]/MASTER[/DATABASE]. While that server is away messages are sent\nrather than lost. rediss:// and rediss-sentinel:// are with TLS; SSL_CERT_FILE names certificates to trust.";
    "notifier.dedup_password_file" Path = r#""""# =>
        "File that holds that server's password; read again at every connection. Empty takes\nREDIS_PASSWORD from the environment, else what the address says.";
    "notifier.dedup_lease" Deadline = r#""30s""# =>
        "How long another notifier waits for one that died with a message in hand. Kept up while it lives.";
    "notifier.too_old" Duration = r#""10m""# =>
        "A first start, without a checkpoint, counts the whole log and posts nothing older than this.";
    "notifier.post_interval" Duration = r#""1s""# =>
        "Least time between two messages. Slack takes about one a second: less than 1s counts only for a\nwebhook on this machine.";
    "notifier.digest_from" Number(2, 1000) = "4" =>
        "From so many waiting activations on they become one message.";
    "exporter.listen" Text = r#""127.0.0.1:9102""# =>
        "Address and port of the exporter's /metrics, /healthz and /readyz. Flag: --listen.";
    "exporter.interval" Deadline = r#""30s""# => "How often the exporter asks the firewall. Flag: --every.";
    "exporter.state_dir" Path = r#""""# =>
        "Directory of the exporter's record of who was blocked; below it a part for each context that does not name\nits own. Empty is exporter, beside the history. Flag: --state-dir.";
    "exporter.events_file" Path = r#""""# =>
        "File that `notifier run --echo` prints to: it says who is a customer. Empty asks the cluster, where one is\nconfigured; without either that is not known. Flag: --events-file.";
    "exporter.webhook_file" Path = r#""""# =>
        "File that holds the URL of Slack's webhook: a customer who is blocked is reported there once. Empty posts\nnothing.";
    "exporter.selector" Text = r#""app=kmsctl-exporter""# =>
        "Label selector of the exporter's pod, for `virusprot history` on a machine without its record.";
    "manifest.image" Text = concat!("\"ghcr.io/viktorbarzin/kmsctl:", env!("CARGO_PKG_VERSION"), "\"") =>
        "Image of the side-car, as `notifier manifest` prints it: build it from deploy/Containerfile and push it\nthere yourself.";
    "manifest.log_volume" Text = r#""vlmcsd-log""# => "Volume of the pod that holds the server's log.";
    "manifest.operator" Text = r#""ServiceAccount:kmsctl-operator""# =>
        "Who may look: ServiceAccount:NAME (made by the manifest), User:NAME or Group:NAME.";
    "manifest.secret" Text = r#""kms-slack-webhook""# =>
        "Name of the Secret with the webhook's URL, and of the ExternalSecret that fetches it.";
    "manifest.secret_store" Text = r#""vault-kv""# =>
        "Store of External Secrets: the name of a ClusterSecretStore, or SecretStore/NAME.";
    "manifest.secret_key" Text = r#""kms""# => "Key in that store.";
    "manifest.secret_property" Text = r#""slack_webhook_url""# => "Property of that key.";
};

/// Keys of one vantage. There is none unless the operator names it, so they have no place among the defaults; the
/// default is what an absent key means.
pub const VANTAGE_KEYS: &[SettingKey] = setting_keys! {
    "vantages.NAME.kind" Word(&["ssh", "check-host", "local"]) = r#""ssh""# =>
        "ssh: a host outside that you can log in to; nothing is installed there.\ncheck-host: a public check service (it learns your address and port).\nlocal: this machine; counts only where it is proven to be outside.";
    "vantages.NAME.host" OptionalHost = r#""""# => "ssh: address, name, or a Host of your ssh_config.";
    "vantages.NAME.user" Account = r#""""# => "ssh: account. Empty leaves it to ssh_config.";
    "vantages.NAME.port" Number(1, 65_535) = "22" =>
        "ssh: port of its SSH server. Without it, ssh_config decides.";
    "vantages.NAME.identity" Path = r#""""# => "ssh: private key file.";
    "vantages.NAME.known_hosts" Path = r#""""# =>
        "ssh: file of known host keys. Empty takes firewall.known_hosts.";
    "vantages.NAME.address" Text = r#""""# =>
        "Address that the firewall sees it come from. Empty takes the one that ssh connects to.";
    "vantages.NAME.control" Endpoint = r#""""# =>
        "HOST:PORT that is known to be open: if it is not reached either, a failure proves nothing.\nBest is another open port of the very address that is tried.";
    "vantages.NAME.url" Url = r#""https://check-host.net""# => "check-host: base URL of the service.";
    "vantages.NAME.nodes" Number(1, 10) = "3" =>
        "check-host: how many of its nodes try; more than half must agree.";
};

/// Returns the key of that path; `vantages.NAME.…` are [`VANTAGE_KEYS`], `presets.NAME.…` beyond the built-in ones share the keys of `default`.
pub fn find_key(path: &str) -> Option<&'static SettingKey> {
    KEYS.iter().find(|key| key.path == path).or_else(|| {
        let (family, path) = path.split_once('.')?;
        let (name, field) = path.split_once('.')?;
        let plain = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_'
        };
        let named = !name.is_empty() && name.bytes().all(plain);
        let (keys, prefix) = match family {
            "presets" => (KEYS, "presets.default."),
            "vantages" => (VANTAGE_KEYS, "vantages.NAME."),
            _ => return None,
        };
        let found = || keys.iter().find(|key| key.path.strip_prefix(prefix) == Some(field));
        named.then(found)?
    })
}

/// Returns the known path that is most like an unknown one.
pub fn nearest_key(path: &str) -> Option<&'static str> {
    let score = |key: &&SettingKey| {
        strsim::jaro_winkler(path, key.path)
            .max(strsim::jaro_winkler(path, key.split_path().1) - 0.05)
    };
    // Only where a vantage was meant: their short names are like many others.
    let vantages = VANTAGE_KEYS.iter().filter(|_| path.starts_with("vantage"));
    nearest_word(KEYS.iter().chain(vantages), 0.75, score).map(|key| key.path)
}

/// Prints the example file: every key with its default, meaning and environment name.
pub fn example_configuration() -> String {
    let mut text = String::from(
        "# kmsctl's configuration: every key, its built-in default, meaning and environment name.\n\
         # Copy what you change to ~/.config/kmsctl/config.toml (`kmsctl config path` prints where exactly),\n\
         # or let `kmsctl config init` ask. Precedence: flag > environment > this file > built-in.\n",
    );
    let mut table = "";
    for key in KEYS {
        let (section, name) = key.split_path();
        if section == table {
            text.push('\n');
        } else {
            let _ = write!(text, "\n[{section}]\n");
            table = section;
        }
        for line in key.meaning.lines() {
            let _ = writeln!(text, "# {line}");
        }
        let _ = writeln!(text, "# Environment: {}", key.environment_name());
        let _ = writeln!(text, "{name} = {}", key.default);
    }
    text.push_str("\n# More presets can be added: [presets.NAME] with max_src_conn and rate,\n# applied with `kmsctl ratelimit set --preset NAME`.\n");
    text.push_str("\n# Vantages: places outside from where `kmsctl verify --external` tries the service. There is none unless\n# you name one. Environment: KMSCTL_VANTAGES_NAME_HOST and so on.\n# [vantages.NAME]\n");
    for key in VANTAGE_KEYS {
        text.push_str("#\n");
        for line in key.meaning.lines() {
            let _ = writeln!(text, "# {line}");
        }
        let _ = writeln!(text, "# {} = {}", key.split_path().1, key.default);
    }
    text.push_str("\n# Contexts: other firewalls, services or clusters. One may hold any key of this file; what it leaves out is as\n# above. Chosen by --context NAME, KMSCTL_CONTEXT or `context`; `kmsctl config contexts` lists them.\n# [contexts.NAME.firewall]\n# host = \"10.0.30.1\"\n# [contexts.NAME.service]\n# address = \"10.0.30.202\"\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_names_its_nearest() {
        assert_eq!(nearest_key("firewall.hots"), Some("firewall.host"));
        assert_eq!(nearest_key("hostname"), Some("service.host").or(nearest_key("hostname")));
        assert_eq!(nearest_key("zzzzqqqq"), None);
    }

    #[test]
    fn presets_may_be_added_but_only_with_known_fields() {
        assert!(find_key("presets.night.rate").is_some());
        assert!(find_key("presets.night.speed").is_none());
        assert!(find_key("presets.Ni ght.rate").is_none());
    }

    #[test]
    fn vantages_have_their_own_keys_and_no_defaults() {
        assert!(find_key("vantages.vps.host").is_some());
        assert!(find_key("vantages.vps.hots").is_none());
        assert!(find_key("vantages.NAME.host").is_none(), "capitals name nothing");
        assert_eq!(nearest_key("vantages.vps.hots"), Some("vantages.NAME.host"));
        assert!(KEYS.iter().all(|key| !key.path.starts_with("vantages.")));
    }

    #[test]
    fn environment_names_do_not_collide() {
        let mut names: Vec<String> = KEYS.iter().map(SettingKey::environment_name).collect();
        names.sort();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}

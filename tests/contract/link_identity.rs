//! Which box a link has reached: its host key, the authority that vouches for it, and the keys that known_hosts has beside.

use kmsctl::error::FailureKind;
use kmsctl::settings::target::Transport;
use kmsctl::ssh::error::LinkError;

use super::link::{ask, bed_with, both, connect, refusal, sh, told};
use crate::support::sshd::{self, Options};

both!(
    certified_host,
    certificate_without_a_trusted_authority,
    certificate_that_does_not_count,
    several_keys_of_one_box,
);

const CERTIFIED: Options = Options {
    login: sshd::Login::Sh,
    password_too: false,
    host_key: "certified_ed25519",
    certified: Some(("127.0.0.1,localhost", "always:forever")),
    more: "",
};

fn shown(name: &str) -> String {
    format!("ssh-ed25519 {}", sshd::fingerprint(&sshd::key(name)))
}

async fn certified_host(transport: Transport) {
    let Some(mut bed) = bed_with(transport, CERTIFIED) else {
        return;
    };
    let authority = shown("authority_ed25519");
    let lines = [
        std::fs::read_to_string(bed.target.known_hosts.as_ref().unwrap()).unwrap(),
        format!("@cert-authority * {}", public("authority_ed25519")),
        format!("@cert-authority 127.0.0.1 {}", public("authority_ed25519")),
    ];
    for line in lines {
        let known_hosts = bed.directory.path().join("known");
        std::fs::write(&known_hosts, &line).unwrap();
        bed.target.known_hosts = Some(known_hosts);
        assert_eq!(ask(&bed.target, [sh("echo ok")]).await.unwrap()[0].stdout, b"ok\n", "{line}");
        let link = connect(&bed.target).await.unwrap();
        let identity = link.identity();
        assert_eq!(identity.host_key, shown("certified_ed25519"));
        assert_eq!(identity.authority, Some(format!("@cert-authority {authority} 127.0.0.1")));
        link.close().await;
    }
}

async fn certificate_without_a_trusted_authority(transport: Transport) {
    let Some(mut bed) = bed_with(transport, CERTIFIED) else {
        return;
    };
    for line in [
        format!("@cert-authority 127.0.0.1 {}", public("certified_ed25519")),
        format!("@revoked * {0}@cert-authority * {0}", public("authority_ed25519")),
        format!("@cert-authority other.example {}", public("authority_ed25519")),
    ] {
        let known_hosts = bed.directory.path().join("known");
        std::fs::write(&known_hosts, &line).unwrap();
        bed.target.known_hosts = Some(known_hosts);
        let error = refusal(&bed.target).await;
        // The built-in client asks for no certificate where no authority is listed for the host.
        let fits = match (&error, line.get(..9)) {
            (LinkError::HostKeyRevoked { .. }, revoked) => revoked == Some("@revoked "),
            (LinkError::HostKeyUnknown { .. }, _) => {
                transport == Transport::Russh && line.contains("other.example")
            }
            (error, _) => matches!(error, LinkError::CertificateRefused { .. }),
        };
        assert!(fits, "{line}: {error:?}");
        told(error, FailureKind::Unreachable);
        assert_eq!(bed.sshd.logins(), 0, "{line}");
    }
}

async fn certificate_that_does_not_count(transport: Transport) {
    for certified in [
        ("127.0.0.1", "20200101:20210101"),
        ("127.0.0.1", "20990101:20990102"),
        ("other.example", "always:forever"),
        ("", "always:forever"),
    ] {
        // To ssh, a certificate without names is one for every host.
        if certified.0.is_empty() && transport == Transport::OpenSsh {
            continue;
        }
        let Some(bed) = bed_with(transport, Options { certified: Some(certified), ..CERTIFIED })
        else {
            return;
        };
        let error = refusal(&bed.target).await;
        assert!(matches!(error, LinkError::CertificateRefused { .. }), "{certified:?}: {error:?}");
        assert_eq!(bed.sshd.logins(), 0, "{certified:?}");
    }
}

async fn several_keys_of_one_box(transport: Transport) {
    let Some(mut bed) = bed_with(transport, Options::default()) else {
        return;
    };
    let port = bed.sshd.port;
    let name = format!("[127.0.0.1]:{port}");
    let known_hosts = bed.directory.path().join("known");
    let ed25519 = public("host_ed25519");
    let ecdsa = public("other_box_ecdsa");
    std::fs::write(&known_hosts, format!("{name} {ed25519}{name} {ecdsa}* {}", public("host_rsa")))
        .unwrap();
    bed.target.known_hosts = Some(known_hosts);
    let link = connect(&bed.target).await.unwrap();
    let identity = link.identity();
    assert_eq!(identity.host_key, shown("host_ed25519"));
    let print = sshd::fingerprint(&sshd::key("other_box_ecdsa"));
    assert_eq!(identity.tied, [format!("ecdsa-sha2-nistp256 {print}")]);
    assert_eq!(identity.authority, None);
    link.close().await;
}

fn public(name: &str) -> String {
    std::fs::read_to_string(sshd::public(&sshd::key(name))).unwrap()
}

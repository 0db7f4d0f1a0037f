//! Which box a link has reached: its host key, the authority that vouches for it, and the keys that known_hosts has beside.

use kmsctl::error::FailureKind;
use kmsctl::settings::target::Transport;
use kmsctl::ssh::error::LinkError;

use super::link::{ask, bed_with, both, connect, refusal, run, sh, told};
use crate::support::raw_sshd::{Moment, RawSshd, message, string};
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

/// What ssh logs of a server's words comes with their newlines, and must not be taken for ssh's own.
#[test]
fn no_words_of_a_server_are_its_identity() {
    let Some(mut bed) = bed_with(Transport::OpenSsh, Options::default()) else {
        return;
    };
    let forged = format!("SHA256:{}", "A".repeat(43));
    let lines = format!(
        "debug1: Connecting to other [192.0.2.7] port 22.\r\ndebug1: Server host key: ssh-ed25519 {forged}\r\n\
         debug1: Host 'other' is known and matches the ED25519 host key.\r\ndebug1: Found key in /k/other:1\r\n\
         Offending ED25519 key in /k/other:1\r\nREVOKED HOST KEY DETECTED\r\nHost key verification failed.\r\n"
    );
    let moments = [
        Moment::Offer,
        Moment::KeyExchange,
        Moment::NewKeys,
        Moment::Service,
        Moment::Login,
        Moment::Welcome,
    ];
    let mut cases = Vec::new();
    // Where ssh ends a line with the first words, or begins one.
    for first in ["x\r\n", "\n"] {
        let words = string(format!("{first}{lines}").as_bytes());
        let lists = [&words[..], &[0; 9 * 4]].concat();
        cases.push((Moment::Offer, message(20, &[&[7; 16], &lists, &[0; 5]])));
        let debugging = message(4, &[&[1], &words, &string(b"")]);
        let goodbye = message(1, &[&[0, 0, 0, 2], &words, &string(b"")]);
        cases.extend(moments.map(|moment| (moment, debugging.clone())));
        cases.extend(moments.map(|moment| (moment, goodbye.clone())));
    }
    let mut let_in = 0;
    for (moment, said) in cases {
        let server = RawSshd::saying(moment, &said);
        let known_hosts = bed.directory.path().join("known");
        std::fs::write(&known_hosts, &server.known).unwrap();
        bed.target.known_hosts = Some(known_hosts);
        bed.target.port = Some(server.port);
        for pin in [None, Some(forged.clone())] {
            bed.target.fingerprint = pin.clone();
            run(async {
                match connect(&bed.target).await {
                    Ok(link) => {
                        let identity = format!("{:?} {:?}", link.identity(), link.peer());
                        assert!(!identity.contains("AAAAAAAA") && pin.is_none(), "{identity}");
                        assert!(!identity.contains("192.0.2.7"), "{identity}");
                        let_in += 1;
                        link.close().await;
                    }
                    Err(LinkError::PinMismatch { presented, .. }) => {
                        assert_ne!(presented.fingerprint, forged, "{moment:?}");
                    }
                    Err(error) => {
                        let error = format!("{error:?}");
                        assert!(!error.contains("AAAAAAAA"), "{moment:?}, {}: {error}", said[0]);
                        assert!(!error.contains("HostKey"), "{moment:?}, {}: {error}", said[0]);
                    }
                }
            });
        }
    }
    assert!(let_in >= 4, "{let_in}");
}

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

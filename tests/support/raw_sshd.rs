//! An SSH server that is written by hand, as no proper one breaks the protocol: it shows a host key, lets everybody in,
//! and at one moment of the conversation says the same message once, without end, or nothing more. Loopback only.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::aead::chacha20_poly1305_openssh::{OpeningKey, SealingKey};
use ring::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use sha2::{Digest as _, Sha256};

/// When it stops behaving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before its offer of algorithms.
    Offer,
    /// Instead of its part of the key exchange.
    KeyExchange,
    /// Between its part of the key exchange and the use of the keys.
    NewKeys,
    /// Instead of letting the client ask for a login.
    Service,
    /// Instead of its answer to a login.
    Login,
    /// After the login.
    Welcome,
    /// Instead of opening a channel.
    Channel,
    /// After it was asked for a shell.
    Shell,
}

/// A message of the protocol (RFC 4250 has the numbers), as its payload.
pub fn message(number: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut payload = vec![number];
    payload.extend(parts.concat());
    payload
}

/// A string of the protocol.
pub fn string(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("a short string");
    [&length.to_be_bytes()[..], bytes].concat()
}

/// A running server; dropping it hangs up. A kept ssh that is flooded would go on for as long as the flood.
pub struct RawSshd {
    pub port: u16,
    /// The line of known_hosts for it.
    pub known: String,
    /// The connections so far; none where it was dropped.
    streams: Arc<Mutex<Option<Vec<TcpStream>>>>,
}

impl Drop for RawSshd {
    fn drop(&mut self) {
        for stream in self.streams.lock().expect("no panic").take().into_iter().flatten() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // The listener looks up.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl RawSshd {
    /// Starts one that says `flood` without end from a moment on; nothing more, where it is empty.
    pub fn start(moment: Moment, flood: &[u8]) -> Self {
        Self::serve(moment, flood, false)
    }

    /// Starts one that says this message once at a moment, and goes on.
    pub fn saying(moment: Moment, said: &[u8]) -> Self {
        Self::serve(moment, said, true)
    }

    fn serve(moment: Moment, flood: &[u8], once: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        let pair = || Ed25519KeyPair::from_pkcs8(key.as_ref()).expect("a key");
        let shown = STANDARD.encode(public_blob(&pair()));
        let known = format!("[127.0.0.1]:{port} ssh-ed25519 {shown}\n");
        let (pair, flood) = (pair(), flood.to_vec());
        let streams = Arc::new(Mutex::new(Some(Vec::new())));
        let held = Arc::clone(&streams);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                match held.lock().expect("no panic").as_mut() {
                    Some(all) => all.extend(stream.try_clone()),
                    None => return,
                }
                // The client hangs up at last; that is no failure of the server.
                let _ = Conversation::hold(stream, &pair, moment, &flood, once);
            }
        });
        Self { port, known, streams }
    }
}

fn public_blob(pair: &Ed25519KeyPair) -> Vec<u8> {
    [string(b"ssh-ed25519"), string(pair.public_key().as_ref())].concat()
}

/// A positive integer of the protocol.
fn integer(bytes: &[u8]) -> Vec<u8> {
    let first = bytes.iter().position(|byte| *byte != 0);
    let bytes = &bytes[first.unwrap_or(bytes.len())..];
    match bytes.first() {
        Some(0x80..) => string(&[&[0], bytes].concat()),
        _ => string(bytes),
    }
}

struct Conversation {
    stream: TcpStream,
    sent: u32,
    received: u32,
    keys: Option<(SealingKey, OpeningKey)>,
    moment: Moment,
    flood: Vec<u8>,
    once: bool,
}

impl Conversation {
    fn hold(
        stream: TcpStream,
        pair: &Ed25519KeyPair,
        moment: Moment,
        flood: &[u8],
        once: bool,
    ) -> io::Result<()> {
        let mut conversation =
            Self { stream, sent: 0, received: 0, keys: None, moment, flood: flood.to_vec(), once };
        conversation.exchange_keys(pair)?;
        conversation.serve()
    }

    fn exchange_keys(&mut self, pair: &Ed25519KeyPair) -> io::Result<()> {
        const VERSION: &str = "SSH-2.0-OpenSSH_9.9";
        self.stream.write_all(format!("{VERSION}\r\n").as_bytes())?;
        let mut theirs = Vec::new();
        while !theirs.ends_with(b"\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte)?;
            theirs.push(byte[0]);
        }
        let theirs = theirs.trim_ascii_end().to_vec();
        let lists = [
            "curve25519-sha256",
            "ssh-ed25519",
            "chacha20-poly1305@openssh.com",
            "chacha20-poly1305@openssh.com",
            "hmac-sha2-256",
            "hmac-sha2-256",
            "none",
            "none",
            "",
            "",
        ];
        let lists: Vec<u8> = lists.iter().flat_map(|list| string(list.as_bytes())).collect();
        let offer = message(20, &[&[7; 16], &lists, &[0; 5]]);
        self.misbehave(Moment::Offer)?;
        self.send(&offer)?;
        let their_offer = self.receive()?;
        let their_share = self.receive()?;
        self.misbehave(Moment::KeyExchange)?;
        let their_share = &their_share[5..];
        let random = SystemRandom::new();
        let secret = EphemeralPrivateKey::generate(&X25519, &random).expect("a key");
        let share = secret.compute_public_key().expect("a key");
        let peer = UnparsedPublicKey::new(&X25519, their_share);
        let common = agree_ephemeral(secret, &peer, integer).expect("an agreement");
        let shown = public_blob(pair);
        let digest = Sha256::digest(
            [
                string(&theirs),
                string(VERSION.as_bytes()),
                string(&their_offer),
                string(&offer),
                string(&shown),
                string(their_share),
                string(share.as_ref()),
                common.clone(),
            ]
            .concat(),
        );
        let signature = pair.sign(&digest);
        let signature = [string(b"ssh-ed25519"), string(signature.as_ref())].concat();
        let answer = [string(&shown), string(share.as_ref()), string(&signature)].concat();
        self.send(&message(31, &[&answer]))?;
        self.misbehave(Moment::NewKeys)?;
        self.send(&[21])?;
        self.receive()?;
        let derived = |letter: u8| {
            let first = Sha256::digest([&common[..], &digest, &[letter], &digest].concat());
            let second = Sha256::digest([&common[..], &digest, &first].concat());
            let mut key = [0; 64];
            key[..32].copy_from_slice(&first);
            key[32..].copy_from_slice(&second);
            key
        };
        let (seal, open) = (derived(b'D'), derived(b'C'));
        self.keys = Some((SealingKey::new(&seal), OpeningKey::new(&open)));
        Ok(())
    }

    /// Lets in who asks, and takes what is sent to a shell.
    fn serve(&mut self) -> io::Result<()> {
        loop {
            let asked = self.receive()?;
            match asked.first() {
                Some(5) => {
                    self.misbehave(Moment::Service)?;
                    self.send(&message(6, &[&string(b"ssh-userauth")]))?;
                }
                Some(50) => {
                    self.misbehave(Moment::Login)?;
                    self.send(&[52])?;
                    self.misbehave(Moment::Welcome)?;
                }
                Some(90) => {
                    self.misbehave(Moment::Channel)?;
                    let name = u32::from_be_bytes([asked[1], asked[2], asked[3], asked[4]]);
                    let start = 5 + usize::try_from(name).expect("a name");
                    let channel = &asked[start..start + 4];
                    let sizes = [0, 0x20, 0, 0, 0, 0, 0x80, 0];
                    self.send(&message(91, &[channel, &[0; 4], &sizes]))?;
                }
                Some(98) => {
                    self.send(&message(99, &[&[0; 4]]))?;
                    self.misbehave(Moment::Shell)?;
                }
                Some(80) => self.send(&[82])?,
                _ => {}
            }
        }
    }

    /// Says its message until the client hangs up, if it is time; what the client says is read and thrown away.
    fn misbehave(&mut self, moment: Moment) -> io::Result<()> {
        if moment != self.moment {
            return Ok(());
        }
        if self.once {
            let said = self.flood.clone();
            return self.send(&said);
        }
        let mut heard = self.stream.try_clone()?;
        let listening = std::thread::spawn(move || io::copy(&mut heard, &mut io::sink()));
        let flood = std::mem::take(&mut self.flood);
        while !flood.is_empty() {
            let mut packets = Vec::new();
            while packets.len() < 32 << 10 {
                packets.extend(self.packet(&flood));
            }
            self.stream.write_all(&packets)?;
        }
        let _ = listening.join();
        Err(io::ErrorKind::ConnectionAborted.into())
    }

    fn send(&mut self, payload: &[u8]) -> io::Result<()> {
        let packet = self.packet(payload);
        self.stream.write_all(&packet)
    }

    fn packet(&mut self, payload: &[u8]) -> Vec<u8> {
        // The length itself counts for the padding as long as it is sent in the clear.
        let counted = payload.len() + 1 + if self.keys.is_some() { 0 } else { 4 };
        let padding = 4 + (8 - (counted + 4) % 8) % 8;
        let length = u32::try_from(payload.len() + 1 + padding).expect("a short message");
        let mut packet = length.to_be_bytes().to_vec();
        packet.push(u8::try_from(padding).expect("little"));
        packet.extend_from_slice(payload);
        packet.resize(packet.len() + padding, 0);
        if let Some((seal, _)) = &self.keys {
            let mut tag = [0; 16];
            seal.seal_in_place(self.sent, &mut packet, &mut tag);
            packet.extend(tag);
        }
        self.sent = self.sent.wrapping_add(1);
        packet
    }

    fn receive(&mut self) -> io::Result<Vec<u8>> {
        let mut head = [0; 4];
        self.stream.read_exact(&mut head)?;
        let number = self.received;
        self.received = number.wrapping_add(1);
        let length = match &self.keys {
            Some((_, open)) => open.decrypt_packet_length(number, head),
            None => head,
        };
        let length = usize::try_from(u32::from_be_bytes(length)).expect("a length");
        let mut packet = head.to_vec();
        packet.resize(4 + length, 0);
        self.stream.read_exact(&mut packet[4..])?;
        let opened = match &self.keys {
            Some((_, open)) => {
                let mut tag = [0; 16];
                self.stream.read_exact(&mut tag)?;
                let opened = open.open_in_place(number, &mut packet, &tag);
                opened.map_err(|_| io::ErrorKind::InvalidData)?.to_vec()
            }
            None => packet[4..].to_vec(),
        };
        let padding = usize::from(opened[0]);
        Ok(opened[1..opened.len() - padding].to_vec())
    }
}

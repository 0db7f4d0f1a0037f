//! What runs inside the lab's namespaces: this very test binary, told by its environment what to be. Without that
//! the test does nothing.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::time::Duration;

/// `ROLE ADDRESS:PORT [ADDRESSES]`. The role `client` connects there again and again.
pub const VARIABLE: &str = "KMSCTL_LAB_SERVE";

/// A bind_ack that takes the KMS interface, with the secondary address "1688".
const BIND_ACK: &[u8] =
    b"\x05\x00\x0c\x03\x10\0\0\0\x3c\0\0\0\x01\0\0\0\xd0\x16\xd0\x16\x34\x12\0\0\x05\x001688\0\0\
    \x01\0\0\0\0\0\0\0\x04\x5d\x88\x8a\xeb\x1c\xc9\x11\x9f\xe8\x08\0\x2b\x10\x48\x60\x02\0\0\0";
const BIND_NAK: &[u8] = b"\x05\x00\x0d\x03\x10\0\0\0\x18\0\0\0\x01\0\0\0\0\0\x01\x05\0\0\0\0";

#[test]
fn serve() {
    let Some(told) = std::env::var_os(VARIABLE) else {
        return;
    };
    let told = told.into_string().unwrap();
    let words: Vec<&str> = told.split(' ').collect();
    if words[0] == "client" {
        let address = words[1].parse().unwrap();
        loop {
            // Connects and holds it for a moment, whatever comes of it.
            let _held = TcpStream::connect_timeout(&address, Duration::from_millis(200));
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    let listener = TcpListener::bind(words[1]).unwrap();
    let role = words[0].to_owned();
    let addresses: Vec<IpAddr> = words[2..].iter().map(|word| word.parse().unwrap()).collect();
    for stream in listener.incoming().flatten() {
        let (role, addresses) = (role.clone(), addresses.clone());
        std::thread::spawn(move || answer(stream, &role, &addresses));
    }
}

fn answer(mut stream: TcpStream, role: &str, addresses: &[IpAddr]) {
    let mut buffer = [0; 512];
    let text = match role {
        // Closing while there is something unread resets.
        "reset" => {
            std::thread::sleep(Duration::from_millis(100));
            return;
        }
        "dns" => return while dns(&mut stream, addresses).is_some() {},
        "silence" => return std::thread::sleep(Duration::from_secs(30)),
        "ack" => BIND_ACK,
        "nak" => BIND_NAK,
        "rubbish" => b"HTTP/1.1 400 Bad Request\r\n\r\n",
        "lies" => b"\x05\x00\x0c\x03\x10\0\0\0\xff\xff\0\0\x01\0\0\0",
        other => panic!("no such role: {other}"),
    };
    let mut got = 0;
    while got < 72 {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(count) => got += count,
        }
    }
    let _ = stream.write_all(text);
    let _ = stream.read(&mut buffer);
}

/// Answers one question over TCP; every name has the same addresses.
fn dns(stream: &mut TcpStream, addresses: &[IpAddr]) -> Option<()> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut question).ok()?;
    let kind = question[question.len() - 3];
    let data: Vec<Vec<u8>> = addresses
        .iter()
        .filter_map(|address| match (address, kind) {
            (IpAddr::V4(four), 1) => Some(four.octets().to_vec()),
            (IpAddr::V6(six), 28) => Some(six.octets().to_vec()),
            _ => None,
        })
        .collect();
    let mut answer = question.clone();
    answer[2] = 0x81;
    answer[3] = 0x80;
    answer[7] = u8::try_from(data.len()).ok()?;
    for data in data {
        answer.extend([0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 60, 0, u8::try_from(data.len()).ok()?]);
        answer.extend(data);
    }
    let length = u16::try_from(answer.len()).ok()?.to_be_bytes();
    stream.write_all(&[&length[..], &answer].concat()).ok()
}

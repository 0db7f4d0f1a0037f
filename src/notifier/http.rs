//! /metrics, /healthz and /readyz over HTTP: one request a connection, each connection with a deadline, and so many at
//! a time. Where there is no room, the peer with the most gives way: an idle or hostile client blocks no other.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// What is served. The sentences say why the answer is no.
pub trait Pages: Send + Sync + 'static {
    /// Prints /metrics: OpenMetrics, or Prometheus' text format 0.0.4.
    fn print_page(&self, open_metrics: bool) -> String;
    /// Says whether the process does its work.
    ///
    /// # Errors
    /// Why it does not.
    fn check_health(&self, now: Instant) -> Result<(), &'static str>;
    /// Says whether what it shows is current.
    ///
    /// # Errors
    /// Why it is not.
    fn check_readiness(&self, now: Instant) -> Result<(), &'static str>;
}

const MOST_CONNECTIONS: usize = 128;
/// Until the request's head is there.
const HEADER_DEADLINE: Duration = Duration::from_secs(5);
const CONNECTION_DEADLINE: Duration = Duration::from_secs(15);
/// Most bytes of a request's head, and most of its headers.
const MOST_HEAD: usize = 16 * 1024;
const MOST_HEADERS: usize = 64;

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Listens on an address. `[::]`, where the kernel has no IPv6, becomes `0.0.0.0`.
pub async fn listen_for_pages(address: SocketAddr) -> io::Result<TcpListener> {
    /// EAFNOSUPPORT on Linux.
    const NO_FAMILY: i32 = 97;
    match TcpListener::bind(address).await {
        Err(error) if error.raw_os_error() == Some(NO_FAMILY) && address.ip().is_unspecified() => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    }
}

pub async fn serve_pages(listener: TcpListener, pages: Arc<impl Pages>) -> Infallible {
    let mut guests: VecDeque<(IpAddr, AbortHandle)> = VecDeque::new();
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            // Out of descriptors, most likely: they come back.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        guests.retain(|(_, guest)| !guest.is_finished());
        if guests.len() >= MOST_CONNECTIONS {
            dismiss_oldest_guest(&mut guests);
        }
        let guest = tokio::spawn(answer_connection(stream, Arc::clone(&pages)));
        guests.push_back((peer.ip(), guest.abort_handle()));
        // Its request may be here already: it is answered before a flood behind it is let in.
        tokio::task::yield_now().await;
    }
}

/// Ends the oldest connection of the address that holds the most.
fn dismiss_oldest_guest(guests: &mut VecDeque<(IpAddr, AbortHandle)>) {
    let mut counts: HashMap<IpAddr, usize> = HashMap::new();
    for (address, _) in guests.iter() {
        *counts.entry(*address).or_default() += 1;
    }
    let most = counts.into_iter().max_by_key(|(_, count)| *count);
    let oldest =
        guests.iter().position(|(address, _)| most.is_some_and(|(greedy, _)| greedy == *address));
    if let Some((_, guest)) = oldest.and_then(|position| guests.remove(position)) {
        guest.abort();
    }
}

async fn answer_connection(stream: TcpStream, pages: Arc<impl Pages>) {
    let service = service_fn(move |request| {
        let answer = page_answer(&request, &*pages, Instant::now());
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE)
        .max_buf_size(MOST_HEAD)
        .max_headers(MOST_HEADERS)
        // Nothing that comes after the first request is looked at.
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    let _ = tokio::time::timeout(CONNECTION_DEADLINE, connection).await;
}

fn page_answer<B>(request: &Request<B>, pages: &impl Pages, now: Instant) -> Response<Full<Bytes>> {
    let verdict = |checked: Result<(), &'static str>| match checked {
        Ok(()) => plain_response(StatusCode::OK, "ok\n"),
        Err(why) => plain_response(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    };
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut refusal = plain_response(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n");
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    match request.uri().path() {
        "/metrics" => {
            let accepts = request.headers().get_all(ACCEPT).iter();
            let accepts: Vec<&str> = accepts.filter_map(|accept| accept.to_str().ok()).collect();
            let open_metrics = wants_open_metrics(&accepts.join(","));
            let kind = if open_metrics { OPEN_METRICS } else { TEXT };
            page_response(StatusCode::OK, kind, pages.print_page(open_metrics))
        }
        "/healthz" => verdict(pages.check_health(now)),
        "/readyz" => verdict(pages.check_readiness(now)),
        _ => plain_response(StatusCode::NOT_FOUND, "there are /metrics, /healthz and /readyz\n"),
    }
}

/// Returns whether an Accept header prefers OpenMetrics 1.0.0 to Prometheus' text (RFC 9110, 12.5.1). A client that
/// names neither gets text, which every scraper reads.
fn wants_open_metrics(accept: &str) -> bool {
    let (mut open, mut text) = (0.0, 0.0);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let (mut quality, mut version) = (1.0_f32, None);
        for parameter in parts {
            match parameter.split_once('=') {
                Some(("q", value)) => quality = value.trim().parse().unwrap_or(0.0),
                Some(("version", value)) => version = Some(value.trim_matches('"')),
                _ => {}
            }
        }
        if kind.eq_ignore_ascii_case("application/openmetrics-text")
            && version.is_none_or(|version| version == "1.0.0")
        {
            open = quality.max(open);
        } else if kind.eq_ignore_ascii_case("text/plain") {
            text = quality.max(text);
        }
    }
    open > 0.0 && open >= text
}

fn plain_response(status: StatusCode, text: impl Into<String>) -> Response<Full<Bytes>> {
    page_response(status, "text/plain; charset=utf-8", text.into())
}

fn page_response(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notifier::metrics::Metrics;

    fn ask(path: &str, metrics: &Metrics, now: Instant) -> u16 {
        let request = Request::get(path).body(()).expect("a request");
        page_answer(&request, metrics, now).status().as_u16()
    }

    #[test]
    fn a_loop_that_stands_still_is_not_healthy() {
        let metrics = Metrics::default();
        let now = Instant::now();
        let later = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(ask("/healthz", &metrics, later(60)), 503, "it never began");
        assert_eq!(ask("/readyz", &metrics, now), 503);
        metrics.note_beat(1, false, true);
        assert_eq!(ask("/healthz", &metrics, later(5)), 200);
        assert_eq!(ask("/readyz", &metrics, now), 503, "no log");
        metrics.note_beat(2, true, true);
        assert_eq!(ask("/readyz", &metrics, now), 200);
        assert_eq!(ask("/healthz", &metrics, later(60)), 503);
        assert_eq!(ask("/metrics?x=1", &metrics, later(60)), 200);
        assert_eq!(ask("/", &metrics, now), 404);
    }

    #[test]
    fn a_wall_clock_that_steps_harms_no_client() {
        let metrics = Metrics::default();
        metrics.note_beat(4_000_000_000, true, true);
        assert_eq!(metrics.check_health(Instant::now()), Ok(()));
        metrics.note_beat(-4_000_000_000, true, true);
        assert_eq!(metrics.check_health(Instant::now()), Ok(()));
    }

    #[test]
    fn the_form_is_negotiated() {
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for accept in [
            prometheus,
            "application/openmetrics-text",
            "text/plain;q=0.5, Application/OpenMetrics-Text; q=0.5",
        ] {
            assert!(wants_open_metrics(accept), "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "text/plain",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=0.3,text/plain;q=0.4",
            "application/openmetrics-text;version=2.0.0",
            "application/openmetrics-text;q=x",
            "application/openmetrics-textual",
        ] {
            assert!(!wants_open_metrics(accept), "{accept}");
        }
    }

    #[tokio::test]
    async fn the_greediest_gives_way() {
        let idle = || tokio::spawn(std::future::pending::<()>()).abort_handle();
        let address = |last| IpAddr::from([127, 0, 0, last]);
        let mut guests: VecDeque<_> = [1, 2, 2, 3].map(|last| (address(last), idle())).into();
        dismiss_oldest_guest(&mut guests);
        let left: Vec<IpAddr> = guests.iter().map(|(address, _)| *address).collect();
        assert_eq!(left, [1, 2, 3].map(address));
    }
}

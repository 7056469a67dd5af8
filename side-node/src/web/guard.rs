//! What every request passes before it is looked at, and what every answer carries.
//!
//! The page has no password: whoever is logged in on this machine may look. What has to be kept out is other sites in the same browser. They cannot read
//! what is answered here, since no answer allows another origin to (CORS), with one exception: a site whose name was made to point to 127.0.0.1
//! (DNS rebinding) is of this very origin for the browser. It cannot help that its requests name it in `Host`, so that is compared.

use std::net::IpAddr;
use std::time::Duration;

use axum::extract::Request;
use axum::http::header::{
    self, ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, HOST, REFERRER_POLICY, TRANSFER_ENCODING,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

/// How long an answer may be in the making. Groups answer in milliseconds; one that reads a long history may take longer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Nothing is loaded but from this very server, nothing is inline, nobody frames it, and it sends nothing anywhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'";

const SAME_ORIGIN: HeaderValue = HeaderValue::from_static("same-origin");

/// Lets a request through, or says why not.
pub(super) async fn guard(request: Request, next: Next) -> Response {
    guard_for(REQUEST_TIMEOUT, request, next).await
}

/// [`guard`], with an answer that may be so long in the making.
async fn guard_for(patience: Duration, request: Request, next: Next) -> Response {
    let mut response = match judge(&request) {
        Err((status, why)) => refusal(status, why),
        Ok(()) => match tokio::time::timeout(patience, next.run(request)).await {
            Ok(response) => response,
            Err(_) => refusal(StatusCode::GATEWAY_TIMEOUT, "the node is busy; try again in a moment"),
        },
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(HeaderName::from_static("cross-origin-resource-policy"), SAME_ORIGIN);
    headers.insert(HeaderName::from_static("cross-origin-opener-policy"), SAME_ORIGIN);
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn judge(request: &Request) -> Result<(), (StatusCode, &'static str)> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err((StatusCode::METHOD_NOT_ALLOWED, "this page is for reading: GET is all it takes"));
    }
    let headers = request.headers();
    let has_body = headers.contains_key(TRANSFER_ENCODING)
        || headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
    if has_body {
        return Err((StatusCode::PAYLOAD_TOO_LARGE, "a request here has no body"));
    }
    // A request line with a whole address in it names the host twice; both must be good.
    let in_line = request.uri().authority().is_none_or(|authority| is_loopback_name(authority.as_str()));
    let mut named = headers.get_all(HOST).iter();
    let in_header = match (named.next(), named.next()) {
        (Some(host), None) => host.to_str().is_ok_and(is_loopback_name),
        _ => false,
    };
    if !(in_line && in_header) {
        return Err((
            StatusCode::MISDIRECTED_REQUEST,
            "this page is served to this machine alone: open it as http://127.0.0.1 or http://localhost with its port",
        ));
    }
    if is_from_another_site(headers) {
        return Err((StatusCode::FORBIDDEN, "another site may not ask here"));
    }
    Ok(())
}

/// Whether a `Host` names this machine by the loopback interface. Any port does: it may have been forwarded.
fn is_loopback_name(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((name, port)) if port.is_empty() || is_port(port) => name,
            _ => return false,
        },
        None => match host.split_once(':') {
            Some((name, port)) if is_port(&format!(":{port}")) => name,
            Some(_) => return false,
            None => host,
        },
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn is_port(text: &str) -> bool {
    text.strip_prefix(':').is_some_and(|digits| digits.parse::<u16>().is_ok())
}

/// Whether a browser says that a page of another site asks, other than by a link that somebody followed. Programs that are no browsers say nothing.
fn is_from_another_site(headers: &HeaderMap) -> bool {
    let word = |name: &str| headers.get(name).map(HeaderValue::as_bytes);
    let foreign = word("sec-fetch-site").is_some_and(|site| !matches!(site, b"same-origin" | b"none"));
    let follows_a_link = word("sec-fetch-mode") == Some(b"navigate") && word("sec-fetch-dest") == Some(b"document");
    let origin = headers.get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or("null"));
    let foreign_origin = origin.is_some_and(|origin| {
        !origin.split_once("://").is_some_and(|(_, authority)| is_loopback_name(authority))
            || headers.get(HOST).and_then(|host| host.to_str().ok()) != origin.split_once("://").map(|(_, host)| host)
    });
    (foreign && !follows_a_link) || foreign_origin
}

fn refusal(status: StatusCode, why: &'static str) -> Response {
    let mut response = (status, format!("{why}\n")).into_response();
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use axum::{Router, middleware};
    use hyper::service::Service as _;
    use hyper_util::service::TowerToHyperService;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_loopback_names_are_served() {
        for good in ["127.0.0.1", "127.0.0.1:8080", "localhost:1", "LOCALHOST", "[::1]:9", "[::1]", "127.8.8.8:80"] {
            assert!(is_loopback_name(good), "{good}");
        }
        for bad in [
            "",
            "evil.example",
            "evil.example:80",
            "127.0.0.1.evil.example",
            "localhost.evil.example:80",
            "127.0.0.1:80@evil.example",
            "192.168.0.7:80",
            "0.0.0.0",
            "[::1",
            "[::1]evil",
            "::1",
            "localhost:99999",
            "localhost:80:80",
        ] {
            assert!(!is_loopback_name(bad), "{bad}");
        }
    }

    proptest! {
        /// Whatever is let through is what a browser takes for this machine: no text means another place to it than to us.
        #[test]
        fn what_is_a_loopback_name_here_is_one_for_a_browser(
            host in "\\PC{0,24}|(localhost|127\\.0\\.0\\.1|\\[::1\\]|evil\\.example|[0-9.:@\\[\\]%/\\\\#?]{1,4}){1,4}"
        ) {
            if is_loopback_name(&host) {
                let url = reqwest::Url::parse(&format!("http://{host}/page")).unwrap();
                let name = url.host_str().unwrap().trim_matches(['[', ']']).to_owned();
                let ip = name.parse::<IpAddr>().ok();
                prop_assert!(name == "localhost" || ip.is_some_and(|ip| ip.is_loopback()), "{host}: {name}");
                prop_assert_eq!(url.path(), "/page");
                prop_assert!(url.username().is_empty());
            }
        }
    }

    #[tokio::test]
    async fn every_answer_says_what_may_be_done_with_it_and_none_takes_for_ever() {
        let within = |patience| {
            let router = Router::new()
                .route("/slow", get(std::future::pending::<&'static str>))
                .route("/quick", get(|| async { "quick" }));
            let guard = move |request: Request, next: Next| guard_for(patience, request, next);
            TowerToHyperService::new(router.layer(middleware::from_fn(guard)))
        };
        let ask = async |path: &'static str, method: &'static str, patience_ms| {
            let asked = request(|r| r.uri(path).method(method));
            let answer = within(Duration::from_millis(patience_ms));
            tokio::time::timeout(Duration::from_secs(20), answer.call(asked)).await.expect("an end").unwrap()
        };
        let slow = ask("/slow", "GET", 20).await;
        assert_eq!(slow.status(), StatusCode::GATEWAY_TIMEOUT);
        // Refusals and errors carry it as well.
        for answer in [slow, ask("/quick", "GET", 60_000).await, ask("/quick", "POST", 60_000).await] {
            for (name, value) in [
                ("content-security-policy", POLICY),
                ("x-content-type-options", "nosniff"),
                ("x-frame-options", "DENY"),
                ("referrer-policy", "no-referrer"),
                ("cross-origin-resource-policy", "same-origin"),
                ("cross-origin-opener-policy", "same-origin"),
                ("cache-control", "no-store"),
            ] {
                assert_eq!(answer.headers().get(name).map(HeaderValue::as_bytes), Some(value.as_bytes()), "{name}");
            }
        }
        for directive in [
            "default-src 'none'",
            "script-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ] {
            assert!(POLICY.split("; ").any(|one| one == directive), "{directive}");
        }
        assert!(!POLICY.contains("unsafe"));
    }

    fn request(change: impl FnOnce(axum::http::request::Builder) -> axum::http::request::Builder) -> Request {
        let builder = axum::http::Request::builder().uri("/").header("host", "127.0.0.1:4000");
        change(builder).body(Body::empty()).unwrap()
    }

    fn refused(request: &Request) -> Option<u16> {
        judge(request).err().map(|(status, _)| status.as_u16())
    }

    #[test]
    fn what_is_no_plain_reading_is_refused() {
        assert_eq!(refused(&request(|r| r)), None);
        assert_eq!(refused(&request(|r| r.method("HEAD"))), None);
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"] {
            assert_eq!(refused(&request(|r| r.method(method))), Some(405), "{method}");
        }
        assert_eq!(refused(&request(|r| r.header("content-length", "5"))), Some(413));
        assert_eq!(refused(&request(|r| r.header("transfer-encoding", "chunked"))), Some(413));
        // Two hosts, or none, or one in the request line that is not the one in the header.
        assert_eq!(refused(&request(|r| r.header("host", "127.0.0.1"))), Some(421));
        assert_eq!(refused(&request(|r| r.uri("http://evil.example/"))), Some(421));
        let without = axum::http::Request::builder().uri("/").body(Body::empty()).unwrap();
        assert_eq!(refused(&without), Some(421));
    }

    #[test]
    fn other_sites_may_link_and_no_more() {
        let from = |site: &'static str, mode: &'static str, dest: &'static str| {
            let headers = move |r: axum::http::request::Builder| {
                r.header("sec-fetch-site", site).header("sec-fetch-mode", mode).header("sec-fetch-dest", dest)
            };
            refused(&request(headers))
        };
        assert_eq!(from("same-origin", "cors", "empty"), None);
        assert_eq!(from("none", "navigate", "document"), None);
        assert_eq!(from("cross-site", "navigate", "document"), None);
        assert_eq!(from("cross-site", "navigate", "iframe"), Some(403));
        assert_eq!(from("cross-site", "cors", "empty"), Some(403));
        assert_eq!(from("same-site", "no-cors", "script"), Some(403));
        let origin = |origin: &'static str| refused(&request(|r| r.header("origin", origin)));
        assert_eq!(origin("http://127.0.0.1:4000"), None);
        for foreign in ["http://127.0.0.1:4001", "https://evil.example", "null", ""] {
            assert_eq!(origin(foreign), Some(403), "{foreign}");
        }
    }
}

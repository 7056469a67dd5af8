//! A real browser without a window: Chromium, driven by its DevTools protocol over a websocket.
//!
//! It is the package `chromium` of Debian (`scripts/prereqs.sh browser`); `SIDE_TESTS_CHROMIUM` names another program. Each browser has an empty profile of
//! its own, and whatever it would do besides, it is told to leave.

use std::collections::VecDeque;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

use crate::process::{ASK_AGAIN, PATIENCE, eventually};

/// The environment variable that names the browser.
pub const CHROMIUM_VARIABLE: &str = "SIDE_TESTS_CHROMIUM";
/// How long a browser may take to end before it is killed.
const GOODBYE: Duration = Duration::from_secs(5);
/// Most bytes of a message from the browser: a screenshot of a long page.
const MAX_MESSAGE: usize = 64 << 20;

/// Where a page is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Whether the system is set to dark.
    pub dark: bool,
    /// Whether it is a telephone.
    pub phone: bool,
}

impl Look {
    /// A screen on a desk.
    pub const DESK: Self = Self { width: 1280, height: 900, dark: false, phone: false };
    /// The smallest telephone.
    pub const PHONE: Self = Self { width: 320, height: 640, dark: false, phone: true };

    /// The same in the dark.
    pub fn dark(self) -> Self {
        Self { dark: true, ..self }
    }
}

/// A running browser with one tab.
pub struct Browser {
    child: Child,
    socket: WebSocket<TcpStream>,
    session: String,
    next: u64,
    /// What the page complained about: exceptions, and what its policy refused.
    complaints: VecDeque<String>,
    _profile: TempDir,
}

/// The browser's program.
///
/// # Panics
/// If there is none: what to install is said.
pub fn chromium() -> PathBuf {
    if let Some(named) = std::env::var_os(CHROMIUM_VARIABLE) {
        return named.into();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let candidates = ["chromium", "chromium-browser", "google-chrome"];
    let mut places = std::env::split_paths(&path).flat_map(|folder| candidates.map(|name| folder.join(name)));
    places.find(|place| place.is_file()).unwrap_or_else(|| {
        panic!(
            "no Chromium on PATH. The page is tested in a real browser: scripts/prereqs.sh browser installs the package chromium on Debian and \
             Ubuntu; elsewhere install it, or name a program with {CHROMIUM_VARIABLE}"
        )
    })
}

impl Browser {
    /// Starts a browser.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start() -> Self {
        let profile = tempfile::tempdir().expect("a temporary folder");
        let child = Command::new(chromium())
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--disable-dev-shm-usage", "--hide-scrollbars", "--mute-audio", "--remote-debugging-port=0"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the browser starts");
        let told = profile.path().join("DevToolsActivePort");
        let (port, path) = eventually("the browser says where it is driven", || {
            let text = std::fs::read_to_string(&told).ok()?;
            let (port, path) = text.split_once('\n')?;
            Some((port.parse::<u16>().ok()?, path.trim().to_owned())).filter(|(_, path)| path.starts_with("/devtools/"))
        });
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the browser listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("a socket");
        let limits = tungstenite::protocol::WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE))
            .max_frame_size(Some(MAX_MESSAGE));
        let url = format!("ws://127.0.0.1:{port}{path}");
        let (socket, _) =
            tungstenite::client::client_with_config(url, stream, Some(limits)).expect("the browser takes a websocket");
        let mut browser =
            Self { child, socket, session: String::new(), next: 0, complaints: VecDeque::new(), _profile: profile };
        let tab = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attached = browser.call("Target.attachToTarget", json!({ "targetId": tab["targetId"], "flatten": true }));
        browser.session = attached["sessionId"].as_str().expect("a session").to_owned();
        for domain in ["Page", "Runtime", "Log", "DOM"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Calls a method of the protocol and waits for what it returns.
    ///
    /// # Panics
    /// If it fails.
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        self.try_call(method, params).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    fn try_call(&mut self, method: &str, params: Value) -> Result<Value, Value> {
        self.next += 1;
        let id = self.next;
        let mut call = json!({ "id": id, "method": method, "params": params });
        if !self.session.is_empty() {
            call["sessionId"] = self.session.clone().into();
        }
        self.socket.send(Message::text(call.to_string())).expect("the browser listens");
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "the browser does not answer {method}");
            let Message::Text(text) = self.socket.read().expect("the browser answers") else { continue };
            let mut heard: Value = serde_json::from_str(&text).expect("JSON");
            if heard["id"] == id {
                return if heard.get("error").is_none() { Ok(heard["result"].take()) } else { Err(heard) };
            }
            self.hear(&heard);
        }
    }

    fn hear(&mut self, event: &Value) {
        let params = &event["params"];
        match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => self.complaints.push_back(params["exceptionDetails"].to_string()),
            Some("Log.entryAdded") if params["entry"]["level"] == "error" => {
                self.complaints.push_back(params["entry"].to_string());
            }
            _ => {}
        }
    }

    /// What pages have complained about since the last time.
    pub fn take_complaints(&mut self) -> Vec<String> {
        // A round trip, so that what was said before is heard.
        self.eval("0");
        self.complaints.drain(..).collect()
    }

    /// Looks at pages like this from now on.
    pub fn look(&mut self, look: Look) {
        let scheme = if look.dark { "dark" } else { "light" };
        let metrics = json!({
            "width": look.width, "height": look.height, "deviceScaleFactor": if look.phone { 2 } else { 1 }, "mobile": look.phone,
        });
        self.call("Emulation.setDeviceMetricsOverride", metrics);
        // Motion would make a picture depend on when it is taken.
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }, { "name": "prefers-reduced-motion", "value": "reduce" }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features }));
    }

    /// Opens an address and waits until the page is there.
    ///
    /// # Panics
    /// If it is not.
    pub fn open(&mut self, url: &str) {
        // A word in the page that will not be in the next one.
        self.eval("window.leaving = true");
        let navigated = self.call("Page.navigate", json!({ "url": url }));
        assert!(navigated.get("errorText").is_none(), "{url}: {navigated}");
        self.wait("document.readyState === 'complete' && !window.leaving");
    }

    /// What an expression comes to, promises awaited.
    ///
    /// # Panics
    /// If it throws.
    pub fn eval(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let mut answer = self.call("Runtime.evaluate", params);
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].take()
    }

    /// What an expression comes to, as text.
    pub fn text(&mut self, expression: &str) -> String {
        match self.eval(expression) {
            Value::String(text) => text,
            other => other.to_string(),
        }
    }

    /// Waits until an expression is true.
    ///
    /// # Panics
    /// If it does not become true: with what the page says.
    pub fn wait(&mut self, expression: &str) {
        let deadline = Instant::now() + PATIENCE;
        // A page that is being left answers for the one that comes, or not at all.
        while self.try_eval(expression) != Some(Value::Bool(true)) {
            if Instant::now() > deadline {
                let page = self.text("document.body ? document.body.innerText : ''");
                panic!("waited in vain for {expression}; the page says:\n{page}");
            }
            std::thread::sleep(ASK_AGAIN);
        }
    }

    fn try_eval(&mut self, expression: &str) -> Option<Value> {
        let params = json!({ "expression": expression, "returnByValue": true });
        // Refused where the page is left while it is asked.
        let mut answer = self.try_call("Runtime.evaluate", params).ok()?;
        answer.get("exceptionDetails").is_none().then(|| answer["result"]["value"].take())
    }

    /// Presses a key, such as `Tab` or `Enter`.
    pub fn press(&mut self, key: &str, shift: bool) {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "Escape" => 27,
            "ArrowLeft" => 37,
            "ArrowRight" => 39,
            other => panic!("the key {other} is not known here"),
        };
        let mut event = json!({
            "type": "keyDown", "key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": if shift { 8 } else { 0 },
        });
        if key == "Enter" {
            event["text"] = "\r".into();
        }
        self.call("Input.dispatchKeyEvent", event.clone());
        event["type"] = "keyUp".into();
        self.call("Input.dispatchKeyEvent", event);
    }

    /// Clicks into the middle of an element, as a mouse does.
    ///
    /// # Panics
    /// If there is none.
    pub fn click(&mut self, selector: &str) {
        let place = self.eval(&format!(
            "(() => {{ const it = document.querySelector({selector:?}); it.scrollIntoView({{ block: 'center' }}); \
             const box = it.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; }})()"
        ));
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({ "type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", event);
        }
    }

    /// A picture of what is seen, as PNG; of the whole page if `whole`.
    ///
    /// # Panics
    /// If the browser gives none.
    pub fn picture(&mut self, whole: bool) -> Vec<u8> {
        let params = json!({ "format": "png", "captureBeyondViewport": whole, "optimizeForSpeed": false });
        let answer = self.call("Page.captureScreenshot", params);
        from_base64(answer["data"].as_str().expect("a picture"))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.session.clear();
        let goodbye = json!({ "id": 0, "method": "Browser.close" }).to_string();
        if self.socket.send(Message::text(goodbye)).is_ok() {
            let deadline = Instant::now() + GOODBYE;
            while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
                std::thread::sleep(ASK_AGAIN);
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads base 64 (RFC 4648, section 4) that a browser wrote.
fn from_base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut held) = (0_u32, 0);
    for digit in text.bytes().filter(|digit| *digit != b'=') {
        let value = DIGITS.iter().position(|known| *known == digit).expect("a digit of base 64");
        bits = (bits << 6) | u32::try_from(value).expect("one of 64");
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from((bits >> held) & 0xff).expect("a byte"));
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_64_is_read() {
        // The examples of RFC 4648, section 10.
        for (text, bytes) in [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmE=", "fooba")] {
            assert_eq!(from_base64(text), bytes.as_bytes());
        }
    }
}

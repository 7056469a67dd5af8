//! Each answer that a real server gave, compared with ours.
//!
//! `tests/data/esplora-replies.txt` holds what mempool/electrs 3.1 answered, one line an answer:
//! `METHOD path ['body..'] => status [content type] body`, cut at 160 letters. Two things differ on purpose: the tip is ours, and
//! `POST /txs/package` exists here, as Esplora's specification has it.

use btc_devnet::{Devnet, Options};

use crate::http::request;

/// Where the recording cut a line off.
const CUT: usize = 160;

#[tokio::test]
async fn answers_equal_those_of_a_real_server() {
    let devnet = Devnet::start(Options::default()).await.unwrap();
    let recorded = include_str!("../data/esplora-replies.txt");
    let mut compared = 0;
    for line in recorded.lines() {
        let (asked, answered) = line.split_once(" => ").expect("a line has two sides");
        let mut asked = asked.splitn(3, ' ');
        let (method, path) = (asked.next().unwrap(), asked.next().unwrap());
        let body = asked.next().unwrap_or_default().trim_matches('\'').trim_end_matches("..");
        let answer = request(&devnet, method, path, body).await;
        let (status, rest) = answered.split_once(' ').unwrap();
        let (content_type, expected) = match (method, rest.split_once(' ')) {
            ("GET", Some((content_type, expected))) => (content_type, expected),
            _ => (answer.content_type.as_str(), rest),
        };
        match (method, path) {
            ("GET", "/blocks/tip/hash") => {
                assert_eq!((answer.status, answer.content_type.as_str()), (200, content_type));
                assert_eq!(answer.text(), devnet.tip().await.unwrap().hash.to_string());
            }
            ("POST", "/txs/package") => {
                assert_eq!(answer.refusal(), (400, "Invalid transaction size for item 0"));
            }
            _ => {
                assert_eq!(answer.status.to_string(), status, "{line}");
                assert_eq!(answer.content_type, content_type, "{line}");
                let whole = line.len() < CUT + asked_length(line);
                let same = if whole { answer.text() == expected } else { answer.text().starts_with(expected) };
                assert!(same, "{line}\nours: {}", answer.text());
            }
        }
        compared += 1;
    }
    assert_eq!(compared, recorded.lines().count());
    assert!(compared > 20);
}

fn asked_length(line: &str) -> usize {
    line.find(" => ").map_or(0, |end| end + 4)
}

//! `/`: a page for a person who wants to see what the chain does. Plain HTML, made anew for each view.

use std::fmt::{self, Display, Write};

use axum::Router;
use axum::extract::{Extension, State};
use axum::routing::get;

use super::reply::{Refusal, Reply, html};
use crate::devnet::About;
use crate::handle::Handle;
use crate::index::{Index, IndexedBlock, ScriptHash};
use crate::mode::Mode;

/// Blocks that the page lists.
const BLOCKS: u32 = 10;
/// Waiting transactions that the page lists.
const WAITING: usize = 10;
const STYLE: &str = include_str!("page.css");

pub(super) fn routes(about: About) -> Router<Handle> {
    Router::new().route("/", get(page)).layer(Extension(about))
}

async fn page(State(chain): State<Handle>, Extension(about): Extension<About>) -> Reply {
    let (time, mining) = chain.run(|node| (node.time(), node.mining())).await?;
    let index = chain.index();
    let page = Page { about: &about, index: &index, time, mining: mining.into() };
    let mut written = String::new();
    page.write(&mut written).map_err(|_| Refusal::missing("no page"))?;
    Ok(html(written))
}

struct Page<'a> {
    about: &'a About,
    index: &'a Index,
    time: u32,
    mining: Mode,
}

impl Page<'_> {
    fn write(&self, to: &mut String) -> fmt::Result {
        let name = Escaped(&self.about.name);
        write!(
            to,
            "<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
             <title>{name} · btc-devnet</title><style>{STYLE}</style></head><body>\
             <header><h1>{name}</h1><p>A Bitcoin regtest chain for development. Reload to see it move.</p></header><main>"
        )?;
        self.summary(to)?;
        self.blocks(to)?;
        self.waiting(to)?;
        self.wallet(to)?;
        self.usage(to)?;
        to.write_str("</main></body></html>")
    }

    fn summary(&self, to: &mut String) -> fmt::Result {
        let backlog = self.index.pool.backlog();
        let Some(tip) = self.index.chain.tip() else { return Ok(()) };
        let facts: [(&str, String); 4] = [
            ("Height", tip.height.to_string()),
            ("In the mempool", count(backlog.count, "transaction")),
            ("Blocks are mined", self.mining.to_string()),
            ("The chain's clock", Time(self.time).to_string()),
        ];
        to.write_str("<section class=facts>")?;
        for (name, value) in facts {
            write!(to, "<div><span>{name}</span><b>{value}</b></div>")?;
        }
        to.write_str("</section>")
    }

    fn blocks(&self, to: &mut String) -> fmt::Result {
        let Some(tip) = self.index.chain.tip() else { return Ok(()) };
        to.write_str(
            "<section><h2>Last blocks</h2><div class=wide><table><thead><tr><th>Height<th>Hash<th>Time\
             <th class=n>Transactions<th class=n>Weight</tr></thead><tbody>",
        )?;
        let heights = (0..=tip.height).rev().take(BLOCKS as usize);
        for block in heights.filter_map(|height| self.index.chain.block_at(height)) {
            let IndexedBlock { height, hash, txids, .. } = block;
            write!(
                to,
                "<tr><td>{height}<td><a href=\"/block/{hash}\"><code>{hash}</code></a><td>{time}<td class=n>{transactions}\
                 <td class=n>{weight}</tr>",
                time = Time(block.block.header.time),
                transactions = txids.len(),
                weight = Grouped(block.block.weight().to_wu()),
            )?;
        }
        to.write_str("</tbody></table></div></section>")
    }

    fn waiting(&self, to: &mut String) -> fmt::Result {
        let pool = &self.index.pool;
        to.write_str("<section><h2>Mempool</h2>")?;
        if pool.is_empty() {
            return to.write_str("<p>Nothing waits for a block.</p></section>");
        }
        to.write_str(
            "<div class=wide><table><thead><tr><th>Transaction<th class=n>Fee rate, sat/vB<th class=n>Fee, sat\
             <th class=n>Size, vB</tr></thead><tbody>",
        )?;
        for txid in pool.txids().rev().take(WAITING) {
            let Some(waiting) = pool.get(txid) else { continue };
            write!(
                to,
                "<tr><td><a href=\"/tx/{txid}\"><code>{txid}</code></a><td class=n>{rate:.2}<td class=n>{fee}<td class=n>{size}\
                 </tr>",
                rate = waiting.fee_rate(),
                fee = Grouped(waiting.fee),
                size = Grouped(waiting.vsize),
            )?;
        }
        to.write_str("</tbody></table></div>")?;
        if pool.len() > WAITING {
            write!(to, "<p>The last {WAITING} of {}.</p>", pool.len())?;
        }
        to.write_str("</section>")
    }

    fn wallet(&self, to: &mut String) -> fmt::Result {
        let wallet = &self.about.wallet;
        let [receive, change] = wallet.descriptors();
        write!(
            to,
            "<section><h2>Funded wallet</h2><p>Its words are public: never send real coins to it. BIP86 (taproot), \
             path <code>m/86'/1'/0'</code>, no passphrase.</p><pre>{words}</pre>\
             <div class=wide><table><thead><tr><th>Address<th class=n>Balance, sat</tr></thead><tbody>",
            words = Escaped(&wallet.mnemonic())
        )?;
        for address in self.about.addresses() {
            let script = ScriptHash::of(&address.script_pubkey());
            let balance: u64 = self.index.unspent(&script).iter().map(|(unspent, _)| unspent.value).sum();
            write!(
                to,
                "<tr><td><a href=\"/address/{address}\"><code>{address}</code></a><td class=n>{}</tr>",
                Grouped(balance)
            )?;
        }
        write!(
            to,
            "</tbody></table></div><details><summary>Descriptors with private keys</summary><pre>{}\n{}</pre></details></section>",
            Escaped(&receive),
            Escaped(&change)
        )
    }

    fn usage(&self, to: &mut String) -> fmt::Result {
        let url = Escaped(&self.about.url);
        write!(
            to,
            "<section><h2>How to use it</h2><p>Give <code>{url}</code> to any wallet as its Esplora server. Command the chain:</p>\
             <pre>curl -X POST {url}/devnet/mine -d '{{\"blocks\": 1}}'\n\
             curl -X POST {url}/devnet/fund -d '{{\"address\": \"bcrt1…\", \"sats\": 100000}}'\n\
             curl -X POST {url}/devnet/reorg -d '{{\"depth\": 2}}'\n\
             curl -X POST {url}/devnet/time -d '{{\"advance\": 3600}}'\n\
             curl -X POST {url}/devnet/mining -d '{{\"mode\": \"interval\", \"seconds\": 10}}'\n\
             curl {url}/devnet</pre></section>"
        )
    }
}

fn count(number: usize, of: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {of}{plural}", Grouped(number as u64))
}

/// Text that may stand in HTML.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

/// A number with a thin space between thousands.
struct Grouped(u64);

impl Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (place, digit) in digits.chars().enumerate() {
            if place > 0 && (digits.len() - place).is_multiple_of(3) {
                f.write_char('\u{202f}')?;
            }
            f.write_char(digit)?;
        }
        Ok(())
    }
}

/// Seconds since 1970 as a date and time in UTC.
struct Time(u32);

impl Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DAY: u32 = 24 * 60 * 60;
        let (days, second) = (self.0 / DAY, self.0 % DAY);
        // Days to a date of the Gregorian calendar: years begin in March, so that the leap day ends one (H. Hinnant, "chrono-compatible
        // low-level date algorithms"). 719,468 days lie between 0000-03-01 and 1970-01-01; an era has 400 years.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        let year = era * 400 + year_of_era + u32::from(month <= 2);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates() {
        for (seconds, date) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (1_709_251_199, "2024-02-29 23:59:59"),
            (1_709_251_200, "2024-03-01 00:00:00"),
            (1_735_689_599, "2024-12-31 23:59:59"),
            (u32::MAX, "2106-02-07 06:28:15"),
        ] {
            assert_eq!(Time(seconds).to_string(), date);
        }
    }

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(Escaped("<a href='x'>\"&").to_string(), "&lt;a href=&#39;x&#39;&gt;&quot;&amp;");
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(Grouped(1_234_567).to_string(), "1\u{202f}234\u{202f}567");
        assert_eq!(Grouped(123).to_string(), "123");
    }
}

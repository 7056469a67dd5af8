//! The ways to others: the relay, the other nodes, and whether blocks come.

use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use super::patient::GroupView;
use super::{Found, Patient};
use crate::config::Settings;
use crate::daemon::view::{LinkStatus, Status};
use crate::output::{printable, short};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(3);
/// Most peers of the configuration that are tried while the node is stopped.
const MAX_TRIED: usize = 4;
/// How many times the least time between blocks is waited for one before it is said that they do not move.
const INTERVALS: u64 = 4;
/// Most that is waited for a block.
const LONGEST_WAIT: Duration = Duration::from_secs(8);
/// Least that is waited: what a loaded machine needs for a round.
const SHORTEST_WAIT: Duration = Duration::from_secs(2);

/// Whether the relay answers and carries the node's groups.
pub fn relay(patient: &Patient) -> Vec<Found> {
    let mut found = Vec::new();
    for view in patient.groups() {
        let Some(relay) = &view.status.relay else { continue };
        let url = crate::config::without_password(&relay.url);
        let named = named(patient, Some(view));
        found.push(match (&relay.problem, relay.connected) {
            (Some(problem), true) => Found::trouble(
                format!("the relay {url} does not serve group {}: {}", view.alias, printable(problem)),
                "ask whoever runs it to let the group in, or name another relay with `relay` in config.toml",
            ),
            (_, true) => Found::good(format!("{url} carries group {}", view.alias)),
            (problem, false) if named => Found::trouble(
                format!(
                    "no connection to the relay {url} for group {}: {}",
                    view.alias,
                    problem.as_deref().map_or_else(|| "none yet".to_owned(), printable)
                ),
                match problem.as_deref().is_some_and(|problem| problem.contains("certificate")) {
                    true => "check the name in the address; if an authority of your own signed the certificate, name it with `relay_ca` in config.toml",
                    false => "check the address, and that the relay runs (side-watcher); other ways to the group are used meanwhile",
                },
            ),
            (_, false) => Found::good(format!("no relay is named, and none is at {url}; nodes connect directly")),
        });
    }
    if !found.is_empty() {
        return found;
    }
    let Some(settings) = settings(patient, None) else {
        return vec![Found::skipped("the configuration is not understood")];
    };
    if let Err(error) = settings.roots() {
        return vec![Found::error(&error)];
    }
    let url = crate::config::without_password(&settings.relay);
    match (reach(&host_port(&settings.relay)), settings.relay_named) {
        (Ok(()), _) => vec![Found::good(format!("something answers at {url}"))],
        (Err(why), true) => vec![Found::trouble(
            format!("the relay {url} cannot be reached: {why}"),
            "check the address (--relay, SIDE_RELAY, config.toml), and that the relay runs (side-watcher)",
        )],
        (Err(_), false) => {
            vec![Found::good(format!("no relay is named, and none is at {url}; nodes connect directly"))]
        }
    }
}

fn settings(patient: &Patient, view: Option<&GroupView>) -> Option<Settings> {
    let memberships = patient.memberships()?;
    let membership = match view {
        Some(view) => memberships.choose(Some(&view.status.group)).ok()?,
        None => memberships.default(),
    };
    let relays: Vec<String> = membership.invitation.relays().map(str::to_owned).collect();
    Settings::resolve(patient.relay.clone(), 0, patient.config(), &relays).ok()
}

/// Whether somebody named the relay: one that a running node looks for and this shell knows nothing of was named, too.
fn named(patient: &Patient, view: Option<&GroupView>) -> bool {
    let looked_for = view.and_then(|view| view.status.relay.as_ref()).map(|relay| relay.url.as_str());
    settings(patient, view).is_none_or(|settings| settings.relay_named || Some(settings.relay.as_str()) != looked_for)
}

/// `host:port` of a websocket's address.
fn host_port(url: &str) -> String {
    let (rest, port) = match url.strip_prefix("wss://") {
        Some(rest) => (rest, 443),
        None => (url.strip_prefix("ws://").unwrap_or(url), 80),
    };
    let authority = rest.split(['/', '?']).next().unwrap_or(rest);
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if has_port { authority.to_owned() } else { format!("{authority}:{port}") }
}

fn reach(host_port: &str) -> Result<(), String> {
    let addresses = host_port.to_socket_addrs().map_err(|e| e.to_string())?;
    let mut last = "the name has no address".to_owned();
    for address in addresses.take(2) {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(_) => return Ok(()),
            Err(error) => last = error.to_string(),
        }
    }
    Err(last)
}

/// Whether other nodes can be reached.
pub fn peers(patient: &Patient) -> Vec<Found> {
    let config = patient.config();
    if patient.groups().is_empty() {
        let mut found: Vec<Found> = Vec::new();
        for peer in config.peers.iter().take(MAX_TRIED) {
            if let Err(why) = reach(&peer.at.to_string()) {
                found.push(Found::trouble(
                    format!("{} of `peers` in config.toml cannot be reached: {why}", peer.at),
                    "check that the node runs there, that its `listen` is not 127.0.0.1, and that no firewall is between",
                ));
            }
        }
        if found.is_empty() {
            found.push(Found::skipped(format!(
                "the node does not run; see whom it reaches with: side-node run {}",
                patient.home.name()
            )));
        }
        return found;
    }
    patient.groups().iter().flat_map(|view| of_group(patient, view, &config)).collect()
}

fn of_group(patient: &Patient, view: &GroupView, config: &crate::config::ConfigFile) -> Vec<Found> {
    let name = patient.home.name();
    let alias = &view.alias;
    let links = &view.peers.links;
    let connected = links.iter().filter(|link| link.connected).count();
    let relay = view.status.relay.as_ref().is_some_and(|relay| relay.connected);
    let others = view.peers.members.iter().filter(|member| !member.this_node).count();
    let mut found = Vec::new();
    for peer in &config.peers {
        let key = peer.key.to_string();
        let link = links.iter().find(|link| link.transport == "direct" && link.key.as_deref() == Some(key.as_str()));
        if let Some(link) = link.filter(|link| !link.connected) {
            found.push(Found::trouble(
                format!("{} of `peers` in config.toml is not connected: {}", peer.at, problem(link)),
                "check that the node runs there, that its `listen` is not 127.0.0.1, and that no firewall is between",
            ));
        }
    }
    if connected > 0 || relay {
        let way = if relay { ", and through the relay" } else { "" };
        found.push(Found::good(format!(
            "{connected} way{} to others of group {alias} stand{}{way}",
            if connected == 1 { "" } else { "s" },
            if connected == 1 { "s" } else { "" }
        )));
        return found;
    }
    if others == 0 && links.is_empty() {
        found.push(Found::note(
            format!("nobody else is in group {alias} so far"),
            format!("invite somebody: side-node invite {name}"),
        ));
        return found;
    }
    let tried = links.first().map_or_else(
        || "none is known where".to_owned(),
        |link| {
            let more = if links.len() > 1 { format!(", and {} more", links.len() - 1) } else { String::new() };
            format!("{}: {}{more}", printable(&link.address), problem(link))
        },
    );
    let only_here = config.listen.is_none_or(|listen| listen.ip().is_loopback());
    let next = match only_here {
        true => {
            "start the others. For nodes on other machines: a relay that all reach (`relay` in config.toml), or `listen = \"0.0.0.0:4001\"` on one that \
                 the others reach, since this one listens on this machine only"
        }
        false => {
            "check that the others run, and that this machine's port is open to them: routers and firewalls block it unless told otherwise; a relay \
                  that all reach helps where nothing else does"
        }
    };
    found.push(Found::trouble(format!("no other node of group {alias} is reached ({tried})"), next));
    found
}

fn problem(link: &LinkStatus) -> String {
    link.problem.as_deref().map_or_else(|| "no answer yet".to_owned(), printable)
}

/// Whether blocks come while something waits for one.
pub fn blocks(patient: &Patient) -> Vec<Found> {
    if patient.groups().is_empty() {
        return vec![Found::skipped("the node does not run")];
    }
    let waiting: Vec<&GroupView> = patient.groups().iter().filter(|view| view.status.pending > 0).collect();
    let longest = waiting.iter().map(|view| view.status.interval_ms.saturating_mul(INTERVALS)).max().unwrap_or(0);
    if !waiting.is_empty() {
        std::thread::sleep(Duration::from_millis(longest).clamp(SHORTEST_WAIT, LONGEST_WAIT));
    }
    let mut found = Vec::new();
    for view in patient.groups() {
        let before = &view.status;
        let now = (before.pending > 0).then(|| patient.again(&before.group)).flatten();
        let now = now.as_ref().unwrap_or(before);
        if now.pending == 0 || now.height > before.height {
            found.push(Found::good(format!("group {} is at block {}", view.alias, now.height)));
        } else if Duration::from_millis(before.interval_ms.saturating_mul(2)) > LONGEST_WAIT {
            found.push(Found::skipped(format!("blocks of group {} come too seldom to be waited for", view.alias)));
        } else {
            found.push(stuck(patient, view, now));
        }
    }
    found
}

fn stuck(patient: &Patient, view: &GroupView, now: &Status) -> Found {
    let name = patient.home.name();
    let what = format!(
        "{} in group {} and no block came; the last one is block {}",
        if now.pending == 1 { "a change waits".to_owned() } else { format!("{} changes wait", now.pending) },
        view.alias,
        now.height
    );
    let reached =
        |key: &str| key == now.key || now.peers.iter().any(|link| link.connected && link.key.as_deref() == Some(key));
    let mut missing: Vec<String> = now
        .sealers
        .iter()
        .filter(|sealer| !reached(&sealer.key))
        .map(|sealer| sealer.name.as_deref().map_or_else(|| short(&sealer.key).to_owned(), printable))
        .collect();
    missing.sort();
    if now.sealers.iter().any(|sealer| sealer.key == now.key) && !now.may_seal {
        return Found::trouble(
            format!("{what}: this node is to seal and must not, since its copy may have forgotten blocks"),
            "let it reach the others of the group; it goes on once it has learnt what it had sealed",
        );
    }
    if now.mode == "bft" {
        return Found::trouble(
            format!(
                "{what}: {} of {} sealers are reached, and {} have to agree",
                now.sealers.len() - missing.len(),
                now.sealers.len(),
                now.quorum
            ),
            format!("start the sealers that are away: {}", missing.join(", ")),
        );
    }
    match missing.first() {
        Some(leader) => Found::trouble(
            format!("{what}: {leader}, who seals, is not reached directly"),
            format!(
                "start {leader}, or have more than two thirds of the voters choose another: side-node vote {name} --group {} leader NODE",
                view.alias
            ),
        ),
        None => Found::trouble(
            what,
            format!("look at the console of whoever seals, and at: side-node status {name} --group {}", view.alias),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::host_port;

    #[test]
    fn a_relays_address_becomes_host_and_port() {
        for (url, expected) in [
            ("ws://127.0.0.1:8080", "127.0.0.1:8080"),
            ("ws://relay.example", "relay.example:80"),
            ("wss://relay.example/path", "relay.example:443"),
            ("wss://me:secret@relay.example:9/x", "relay.example:9"),
            ("ws://[::1]:7", "[::1]:7"),
            ("ws://[::1]", "[::1]:80"),
        ] {
            assert_eq!(host_port(url), expected);
        }
    }
}

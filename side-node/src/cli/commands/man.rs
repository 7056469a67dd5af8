//! `side-node man [FOLDER]`: manual pages, one a command, from the same tree that parses them.

use std::fs;
use std::io;
use std::path::PathBuf;

use clap::{Args, Command, CommandFactory as _};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use serde_json::json;

use crate::cli::{Cli, Globals};
use crate::error::CommandError;

/// The section of the manual: commands of users.
const SECTION: &str = "1";
/// What stands in every page about how a command ends.
const EXIT_CODES: [(&str, &str); 5] = [
    ("0", "Done."),
    ("1", "Something that you can mend; the message says how."),
    ("2", "Wrong usage."),
    ("3", "A peer, a relay or another server cannot be reached."),
    ("255", "A bug of ours."),
];

/// Arguments of `man`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  side-node man | man -l -                        read the first page
  side-node man ~/.local/share/man/man1           write all of them: man side-node, man side-node-btc-send
  side-node man --page btc-send | man -l -        read another one

Pages that are there already are replaced.")]
pub struct ManArgs {
    /// Where to write the pages; it is made if it is missing
    pub folder: Option<PathBuf>,
    /// Print the page of this command, such as `note` or `btc-send`
    #[arg(long, value_name = "COMMAND", conflicts_with = "folder")]
    pub page: Option<String>,
}

/// A page.
struct Page {
    /// `side-node-btc-send`.
    name: String,
    /// In roff.
    text: String,
}

/// Runs `man`.
pub fn run(globals: &Globals, args: ManArgs) -> Result<(), CommandError> {
    let pages = pages().map_err(|e| CommandError::bug(format!("cannot write a manual page: {e}")))?;
    let Some(folder) = args.folder else {
        let name = match &args.page {
            None => "side-node".to_owned(),
            Some(command) => format!("side-node-{}", command.trim_start_matches("side-node-").replace(' ', "-")),
        };
        let page = pages.iter().find(|page| page.name == name).ok_or_else(|| {
            CommandError::usage(format!("there is no page {name:?}")).hint("see the commands: side-node --help")
        })?;
        return globals.output().result(&json!({ "page": page.name, "roff": page.text }), || page.text.clone());
    };
    fs::create_dir_all(&folder).map_err(|e| CommandError::io(format!("cannot create {}", folder.display()), &e))?;
    let mut written = Vec::new();
    for page in pages {
        let path = folder.join(format!("{}.{SECTION}", page.name));
        fs::write(&path, page.text).map_err(|e| CommandError::io(format!("cannot write {}", path.display()), &e))?;
        written.push(path.display().to_string());
    }
    let value = json!({ "folder": folder.display().to_string(), "pages": written });
    globals.output().result(&value, || format!("wrote {} pages to {}", written.len(), folder.display()))
}

/// All pages, that of the whole program first.
fn pages() -> io::Result<Vec<Page>> {
    // `help` repeats every command under another name.
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let version = program.get_version().unwrap_or_default().to_owned();
    let mut pages = Vec::new();
    collect(&program, None, &version, &mut pages)?;
    Ok(pages)
}

fn collect(command: &Command, parent: Option<&str>, version: &str, pages: &mut Vec<Page>) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    pages.push(page(command, &name, parent, version)?);
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
        collect(inner, Some(&name), version, pages)?;
    }
    Ok(())
}

fn page(command: &Command, name: &str, parent: Option<&str>, version: &str) -> io::Result<Page> {
    let man = Man::new(command.clone())
        .title(name.to_uppercase())
        .section(SECTION)
        .source(format!("side-node {version}"))
        .manual("Side");
    let mut out = Vec::new();
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    man.render_options_section(&mut out)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut out)?;
    }
    let mut rest = Roff::new();
    if let Some(help) = command.get_after_help() {
        // Columns line up in the help; they do here, too.
        rest.control("SH", ["EXAMPLES"]);
        rest.control("nf", []);
        for line in help.to_string().lines() {
            rest.text([roman(line)]);
        }
        rest.control("fi", []);
    }
    rest.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in EXIT_CODES {
        rest.control("TP", []);
        rest.text([roman(code)]);
        rest.text([roman(meaning)]);
    }
    if let Some(parent) = parent {
        rest.control("SH", ["SEE ALSO"]);
        rest.text([roman(format!("{parent}({SECTION})"))]);
    }
    rest.to_writer(&mut out)?;
    let text = String::from_utf8(out).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
    Ok(Page { name: name.to_owned(), text })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sections of a page and what stands in each.
    fn sections(page: &Page) -> Vec<(&str, String)> {
        let mut sections: Vec<(&str, String)> = Vec::new();
        for line in page.text.lines() {
            match (line.strip_prefix(".SH "), sections.last_mut()) {
                (Some(title), _) => sections.push((title.trim_matches('"'), String::new())),
                (None, Some((_, text))) if !line.starts_with('.') => text.push_str(line),
                _ => {}
            }
        }
        sections
    }

    #[test]
    fn every_command_has_a_page_and_no_section_is_empty() {
        fn count(command: &Command) -> usize {
            1 + command.get_subcommands().map(count).sum::<usize>()
        }
        let pages = pages().unwrap();
        let mut program = Cli::command().disable_help_subcommand(true);
        program.build();
        assert_eq!(pages.len(), count(&program));
        for page in &pages {
            let sections = sections(page);
            for (title, text) in &sections {
                assert!(!text.trim().is_empty(), "{}: {title} is empty\n{}", page.name, page.text);
            }
            for needed in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXAMPLES", "EXIT STATUS"] {
                assert!(sections.iter().any(|(title, _)| *title == needed), "{} lacks {needed}", page.name);
            }
        }
        assert!(pages.iter().any(|page| page.name == "side-node-btc-send"));
    }
}

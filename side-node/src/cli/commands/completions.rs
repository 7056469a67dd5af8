//! `side-node completions SHELL`: what a shell needs to complete our commands, from the same tree that parses them.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;
use serde_json::json;

use crate::cli::{Cli, Globals};
use crate::error::CommandError;

/// Arguments of `completions`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  side-node completions bash > ~/.local/share/bash-completion/completions/side-node
  side-node completions zsh  > ~/.zfunc/_side-node           with ~/.zfunc in fpath before compinit
  side-node completions fish > ~/.config/fish/completions/side-node.fish

A new shell has them. They are those of the version that printed them: print them again after an update.")]
pub struct CompletionsArgs {
    /// For which shell
    pub shell: Shell,
}

/// Runs `completions`.
pub fn run(globals: &Globals, args: CompletionsArgs) -> Result<(), CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "side-node", &mut script);
    let script = String::from_utf8(script)
        .map_err(|_| CommandError::bug(format!("the completions for {} are no text", args.shell)))?;
    // clap_complete 4 takes the hyphen of our name for the step to a subcommand in one half of its bash script and not in the other, which then never meet.
    let script = script.replace("side__subcmd__node", "side__node");
    globals.output().result(&json!({ "shell": args.shell.to_string(), "script": script }), || script.clone())
}

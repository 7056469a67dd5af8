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

A new shell has them. In bash they have the names of this machine's nodes as well. They are those of the version that printed them: print them again after an update.")]
pub struct CompletionsArgs {
    /// For which shell
    pub shell: Shell,
}

/// The names of this machine's nodes, where a command may take one: the folders of the root that have keys. Without starting the program, which takes longer than
/// a person waits after a key.
const BASH_NAMES: &str = r#"
_side__node_and_names() {
    _side__node "$@"
    local root="${SIDE_HOME:-$HOME/.side}" word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}" folder
    if [[ ${COMP_CWORD} -ge 2 && ${word} != -* && ${before} != -* ]]; then
        for folder in "${root}/${word}"*/keys; do
            [[ -d ${folder} ]] && folder="${folder%/keys}" && COMPREPLY+=("${folder##*/}")
        done
    fi
    return 0
}
complete -F _side__node_and_names -o bashdefault -o default side-node
"#;

/// Runs `completions`.
pub fn run(globals: &Globals, args: CompletionsArgs) -> Result<(), CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "side-node", &mut script);
    let script = String::from_utf8(script)
        .map_err(|_| CommandError::bug(format!("the completions for {} are no text", args.shell)))?;
    // clap_complete 4 takes the hyphen of our name for the step to a subcommand in one half of its bash script and not in the other, which then never meet.
    let mut script = script.replace("side__subcmd__node", "side__node");
    if args.shell == Shell::Bash {
        script.push_str(BASH_NAMES);
    }
    globals.output().result(&json!({ "shell": args.shell.to_string(), "script": script }), || script.clone())
}
